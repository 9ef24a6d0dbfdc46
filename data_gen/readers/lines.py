"""Text files, line by line: UTF-8 or a clear error that names file, line and column."""

import codecs
import gzip
import os
import zlib

from t2t_multimodel.errors import UserError


def refuse(reason):
    """Raises `UserError`: what a reader does with a malformed line unless told otherwise."""
    raise UserError(reason)


def bad_sample(reason):
    """A malformed line as a sample that `--max_bad_records` counts (`Problem.samples`); its key is the place."""
    return {"key": os.path.basename(reason.partition(": ")[0]), "bad": reason}


def read_lines(path, malformed=refuse):
    """Yields `(line number from 1, line)` of a UTF-8 text file; line ends are LF or CRLF, a byte order mark is dropped.

    A file whose name ends in .gz is decompressed as it is read.

    Args:
      malformed: called with "file:line: the reason"; what it returns is yielded in place of the line.

    Raises:
      UserError: the file can't be opened or decompressed, or a line is not UTF-8.
    """
    try:
        file = gzip.open(path, "rb") if os.fspath(path).endswith(".gz") else open(path, "rb")
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from None
    with file:  # bytes, because only "\n" ends a line: str.splitlines would also cut at U+2028 and its like
        for number, raw in enumerate(_raw_lines(file, path), 1):
            raw = raw.removesuffix(b"\n").removesuffix(b"\r")
            try:
                line = _decode(path, number, raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw)
            except ValueError as error:
                line = malformed(str(error))
            yield number, line


def read_columns(path, names, malformed=refuse):
    """Yields `(line number, cells)` of a tab-separated file; no quoting, so that quotes in the text stay as they are.

    Lines without a character are skipped.

    Args:
      path: the file.
      names: what each column holds, for errors; their number is the number of columns.
      malformed: called with "file:line: the reason"; what it returns is yielded in place of the cells.

    Raises:
      UserError: a line with another number of columns, or with an empty one.
    """
    for number, line in read_lines(path, malformed):
        if not line:
            continue
        if not isinstance(line, str):
            yield number, line
            continue
        cells = line.split("\t")
        wrong = _what_is_wrong(cells, names)
        yield number, malformed(f"{path}:{number}: {wrong}") if wrong else cells


def _what_is_wrong(cells, names):
    if len(cells) != len(names):
        return f"{_count(len(cells), 'column')} between tabs, expected {len(names)}: {' ⇥ '.join(names)}"
    for column, (name, cell) in enumerate(zip(names, cells), 1):
        if not cell.strip():
            return f"column {column} ({name}) is empty; fill it in or take the line out"
    return ""


def _raw_lines(file, path):
    try:
        yield from file
    except EOFError:
        raise UserError(f"{path}: cut short: the compressed file ends in the middle; get it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: no gzip file, or a damaged one ({error}); get it again") from None


def _decode(path, number, raw):
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}:{number}: not UTF-8 (byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line); "
            "convert the file, for example with iconv -f ISO-8859-1 -t UTF-8"
        ) from None
    if "\0" in line:
        raise ValueError(f"{path}:{number}: a NUL byte, so this is UTF-16 or no text file; convert it to UTF-8")
    return line


def _count(number, noun):
    return f"{number} {noun}" + ("" if number == 1 else "s")
