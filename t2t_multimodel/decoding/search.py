"""Greedy and beam search over one incremental step function, as one compiled loop.

A step function maps (last ids [rows], state, time, beams) to (logits float32 [rows, vocabulary], new state). Greedy
search gives None for `beams`. Beam search never moves a state's rows: `beams` says in which row the past of each
hypothesis was computed. Nothing else here knows the model. A form (`grammars.py`) says which ids may come next; scores
stay the model's own.
"""

from keras import ops

from t2t_multimodel.layers.convolution_cache import Beams
from t2t_multimodel.vocabulary import EOS_ID

EMPTY = -1e7  # score of a beam that holds nothing
POSSIBLE = 0.01 * EMPTY  # every hypothesis that its form allows is likelier


def greedy_search(step, state, first_ids, length, limit, form=None, asked=None):
    """The likeliest id, again and again, until every row has written the end-of-sequence.

    Args:
      first_ids: int32 [rows], what is fed at time 0 (the command).
      length: size of the output buffer, a Python int. limit: at most so many ids are written, scalar ≤ length.
      form: see `grammars.py`, with what the rows' inputs ask of it; None: any id may follow any.

    Returns:
      ids int32 [rows, length], 0 after the end; and the sum of their log-probabilities, float32 [rows].
    """
    rows = ops.shape(first_ids)[0]

    def going_on(time, last, ids, done, score, state, written):
        return ops.logical_and(time < limit, ops.logical_not(ops.all(done)))

    def write(time, last, ids, done, score, state, written):
        logits, state = step(last, state, time, None)
        allowed = logits + form.mask(written, limit - time) if form else logits
        highest, best = _likeliest(allowed)
        score = score + ops.where(done, 0.0, highest - ops.logsumexp(logits, axis=-1))
        best = ops.where(done, 0, best)
        ids = ops.slice_update(ids, [time, 0], best[None])
        written = form.after(written, best) if form else written
        return time + 1, best, ids, ops.logical_or(done, best == EOS_ID), score, state, written

    start = (
        ops.zeros((), dtype="int32"),
        first_ids,
        ops.zeros((length, rows), dtype="int32"),
        ops.zeros((rows,), dtype="bool"),
        ops.zeros((rows,), dtype="float32"),
        state,
        form.start(asked) if form else (),
    )
    _, _, ids, _, score, *_ = ops.while_loop(going_on, write, start)
    return ops.transpose(ids), score


def length_penalty(length, alpha):
    """((5 + length) / 6)^alpha (Wu et al. 2016, eq. 14)."""
    return ops.power((5.0 + ops.cast(length, "float32")) / 6.0, alpha)


def beam_search(step, state, first_ids, length, limit, beam, alpha, vocabulary, stop_early=True, form=None, asked=None):
    """Beam search with length penalty; finished hypotheses are kept apart from growing ones.

    Args:
      step: as above, on batch · beam rows, those of one example next to each other. state: for these rows. first_ids:
        int32 [batch].
      length: size of the output buffer. limit: at most so many ids, scalar ≤ length.
      beam: hypotheses kept. alpha: exponent of the length penalty, 0 = none; scores are log P / penalty.
      stop_early: stop when no growing hypothesis can still beat the worst finished one.
      form: see `grammars.py`, with what the inputs ask of it, [batch, …]; None: any id may follow any.

    Returns:
      ids int32 [batch, beam, length], best first, 0 after the end; scores float32 [batch, beam]. Where nothing has
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
        # The best of all are among the best of each row, of which few are left to be scored.
        highest, candidates = ops.top_k(logits + form.mask(written, limit - time) if form else logits, each)
        log_probabilities = highest - ops.logsumexp(logits, axis=-1, keepdims=True)
        log_probabilities = ops.reshape(log_probabilities, [batch, beam, each]) + growing_score[..., None]
        penalty = length_penalty(time + 1, alpha)
        score, index = ops.top_k(ops.reshape(log_probabilities / penalty, [batch, beam * each]), 2 * beam)
        index = ops.cast(index, "int32")
        parent = index // each
        last = ops.cast(_pick(ops.reshape(candidates, [batch, beam * each]), index), "int32")
        ends = ops.logical_and(last == EOS_ID, score * penalty > POSSIBLE)
        ids = _write(_pick(growing, parent), last, time)  # [batch, 2·beam, length]
        # The best that go on …
        _, go_on = ops.top_k(ops.where(ends, score + EMPTY, score), beam)
        go_on = ops.cast(go_on, "int32")
        growing, growing_score = _pick(ids, go_on), _pick(score, go_on) * penalty
        growing_score = growing_score + ops.where(_pick(ends, go_on), EMPTY, 0.0)
        parent, last = _pick(parent, go_on), _pick(last, go_on)
        parent = ops.reshape(parent + ops.arange(batch, dtype="int32")[:, None] * beam, [-1])
        last = ops.reshape(last, [-1])
        if form:
            written = form.after({name: ops.take(value, parent, axis=0) for name, value in written.items()}, last)
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
        form.start(ops.repeat(asked, beam, axis=0)) if form else (),
    )
    _, _, growing, growing_score, finished, finished_score, done, *_ = ops.while_loop(going_on, grow, start)
    some = ops.any(done, axis=1)
    return ops.where(some[:, None, None], finished, growing), ops.where(some[:, None], finished_score, growing_score)


def _likeliest(logits):
    """logits [rows, vocabulary] → the highest of each row, and its id int32 (of equal ones the first).

    Two plain reductions: on a CPU, XLA's argmax and its top_k take many times as long.
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
