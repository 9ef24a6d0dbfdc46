"""Arguments of public functions: one of the wrong kind is a `UserError` that says what it should be."""

import operator
import reprlib
from collections.abc import Mapping
from typing import Any

from t2t_multimodel.errors import UserError
from t2t_multimodel.json_files import ANY, Number, OneOf, Whole, expected, fits

COUNT, POSITIVE, SEED = Whole(0, 2**31 - 1), Whole(1, 2**31 - 1), Whole(0)
NAMED = {str: ANY}  # a mapping from names to values

__all__ = ["COUNT", "NAMED", "POSITIVE", "SEED", "Number", "OneOf", "check_arguments", "in_short"]


def check_arguments(**arguments: tuple[Any, Any]) -> None:
    """check_arguments(step=(step, (COUNT, None)), …): each argument with its schema, see json_files.py.

    Raises:
      UserError: one has a value that is not of its schema.
    """
    for name, (value, schema) in arguments.items():
        if schema is NAMED or isinstance(schema, tuple) and NAMED in schema:
            right = value is None and schema is not NAMED
            right = right or (isinstance(value, Mapping) and all(isinstance(key, str) for key in value))
        else:
            right = fits(_plain(value), schema)
        if not right:
            words = "a mapping from names to values" if schema is NAMED else expected(schema)
            raise UserError(
                f"{name} must be {words.replace('an object', 'a mapping').replace('null', 'None')}, not "
                f"{in_short(value)}"
            )


def in_short(value: Any) -> str:
    """A value in one short line, for an error."""
    return " ".join(reprlib.repr(value).split())


def _plain(value: Any) -> Any:
    """Whole numbers of other libraries, such as numpy's, as Python's own."""
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    try:
        return operator.index(value)
    except TypeError:
        return value
