"""TMX, translation memories: each translation unit is a row, its languages are the columns ("en", "de")."""

import os
import xml.parsers.expat

from t2t_multimodel.data_gen.readers.compressed import decompressed
from t2t_multimodel.data_gen.readers.tables import Row
from t2t_multimodel.errors import UserError
from t2t_multimodel.regular_files import open_regular

_BLOCK = 1 << 16
_CODES = ("bpt", "ept", "it", "ph", "ut")  # elements that hold formatting, not text
_DEEPEST = 64
_MOST_TEXT = 1 << 24  # characters of a unit


def read(path, form, columns=None):
    """Yields the `Row`s. A language is in lower case; "en-us" is found as "en" too if the unit has no plain "en".

    Entities are refused, so that a small file can't grow without end.

    Raises:
      UserError: no regular file, no XML, or no TMX.
    """
    units = _Units(path)
    name = os.path.basename(os.fspath(path))
    number = 0
    try:
        with open_regular(path) as file:
            source = decompressed(file, path)
            while block := source.read(_BLOCK):
                units.feed(block)
                for line, cells in units.take():
                    number += 1
                    yield Row(f"{name}:unit {number}", cells, _fault(path, line, cells, form))
            units.feed(b"", last=True)
    except EOFError:
        raise UserError(f"{path}: cut short: the compressed file ends in the middle; get it again") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error})") from None
    for line, cells in units.take():
        number += 1
        yield Row(f"{name}:unit {number}", cells, _fault(path, line, cells, form))


def _fault(path, line, cells, form):
    longest = max(map(len, cells.values()), default=0)
    if longest > form.max_line_length:
        return f"{path}:{line}: a segment of more than the {form.max_line_length:,} characters of max_line_length"
    return ""


class _Units:
    """The translation units of an XML file, as its blocks come."""

    def __init__(self, path):
        self._path, self._found, self._stack = path, [], []
        self._cells, self._language, self._text, self._line, self._length = {}, None, None, 0, 0
        self._parser = xml.parsers.expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._entity
        self._parser.SetParamEntityParsing(xml.parsers.expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def feed(self, block, last=False):
        try:
            self._parser.Parse(block, last)
        except xml.parsers.expat.ExpatError as error:
            reason = xml.parsers.expat.ErrorString(error.code)
            raise UserError(f"{self._path}:{error.lineno}: no TMX, its XML is broken ({reason})") from None
        except (ValueError, LookupError) as error:  # LookupError: an unknown encoding
            raise UserError(f"{self._path}: no TMX ({error})") from None

    def take(self):
        found, self._found = self._found, []
        return found

    def _start(self, name, attributes):
        if not self._stack and name != "tmx":
            raise UserError(f"{self._path}: no TMX: its outermost element is <{name[:40]}>, not <tmx>")
        self._stack.append(name)
        if len(self._stack) > _DEEPEST:
            raise UserError(f"{self._path}:{self._parser.CurrentLineNumber}: nested too deep")
        if name == "tu":
            self._cells, self._line, self._length = {}, self._parser.CurrentLineNumber, 0
        elif name == "tuv":
            self._language = (attributes.get("xml:lang") or attributes.get("lang") or "").lower().replace("_", "-")
        elif name == "seg":
            self._text = []

    def _end(self, name):
        self._stack.pop()
        if name == "seg" and self._text is not None:
            if self._language:
                self._cells.setdefault(self._language, " ".join("".join(self._text).split()))
            self._text = None
        elif name == "tu":
            for language in list(self._cells):
                self._cells.setdefault(language.partition("-")[0], self._cells[language])
            self._found.append((self._line, self._cells))

    def _characters(self, data):
        if self._text is None or any(name in _CODES for name in self._stack):
            return
        self._length += len(data)
        if self._length > _MOST_TEXT:
            raise UserError(f"{self._path}:{self._line}: a unit of more than {_MOST_TEXT:,} characters")
        self._text.append(data)

    def _entity(self, *declaration):
        raise UserError(f"{self._path}: declares entities, which are not read; write the text itself")
