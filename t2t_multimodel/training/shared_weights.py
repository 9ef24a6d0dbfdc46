"""Weights in memory that several processes map: they are there once, however many processes compute with them."""

import ctypes
import multiprocessing
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes; arrays at such addresses are used where they lie, others are copied by the backends


class SharedWeights:
    """{path: array} in one block of memory without a name, which is gone with the last process that has it.

    A child process gets it as an argument while it is started, and in no other way.
    """

    def __init__(self, arrays: dict[str, Any]) -> None:
        self._places: dict[str, tuple[int, tuple[int, ...], Any]] = {}  # path → offset, shape, dtype
        size = 0
        for path, array in arrays.items():
            self._places[path] = (size, array.shape, array.dtype)
            size += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        self._block = multiprocessing.get_context("spawn").RawArray(ctypes.c_byte, size + ALIGNMENT)
        # A block begins at the same place of a page in every process.
        self._start = -ctypes.addressof(self._block) % ALIGNMENT
        self.write(arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays where they lie: they show what `write` writes in any process; nothing else may write to them."""
        whole = np.frombuffer(self._block, np.uint8)
        found = {}
        for path, (offset, shape, dtype) in self._places.items():
            start = self._start + offset
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            found[path] = whole[start : start + size].view(dtype).reshape(shape)
        return found

    def write(self, arrays: dict[str, Any]) -> None:
        """Replaces the values of all arrays."""
        for path, array in self.arrays().items():
            array[...] = arrays[path]
