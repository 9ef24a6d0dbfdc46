"""Shapes of arrays, queried once: a dynamic shape costs TensorFlow an operation that the next ones wait for."""

from keras import ops


def shape_of(x):
    """`ops.shape(x)`; of an array that a kernel made, the shape it was made with."""
    known = getattr(x, "_known_shape", None)
    return ops.shape(x) if known is None else known


def with_shape(x, shape):
    """x itself, which from now on has its shape to hand. `shape`: integers and scalar tensors, no −1."""
    if any(not isinstance(side, int) for side in shape):  # a static shape costs nothing
        x._known_shape = tuple(shape)
    return x
