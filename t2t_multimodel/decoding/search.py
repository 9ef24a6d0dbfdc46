"""Greedy and beam search over one incremental step function, as one compiled loop.

A step function maps (last ids [rows], state, time, beams) to (logits float32 [rows, vocabulary], new state). Greedy
search passes None for `beams`. Beam search never moves the rows of a state: `beams` holds the row in which the past of
each hypothesis was computed. Nothing else here depends on the model. A grammar (`grammars.py`) decides which ids may
come next; the scores are those of the model.
"""

from keras import ops

from t2t_multimodel.layers.convolution_cache import Beams
from t2t_multimodel.vocabulary import EOS_ID

EMPTY = -1e7  # score of an empty beam
POSSIBLE = 0.01 * EMPTY  # every hypothesis that the grammar allows has a higher score


def greedy_search(step, state, first_ids, length, limit, grammar=None, wanted=None):
    """Writes the most likely id at every step, until every row has written end-of-sequence.

    Args:
      first_ids: int32 [rows], the input at time 0 (the command).
      length: size of the output buffer, a Python int. limit: most ids to write, scalar ≤ length.
      grammar: see `grammars.py`; None: no constraint. wanted: from its `rows`.

    Returns:
      ids int32 [rows, length], 0 after the end; and the sum of their log-probabilities, float32 [rows].
    """
    rows = ops.shape(first_ids)[0]

    def going_on(time, last, ids, done, score, state, written):
        return ops.logical_and(time < limit, ops.logical_not(ops.all(done)))

    def write(time, last, ids, done, score, state, written):
        logits, state = step(last, state, time, None)
        allowed = logits + grammar.mask(written, limit - time) if grammar else logits
        highest, best = _likeliest(allowed)
        score = score + ops.where(done, 0.0, highest - ops.logsumexp(logits, axis=-1))
        best = ops.where(done, 0, best)
        ids = ops.slice_update(ids, [time, 0], best[None])
        written = grammar.after(written, best) if grammar else written
        return time + 1, best, ids, ops.logical_or(done, best == EOS_ID), score, state, written

    start = (
        ops.zeros((), dtype="int32"),
        first_ids,
        ops.zeros((length, rows), dtype="int32"),
        ops.zeros((rows,), dtype="bool"),
        ops.zeros((rows,), dtype="float32"),
        state,
        grammar.start(wanted) if grammar else (),
    )
    _, _, ids, _, score, *_ = ops.while_loop(going_on, write, start)
    return ops.transpose(ids), score


def length_penalty(length, alpha):
    """((5 + length) / 6)^alpha (Wu et al. 2016, eq. 14)."""
    return ops.power((5.0 + ops.cast(length, "float32")) / 6.0, alpha)


def beam_search(
    step, state, first_ids, length, limit, beam, alpha, vocabulary, stop_early=True, grammar=None, wanted=None
):
    """Beam search with length penalty; finished and growing hypotheses are kept separately.

    Args:
      step: as above, on batch · beam rows; the rows of one example are adjacent. state: for these rows. first_ids:
        int32 [batch].
      length: size of the output buffer. limit: most ids to write, scalar ≤ length.
      beam: hypotheses kept. alpha: exponent of the length penalty, 0 = none; scores are log P / penalty.
      stop_early: stop when no growing hypothesis can beat the worst finished one.
      grammar: see `grammars.py`; None: no constraint. wanted: from its `rows`, [batch, …].

    Returns:
      ids int32 [batch, beam, length], best first, 0 after the end; scores float32 [batch, beam]. If nothing has
      finished, the growing hypotheses with their plain log-probabilities.
    """
    batch = ops.shape(first_ids)[0]
    alpha = ops.cast(alpha, "float32")
    each = min(2 * beam, vocabulary)  # candidates of a row

    def going_on(time, last, growing, growing_score, finished, finished_score, done, rows, state, written):
        more = time < limit
        if not stop_early:
            return more
        bound = growing_score[:, 0] / length_penalty(limit, alpha)
        worst = ops.min(finished_score * ops.cast(done, "float32"), axis=1)
        worst = ops.where(ops.any(done, axis=1), worst, EMPTY)
        return ops.logical_and(more, ops.logical_not(ops.all(worst > bound)))

    def grow(time, last, growing, growing_score, finished, finished_score, done, rows, state, written):
        logits, state = step(last, state, time, Beams(beam, rows))
        # The overall best are among the best of each row, so few candidates are scored.
        highest, candidates = ops.top_k(logits + grammar.mask(written, limit - time) if grammar else logits, each)
        log_probabilities = highest - ops.logsumexp(logits, axis=-1, keepdims=True)
        log_probabilities = ops.reshape(log_probabilities, [batch, beam, each]) + growing_score[..., None]
        penalty = length_penalty(time + 1, alpha)
        score, index = ops.top_k(ops.reshape(log_probabilities / penalty, [batch, beam * each]), 2 * beam)
        index = ops.cast(index, "int32")
        parent = index // each
        last = ops.cast(_pick(ops.reshape(candidates, [batch, beam * each]), index), "int32")
        ends = ops.logical_and(last == EOS_ID, score * penalty > POSSIBLE)
        ids = _write(_pick(growing, parent), last, time)  # [batch, 2·beam, length]
        # The best that continue …
        _, go_on = ops.top_k(ops.where(ends, score + EMPTY, score), beam)
        go_on = ops.cast(go_on, "int32")
        growing, growing_score = _pick(ids, go_on), _pick(score, go_on) * penalty
        growing_score = growing_score + ops.where(_pick(ends, go_on), EMPTY, 0.0)
        parent, last = _pick(parent, go_on), _pick(last, go_on)
        parent = ops.reshape(parent + ops.arange(batch, dtype="int32")[:, None] * beam, [-1])
        last = ops.reshape(last, [-1])
        if grammar:
            written = grammar.after({name: ops.take(value, parent, axis=0) for name, value in written.items()}, last)
        rows = ops.where(times <= time, ops.take(rows, parent, axis=1), own)
        # … and the best that have ended, old and new.
        all_score = ops.concatenate([finished_score, ops.where(ends, score, score + EMPTY)], axis=1)
        finished_score, best = ops.top_k(all_score, beam)
        best = ops.cast(best, "int32")
        finished = _pick(ops.concatenate([finished, ids], axis=1), best)
        done = _pick(ops.concatenate([done, ends], axis=1), best)
        return time + 1, last, growing, growing_score, finished, finished_score, done, rows, state, written

    empty = ops.zeros((batch, beam, length), dtype="int32")
    times = ops.arange(length, dtype="int32")[:, None]
    own = ops.broadcast_to(ops.arange(batch * beam, dtype="int32")[None], [length, batch * beam])
    first_score = ops.where(ops.arange(beam) == 0, 0.0, EMPTY)[None] * ops.ones((batch, 1))
    start = (
        ops.zeros((), dtype="int32"),
        ops.repeat(first_ids, beam, axis=0),
        empty,
        first_score,
        empty,
        ops.full((batch, beam), EMPTY, dtype="float32"),
        ops.zeros((batch, beam), dtype="bool"),
        own,
        state,
        grammar.start(ops.repeat(wanted, beam, axis=0)) if grammar else (),
    )
    _, _, growing, growing_score, finished, finished_score, done, *_ = ops.while_loop(going_on, grow, start)
    some = ops.any(done, axis=1)
    return ops.where(some[:, None, None], finished, growing), ops.where(some[:, None], finished_score, growing_score)


def _likeliest(logits):
    """logits [rows, vocabulary] → the highest of each row, and its id int32 (the first of equal ones).

    Two reductions, since XLA's argmax and top_k are many times slower on a CPU.
    """
    highest, last = ops.max(logits, axis=-1), logits.shape[-1] - 1
    places = ops.where(logits == highest[:, None], ops.arange(last + 1, dtype="int32"), last)
    return highest, ops.min(places, axis=-1)


def _pick(array, index):
    """array [batch, candidates, …], index [batch, n] → [batch, n, …]."""
    shape = ops.shape(index)
    for _ in range(len(array.shape) - 2):
        index = index[..., None]
    index = ops.broadcast_to(index, [*shape, *ops.shape(array)[2:]])
    return ops.take_along_axis(array, index, axis=1)


def _write(ids, last, time):
    """Puts `last` [batch, n] at position `time` of ids [batch, n, length]."""
    here = ops.arange(ids.shape[-1], dtype="int32") == time
    return ops.where(here, last[..., None], ids)
