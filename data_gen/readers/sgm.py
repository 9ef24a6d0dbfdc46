"""Reads WMT test sets in `.sgm` format: documents of numbered segments, source and reference in two files."""

import gzip
import html
import os
import re
import zlib
from dataclasses import dataclass

from t2t_multimodel.errors import UserError
from t2t_multimodel.regular_files import open_regular

MAX_BYTES = 1 << 28  # of a test set, decompressed; it is held in memory

_LONGEST_TAG = 1000  # characters; the search for attributes takes their square
# Not an XML or SGML parser, since published test sets have bare "&" and "<" in their text.
_TAG = re.compile(r"<(/?)(doc|seg)\b([^<>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|#\d{1,99}|#[xX][0-9a-fA-F]{1,99});")


@dataclass(frozen=True)
class Segment:
    """One sentence (or a few that belong together) of a test set."""

    document: str  # its docid
    number: str  # its id in the document
    text: str  # entities resolved, stripped, line breaks replaced by spaces
    line: int  # its first line in the file


def read_sgm(path):
    """The `Segment`s of a file, in order; the name may end in .gz.

    Raises:
      UserError: not readable, not UTF-8, a segment that isn't closed or has no id, a duplicate id, no segments.
    """
    text = _text_of(path)
    segments, seen = [], set()
    document, opened = None, None  # docid; (line, number, where the text begins)
    line, counted = 1, 0
    for tag in _TAG.finditer(text):
        line += text.count("\n", counted, tag.start())
        counted = tag.start()
        closes, name = bool(tag[1]), tag[2].lower()
        if opened and not (closes and name == "seg"):
            raise UserError(
                f"{path}:{opened[0]}: segment {_short(opened[1])} is not closed (</seg>) before line {line}"
            )
        if name == "doc":
            document = None if closes else _attribute(path, line, tag, "docid")
        elif not closes:
            if document is None:
                raise UserError(f"{path}:{line}: a segment outside of a document (<doc docid=…> expected before it)")
            opened = line, _attribute(path, line, tag, "id"), tag.end()
        elif opened is None:
            raise UserError(f"{path}:{line}: </seg> without <seg> before it")
        else:
            start, number, begin = opened
            if (document, number) in seen:
                raise UserError(f"{path}:{start}: document {_short(document)} has segment {_short(number)} twice")
            seen.add((document, number))
            segments.append(Segment(document, number, _plain(text[begin : tag.start()]), start))
            opened = None
    if opened:
        raise UserError(
            f"{path}:{opened[0]}: segment {_short(opened[1])} is not closed: the file seems to be cut short"
        )
    if not segments:
        raise UserError(f'{path}: no segments (<seg id="1"> … </seg> expected in <doc docid="…">): no WMT test set?')
    return segments


def read_sgm_pair(first, second):
    """Yields `(segment of first, segment of second)`: a source set and its reference set, in either order.

    Raises:
      UserError: the files do not have the same segments of the same documents in the same order.
    """
    one, other = read_sgm(first), read_sgm(second)
    if len(one) != len(other):
        raise UserError(f"{first} has {len(one)} segments, {second} has {len(other)}: these do not belong together")
    for a, b in zip(one, other):
        if (a.document, a.number) != (b.document, b.number):
            these = [f"segment {_short(s.number)} of document {_short(s.document)}" for s in (a, b)]
            raise UserError(
                f"{first}:{a.line} is {these[0]}, {second}:{b.line} is {these[1]}: these do not belong together"
            )
    yield from zip(one, other)


def resolved(text):
    """`text` with XML's five entities and numeric entities resolved; other text after "&" stays."""
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)


def _plain(text):
    return resolved(" ".join(line.strip() for line in text.split("\n")).strip())


def _short(text):
    """A tag or an id in an error: one line, and not long."""
    return " ".join(text.split())[:80]


def _attribute(path, line, tag, name):
    if len(tag[3]) > _LONGEST_TAG:
        raise UserError(f"{path}:{line}: {_short(tag[0])}… has more than {_LONGEST_TAG:,} characters")
    for key, *values in _ATTRIBUTE.findall(tag[3]):
        if key.lower() == name and any(values):
            return next(value for value in values if value)
    raise UserError(f"{path}:{line}: {_short(tag[0])} has no {name}")


def _text_of(path):
    try:
        with open_regular(path) as file:
            source = gzip.open(file, "rb") if os.fspath(path).endswith(".gz") else file
            content = source.read(MAX_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: no gzip file, or a damaged one ({error}); get it again") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: more than {MAX_BYTES:,} bytes (MAX_BYTES of readers/sgm.py): no WMT test set")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 (byte 0x{content[error.start]:02x}); convert the file") from None
