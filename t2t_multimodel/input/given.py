"""Inputs as a person gives them: a list, none longer than any in training; and one made up, to compile with."""

import os
import reprlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from t2t_multimodel.errors import UserError


def check_is_list(values: Any, name: str = "inputs") -> None:
    """Raises `UserError` where one input (or what else is named) stands in the place of a list of them."""
    if isinstance(values, (str, bytes, Mapping, os.PathLike)) or not isinstance(values, Iterable):
        raise UserError(f"{name} must be a list of {name}, not {reprlib.repr(values)}; put a single one into a list")


def numbers_of(row_numbers: Sequence[int] | None, first_row: int, count: int) -> Sequence[int]:
    """The numbers of so many inputs, by which random numbers differ: those given, or one after the other.

    Raises:
      UserError: not one for each input, or one that does not fit 32 bits.
    """
    numbers = range(first_row, first_row + count) if row_numbers is None else list(row_numbers)
    if len(numbers) != count:
        raise UserError(f"row_numbers must have a number for each of {count:,} inputs, not {len(numbers):,}")
    wrong = next((number for number in numbers if not 0 <= number < 2**31), None)
    if wrong is not None:
        raise UserError(f"inputs have numbers of at least 0 and below 2,147,483,648, not {reprlib.repr(wrong)}")
    return numbers


def check_lengths(problem: str, stored: np.ndarray, lengths: Any, long_inputs: str, first_row: int) -> None:
    """Raises `UserError` for an input longer than any in training, or warns with `long_inputs` "warn".

    Args:
      stored: int64 lengths of the inputs. lengths: the `Lengths` of their modality. first_row: the number of the first.
    """
    numbered = enumerate(zip(stored.tolist(), lengths.too_long(stored).tolist()), first_row + 1)
    for place, (length, too_long) in numbered:
        if too_long:
            said = f"{problem}: input {place} is longer ({length}) than any the model was trained on"
            if long_inputs == "error":
                raise UserError(f"{said}; split it, or decode it all the same with long_inputs=warn")
            warnings.warn(said, stacklevel=4)


def batches_by_length(stored: np.ndarray, lengths: Any, most: int) -> list[list[int]]:
    """Lists of at most `most` rows of about one length; Args: as of `check_lengths`."""
    order = np.argsort(lengths.positions(lengths.padded(stored)), kind="stable").tolist()
    return [order[start : start + most] for start in range(0, len(order), most)]


def made_up(modality: Any) -> dict[str, Any]:
    """{name: array} of a stored sample as short as can be, of no meaning."""
    return {
        name: np.ones([1 if size is None else size for size in spec.shape], spec.dtype)
        for name, spec in modality.stored().items()
    }
