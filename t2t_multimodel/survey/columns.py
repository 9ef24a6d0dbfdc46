"""What each column of a table holds: pictures, recordings, text, classes or numbers; with counts and lengths."""

import collections
import dataclasses
import itertools
import math
import os
import re

from t2t_multimodel.data_gen.readers import pictures, recordings
from t2t_multimodel.data_gen.readers.media import Clip
from t2t_multimodel.data_gen.readers.members import TarMember
from t2t_multimodel.data_gen.readers.tables import read_rows

PICTURE, RECORDING, TEXT, LABEL, NUMBER, TEXTS, KEY, EMPTY, OTHER = (
    "picture",
    "recording",
    "text",
    "class",
    "number",
    "texts",
    "key",
    "empty",
    "other",
)
MEDIA = (PICTURE, RECORDING)
_ENDINGS = {PICTURE: pictures.SUFFIXES, RECORDING: recordings.SUFFIXES}
LONG_TEXT = 4  # words
_MOST_DISTINCT = 20_000  # values that are counted one by one
_MOST_CLASSES = 1000
_LONGEST_CLASS = 60  # characters
_KEYS = re.compile(r"(.*_)?(id|uid|uuid|key|index|utterance|utt_id|__key__|idx|md5|sha256|hash)", re.IGNORECASE)
_MOST_NESTED = 30  # columns inside of one


@dataclasses.dataclass
class Column:
    """What a column holds, by the rows that were read."""

    name: str
    rows: int = 0
    missing: int = 0  # None or ""
    kinds: collections.Counter = dataclasses.field(default_factory=collections.Counter)  # of the single values
    values: collections.Counter | None = dataclasses.field(default_factory=collections.Counter)  # None: too many
    characters: int = 0
    longest: int = 0
    words: int = 0
    long_texts: int = 0  # of `LONG_TEXT` words and more
    mean: float = 0.0  # of numbers
    squares: float = 0.0  # of their differences from the mean (Welford: they may be far from 0, and vary little)
    examples: list = dataclasses.field(default_factory=list)

    def add(self, value):
        """Counts one cell."""
        self.rows += 1
        if value is None or value == "" or value == []:
            self.missing += 1
            return
        kind = kind_of(value)
        self.kinds[kind] += 1
        if len(self.examples) < 3 and not isinstance(value, bytes | dict):
            self.examples.append(value)
        if kind in (TEXT, TEXTS, NUMBER):
            for text in value if isinstance(value, list) else [value]:
                self._add_text(str(text))
            if kind == NUMBER:
                difference = float(value) - self.mean
                self.mean += difference / self.kinds[NUMBER]
                self.squares += difference * (float(value) - self.mean)
        if self.values is not None and kind in (TEXT, NUMBER):
            self.values[str(value)] += 1
            if len(self.values) > _MOST_DISTINCT:
                self.values = None

    def _add_text(self, text):
        self.characters += len(text)
        self.longest = max(self.longest, len(text))
        words = len(text.split())
        self.words += words
        self.long_texts += words >= LONG_TEXT

    @property
    def filled(self):
        return self.rows - self.missing

    @property
    def kind(self):
        """One of the names above."""
        if not self.filled:
            return EMPTY
        kind, count = self.kinds.most_common(1)[0]
        if count < 0.95 * self.filled and {*self.kinds} == {TEXT, NUMBER}:
            kind = TEXT
        if kind in (TEXT, NUMBER) and _KEYS.fullmatch(self.name) and self.distinct > 0.95 * self.filled:
            return KEY
        if kind == TEXT and self.is_classes:
            return LABEL
        if kind == NUMBER and self.is_classes and all("." not in value for value in self.values):
            return LABEL
        return kind

    @property
    def distinct(self):
        return self.filled if self.values is None else len(self.values)

    @property
    def is_classes(self):
        """Whether the values look like names of classes: few, short, each of them often."""
        if self.values is None or not self.values or self.longest > _LONGEST_CLASS or len(self.values) < 2:
            return False
        return len(self.values) <= min(_MOST_CLASSES, self.filled / 5)

    @property
    def may_be_classes(self):
        """Whether they may be classes though they do not look like it."""
        return self.values is not None and self.longest <= _LONGEST_CLASS and len(self.values) <= self.filled / 2

    @property
    def whole_numbers(self):
        """Whether they are numbers without a fraction."""
        return self.values is not None and all(float(value).is_integer() for value in self.values)

    @property
    def mean_and_deviation(self):
        return self.mean, math.sqrt(self.squares / max(1, self.kinds[NUMBER]))

    def described(self):
        """What it holds, in words."""
        gaps = f"; {self.missing:,} empty" if self.missing else ""
        kind = self.kind
        if kind == LABEL:
            common = self.values.most_common()
            most, least = common[0], common[-1]
            return (
                f"{len(common):,} classes, {_short(most[0])} × {most[1]:,} to {_short(least[0])} × {least[1]:,}{gaps}"
            )
        if kind in (TEXT, TEXTS, KEY):
            mean = self.characters / self.filled
            several = "lists of texts" if kind == TEXTS else f"{self.distinct:,} different"
            return f"{several}, {mean:,.0f} characters on average, {self.longest:,} at most{gaps}"
        if kind == NUMBER:
            mean, deviation = self.mean_and_deviation
            return f"mean {mean:.4g}, standard deviation {deviation:.4g}{gaps}"
        return gaps.removeprefix("; ")


def profile(tables, form, most_rows):
    """({name: `Column`}, rows read, faults) of the first `most_rows` rows of some tables."""
    columns, count, faults = {}, 0, []
    for row in itertools.islice(_rows(tables, form), most_rows):
        if row.fault:
            faults.append(row.fault)
            continue
        count += 1
        for name, value in _flat(row.cells):
            columns.setdefault(name, Column(name)).add(value)
    for column in columns.values():  # not in every row of JSON Lines
        column.missing += count - column.rows
        column.rows = count
    return columns, count, faults


def _rows(tables, form):
    for table in tables:
        yield from read_rows(table, form)


def _flat(cells):
    """The cells, those of inner objects as "outer.inner"."""
    for name, value in cells.items():
        if isinstance(value, dict) and not _is_media(value):
            for inner, each in list(value.items())[:_MOST_NESTED]:
                yield f"{name}.{inner}", each
        else:
            yield name, value


def _is_media(value):
    return value.keys() <= {"bytes", "path", "sampling_rate", "array"} and "path" in value


def kind_of(value):
    """What a single value looks like: one of the names above."""
    if isinstance(value, Clip):
        return RECORDING
    if isinstance(value, TarMember):
        return _of_ending(value.name)
    if isinstance(value, dict):
        if _is_media(value):
            content = value.get("bytes")
            if isinstance(content, bytes):
                return _of_content(content)
            kind = _of_ending(str(value.get("path")))
            return kind if kind in MEDIA else OTHER
        return OTHER
    if isinstance(value, bytes):
        return _of_content(value)
    if isinstance(value, list):
        return TEXTS if value and all(isinstance(each, str) for each in value) else OTHER
    if isinstance(value, bool):
        return TEXT
    if isinstance(value, int | float):
        return NUMBER if abs(value) < _LARGEST else OTHER  # nor is NaN a number
    if not isinstance(value, str):
        return OTHER
    kind = _of_ending(value)
    if kind in MEDIA and "\n" not in value and len(value) < 1000:
        return kind
    return NUMBER if _NUMBER.fullmatch(value.strip()) else TEXT


_LARGEST = 1e150  # of a number; its square is one too
_NUMBER = re.compile(r"[+-]?(\d{1,15}(\.\d{0,15})?|\.\d{1,15})(e[+-]?\d{1,2})?", re.IGNORECASE)


def _of_ending(name):
    ending = os.path.splitext(name)[1].lower()
    return next((kind for kind, endings in _ENDINGS.items() if ending in endings), TEXT)


_SOUNDS = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"FORM", b".snd", b"caff", b"NIST")


def _of_content(content):
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return PICTURE
    return RECORDING if content.startswith(_SOUNDS) else PICTURE


def _short(text):
    return repr(text if len(text) <= 20 else text[:19] + "…")
