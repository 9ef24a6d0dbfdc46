"""Parallel text: finds the files of a folder that belong together, and reads their sentence pairs lazily.

Three formats, each also compressed (`compressed.py`; .sgm as .gz only): `train.en` beside `train.de`, aligned line by
line; `train.en-de.tsv`, tab-separated, columns in the order of the name; the WMT test sets `newstest2013-src.en.sgm`
beside `newstest2013-ref.de.sgm`.
"""

import filecmp
import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from t2t_multimodel.data_gen.readers.compressed import SUFFIXES
from t2t_multimodel.data_gen.readers.lines import MAX_LINE_LENGTH, bad_sample, read_columns, read_lines
from t2t_multimodel.data_gen.readers.sgm import read_sgm_pair
from t2t_multimodel.errors import UserError
from t2t_multimodel.regular_files import require_regular

_COMPRESSED = rf"(?:{'|'.join(map(re.escape, SUFFIXES))})?"
_WHOLE_SENTENCE = 5  # words; equal sentences of this length or more are taken as the same sentence
_PAIR = re.compile(r"[.\-_]([a-z]{2})-([a-z]{2})$")  # at the end of a stem: the two languages


@dataclass(frozen=True)
class ParallelSource:
    """The files of one text in two languages."""

    name: str  # the common part of their names, from the folder on: "training/europarl-v7.de-en", "newstest2014.sgm"
    form: str  # "lines", "tsv" or "sgm"
    paths: tuple  # `Path`s: of the first language and of the second; one path if both are in one file
    swapped: bool = False  # tsv: the second language is in the first column

    @property
    def stem(self):
        """The name without its folder."""
        return self.name.rpartition("/")[2]

    def pairs(self, max_line_length=MAX_LINE_LENGTH):
        """Yields `(number, text in the first language, text in the second)`, lazily; numbers are lines or segments.

        A malformed line gives a `lines.bad_sample` with the reason instead of its text.

        Raises:
          UserError: a file that can't be read, files of different lengths, or a damaged .sgm file.
        """
        if self.form == "lines":
            yield from read_side_by_side(*self.paths, max_line_length)
        elif self.form == "sgm":
            for number, (one, other) in enumerate(read_sgm_pair(*self.paths), 1):
                yield number, one.text, other.text
        else:
            for number, one, other in _read_tsv(self.paths[0], max_line_length):
                yield (number, other, one) if self.swapped else (number, one, other)

    def place(self, number, second):
        """File and line (or segment) of pair `number` in the first or `second` language, for errors."""
        kind = "segment " if self.form == "sgm" else ""
        return f"{self.paths[-1 if second else 0]}:{kind}{number}"


def read_side_by_side(first, second, max_line_length=MAX_LINE_LENGTH):
    """Yields `(line number, line of first, line of second)`; a line that is not UTF-8 gives a `bad_sample`.

    Raises:
      UserError: one file has more lines than the other; both are named with their counts.
    """
    number = 0
    lines = [read_lines(path, bad_sample, max_line_length) for path in (first, second)]
    for one, other in itertools.zip_longest(*lines):
        if one is None or other is None:
            counts = [number + (line is not None) + sum(1 for _ in rest) for line, rest in zip((one, other), lines)]
            raise UserError(
                f"{first} has {counts[0]:,} lines, {second} has {counts[1]:,}: line n of one must be the translation "
                "of line n of the other; one of them is cut short, or they do not belong together"
            )
        number, text = one
        yield number, text, other[1]


def _read_tsv(path, max_line_length):
    names = ("a language", "the other")
    for number, cells in read_columns(path, names, bad_sample, may_be_empty=True, max_line_length=max_line_length):
        yield (number, cells, cells) if isinstance(cells, dict) else (number, *cells)


def find_sources(folder, first, second, called=""):
    """The `ParallelSource`s in `folder` and below for the languages `first` and `second`, e.g. "en" and "de".

    Args:
      called: prefix of the sources' names, if the folder is one of several.

    Returns:
      `(sources sorted by name, paths without a partner)`. Files of other languages, and of other language pairs
      (`europarl-v7.fr-en.en`), are ignored.

    Raises:
      UserError: a file exists both plain and compressed.
    """
    found = _by_name(Path(folder), first, second)
    sources, alone = [], []
    for (name, form), files in sorted(found.items()):
        name = "/".join(filter(None, (called, f"{name}.{form}" if form != "lines" else name)))
        if form == "tsv":
            (order, path), *more = files.items()
            if more:
                raise UserError(f"{path} and {more[0][1]} are the same text twice; keep one")
            sources.append(ParallelSource(name, form, (path,), swapped=order == (second, first)))
            continue
        ways = [(first, second)]
        if form == "sgm":  # a test set may exist for one direction only
            ways = [(f"src.{first}", f"ref.{second}"), (f"ref.{first}", f"src.{second}")]
        there = [way for way in ways if all(side in files for side in way)]
        if there:
            sources.append(ParallelSource(name, form, tuple(files[side] for side in there[0])))
        elif form == "lines":
            alone += files.values()
    return sources, alone


def _by_name(folder, first, second):
    """{(name, form): {side: path}}"""
    language = f"(?:{re.escape(first)}|{re.escape(second)})"
    forms = {
        "tsv": re.compile(rf"(.+)\.({language})-({language})\.tsv{_COMPRESSED}"),
        "sgm": re.compile(rf"(.+)-(src|ref)\.({language})\.sgm(?:\.gz)?"),
        "lines": re.compile(rf"(.+)\.({language}){_COMPRESSED}"),
    }
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts) or os.path.isdir(path):
            continue
        for form, pattern in forms.items():
            match = pattern.fullmatch(path.name)
            if not match:
                continue
            _require(path)
            stem, *side = match.groups()
            pair = _PAIR.search(stem)
            if (pair and {*pair.groups()} != {first, second}) or (form == "tsv" and side[0] == side[1]):
                break
            side = tuple(side) if form == "tsv" else ".".join(side)
            files = found.setdefault(((inside.parent / stem).as_posix(), form), {})
            if side in files:
                raise UserError(f"{files[side]} and {path} are the same text twice; keep one of them")
            files[side] = path
            break
    return found


def _require(path):
    try:
        require_regular(path)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from None


def distinct(sources):
    """`sources` without byte-for-byte copies of an earlier one (for example unpacked beside its archive)."""
    kept = []
    for source in sources:
        alike = [other for other in kept if (other.stem, other.form) == (source.stem, source.form)]
        if not any(all(map(_same_content, other.paths, source.paths)) for other in alike):
            kept.append(source)
    return kept


def _same_content(one, other):
    return filecmp.cmp(one, other, shallow=False)


class HeldOut:
    """The sentences of the test splits: a training pair that contains one of them must be removed.

    A training pair matches if both its sides match, or if one side of at least five words matches. So a short sentence
    such as "Why?" may be in training. White space is ignored.
    """

    def __init__(self):
        self._pairs, self._sentences = set(), set()

    def add(self, first, second):
        pair = _squeezed(first), _squeezed(second)
        self._pairs.add(pair)
        self._sentences.update(text for text in pair if text.count(" ") >= _WHOLE_SENTENCE - 1)

    def holds(self, first, second):
        pair = _squeezed(first), _squeezed(second)
        return pair[0] in self._sentences or pair[1] in self._sentences or pair in self._pairs


def _squeezed(text):
    return " ".join(text.split())
