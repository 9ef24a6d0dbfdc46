"""Reads JSON files that may be damaged or a stranger's: what is returned has the types of a schema, or it is one line.

A schema is plain Python:

    str, int, float, bool, None   that type; a float may be written as an integer, and is finite
    Whole(1, 100), Number(0, 1)   with bounds, both included
    FILE_NAME                     a name without a folder, which stays inside the folder that it is joined to
    OneOf("train", "dev")         one of these values
    [schema]                      a list
    {str: schema}                 an object with any names
    {"a": schema, "b?": schema}   an object with these names; "?": may be missing; further names are kept as they are
    Exactly({...})                the same, but further names are refused
    (schema, schema)              one of several
    ANY                           any JSON that is not nested deeply

    run = read_json(folder / "run.json", {"format_version": Whole(1), "problems": {str: ANY}}, "copy the run again")
"""

import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from t2t_multimodel.errors import UserError
from t2t_multimodel.regular_files import open_regular

LIMIT = 64 * 2**20  # bytes of a file, where the caller gives no other limit
_DEPTH = 64  # of lists and objects within one another, where the schema is `ANY`
_DIGITS = 80  # of an integer, which so is below the largest float
_NUMBERS = {float: {float, int}, (float, None): {float, int, type(None)}}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # what a string that can't be written as UTF-8 has in it


class DamagedFile(UserError):
    """A file that is not what it should be: cut, of wrong types, too large, not readable."""


class MissingFile(DamagedFile):
    """A file that is not there."""


@dataclasses.dataclass(frozen=True)
class Whole:
    """A whole number, in 64 bits if no closer bounds are given."""

    least: int = -(2**63)
    most: int = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Number:
    """A finite number."""

    least: float = -float("inf")
    most: float = float("inf")


class OneOf:
    """One of some values."""

    def __init__(self, *values: Any) -> None:
        self.values = values


@dataclasses.dataclass(frozen=True)
class Exactly:
    """An object whose names are all in the schema."""

    schema: dict[str, Any]


ANY, FILE_NAME = object(), object()


def read_json(
    path: str | os.PathLike[str], schema: Any, advice: str = "", limit: int = LIMIT, *, links: bool = True
) -> Any:
    """The content of a JSON file.

    Args:
      path: the file; a regular one, in UTF-8.
      schema: what it must hold, see the module.
      advice: what to do if it does not, a clause that ends the error.
      limit: the most bytes that it may have.
      links: whether a link to a regular file is one.

    Raises:
      MissingFile: there is no such file.
      DamagedFile: anything else; one line with the file, what is wrong, and `advice`.
    """
    return parse_json(read_bytes(path, advice, limit, links=links), schema, path, advice)


def parse_json_lines(content: bytes, schema: Any, path: str | os.PathLike[str], advice: str = "") -> Iterator[Any]:
    """The values of the lines of `content`, which was read from `path`; a line without an end is one too."""
    for number, line in enumerate(content.splitlines(), 1):
        yield parse_json(line, schema, f"{os.fspath(path)} line {number}", advice)


def parse_json(content: bytes | str, schema: Any, path: str | os.PathLike[str], advice: str = "") -> Any:
    """The value of one JSON text; `path` is what the error calls it."""
    try:
        encoded = content.encode() if isinstance(content, str) else content
        value = json.loads(encoded.decode(), parse_constant=_constant, parse_float=_float, parse_int=_int)
        if _SURROGATE.search(encoded):
            json.dumps(value, ensure_ascii=False).encode()
        check(value, schema)
    except UnicodeDecodeError as error:
        raise damaged(path, f"byte {error.start + 1} is not UTF-8", advice) from None
    except UnicodeEncodeError:
        raise damaged(path, "a string has half of a surrogate pair", advice) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: " if encoded.strip() else ""
        said = error.msg if where else "it is empty"
        raise damaged(path, f"it is no JSON: {where}{said}" if where else said, advice) from None
    except RecursionError:
        raise damaged(path, "it is nested too deeply", advice) from None
    except ValueError as error:
        raise damaged(path, str(error), advice) from None
    return value


def read_bytes(path: str | os.PathLike[str], advice: str = "", limit: int = LIMIT, *, links: bool = True) -> bytes:
    """The content of a regular file of at most `limit` bytes; raises what `read_json` raises."""
    try:
        with open_regular(path, links=links) as file:
            status = os.fstat(file.fileno())
            content = file.read(status.st_size + 1) if status.st_size <= limit else b""
    except FileNotFoundError:
        raise MissingFile(_line(path, "is missing", "", advice)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        said = getattr(error, "strerror", None) or str(error)
        raise DamagedFile(_line(path, "can't be read", said, advice)) from None
    if status.st_size > limit or len(content) > limit:
        raise damaged(path, f"it has more than {limit:,} bytes", advice)
    return content


def damaged(path: str | os.PathLike[str], said: str, advice: str = "") -> DamagedFile:
    """The error for a file of which `said` is true, to raise."""
    return DamagedFile(_line(path, "is damaged", said, advice))


def check(value: Any, schema: Any, name: str = "") -> None:
    """Raises `ValueError`, which says where, if `value` is not what `schema` says."""
    said = _mismatch(value, schema)
    if said:
        where, expected = said
        got = value
        for key in where:
            got = got[key] if isinstance(got, list) or key in got else None
        place = "".join(f"[{key}]" if isinstance(key, int) else f".{_short(key)}" for key in where).lstrip(".")
        place = ".".join(filter(None, [name, place])).replace(".[", "[")
        raise ValueError(
            f"{place + ': ' if place else ''}{expected}" + (f", got {_kind(got)}" if got is not None else "")
        )


def fits(value: Any, schema: Any) -> bool:
    """Whether `value` is what `schema` says."""
    return _mismatch(value, schema) is None


def expected(schema: Any) -> str:
    """A schema in a few words."""
    names = {str: "a string", bool: "true or false", None: "null", int: "a whole number", float: "a finite number"}
    if isinstance(schema, (dict, Exactly)):
        return "an object"
    if isinstance(schema, list):
        return "a list"
    if isinstance(schema, tuple):
        return " or ".join(map(expected, schema))
    if isinstance(schema, OneOf):
        return "one of " + ", ".join(map(repr, schema.values))
    if isinstance(schema, (Whole, Number)):
        kind = "a whole number" if isinstance(schema, Whole) else "a finite number"
        free = Whole() if isinstance(schema, Whole) else Number()
        bounds = [f"at least {schema.least:,}"] if schema.least != free.least else []
        bounds += [f"at most {schema.most:,}"] if schema.most != free.most else []
        return " of ".join([kind, " and ".join(bounds)]) if bounds else kind
    if schema is ANY:
        return f"at most {_DEPTH} lists and objects within one another"
    return "a file name without a folder" if schema is FILE_NAME else names[schema]


def _mismatch(value: Any, schema: Any) -> tuple[tuple[Any, ...], str] | None:
    """Where `value` is not of `schema` (keys from the outside in) and what is expected there; None if it is."""
    if isinstance(schema, dict):
        return _object_mismatch(value, schema)
    if isinstance(schema, Exactly):
        known = {key.removesuffix("?") for key in schema.schema}
        for key in value if isinstance(value, dict) else ():
            if key not in known:
                return (), f"unknown name {_short(key)!r}"
        return _object_mismatch(value, schema.schema)
    if isinstance(schema, list):
        if not isinstance(value, list):
            return (), "expected a list"
        # The usual long lists are of numbers: told by their types alone, without a call for each.
        if schema[0] in (float, (float, None)) and set(map(type, value)) <= _NUMBERS[schema[0]]:
            return None
        return _first_mismatch(enumerate(value), schema[0])
    if isinstance(schema, tuple):
        found = [_mismatch(value, one) for one in schema]
        if None in found:
            return None
        deepest = max((one for one in found if one), key=lambda one: len(one[0]))
        return deepest if deepest[0] else ((), "expected " + expected(schema))
    return None if _is_plain(value, schema) else ((), f"expected {expected(schema)}")


def _object_mismatch(value: Any, schema: dict[Any, Any]) -> tuple[tuple[Any, ...], str] | None:
    if not isinstance(value, dict):
        return (), "expected an object"
    if str in schema:
        return _first_mismatch(value.items(), schema[str])
    for key, of_key in schema.items():
        name = key.removesuffix("?")
        if name in value:
            found = _mismatch(value[name], of_key)
            if found:
                return (name, *found[0]), found[1]
        elif name == key:
            return (), f"{_short(key)} is missing"
    return None


def _first_mismatch(items: Iterable[tuple[Any, Any]], schema: Any) -> tuple[tuple[Any, ...], str] | None:
    for key, one in items:
        found = _mismatch(one, schema)
        if found:
            return (key, *found[0]), found[1]
    return None


def _is_plain(value: Any, schema: Any) -> bool:
    if schema is ANY:
        return _is_shallow(value)
    if schema is None:
        return value is None
    if isinstance(schema, OneOf):
        return any(type(value) is type(one) and value == one for one in schema.values)
    if schema in (str, bool):
        return isinstance(value, schema)
    if schema is FILE_NAME:
        return _is_file_name(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if schema is int or isinstance(schema, Whole):
        whole = schema if isinstance(schema, Whole) else Whole()
        return isinstance(value, int) and whole.least <= value <= whole.most
    number = schema if isinstance(schema, Number) else Number()
    return abs(value) <= sys.float_info.max and number.least <= value <= number.most  # an integer may be above it


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(_DEPTH):
        level = [
            inner
            for one in level
            if isinstance(one, (list, dict))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return True
    return False


def _is_file_name(value: Any) -> bool:
    return (
        isinstance(value, str)
        and value not in ("", ".", "..")
        and not set(value) & {"/", "\\", "\0"}
        and len(value.encode(errors="replace")) <= 255
    )


def _kind(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return _short(json.dumps(value))


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "…"


def _line(path: str | os.PathLike[str], state: str, said: str, advice: str) -> str:
    line = f"{os.fspath(path)} {state}" + (f": {said}" if said else "")
    return f"{line}; {advice}" if advice else line


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), -float("inf")):
        raise ValueError(f"{_short(text)} is not a finite number")
    return number


def _int(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)
