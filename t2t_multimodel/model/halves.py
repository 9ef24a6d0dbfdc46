"""Two halves of a batch side by side, for a long chain of large operations of which each waits for the one before."""

import keras
from keras import ops


def in_halves(function, *arrays):
    """`function(*arrays)`, an array whose every row comes of that row of the arrays alone, made of two halves.

    TensorFlow runs operations that do not wait for each other at once; a picture's net alone would keep one processor
    waiting. XLA shares out each operation, so elsewhere the batch stays whole.
    """
    if keras.backend.backend() != "tensorflow":
        return function(*arrays)
    rows = ops.shape(arrays[0])[0]
    half = rows // 2
    # A single row is computed twice, once for nothing: no operation meets an empty batch.
    halves = slice(None, ops.maximum(half, 1)), slice(half, None)
    both = ops.concatenate([function(*(x[part] for x in arrays)) for part in halves], axis=0)
    return both[ops.shape(both)[0] - rows :]
