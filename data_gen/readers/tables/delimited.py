"""CSV and TSV: the first line names the columns; cells may be quoted, and then have line ends in them."""

import csv
import os

from t2t_multimodel.data_gen.readers.compressed import without_suffix
from t2t_multimodel.data_gen.readers.lines import read_lines
from t2t_multimodel.data_gen.readers.tables import Row
from t2t_multimodel.errors import UserError

_OTHER_DELIMITERS = {";": ";", "\t": r"\t", "|": "|", ",": ","}
_MOST_COLUMNS = 10_000


def read(path, form, columns=None):
    """Yields the `Row`s; a place is the line on which the row ends. Blank lines are skipped."""
    delimiter = form.delimiter or ("," if without_suffix(path).lower().endswith(".csv") else "\t")
    quoting = form.quoting if form.quoting is not None else delimiter != "\t"
    if len(delimiter) != 1 and quoting or set(delimiter) & set('"\r\n'):
        raise UserError(f"{path}: the delimiter must be one character, no quote and no line end, not {delimiter!r}")
    records = _quoted(path, form, delimiter) if quoting else _plain(path, form, delimiter)
    name, names = os.path.basename(os.fspath(path)), None
    for number, record in records:
        place = f"{name}:{number}"
        if isinstance(record, str):
            if names is None and form.header:
                raise UserError(record)
            yield Row(place, {}, record)
        elif not any(record):
            continue
        elif names is None and form.header:
            names = _names(path, number, record, delimiter)
        else:
            names = names or [str(i) for i in range(1, len(record) + 1)]
            if len(record) != len(names):
                fault = f"{path}:{number}: {len(record)} cells, but {len(names)} columns ({_few(names)})"
                yield Row(place, {}, fault)
            else:
                yield Row(place, dict(zip(names, record)))
    if names is None and form.header:
        raise UserError(f"{path}: no line with the names of the columns: the file is empty")


def _plain(path, form, delimiter):
    for number, line in read_lines(path, _Fault, form.max_line_length):
        yield number, str(line.reason) if isinstance(line, _Fault) else line.split(delimiter)


def _quoted(path, form, delimiter):
    """Yields `(number, cells or a fault)`. A quote that is never closed ends at `max_line_length`, as a `UserError`."""
    lines = _Lines(path, form.max_line_length)
    before = csv.field_size_limit(form.max_line_length)  # of the whole process
    try:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            csv.field_size_limit(form.max_line_length)  # another reader may have put it back
            lines.begin()
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                other = f"; if {delimiter!r} does not separate the cells, say delimiter" if lines.first == 1 else ""
                raise UserError(
                    f"{path}:{lines.number}: no CSV: {_in_words(error, lines)}; a quote inside of a quoted cell is "
                    'written twice (""); where quotes are plain text, say quoting = False' + other
                ) from None
            yield lines.number, lines.fault if lines.fault else record
    finally:
        csv.field_size_limit(before)


class _Fault:
    def __init__(self, reason):
        self.reason = reason


class _Lines:
    """The lines of a file for `csv.reader`, with their ends; knows the last number and the faults of this record."""

    def __init__(self, path, longest):
        self._lines, self._longest = read_lines(path, _Fault, longest), longest
        self.number = self.first = self._length = 0
        self.fault = ""

    def begin(self):
        self.first, self._length, self.fault = self.number + 1, 0, ""

    def __iter__(self):
        return self

    def __next__(self):
        self.number, line = next(self._lines)
        if isinstance(line, _Fault):
            self.fault = line.reason
            return "\n"
        self._length += len(line) + 1
        if self._length > 4 * self._longest:  # many cells of the length that is allowed
            raise csv.Error("unexpected length")
        return line + "\n"


def _in_words(error, lines):
    if "field larger" in str(error) or "unexpected length" in str(error):
        return f"a cell that began on line {lines.first} or later is longer than max_line_length, or never closed"
    if "unexpected end" in str(error):
        return f"a quote that was opened on line {lines.first} or later is never closed"
    return str(error)


def _names(path, number, record, delimiter):
    """The names of the columns in the first line; raises `UserError` if they can't be names."""
    names = [name.strip() for name in record]
    if len(names) == 1:
        other = next((mark for mark in _OTHER_DELIMITERS if mark != delimiter and mark in names[0]), None)
        if other:
            raise UserError(
                f"{path}:{number}: one column only, {names[0][:60]!r}; if {_OTHER_DELIMITERS[other]!r} separates the "
                f'cells, say delimiter = "{_OTHER_DELIMITERS[other]}"'
            )
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise UserError(
            f"{path}:{number}: the first line must name the columns, and {twice[0][:60]!r} is there twice; for a file "
            "without such a line say header = False"
        )
    if len(names) > _MOST_COLUMNS:
        raise UserError(f"{path}:{number}: {len(names):,} columns, more than {_MOST_COLUMNS:,}")
    return [name or str(i) for i, name in enumerate(names, 1)]  # pandas writes its index under no name


def _few(names):
    """Some of the names in one line: a quoted one may have line ends in it."""
    return ", ".join(" ".join(name.split())[:40] for name in names[:6]) + (", …" if len(names) > 6 else "")
