"""Arrays of samples: how one is stored in an example, and several of different lengths one after the other."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """One array of a stored sample. Only the first axis may have a length that varies (`None`).

    `storage` is how a `tf.train.Example` holds it: "bytes" (the array's little-endian bytes), "int64_list" (ids, as
    variable-length integers: small ones take one byte) or "class" (one integer).
    """

    dtype: str
    shape: tuple[int | None, ...] = ()
    storage: str = "bytes"
    class_names: tuple[str, ...] = ()  # of storage "class": what the numbers stand for

    @property
    def varies(self) -> bool:
        """Whether the length of the first axis differs from sample to sample."""
        return bool(self.shape) and self.shape[0] is None

    @property
    def row_shape(self) -> tuple[Any, ...]:
        """The shape of one entry of the first axis where it varies, else of the whole array."""
        return self.shape[1:] if self.varies else self.shape

    @property
    def row_bytes(self) -> int:
        """How many bytes `row_shape` takes."""
        return int(np.prod(self.row_shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    @property
    def stored_dtype(self) -> Any:
        """The dtype on disk: little-endian on every machine."""
        return np.dtype(self.dtype).newbyteorder("<")


class Ragged(NamedTuple):
    """Rows of different lengths, one after the other: `values` [sum of lengths, …], `lengths` [rows]."""

    values: Any
    lengths: Any

    @classmethod
    def of(cls, arrays: Any) -> "Ragged":
        """Args: arrays: a list of arrays that differ in the length of their first axis only."""
        arrays = [np.asarray(a) for a in arrays]
        flat = [a for a in arrays if len(a)]
        return cls(np.concatenate(flat) if flat else np.zeros(0, int), np.array([len(a) for a in arrays], int))

    def part(self, rows: slice) -> "Ragged":
        """The rows of a slice."""
        ends = np.cumsum(self.lengths)[rows]
        lengths = self.lengths[rows]
        if not len(lengths):
            return Ragged(self.values[:0], lengths)
        return Ragged(self.values[ends[0] - lengths[0] : ends[-1]], lengths)

    def rows(self) -> list[Any]:
        """The rows as a list of arrays."""
        return np.split(self.values, np.cumsum(self.lengths)[:-1])

    def padded(self, rows: int, length: int, dtype: Any, row_shape: tuple[Any, ...] = ()) -> Any:
        """[rows, length, *row_shape] with zeros behind each row's values and in spare rows."""
        array = np.zeros((rows, length, *row_shape), dtype)
        array[: len(self.lengths)][np.arange(length) < self.lengths[:, None]] = self.values
        return array


def as_ragged(column: Any) -> Ragged:
    """A column, a list of arrays or a `Ragged`, as a `Ragged`."""
    return column if isinstance(column, Ragged) else Ragged.of(column)


def is_key(value: Any, mapping: Any) -> bool:
    """Whether a mapping or set has this key; what can't be hashed, such as a list, is none."""
    try:
        return value in mapping
    except TypeError:
        return False


def part_of(column: Any, rows: slice) -> Any:
    """The rows of a slice of a column."""
    return column.part(rows) if isinstance(column, Ragged) else column[rows]


def rows_of(column: Any) -> list[Any]:
    """A column, an array or a `Ragged`, as a list with one value a row; scalars are plain Python numbers."""
    if isinstance(column, Ragged):
        return column.rows()
    return column.tolist() if column.ndim == 1 else list(column)


def joined_name(side: str, name: str) -> str:
    """The name in a batch of a side's array: the side itself for "values", else e.g. "inputs_length"."""
    return side if name == "values" else f"{side}_{name}"


def stored_name(side: str, name: str) -> str:
    """The name in a stored example of a side's array: the side itself for "values", else e.g. "inputs/edges"."""
    return side if name == "values" else f"{side}/{name}"
