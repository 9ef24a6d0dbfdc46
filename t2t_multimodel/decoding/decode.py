"""From a batch of inputs to ids: encode once, then search step by step; or rank the classes."""

import keras
from keras import ops

from t2t_multimodel.decoding.search import beam_search, greedy_search


def decode_text(model, spec, batch, limit, length, beam_size=1, alpha=0.6):
    """Decodes a batch into the ids of its text.

    Args:
      batch: tensors, see docs/architecture.md; no targets needed.
      limit: scalar tensor, at most so many ids. length: size of the output buffer, a Python int ≥ limit.
      beam_size: 1 is greedy. alpha: exponent of the length penalty.

    Returns:
      ids int32 [batch, length], with the end-of-sequence, 0 behind it; scores float32 [batch].
    """
    source, real, _, _ = model.encode(batch, spec)
    source = ops.cast(source, "float32")
    command = batch["command"]
    rows = ops.shape(command)[0] * beam_size
    memory = model.prepare(source, real)
    if beam_size > 1:
        memory = keras.tree.map_structure(lambda array: ops.repeat(array, beam_size, axis=0), memory)
    state = model.initial_state(rows, length)
    constants = model.constants()
    # Read here, outside the loop: inside it every weight would be read again for every position.
    weights = [(v, ops.convert_to_tensor(v)) for v in model.trainable_variables]

    def step(ids, state, time):
        with keras.StatelessScope(state_mapping=weights):
            return model.step(ids, spec, constants, memory, state, time)

    if beam_size == 1:
        return greedy_search(step, state, command, length, limit)
    vocabulary = spec.targets.vocabulary_size
    ids, scores = beam_search(step, state, command, length, limit, beam_size, alpha, vocabulary)
    return ids[:, 0], scores[:, 0]


def rank_classes(model, spec, batch):
    """Classes of each row, likeliest first: int32 [batch, classes]; and their log-probabilities in that order."""
    logits, _ = model(batch, spec=spec)
    scores, order = ops.top_k(ops.log_softmax(logits), spec.targets.classes)
    return ops.cast(order, "int32"), scores
