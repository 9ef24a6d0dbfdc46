"""Connectionist temporal classification: how likely ids are in order, on whatever frames they fall; Graves et al. 2006.

Id 0, the padding, is the blank. Scores are logarithms throughout: early in training a frame says "blank" with all but
certainty, and products of the rest leave the range of float32.
"""

from keras import ops

from t2t_multimodel.kernels.custom_vjp import custom_vjp
from t2t_multimodel.kernels.select import Kernel

IMPOSSIBLE = 1e30  # nats: of ids that need more frames than there are
_NEVER = -IMPOSSIBLE


def ctc_nats(logits, ids, id_counts, frame_counts):
    """The negative log-probability of `ids` given frames, summed over all ways to spread them out.

    Args:
      logits: float32 [B, T, V] of the frames. ids: int32 [B, L], none of them 0 where they count.
      id_counts, frame_counts: int32 [B]: the first so many count.

    Returns:
      nats [B]; `IMPOSSIBLE`, without a gradient, where the ids do not fit: each takes a frame, and one more stands
      between two that are equal.
    """
    fits = frames_needed(ids, id_counts) <= ops.minimum(frame_counts, ops.shape(logits)[1])
    fits = ops.logical_and(fits, frame_counts > 0)
    nats = nats_that_fit(logits, ids, ops.where(fits, id_counts, 0), ops.where(fits, frame_counts, 1))
    return ops.where(fits, nats, IMPOSSIBLE)


def frames_needed(ids, id_counts):
    """The fewest frames that the first `id_counts` [B] of `ids` [B, L] fit on, int32 [B]."""
    counted = ops.arange(1, ops.shape(ids)[1], dtype="int32")[None] < id_counts[:, None]
    equal = ops.logical_and(ops.equal(ids[:, 1:], ids[:, :-1]), counted)
    return id_counts + ops.sum(ops.cast(equal, "int32"), axis=1)


def best_path(logits):
    """The likeliest id of each frame with all but the first of equal neighbours put to 0: [B, T, V] → int32 [B, T].

    What is left besides zeros, in order, is the text of the likeliest path (greedy decoding).
    """
    likeliest = ops.cast(ops.argmax(logits, axis=-1), "int32")
    before = ops.pad(likeliest[:, :-1], [[0, 0], [1, 0]])
    return ops.where(ops.equal(likeliest, before), 0, likeliest)


def _by_keras(logits, ids, id_counts, frame_counts):
    return ops.ctc_loss(ids, logits, id_counts, frame_counts, mask_index=0)


def _by_occupancy(logits, ids, id_counts, frame_counts):
    """The same with the gradient written out: probabilities less the share of all paths that are there (eq. 16).

    One loop over the frames runs the forward and the backward variables side by side. TensorFlow's own for dense ids
    takes every state to every other at each frame.
    """
    return _written(logits, ids, id_counts, frame_counts)


def _forward(logits, ids, id_counts, frame_counts):
    frames, length = ops.shape(logits)[1], ops.shape(ids)[1]
    log_probabilities = ops.log_softmax(logits)
    index = ops.broadcast_to(ids[:, None], [ops.shape(ids)[0], frames, length])
    of_ids = ops.take_along_axis(log_probabilities, index, axis=2)  # [B, T, L]
    blank = log_probabilities[:, :, :1]
    # States: blank, id, blank, id, …, blank.
    states = _alternating(ops.broadcast_to(blank, ops.shape(of_ids)), of_ids, blank)  # [B, T, 2L + 1]
    place = ops.arange(2 * length + 1, dtype="int32")[None]
    # From an id to the next without a blank between them, where they differ.
    skips = ops.pad(ops.not_equal(ids[:, 1:], ids[:, :-1]), [[0, 0], [1, 0]])
    skips = ops.where(_alternating(ops.zeros_like(skips), skips, ops.zeros_like(skips[:, :1])), 0.0, _NEVER)
    first = ops.where(ops.broadcast_to(place < 2, ops.shape(skips)), 0.0, _NEVER)
    last = ops.logical_and(place <= 2 * id_counts[:, None], place >= 2 * id_counts[:, None] - 1)
    last = ops.where(last, 0.0, _NEVER)
    # The backward variables are forward ones of both orders reversed.
    from_skips = ops.pad(skips, [[0, 0], [0, 2]], constant_values=_NEVER)[:, 2:]
    both = lambda there, back: ops.concatenate([there, back], axis=0)
    steps = ops.transpose(both(states, ops.flip(states, axis=(1, 2))), [1, 0, 2])  # [T, 2B, 2L + 1]
    time = ops.arange(frames, dtype="int32")[:, None]
    begins = both(ops.zeros_like(frame_counts), frames - frame_counts)[None] == time  # [T, 2B]
    start, skips = both(first, ops.flip(last, axis=1)), both(skips, ops.flip(from_skips, axis=1))

    def step(before, now):
        scores, begin = now[:, 1:], now[:, :1] > 0.0
        stay = before
        move = ops.pad(before[:, :-1], [[0, 0], [1, 0]], constant_values=_NEVER)
        skip = ops.pad(before[:, :-2], [[0, 0], [2, 0]], constant_values=_NEVER) + skips
        most = ops.maximum(ops.maximum(stay, move), skip)
        total = most + ops.log(ops.exp(stay - most) + ops.exp(move - most) + ops.exp(skip - most))
        after = ops.where(begin, start, total) + scores
        return after, after

    # (One array: of several, Keras's scan on TensorFlow must know the length beforehand.)
    steps = ops.concatenate([ops.cast(begins, "float32")[..., None], steps], axis=2)
    end, variables = ops.scan(step, ops.zeros_like(start) + _NEVER, steps)
    back = ops.flip(ops.split(end, 2, axis=0)[1], axis=1)
    total = ops.logsumexp(first + back, axis=1)
    there, back = ops.split(ops.transpose(variables, [1, 0, 2]), 2, axis=0)
    paths = there + ops.flip(back, axis=(1, 2)) - states - total[:, None, None]
    return -total, (log_probabilities, paths, ids, frame_counts)


def _backward(residuals, upstream):
    log_probabilities, paths, ids, frame_counts = residuals
    occupancy = ops.exp(ops.minimum(paths, 0.0))  # [B, T, 2L + 1]
    blank = ops.sum(occupancy[:, :, ::2], axis=2, keepdims=True)
    occupancy = ops.concatenate([occupancy[:, :, 1::2], blank], axis=2)
    ids = ops.pad(ids, [[0, 0], [0, 1]])  # the blank's last
    there = ops.matmul(occupancy, ops.one_hot(ids, log_probabilities.shape[-1], dtype="float32"))
    counts = ops.arange(ops.shape(paths)[1], dtype="int32")[None] < frame_counts[:, None]
    weights = ops.cast(counts, "float32") * upstream[:, None]
    return (ops.exp(log_probabilities) - there) * weights[..., None], None, None, None


def _alternating(even, odd, end):
    """even₀, odd₀, even₁, odd₁, …, end along the last axis."""
    pairs = ops.stack([even, odd], axis=-1)
    shape = ops.shape(even)
    return ops.concatenate([ops.reshape(pairs, [*shape[:-1], 2 * shape[-1]]), end], axis=-1)


_written = custom_vjp(_forward, _backward)
nats_that_fit = Kernel(_by_keras, everywhere=_by_occupancy)
