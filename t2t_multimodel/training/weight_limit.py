"""Refuses a model with more weights than there may be, before it takes memory for them.

Hyper-parameters are only numbers: a run of a stranger, or a mistyped digit, can ask for a model of 10^12 weights. Each
weight is counted when a layer asks for it, so the model is refused at the first one that is too many. And makes models
that get stored weights without memory for initial ones.
"""

import contextlib
import math
import mmap
from collections.abc import Callable, Iterator

import numpy as np

from t2t_multimodel import machine
from t2t_multimodel.errors import UserError

BYTES = 4  # of a weight


class TooManyWeights(Exception):
    """A model has more weights than it may have; `weights` is the number up to the one that was refused."""

    def __init__(self, weights: int) -> None:
        super().__init__(f"at least {weights:,} weights")
        self.weights = weights


@contextlib.contextmanager
def weights_limited(most: int, most_arrays: int | None = None) -> Iterator[None]:
    """In the block, Keras layers make at most `most` weights, in at most `most_arrays` arrays (None: any number).

    Raises:
      TooManyWeights: a layer asked for more; no memory was taken for them.
    """
    import keras

    add_weight: Callable = keras.layers.Layer.add_weight
    weights = arrays = 0

    def counted(layer, shape=None, *arguments, **options):
        nonlocal weights, arrays
        weights += math.prod(shape if isinstance(shape, (tuple, list)) else [shape or 1])
        arrays += 1
        if weights > most or most_arrays is not None and arrays > most_arrays:
            raise TooManyWeights(weights)
        return add_weight(layer, shape, *arguments, **options)

    keras.layers.Layer.add_weight = counted
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = add_weight


@contextlib.contextmanager
def weights_to_come(in_place: Callable) -> Iterator[None]:
    """In the block, Keras layers make weights of zeros, which on TensorFlow take no memory until they are replaced.

    Random initial values take time, and TensorFlow keeps their memory when others replace them.

    Args:
      in_place: function of the backend from a numpy array to a value with the same memory.
    """
    import keras

    add_weight: Callable = keras.layers.Layer.add_weight

    def zeros(shape, dtype=None, **_):
        dtype = np.dtype(dtype or "float32")
        pages = mmap.mmap(-1, max(1, math.prod(shape) * dtype.itemsize))
        return in_place(np.frombuffer(pages, dtype, count=math.prod(shape)).reshape(shape))

    def made_of_zeros(layer, shape=None, *arguments, initializer=None, **options):
        return add_weight(layer, shape, *arguments, initializer=zeros, **options)

    keras.layers.Layer.add_weight = made_of_zeros
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = add_weight


@contextlib.contextmanager
def weights_in_memory() -> Iterator[None]:
    """In the block, Keras layers make no more weights than this machine's memory has room for.

    Raises:
      UserError: they would; one line.
    """
    memory, most = machine.memory(), most_in_memory()
    try:
        with weights_limited(most):
            yield
    except TooManyWeights as error:
        if error.weights <= most:  # of a block around this one, which allows fewer
            raise
        needed = machine.gibibytes(BYTES * error.weights)
        raise UserError(
            f"the model of these hyper-parameters does not fit into memory: {error}, {needed}, and this machine has "
            f"{machine.gibibytes(memory)}; lower hidden_size, num_experts, expert_filter_size or the number of blocks"
        ) from None


def most_in_memory() -> int:
    """How many weights this machine has room for; an accelerator may have several times the memory of the machine."""
    import keras

    on_cpu = keras.distribution.list_devices()[0].startswith("cpu")
    return machine.memory() * (1 if on_cpu else 8) // BYTES
