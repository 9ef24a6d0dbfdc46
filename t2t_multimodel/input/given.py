"""Inputs as a person gives them: a list, none longer than any in training; and one made up, to compile with."""

import os
import reprlib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from t2t_multimodel.errors import UserError


def check_is_list(inputs: Any) -> None:
    """Raises `UserError` where one input stands in the place of a list of them."""
    if isinstance(inputs, (str, bytes, Mapping, os.PathLike)) or not isinstance(inputs, Iterable):
        raise UserError(f"inputs must be a list of inputs, not {reprlib.repr(inputs)}; put one input into a list")


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
