"""Matrices of a trained model as int8: a quarter of the memory, and of the bytes on disk; activations stay float.

Symmetric, one scale for each output channel: w ≈ codes · scale, with codes = round(w / scale) in −127 … 127 and scale =
max |w| / 127 over the inputs of that output, by `keras.quantizers.abs_max_quantize`.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

_making = contextvars.ContextVar("making", default=False)
_floats: contextvars.ContextVar[dict[int, Any] | None] = contextvars.ContextVar("floats", default=None)


class Int8Weight:
    """A weight of a layer, for operations what a float variable is. Its value is computed where it is asked for."""

    def __init__(self, codes: Any, scale: Any, over: int) -> None:
        """Args: codes, scale: variables, of int8 and float. over: the axis of the inputs, along which scale has 1."""
        self.codes, self.scale, self.over = codes, scale, over
        self.path, self.shape = codes.path, codes.shape

    @property
    def value(self) -> Any:
        """The float array, in the precision that the layer computes with."""
        known = _floats.get()
        return known[id(self)] if known is not None and id(self) in known else _product(self.codes, self.scale)

    @property
    def dtype(self) -> Any:
        """That of `value`."""
        return self.scale.dtype

    def rows(self, ids: Any) -> Any:
        """`value[ids]`, of the entries that are taken alone. ids: int [...]."""
        scale = ops.convert_to_tensor(self.scale)
        taken = ops.take(scale, ids, axis=0) if self.over else scale  # over the first axis one scale serves all
        return _product(ops.take(self.codes, ids, axis=0), taken)

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> Any:
        return self.value if dtype is None else ops.cast(self.value, dtype.name)

    def __jax_array__(self) -> Any:
        return self.value

    def __mul__(self, other: Any) -> Any:
        return self.value * other

    def __sub__(self, other: Any) -> Any:
        return self.value - other

    def __getitem__(self, place: Any) -> Any:
        return self.value[place]


def _product(codes, scale):
    scale = ops.convert_to_tensor(scale)
    return ops.cast(codes, scale.dtype) * scale


def rows_of(weight: Any, ids: Any) -> Any:
    """weight[ids] of a float or an `Int8Weight`: weight [n, …], ids int [...] → [..., …]."""
    return weight.rows(ids) if isinstance(weight, Int8Weight) else ops.take(weight, ids, axis=0)


def quantized(array: np.ndarray, over: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes int8, of the shape of the array; scale float32, with 1 along the axis `over`)."""
    codes, factor = keras.quantizers.abs_max_quantize(array, axis=over, to_numpy=True)
    return ops.convert_to_numpy(codes), 1 / ops.convert_to_numpy(factor)


@contextlib.contextmanager
def making_int8(wanted: bool = True) -> Iterator[None]:
    """In the block, layers make their matrices as `Int8Weight`s."""
    token = _making.set(wanted)
    try:
        yield
    finally:
        _making.reset(token)


def is_making_int8() -> bool:
    """Whether the code runs within `making_int8`."""
    return _making.get()


@contextlib.contextmanager
def known(floats: dict[int, Any]) -> Iterator[None]:
    """In the block, each `Int8Weight` has the value that was computed before, {its id: value}: a loop would compute it
    again and again.
    """
    token = _floats.set(floats)
    try:
        yield
    finally:
        _floats.reset(token)
