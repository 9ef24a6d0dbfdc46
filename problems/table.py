"""Samples in a table: CSV, TSV, JSON Lines, Parquet, Arrow, WebDataset, TMX, and folders of pictures or recordings."""

import functools
import os
from collections.abc import Mapping

from t2t_multimodel.data_gen.readers import media
from t2t_multimodel.data_gen.readers.lines import bad_sample
from t2t_multimodel.data_gen.readers.tables import TableFormat, folder_rows, read_rows
from t2t_multimodel.data_gen.readers.tables.find import find_tables
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.problems import row_splits
from t2t_multimodel.problems.file_problem import SPLITS, FileProblem, few_names
from t2t_multimodel.problems.splits_of_train import percents
from t2t_multimodel.problems.table_columns import Columns


class Table(FileProblem):
    """Any samples in a table; its columns are the inputs and the targets.

        @register_problem
        class CityBirds(Table):
            \"\"\"Which bird is in the picture. Own photographs, 12,000 files. Metric: top-1, expect 91 %.\"\"\"
            directory = "birds"                    # train.csv, with the columns file_name and label
            columns = {"inputs": "file_name", "targets": "label"}
            inputs = Image(64, 64, 3)
            targets = Label()                      # the classes are those of train
            dev_percent = test_percent = 5

    A table is a file (.csv, .tsv, .jsonl, .json, .parquet, .arrow, .feather, .tmx, a WebDataset's .tar; those of text
    also with .gz, .xz, .bz2, .zst), a folder of pictures or recordings in folders named by class (columns `file_name`
    and `label`), or a data folder of Kaldi (columns `audio`, `text`, `utterance`, `speaker`). Its split is said by its
    name, or by that of its folder: train, dev or validation, test; `files` says it otherwise.

    A picture or a recording is a path relative to its table, or its bytes, as in Parquet and tar files. A row with
    several targets (a list) is one example each in train; in dev and test it is one example, and all are references.
    """

    files: Mapping = {}  # {split: pattern or patterns below `directory`, "." for itself}; {}: by the names
    # {"inputs": column, "targets": column}; also "references" (a list in the cell, or several columns), "key", "group"
    # (rows of one group, such as a speaker, are in the same split), "start", "end", "duration" (seconds of a
    # recording). For several inputs, "inputs" is {name: column}. A value inside of another one is "translation.en".
    columns: Mapping = {}
    media_folder = ""  # that paths in the table are relative to, below `directory`; "": the folder of the table
    dev_percent = 0.0  # of the rows of train that become dev, if there is no dev: by the hash of group, key or inputs
    delimiter = ""  # of CSV; "": a comma, or a tab in .tsv
    quoting = None  # whether "…" encloses a cell; None: in CSV, not in TSV
    header = True  # False: the first line is a row, and the columns are "1", "2", …

    _form = "a table (train.csv, dev.csv, …), or folders named by class"

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if getattr(vars(cls).get("targets"), "lacks_classes", False):
            cls.targets = _WithClassesOfTrain(vars(cls)["targets"])

    @functools.cached_property
    def splits(self):
        return tuple(split for split in SPLITS if split in self._tables or split in self.made_splits)

    def read_samples(self, split):
        if split not in self.splits:
            raise UserError(f"problem {self._called} has no split {split!r}; it has {', '.join(self.splits)}")
        made = self.made_splits if split in ("train", *self.made_splits) else {}
        for table in self._tables["train" if split in made else split]:
            wanted = self._row_splits.wanted(table, split) if made else None
            state, codes, to_learn = row_splits.state_of(table), bytearray(), made and wanted is None
            if os.path.isdir(table) and (others := folder_rows.others(table)):
                self.say_once(split, f"passed over: {len(others):,} × no picture or recording ({few_names(others)})")
            for row, key in self._rows(table, wanted):
                samples, own = self._samples_of_row(table, row, key, split, made if to_learn else {})
                codes.append(row_splits.code_of(own))
                if own == split:
                    yield from samples
            if to_learn:
                self._row_splits.learn(table, state, codes)

    def _samples_of_row(self, table, row, key, split, made):
        """(the samples of a row, its split, one of `made` or train); where none are made, `split`.

        A row that can't be read is a bad sample, of train where splits are made.
        """
        try:
            if row.fault:
                return [bad_sample(row.fault) | {"key": key}], "train" if made else split
            samples = self._columns.samples(table, row, key, split)
            return samples, self._columns.made_split(samples[0], row, made) if made else split
        except ValueError as error:
            place = os.path.join(os.path.dirname(table), row.place)
            return [{"key": key, "bad": f"{place}: {error}"}], "train" if made else split

    def _splits_to_compare(self):
        splits = super()._splits_to_compare()
        # Equal inputs are in one split already where the hash is that of the texts, or of the bytes in cells; each
        # split taken from train would be another pass over its table.
        by_inputs = not {"key", "group"} & self.columns.keys()
        if by_inputs and self.made_splits and self._columns.has_media:
            by_inputs = all(map(self._columns.all_in_cells, self._tables["train"]))
        return [split for split in splits if not (by_inputs and split in self.made_splits)]

    def prepare(self, sample):
        if not self._media:
            return sample
        try:
            sides = {side: self._prepared(modality, sample[side]) for side, modality in self._media if side in sample}
        except ValueError as error:
            raise ValueError(f"{error} ({sample['place']})" if "place" in sample else str(error)) from error
        return {name: value for name, value in sample.items() if name != "place"} | sides

    def source_files(self):
        tables = [table for split in self._tables for table in self._tables[split]]
        found = {str(table): None for table in tables if not os.path.isdir(table)}
        for table in tables:
            if os.path.isdir(table):
                found |= {str(table / name): None for name in _KALDI if os.path.exists(table / name)}
        if self._columns.has_media:
            for split in self._tables:
                if all(map(self._columns.all_inside, self._tables.get(split, ()))):
                    continue
                for sample in self.read_samples(split):
                    found |= {file: None for file in self._files_of(sample)}
        return list(found)

    def arguments(self):
        # The hash splits by the names below the folder, so that the place of the folder decides nothing.
        settings = {name: repr(dict(getattr(self, name))) for name in ("files", "columns")}
        return super().arguments() | settings

    # ---- Files and columns

    @functools.cached_property
    def _tables(self):
        """{split: the `Path`s of its tables}"""
        folder, found = self.folder, {}
        if not self.files:
            return find_tables(folder)
        for split in self.files:
            if split not in SPLITS:
                raise unknown_name(f"split in files of {self._called}", split, SPLITS)
        for split in (split for split in SPLITS if split in self.files):
            patterns = self.files[split]
            for pattern in (patterns,) if isinstance(patterns, str) else patterns:
                paths = [folder] if pattern == "." else sorted(folder.glob(pattern))
                if not paths:
                    raise UserError(f"problem {self._called}: {folder} has no {pattern} (files of {split})")
                found.setdefault(split, []).extend(paths)
        return found

    @functools.cached_property
    def made_splits(self):
        return percents(self, self._tables)

    @functools.cached_property
    def _row_splits(self):
        return row_splits.RowSplits()

    @functools.cached_property
    def _columns(self):
        sides = {side: self._declared(side) for side in ("inputs", "targets")}
        media_folder = self.folder / self.media_folder if self.media_folder else None
        try:
            return Columns(self.columns, sides, self.folder, media_folder, self.max_line_length)
        except UserError as error:
            rows = (row for tables in self._tables.values() for row in read_rows(tables[0], self._format))
            names = ", ".join(map(str, next((row.cells for row in rows if not row.fault), ())))
            raise UserError(f"problem {self._called}: {error}; the table has the columns {names[:200]}") from None

    def _declared(self, side):
        """The modality of a side; if only the table tells its classes, without them."""
        attribute = next((vars(cls)[side] for cls in type(self).__mro__ if side in vars(cls)), None)
        return attribute.modality if isinstance(attribute, _WithClassesOfTrain) else getattr(self, side)

    @property
    def _format(self):
        return TableFormat(self.delimiter, self.quoting, self.header, self.max_line_length)

    def _rows(self, table, wanted=None):
        """Yields `(row, key)` of a table, of the rows that are `wanted`."""
        folder = os.path.relpath(table if os.path.isdir(table) else os.path.dirname(table), self.folder)
        prefix = "" if folder == "." else f"{folder}/".encode("utf-8", "backslashreplace").decode()
        for row in read_rows(table, self._format, self._columns.needed, wanted):
            yield row, prefix + row.place

    # ---- Pictures and recordings

    @functools.cached_property
    def _media(self):
        """The sides with pictures or recordings: [(side, its modality)]"""
        sides = [(side, self._declared(side)) for side in ("inputs", "targets")]
        has_media = lambda modality: any(m.reads_files for m in dict(modality.members).values() or [modality])
        return [(side, modality) for side, modality in sides if has_media(modality)]

    def _prepared(self, modality, value):
        if not modality.members:
            return self._decoded(modality, value)
        return {name: self._decoded(member, value[name]) for name, member in modality.members}

    def _decoded(self, modality, value):
        if not modality.reads_files or hasattr(value, "dtype"):
            return value
        if path := media.path_of(value):
            self.check_inside(path)
        return media.decode(modality, value)

    def _files_of(self, sample):
        """The paths in a raw sample that exist; a missing file is a bad record, reported when it is read."""
        for side in ("inputs", "targets"):
            for modality, value in self._declared(side).parts(sample.get(side)):
                if modality.reads_files and (path := media.path_of(value)) and os.path.exists(path):
                    yield path


_KALDI = ("wav.scp", "text", "segments", "utt2spk")


class _WithClassesOfTrain:
    """Stands for targets that are declared without classes: an instance of the problem reads them from train, once."""

    def __init__(self, modality):
        self.modality = modality

    def __get__(self, problem, cls=None):
        if problem is None:
            return self.modality
        if "targets" not in problem.__dict__:
            values, bad = [], ""
            for sample in problem.read_samples("train"):
                if "bad" not in sample:
                    values.append(sample["targets"])
                bad = bad or f"; {sample['bad']}" if "bad" in sample else bad
            if not values:
                raise UserError(f"problem {problem._called}: train has no rows that tell the classes{bad}")
            problem.__dict__["targets"] = self.modality.with_classes(values)
        return problem.__dict__["targets"]
