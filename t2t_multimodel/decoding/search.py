"""Greedy search, sampling and beam search over one incremental step function, as one compiled loop.

A step function maps (last ids [rows], state, time, beams) to (logits float32 [rows, vocabulary], new state). Greedy
search and sampling pass None for `beams`. Beam search never moves the rows of a state: `beams` holds the row in which
the past of each hypothesis was computed. Nothing else here depends on the model. A grammar (`grammars.py`) decides
which ids may come next; the scores are those of the model.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from keras import ops

from t2t_multimodel.decoding.grammars import FORBIDDEN
from t2t_multimodel.decoding.sampling import likeliest
from t2t_multimodel.kernels.write_slice import write_slice
from t2t_multimodel.layers.convolution_cache import Beams
from t2t_multimodel.vocabulary import EOS_ID

EMPTY = FORBIDDEN  # score of an empty beam
POSSIBLE = 0.01 * EMPTY  # every hypothesis that the grammar allows has a higher score


@dataclass(frozen=True)
class GreedyState:
    """Greedy search or sampling before a position."""

    time: Any  # int32 scalar: the position
    last: Any  # int32 [rows]: the ids just written
    ids: Any  # int32 [length, rows]: all ids written
    done: Any  # bool [rows]: whether a row has ended
    score: Any  # float32 [rows]: log-probability of what is written
    state: Any  # of the step function
    written: Any  # of the grammar; () without one


@dataclass(frozen=True)
class BeamState:
    """Beam search before a position: the growing hypotheses of each example, and apart from them the finished ones."""

    time: Any  # int32 scalar: the position
    last: Any  # int32 [batch · beam]: the ids just written
    growing: Any  # int32 [batch, beam, length]: ids, best first
    growing_score: Any  # float32 [batch, beam]: log-probability
    finished: Any  # int32 [batch, beam, length]: ids, best first
    finished_score: Any  # float32 [batch, beam]: log-probability over the length penalty; `EMPTY` where there is none
    done: Any  # bool [batch, beam]: whether `finished` holds a hypothesis
    rows: Any  # int32 [length, batch · beam]: of `Beams`
    state: Any  # of the step function
    written: Any  # of the grammar; () without one


def greedy_search(step, state, first_ids, length, limit, grammar=None, wanted=None):
    """The likeliest id, again and again, until every row has written the end-of-sequence.

    Args:
      first_ids: int32 [rows], the input at time 0 (the command).
      length: size of the output buffer, a Python int. limit: most ids to write, scalar ≤ length.
      grammar: see `grammars.py`; None: no constraint. wanted: from its `rows`.

    Returns:
      ids int32 [rows, length], 0 after the end; and the sum of their log-probabilities, float32 [rows].
    """
    end = write_until(step, before_first(state, first_ids, length, grammar, wanted), limit, limit, None, grammar)
    return ops.transpose(end.ids), end.score


def sample_search(step, state, first_ids, length, limit, sampling, grammar=None, wanted=None):
    """Ids drawn by their probability until every row has written the end-of-sequence.

    Args:
      sampling: a `Sampling`, which says how to draw. Others and the result: as of `greedy_search`; the
        log-probabilities are those of the model, whatever the temperature.
    """
    end = write_until(step, before_first(state, first_ids, length, grammar, wanted), limit, limit, sampling, grammar)
    return ops.transpose(end.ids), end.score


def before_first(state, first_ids, length, grammar=None, wanted=None):
    """The `GreedyState` before the first position. Args: as of `greedy_search`."""
    rows = ops.shape(first_ids)[0]
    return GreedyState(
        time=ops.zeros((), dtype="int32"),
        last=first_ids,
        ids=ops.zeros((length, rows), dtype="int32"),
        done=ops.zeros((rows,), dtype="bool"),
        score=ops.zeros((rows,), dtype="float32"),
        state=state,
        written=grammar.start(wanted) if grammar else (),
    )


def write_until(step, search, limit, until, sampling=None, grammar=None):
    """Greedy search or sampling from one `GreedyState` to a later one: before position `until`, or where all rows end.

    Args:
      limit: as of `greedy_search`. until: scalar ≤ limit; the loop goes on from its result as if it had not stopped.
      sampling: a `Sampling`; None: the likeliest id.
    """

    def going_on(search):
        return ops.logical_and(search.time < until, ops.logical_not(ops.all(search.done)))

    def choose(logits, mask, time):
        if sampling is not None:
            return sampling.draw(logits, mask, time)
        return likeliest(logits if mask is None else logits + mask)

    def write(search):
        time, done = search.time, search.done
        logits, state = step(search.last, search.state, time, None)
        chosen = choose(logits, grammar.mask(search.written, limit - time) if grammar else None, time)
        logit = ops.take_along_axis(logits, chosen[:, None], axis=-1)[:, 0]
        chosen = ops.where(done, 0, chosen)
        return GreedyState(
            time=time + 1,
            last=chosen,
            ids=write_slice(search.ids, time, chosen[None], axis=0),
            done=ops.logical_or(done, chosen == EOS_ID),
            score=search.score + ops.where(done, 0.0, logit - ops.logsumexp(logits, axis=-1)),
            state=state,
            written=grammar.after(search.written, chosen) if grammar else search.written,
        )

    return _while(going_on, write, search)


def length_penalty(length, alpha):
    """((5 + length) / 6)^alpha (Wu et al. 2016, eq. 14)."""
    return ops.power((5.0 + ops.cast(length, "float32")) / 6.0, alpha)


def beam_search(step, state, first_ids, length, limit, beam, alpha, vocabulary, needed=None, grammar=None, wanted=None):
    """Beam search with length penalty; finished and growing hypotheses are kept separately.

    Args:
      step: as above, on batch · beam rows; the rows of one example are adjacent. state: for these rows. first_ids:
        int32 [batch].
      length: size of the output buffer. limit: most ids to write, scalar ≤ length.
      beam: hypotheses kept. alpha: exponent of the length penalty, 0 = none; scores are log P / penalty.
      needed: int32 scalar from 1 to beam: stop when no growing hypothesis can be one of so many best; None: never
        before the limit.
      grammar: see `grammars.py`; None: no constraint. wanted: from its `rows`, [batch, …].

    Returns:
      ids int32 [batch, beam, length], best first, 0 after the end; scores float32 [batch, beam], `EMPTY` where there is
      no hypothesis. The `needed` best depend on nothing else in the batch; what stands behind them may. If nothing
      has finished, the growing hypotheses with their plain log-probabilities.
    """
    batch = ops.shape(first_ids)[0]
    alpha = ops.cast(alpha, "float32")
    each = min(2 * beam, vocabulary)  # candidates of a row

    times = ops.arange(length, dtype="int32")[:, None]
    own_rows = ops.broadcast_to(ops.arange(batch * beam, dtype="int32")[None], [length, batch * beam])

    def going_on(search):
        more = search.time < limit
        if needed is None:
            return more
        best = search.growing_score[:, 0]
        last_needed = ops.take(search.finished_score, needed - 1, axis=1)
        stays = last_needed > best / length_penalty(limit, alpha)  # nothing that grows can become better than this
        ended = ops.logical_or(stays, best <= POSSIBLE)  # or nothing can go on
        return ops.logical_and(more, ops.logical_not(ops.all(ended)))

    def grow(search):
        time = search.time
        logits, state = step(search.last, search.state, time, Beams(beam, search.rows))
        # The best of all are among the best of each row, of which few are left to be scored.
        allowed = logits + grammar.mask(search.written, limit - time) if grammar else logits
        highest, candidates = ops.top_k(allowed, each)
        log_probabilities = highest - ops.logsumexp(logits, axis=-1, keepdims=True)
        log_probabilities = ops.reshape(log_probabilities, [batch, beam, each]) + search.growing_score[..., None]
        penalty = length_penalty(time + 1, alpha)
        score, index = ops.top_k(ops.reshape(log_probabilities / penalty, [batch, beam * each]), 2 * beam)
        index = ops.cast(index, "int32")
        parent = index // each
        last = ops.cast(_pick(ops.reshape(candidates, [batch, beam * each]), index), "int32")
        ends = ops.logical_and(last == EOS_ID, score * penalty > POSSIBLE)
        ids = _write(_pick(search.growing, parent), last, time)  # [batch, 2·beam, length]
        # The best that go on …
        _, go_on = ops.top_k(ops.where(ends, score + EMPTY, score), beam)
        go_on = ops.cast(go_on, "int32")
        growing_score = _pick(score, go_on) * penalty + ops.where(_pick(ends, go_on), EMPTY, 0.0)
        parent = ops.reshape(_pick(parent, go_on) + ops.arange(batch, dtype="int32")[:, None] * beam, [-1])
        going_last = ops.reshape(_pick(last, go_on), [-1])
        written = search.written
        if grammar:
            written = grammar.after(
                {name: ops.take(value, parent, axis=0) for name, value in written.items()}, going_last
            )
        # … and the best that have ended, old and new.
        all_score = ops.concatenate([search.finished_score, ops.where(ends, score, score + EMPTY)], axis=1)
        finished_score, best = ops.top_k(all_score, beam)
        best = ops.cast(best, "int32")
        return BeamState(
            time=time + 1,
            last=going_last,
            growing=_pick(ids, go_on),
            growing_score=growing_score,
            finished=_pick(ops.concatenate([search.finished, ids], axis=1), best),
            finished_score=finished_score,
            done=_pick(ops.concatenate([search.done, ends], axis=1), best),
            rows=ops.where(times <= time, ops.take(search.rows, parent, axis=1), own_rows),
            state=state,
            written=written,
        )

    empty = ops.zeros((batch, beam, length), dtype="int32")
    start = BeamState(
        time=ops.zeros((), dtype="int32"),
        last=ops.repeat(first_ids, beam, axis=0),
        growing=empty,
        growing_score=ops.where(ops.arange(beam) == 0, 0.0, EMPTY)[None] * ops.ones((batch, 1)),
        finished=empty,
        finished_score=ops.full((batch, beam), EMPTY, dtype="float32"),
        done=ops.zeros((batch, beam), dtype="bool"),
        rows=own_rows,
        state=state,
        written=grammar.start(ops.repeat(wanted, beam, axis=0)) if grammar else (),
    )
    end = _while(going_on, grow, start)
    some = ops.any(end.done, axis=1)
    ids = ops.where(some[:, None, None], end.finished, end.growing)
    return ids, ops.where(some[:, None], end.finished_score, end.growing_score)


def _while(going_on, body, start):
    """`ops.while_loop` over a dataclass: `going_on` and `body` take one, `body` returns the next."""
    kind = type(start)
    # Not `astuple`, which would copy arrays.
    unpacked = lambda search: tuple(getattr(search, field.name) for field in dataclasses.fields(search))
    end = ops.while_loop(
        lambda *values: going_on(kind(*values)), lambda *values: unpacked(body(kind(*values))), unpacked(start)
    )
    return kind(*end)


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
