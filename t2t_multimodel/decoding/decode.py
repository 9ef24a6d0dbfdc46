"""From a batch of inputs to ids: encode the source once, then search step by step; or rank the classes."""

import keras
from keras import ops

from t2t_multimodel.decoding.search import (
    GreedyState,
    beam_search,
    before_first,
    greedy_search,
    sample_search,
    write_until,
)
from t2t_multimodel.kernels.int8_weight import known
from t2t_multimodel.models.int8 import floats_of

POSITIONS_STEP = 64  # encoded sources are padded to multiples of this, so that few programs serve all lengths


def read_source(model, spec, batch):
    """The encoded inputs of a batch, for all decoding steps (tensors, see docs/architecture.md; no targets)."""
    source, padding_mask, _, _ = model.encode(batch, spec)
    more = -ops.shape(source)[1] % POSITIONS_STEP
    source = ops.pad(ops.cast(source, "float32"), [[0, 0], [0, more], [0, 0]])
    return model.prepare(source, ops.pad(padding_mask, [[0, 0], [0, more]]))


def write_text(
    model,
    targets,
    cross_attention_cache,
    command,
    limit,
    length,
    beam_size=1,
    alpha=0.6,
    grammar=None,
    wanted=None,
    sampling=None,
    needed=None,
):
    """Decodes ids by greedy or beam search, or draws them.

    Args:
      targets: the `Modality` that is written. cross_attention_cache: of `read_source`. command: int32 [batch].
      limit: scalar tensor, at most so many ids. length: size of the output buffer, a Python int ≥ limit.
      beam_size: 1 is greedy. alpha: exponent of the length penalty.
      grammar: the grammar of the text, see `grammars.py`. wanted: from its `rows`.
      sampling: a `Sampling`, with a beam_size of 1; None: nothing is drawn.
      needed: int32 scalar: so many of the best hypotheses; None: the best alone.

    Returns:
      ids int32 [batch, length], 0 after end-of-sequence; scores float32 [batch]. With `needed`, the whole beam, best
      first, of which so many are sure: [batch, beam_size, length] and [batch, beam_size].
    """
    state = model.initial_state(ops.shape(command)[0], length, beam_size)
    step = _step_of(model, targets, model.constants(), cross_attention_cache)
    constraint = {"grammar": grammar, "wanted": wanted}
    if beam_size == 1:
        if sampling is not None:
            ids, scores = sample_search(step, state, command, length, limit, sampling, **constraint)
        else:
            ids, scores = greedy_search(step, state, command, length, limit, **constraint)
        return (ids, scores) if needed is None else (ids[:, None], scores[:, None])
    vocabulary, least = targets.vocabulary_size, 1 if needed is None else needed
    ids, scores = beam_search(step, state, command, length, limit, beam_size, alpha, vocabulary, least, **constraint)
    return (ids[:, 0], scores[:, 0]) if needed is None else (ids, scores)


def begin_text(model, command, length, grammar=None, wanted=None):
    """What `continue_text` starts from: ({name: value} of a `GreedyState`, what depends on the weights alone).

    Args: as of `write_text`.
    """
    state = model.initial_state(ops.shape(command)[0], length)
    return vars(before_first(state, command, length, grammar, wanted)), model.constants()


def continue_text(model, targets, cross_attention_cache, constants, search, limit, until, grammar=None, sampling=None):
    """Writes the positions before `until`, of those that are still to be written; several calls write what `write_text`
    writes in one.

    Args:
      constants, search: of `begin_text`, and search then of the call before. until: scalar tensor, at most `limit`.
      Others: as of `write_text`.

    Returns:
      {name: value} of the `GreedyState` behind them; "ids" are int32 [length, batch].
    """
    step = _step_of(model, targets, constants, cross_attention_cache)
    return vars(write_until(step, GreedyState(**search), limit, until, sampling, grammar))


def _step_of(model, targets, constants, cross_attention_cache):
    """The step function that `search.py` takes."""
    # Read outside the loop; inside it every weight would be read again at every position.
    weights = [(v, ops.convert_to_tensor(v)) for v in model.trainable_variables]
    floats = floats_of(model)

    def step(ids, state, time, beams):
        with keras.StatelessScope(state_mapping=weights), known(floats):
            return model.step(ids, targets, constants, cross_attention_cache, state, time, beams)

    return step


def predict(model, spec, batch):
    """What a head that is not autoregressive predicts for a batch: {name: array [rows, …]} of `Head.predict`."""
    outputs, _ = model(batch, spec=spec)
    return model.head(spec).predict(outputs)
