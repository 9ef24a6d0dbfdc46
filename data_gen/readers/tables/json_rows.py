"""JSON Lines, one object a line; and .json files that hold one list of objects, or are JSON Lines themselves."""

import itertools
import json
import os

from t2t_multimodel.data_gen.readers.compressed import decompressed, without_suffix
from t2t_multimodel.data_gen.readers.lines import read_lines
from t2t_multimodel.data_gen.readers.tables import Row
from t2t_multimodel.errors import UserError
from t2t_multimodel.json_files import ANY, fits
from t2t_multimodel.regular_files import open_regular

FORM = 'one object a line, such as {"text": "…", "label": "…"}'
_MOST_LIST_BYTES = 1 << 28  # of a .json with one list, which is held in memory
_MOST_INNER = 20_000_000  # lists and objects in it, each of which takes much more memory than its text
_DIGITS = 80


def read(path, form, columns=None, wanted=None):
    """Yields the `Row`s of the file; an object in another one is reached as "outer.inner" (`tables.cell`)."""
    if without_suffix(path).lower().endswith(".json") and _begins_with(path) == b"[":
        yield from _of_list(path) if wanted is None else itertools.compress(_of_list(path), wanted)
        return
    wanted = itertools.repeat(1) if wanted is None else iter(wanted)
    name = os.path.basename(os.fspath(path))
    for number, line in read_lines(path, _Fault, form.max_line_length):
        if not isinstance(line, _Fault) and (not line or line.isspace()):
            continue
        if not next(wanted, 0):
            continue
        if isinstance(line, _Fault):
            yield Row(f"{name}:{number}", {}, line.reason)
            continue
        try:
            cells = decode(line)
            fault = "" if type(cells) is dict else f"no object but {_kind(cells)}; expected: {FORM}"
        except json.JSONDecodeError as error:
            fault = f"no JSON ({error.msg} at column {error.colno}); expected: {FORM}"
        except RecursionError:
            fault = "nested too deep"
        except ValueError as error:
            fault = f"no JSON ({error})"
        if fault:
            if number == 1 and line.strip() in ("{", "["):
                raise UserError(f"{path}: JSON over several lines; expected: {FORM}, or a .json with one list of them")
            yield Row(f"{name}:{number}", {}, f"{path}:{number}: {fault}")
        else:
            yield Row(f"{name}:{number}", cells)


class _Fault:
    def __init__(self, reason):
        self.reason = reason


def _no_constant(name):
    raise ValueError(f"{name} is no number of JSON")


def _number(text):
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_int=_number)
_DEEP = 64  # brackets; with fewer nothing can be nested too deep


def decode(text):
    """The value of a JSON text without NaN, huge numbers and deep nesting; raises `ValueError` or `RecursionError`."""
    value, end = _DECODER.raw_decode(text) if text.startswith("{") else (None, -1)
    if end != len(text):  # blanks around it, or more than one value
        value = _DECODER.decode(text)
    if text.count("[") + text.count("{") > _DEEP and not fits(value, ANY):
        raise RecursionError("nested too deep")
    return value


def _begins_with(path):
    """The first byte that is no white space."""
    try:
        with open_regular(path) as file:
            return decompressed(file, path).read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error})") from None
    except Exception:  # damaged compression; reading says which
        return b""


def _of_list(path):
    name, text = os.path.basename(os.fspath(path)), []
    size = 0
    for _, line in read_lines(path, max_line_length=_MOST_LIST_BYTES):
        size += len(line)
        if size > _MOST_LIST_BYTES:
            raise UserError(
                f"{path}: a list of more than {_MOST_LIST_BYTES:,} characters; write it as JSON Lines: {FORM}"
            )
        text.append(line)
    if sum(line.count("[") + line.count("{") for line in text) > _MOST_INNER:
        raise UserError(f"{path}: more than {_MOST_INNER:,} objects in one list; write it as JSON Lines: {FORM}")
    try:
        rows = _DECODER.decode("\n".join(text))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: no JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deep") from None
    except ValueError as error:
        raise UserError(f"{path}: no JSON ({error})") from None
    for number, cells in enumerate(rows, 1):
        place = f"{name}:entry {number}"
        if not isinstance(cells, dict) or not fits(cells, ANY):
            yield Row(place, {}, f"{path}:entry {number}: no object but {_kind(cells)}; expected: a list of objects")
        else:
            yield Row(place, cells)


def _kind(value):
    kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null", dict: "one nested too deep"}
    return kinds.get(type(value), "a number")
