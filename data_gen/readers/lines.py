"""Reads text files line by line: UTF-8, or an error that names file, line and column."""

import codecs
import gzip
import os
import zlib

from t2t_multimodel.errors import UserError

_BLOCK = 1 << 20  # bytes, read and decoded at once


def refuse(reason):
    """Raises `UserError`: the default handling of a malformed line."""
    raise UserError(reason)


def bad_sample(reason):
    """A malformed line as a sample that `--max_bad_records` counts (`Problem.samples`); its key is file and line."""
    return {"key": os.path.basename(reason.partition(": ")[0]), "bad": reason}


def read_lines(path, malformed=refuse):
    """Yields `(line number from 1, line)` of a UTF-8 text file; line ends are LF or CRLF, a byte order mark is dropped.

    A file with the suffix .gz is decompressed while it is read.

    Args:
      malformed: called with "file:line: the reason"; its result is yielded instead of the line.

    Raises:
      UserError: the file can't be opened or decompressed, or a line is not UTF-8.
    """
    try:
        file = gzip.open(path, "rb") if os.fspath(path).endswith(".gz") else open(path, "rb")
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from None
    with file:
        first = 1
        for raw_lines in _blocks(file, path):
            if first == 1:
                raw_lines[0] = raw_lines[0].removeprefix(codecs.BOM_UTF8)
            lines = _decoded(raw_lines) or [_decode(path, number, raw) for number, raw in enumerate(raw_lines, first)]
            for number, line in enumerate(lines, first):
                yield number, line if isinstance(line, str) else malformed(str(line))
            first += len(lines)


def read_columns(path, names, malformed=refuse, may_be_empty=False):
    """Yields `(line number, cells)` of a tab-separated file; there is no quoting, so quotes in the text are kept.

    Empty lines are skipped.

    Args:
      path: the file.
      names: the content of each column, for errors; one name per column.
      malformed: called with "file:line: the reason"; its result is yielded instead of the cells.
      may_be_empty: whether a column may be empty.

    Raises:
      UserError: a line with a wrong number of columns, or with an empty column.
    """
    count = len(names)
    for number, line in read_lines(path, malformed):
        if not line:
            continue
        if not isinstance(line, str):
            yield number, line
            continue
        cells = line.split("\t")
        if len(cells) == count and (may_be_empty or all(map(str.strip, cells))):
            yield number, cells
        else:
            yield number, malformed(f"{path}:{number}: {_what_is_wrong(cells, names)}")


def _what_is_wrong(cells, names):
    if len(cells) != len(names):
        return f"{_count(len(cells), 'column')} between tabs, expected {len(names)}: {' ⇥ '.join(names)}"
    for column, (name, cell) in enumerate(zip(names, cells), 1):
        if not cell.strip():
            return f"column {column} ({name}) is empty; fill it in or remove the line"


def _blocks(file, path):
    """Yields lists of lines of about one megabyte."""
    try:
        while lines := file.readlines(_BLOCK):
            yield lines
    except EOFError:
        raise UserError(f"{path}: cut short: the compressed file ends in the middle; get it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: no gzip file, or a damaged one ({error}); get it again") from None


def _decoded(raw_lines):
    """The lines as text, fast; None if one of them is malformed.

    The file is read as bytes because only "\n" ends a line: Python's text files also split at U+2028 and the like.
    """
    try:
        text = b"".join(raw_lines).decode("utf-8")
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    lines = text.removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines] if "\r" in text else lines


def _decode(path, number, raw):
    """One line as text, or a ValueError with the reason."""
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return ValueError(
            f"{path}:{number}: not UTF-8 (byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line); "
            "convert the file, for example with iconv -f ISO-8859-1 -t UTF-8"
        )
    if "\0" in line:
        return ValueError(f"{path}:{number}: a NUL byte, so this is UTF-16 or no text file; convert it to UTF-8")
    return line


def _count(number, noun):
    return f"{number} {noun}" + ("" if number == 1 else "s")
