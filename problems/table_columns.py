"""What the columns of a table are to a problem, and the raw samples of a row by it."""

import os
from collections.abc import Mapping

from t2t_multimodel.data_gen.readers import media
from t2t_multimodel.data_gen.readers.members import TarMember
from t2t_multimodel.data_gen.readers.tables import all_in_cells, all_inside, cell
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.problems.splits_of_train import made_split

ROLES = ("inputs", "targets", "references", "key", "group", "start", "end", "duration")
_SIDES = ("inputs", "targets")


class Columns:
    """The columns of a table.

    Args:
      columns: `Table.columns`.
      modalities: {side: its `Modality`}.
      folder: the problem's folder.
      media_folder: that paths are relative to; None: the folder of the table.
      max_line_length: characters of a text.

    Raises:
      UserError: a side has no column, or there is an unknown name in `columns`.
    """

    def __init__(self, columns, modalities, folder, media_folder, max_line_length):
        for role in columns:
            if role not in ROLES:
                raise unknown_name("name in columns", role, ROLES)
        self._columns, self._folder, self._media_folder = columns, folder, media_folder
        self._max_line_length = max_line_length
        self._sides = {side: _members(side, modality, columns.get(side)) for side, modality in modalities.items()}
        targets = modalities.get("targets")
        if columns.get("references") and targets is not None and not targets.is_text:
            raise UserError("references are further right texts; targets that are no text have none")
        self._single = {side for side, members in self._sides.items() if [name for name, _, _ in members] == [""]}
        self.has_media = any(m.reads_files for members in self._sides.values() for _, m, _ in members)

    @property
    def needed(self):
        """The names of all columns that are read."""
        names = [column for members in self._sides.values() for _, _, column in members]
        for role in ROLES[len(_SIDES) :]:
            given = self._columns.get(role, ())
            names += [given] if isinstance(given, str) else given
        return tuple(names)

    def all_inside(self, table):
        """Whether all pictures and recordings are inside of `table`, as is known without reading its rows."""
        return all_inside(table, self._media_columns)

    def all_in_cells(self, table):
        """Whether all pictures and recordings are bytes in cells of `table`, as is known without reading its rows."""
        return all_in_cells(table, self._media_columns)

    @property
    def _media_columns(self):
        return [column for members in self._sides.values() for _, m, column in members if m.reads_files]

    def samples(self, table, row, key, split):
        """The raw samples of a row: one; or one for each target, where train has several.

        Args:
          table: the path of its table.
          key: of the sample, unless a column says it.

        Raises:
          ValueError: a cell is not what it must be.
        """
        if "key" in self._columns:
            key = str(self._cell(row, self._columns["key"]))
        sample = {"key": key}
        for side, members in self._sides.items():
            if side in self._single:
                _, modality, column = members[0]
                sample[side] = self._value(table, row, modality, column)
                continue
            values = {name: self._value(table, row, modality, column) for name, modality, column in members}
            if members:
                sample[side] = values
        if self.has_media:
            sample["place"] = f"{os.path.basename(table)}/{row.place}" if os.path.isdir(table) else row.place
        if not isinstance(sample["targets"], _Several) and "references" not in self._columns:
            return [sample]
        texts = sample["targets"] if isinstance(sample["targets"], _Several) else [sample["targets"]]
        # Also of a row with one text only: a store has references of all examples or of none.
        sample["references"] = list(dict.fromkeys([*texts, *self._references(row)]))
        if split != "train" or len(texts) == 1:
            return [sample | {"targets": texts[0]}]
        return [sample | {"targets": text, "key": f"{key}#{i}"} for i, text in enumerate(texts)]

    def made_split(self, sample, row, percent):
        """The split of a row of train, by the hash of its group, else of its key, else of its inputs.

        Args:
          sample: one of its samples.
          percent: {split: how many of a hundred rows}; the others stay in train.
        """
        if "group" in self._columns:
            name = str(self._cell(row, self._columns["group"]))
        elif "key" in self._columns:
            name = str(self._cell(row, self._columns["key"]))
        else:
            name = self._named(sample)
        return made_split(name, percent)

    def _value(self, table, row, modality, column):
        value = self._cell(row, column)
        try:
            if modality.reads_files:
                return self._media(table, row, value)
            if isinstance(value, TarMember):
                raise ValueError(f"{value.name} is no text")
            if modality.is_text and isinstance(value, list):
                if not value:
                    raise ValueError("an empty list")
                return _Several(self._short(modality.from_cell(text)) for text in value)
            value = modality.from_cell(value)
            return self._short(value) if modality.is_text else value
        except ValueError as error:
            raise ValueError(f"column {column}: {error}") from None

    def _short(self, text):
        if len(text) > self._max_line_length:
            raise ValueError(f"longer than the {self._max_line_length:,} characters that max_line_length allows")
        return text

    def _cell(self, row, column):
        try:
            return row.cells[column] if column in row.cells else cell(row.cells, column)
        except KeyError:
            raise ValueError(str(unknown_name("column", column, map(str, row.cells)))) from None

    def _media(self, table, row, value):
        """The place of a picture or recording that a cell says."""
        name = row.place
        if isinstance(value, Mapping):  # as Hugging Face's `datasets` has them
            if value.get("bytes") is None:
                value = value.get("path")
            elif isinstance(value["bytes"], bytes):
                name, value = value.get("path") or row.place, value["bytes"]
        if isinstance(value, bytes):
            value = media.Content(f"{os.path.basename(table)}: {name}", value)
        if isinstance(value, media.Clip):
            return value._replace(file=self._path(table, value.file))
        if isinstance(value, str):
            value = self._path(table, value)
        elif not isinstance(value, media.Content | TarMember):
            raise ValueError(f"a path or the bytes of a file expected, got {value!r:.40}")
        seconds = self._seconds(row)
        return media.Clip(value, *seconds) if seconds else value

    def _path(self, table, name):
        if not name.strip() or "\0" in name:
            raise ValueError(f"{name!r} is no name of a file")
        base = self._media_folder or (table if os.path.isdir(table) else os.path.dirname(table))
        return os.path.join(base, name)

    def _seconds(self, row):
        """(start, end) of the part of a recording; None for all of it."""
        numbers = {}
        for role in ("start", "end", "duration"):
            if role in self._columns and (value := self._cell(row, self._columns[role])) not in (None, ""):
                try:
                    numbers[role] = float(value)
                except (TypeError, ValueError):
                    raise ValueError(f"column {self._columns[role]}: seconds expected, got {value!r:.40}") from None
        start = numbers.get("start", 0.0)
        end = numbers.get("end", start + numbers["duration"] if "duration" in numbers else None)
        if not 0 <= start < (float("inf") if end is None else end):
            raise ValueError(f"from {start:g} to {end} s is no part of a recording")
        return (start, end) if "start" in numbers or "end" in numbers else None  # a duration alone is that of all

    def _references(self, row):
        given, found = self._columns.get("references", ()), []
        for column in (given,) if isinstance(given, str) else given:
            value = self._cell(row, column)
            found += value if isinstance(value, list) else [value]
        found = [text for text in found if text not in (None, "")]
        if not all(isinstance(text, str) for text in found):
            raise ValueError(f"references: texts expected, got {found!r:.60}")
        return found

    def _named(self, sample):
        """The inputs as text that is equal for equal ones."""
        side = "inputs" if self._sides["inputs"] else "targets"
        value = sample[side]
        if side in self._single and isinstance(value, str) and not self._sides[side][0][1].reads_files:
            name = " ".join(value.split())
            return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()
        values = [value[name] if name else value for name, _, _ in self._sides[side]]
        words = [
            media.named(each, self._folder) if modality.reads_files else " ".join(str(each).split())
            for (_, modality, _), each in zip(self._sides[side], values)
        ]
        return "\n".join(words).encode("utf-8", "backslashreplace").decode()


class _Several(list):
    """All right texts of a row."""


def _members(side, modality, column):
    """[(name of the member or "", its modality, its column)] of a side; [] if there is nothing to read."""
    if modality is None or modality.optional:
        return []
    members = dict(modality.members)
    if members:
        given = column if isinstance(column, Mapping) else {}
        if given.keys() != members.keys():
            names = ", ".join(f'"{name}": "…"' for name in members)
            raise UserError(f'each input needs a column: columns = {{"{side}": {{{names}}}, …}}')
        return [(name, member, given[name]) for name, member in members.items()]
    if not isinstance(column, str):
        raise UserError(f'which column has the {side}? Write columns = {{"inputs": "…", "targets": "…"}}')
    return [("", modality, column)]
