"""Reads text files line by line: UTF-8, or an error that names file, line and column."""

import codecs
import gzip
import lzma
import os
import zlib

from t2t_multimodel.data_gen.readers.compressed import decompressed
from t2t_multimodel.errors import UserError
from t2t_multimodel.regular_files import open_regular

MAX_LINE_LENGTH = 1 << 20  # characters; the default of `max_line_length`
_BLOCK = 1 << 20  # bytes, read and decoded at once
_HEADERS = frozenset("source target src tgt inputs targets input output file path text sentence transcript".split())
_BYTES = 4  # of a character in UTF-8, at most
_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def refuse(reason):
    """Raises `UserError`: the default handling of a malformed line."""
    raise UserError(reason)


def bad_sample(reason):
    """A malformed line as a sample that `--max_bad_records` counts (`Problem.samples`); its key is file and line."""
    return {"key": os.path.basename(reason.partition(": ")[0]), "bad": reason}


def read_lines(path, malformed=refuse, max_line_length=MAX_LINE_LENGTH):
    """Yields `(line number from 1, line)` of a UTF-8 text file; line ends are LF or CRLF, a byte order mark is dropped.

    A file that ends in .gz, .xz, .bz2 or .zst is decompressed while it is read. No more than one block and one line are
    in memory.

    Args:
      malformed: called with "file:line: the reason"; its result is yielded instead of the line.
      max_line_length: a line with more characters is malformed.

    Raises:
      UserError: not a regular file, can't be opened or decompressed, or a malformed line.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from None
    with file:
        yield from lines_of(decompressed(file, path), path, malformed, max_line_length)


def lines_of(file, name, malformed=refuse, max_line_length=MAX_LINE_LENGTH):
    """`read_lines` of an open binary file; `name` stands for it in errors."""
    first = 1
    for block in _blocks(file, name, max_line_length):
        if isinstance(block, _TooLong):
            lines = [_too_long(f"{name}:{first}", max_line_length)]
        else:
            if first == 1:
                block = block.removeprefix(codecs.BOM_UTF8)
                if b"\n" not in block and b"\r" in block.removesuffix(b"\r"):
                    yield 1, malformed(f"{name}:1: lines end in CR alone; convert the file, e.g. with tr '\\r' '\\n'")
                    return
            lines = _decoded(block, max_line_length)
            if lines is None:
                raw_lines = enumerate(block.removesuffix(b"\n").split(b"\n"), first)
                lines = [_decode(name, number, raw, max_line_length) for number, raw in raw_lines]
        for number, line in enumerate(lines, first):
            yield number, line if isinstance(line, str) else malformed(str(line))
        first += len(lines)


def read_columns(path, names, malformed=refuse, may_be_empty=False, max_line_length=MAX_LINE_LENGTH):
    """Yields `(line number, cells)` of a tab-separated file; there is no quoting, so quotes in the text are kept.

    Empty lines are skipped.

    Args:
      path: the file.
      names: the content of each column, for errors; one name per column.
      malformed: called with "file:line: the reason"; its result is yielded instead of the cells.
      may_be_empty: whether a column may be empty.
      max_line_length: a line with more characters is malformed.

    Raises:
      UserError: a line with a wrong number of columns, or with an empty column.
    """
    count = len(names)
    for number, line in read_lines(path, malformed, max_line_length):
        if not line:
            continue
        if not isinstance(line, str):
            yield number, line
            continue
        cells = line.split("\t")
        if number == 1 and count > 1 and _is_header(cells, names):
            yield (
                number,
                malformed(
                    f"{path}:1: names of columns ({' ⇥ '.join(cells)}), not data: remove the line, or derive from "
                    "Table, which reads files with such a line"
                ),
            )
        elif len(cells) == count and (may_be_empty or all(map(str.strip, cells))):
            yield number, cells
        else:
            yield number, malformed(f"{path}:{number}: {_what_is_wrong(cells, names)}")


def _is_header(cells, names):
    known = _HEADERS | {name.casefold() for name in names}
    return all(cell.strip().casefold() in known for cell in cells)


def _what_is_wrong(cells, names):
    if len(cells) != len(names):
        return f"{_count(len(cells), 'column')} between tabs, expected {len(names)}: {' ⇥ '.join(names)}"
    for column, (name, cell) in enumerate(zip(names, cells), 1):
        if not cell.strip():
            return f"column {column} ({name}) is empty; fill it in or remove the line"


class _TooLong:
    """Stands for a line that is not read into memory."""


def _blocks(file, name, max_line_length):
    """Yields the content in parts of whole lines, about a megabyte each; a line far too long is a `_TooLong`."""
    most, rest, skipping = _BYTES * max_line_length + 2, b"", False
    try:
        while block := file.read(_BLOCK):
            if skipping:
                _, end, block = block.partition(b"\n")
                if not end:
                    continue
                skipping = False
            block = rest + block
            whole = block.rfind(b"\n") + 1
            if whole:
                yield block[:whole]
            rest = block[whole:]
            if len(rest) > most:
                yield _TooLong()
                rest, skipping = b"", True
    except EOFError:
        raise UserError(f"{name}: cut short: the compressed file ends in the middle; get it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{name}: no gzip file, or a damaged one ({error}); get it again") from None
    except lzma.LZMAError as error:
        raise UserError(f"{name}: no xz file, or a damaged one ({error}); get it again") from None
    except OSError as error:
        raise UserError(f"{name}: can't be read ({error.strerror or error})") from None
    if rest:
        yield rest


def _decoded(block, max_line_length):
    """The lines as text, fast; None if one of them is malformed.

    The file is read as bytes because only "\n" ends a line: Python's text files also split at U+2028 and the like.
    """
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    lines = text.removesuffix("\n").split("\n")
    if "\r" in text:
        lines = [line.removesuffix("\r") for line in lines]
    return None if max(map(len, lines)) > max_line_length else lines


def _decode(name, number, raw, max_line_length):
    """One line as text, or a ValueError with the reason."""
    where = f"{name}:{number}"
    raw = raw.removesuffix(b"\r")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        place = f"byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line"
        other = next((encoding for mark, encoding in _OTHER_ENCODINGS if number == 1 and raw.startswith(mark)), "")
        return ValueError(
            f"{where}: not UTF-8{f' but {other}' if other else ''} ({place}); "
            f"convert the file, for example with iconv -f {other or 'ISO-8859-1'} -t UTF-8"
        )
    if "\0" in line:
        return ValueError(f"{where}: a NUL byte, so this is UTF-16 or no text file; convert it to UTF-8")
    return _too_long(where, max_line_length) if len(line) > max_line_length else line


def _too_long(where, max_line_length):
    return ValueError(
        f"{where}: a line of more than {max_line_length:,} characters, the most that max_line_length allows; "
        "split it, or no text file"
    )


def _count(number, noun):
    return f"{number} {noun}" + ("" if number == 1 else "s")
