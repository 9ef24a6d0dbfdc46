"""From a batch of inputs to ids: read the source once, then search step by step; or rank the classes."""

import keras
from keras import ops

from t2t_multimodel.decoding.search import beam_search, greedy_search

POSITIONS_STEP = 64  # what is read of a source comes in multiples of so many positions, so that few programs serve all


def read_source(model, spec, batch):
    """What every decoding step needs of a batch's inputs (tensors, see docs/architecture.md; no targets needed)."""
    source, padding_mask, _, _ = model.encode(batch, spec)
    more = -ops.shape(source)[1] % POSITIONS_STEP
    source = ops.pad(ops.cast(source, "float32"), [[0, 0], [0, more], [0, 0]])
    return model.prepare(source, ops.pad(padding_mask, [[0, 0], [0, more]]))


def write_text(
    model, targets, cross_attention_cache, command, limit, length, beam_size=1, alpha=0.6, form=None, asked=None
):
    """The ids of a text, found by greedy or beam search.

    Args:
      targets: the `FeatureSpec` that is written. cross_attention_cache: of `read_source`. command: int32 [batch].
      limit: scalar tensor, at most so many ids. length: size of the output buffer, a Python int ≥ limit.
      beam_size: 1 is greedy. alpha: exponent of the length penalty.
      form: what the text keeps to, see `grammars.py`. asked: of its `rows`.

    Returns:
      ids int32 [batch, length], with the end-of-sequence, 0 behind it; scores float32 [batch].
    """
    state = model.initial_state(ops.shape(command)[0], length, beam_size)
    constants = model.constants()
    # Read here, outside the loop: inside it every weight would be read again for every position.
    weights = [(v, ops.convert_to_tensor(v)) for v in model.trainable_variables]

    def step(ids, state, time, beams):
        with keras.StatelessScope(state_mapping=weights):
            return model.step(ids, targets, constants, cross_attention_cache, state, time, beams)

    keeping = {"form": form, "asked": asked}
    if beam_size == 1:
        return greedy_search(step, state, command, length, limit, **keeping)
    vocabulary = targets.vocabulary_size
    ids, scores = beam_search(step, state, command, length, limit, beam_size, alpha, vocabulary, **keeping)
    return ids[:, 0], scores[:, 0]


def rank_classes(model, spec, batch):
    """Classes of each row, likeliest first: int32 [batch, classes]; and their log-probabilities in that order."""
    logits, _ = model(batch, spec=spec)
    scores, order = ops.top_k(ops.log_softmax(logits), spec.targets.classes)
    return ops.cast(order, "int32"), scores
