"""Reads the example store of a problem: `data_dir/<problem>/`, as docs/architecture.md describes it."""

import hashlib
import itertools
import json
import os
import threading
from pathlib import Path

import numpy as np

from t2t_multimodel import tfrecord
from t2t_multimodel.errors import UserError, datagen_command, unknown_name
from t2t_multimodel.input.record_parser import parse_records
from t2t_multimodel.modalities import Ragged
from t2t_multimodel.modalities.arrays import rows_of, stored_name
from t2t_multimodel.store_folder import MANIFEST, StoreFolder, metadata_of, spec_of
from t2t_multimodel.store_index import read_index
from t2t_multimodel.vocabulary import Vocabulary

MOST_OPEN_FILES = 32  # shards of one split kept open
_DIGEST_VERSION = 2  # of what `ExampleStore.digest` covers, which decides the order of training
_KEYS_AT_ONCE = 1024  # records in memory while their keys are read
_BYTES_AT_ONCE = 1 << 24  # of records that `Split.each` reads together
_EXAMPLES_AT_ONCE = 4096
_SIDES = ("inputs", "targets")


class ExampleStore:
    """One problem's examples on disk, as they are when it is opened: a store that takes its place is not read.

    Opening it checks the manifest, the small files and the sizes of all; reading checks the checksum of every record.
    `spec` is the `ProblemSpec`, `manifest` the manifest as it stands in the file.
    """

    def __init__(self, data_dir, problem_name):
        """
        Raises:
          UserError: nothing is there, the store is of another format version, or a file is missing, cut or changed;
            with the command that makes it.
        """
        self.data_dir = Path(data_dir)
        self.name = problem_name
        self.folder = self.data_dir / problem_name
        self._command = datagen_command(problem_name, data_dir)
        self.advice = f"make the data again: {self._command} --overwrite"
        self._vocabulary = None
        self.files, self.manifest = self._open()
        self.spec = spec_of(self.manifest, self.name)
        self.files.check_sizes(self.manifest, self.advice)
        for name, about in metadata_of(self.manifest).items():
            self.files.check_digest(name, about, self.advice)
        self._splits = {}

    @property
    def metrics(self):
        """Names of the metrics, the headline first."""
        return tuple(self.manifest.get("metrics", ()))

    @property
    def evaluation_split(self):
        """The split that final scores are taken on: "test" where there is one, else "dev"."""
        return self.manifest["evaluation_split"]

    @property
    def dev_split(self):
        """The split of the evaluations during training: "dev" where there is one."""
        return "dev" if "dev" in self.manifest["splits"] else self.evaluation_split

    @property
    def decode_hparams(self):
        """How its answers are decoded unless asked otherwise, as `decode_settings` takes it."""
        return dict(self.manifest.get("decode_hparams", {}))

    @property
    def vocabulary_folder(self):
        """The folder of the vocabulary that the texts are written in, or None where there is no text."""
        return self.data_dir / "vocabulary" if self.manifest.get("vocabulary") else None

    def vocabulary(self):
        """The `Vocabulary` that the texts are written in, or None where there is no text.

        Raises:
          UserError: it is missing or damaged, or the folder holds another one than the examples were written with.
        """
        if self._vocabulary is None and self.vocabulary_folder:
            vocabulary, written_in = Vocabulary.load(self.vocabulary_folder), self.manifest["vocabulary"]
            if vocabulary.digest != written_in["digest"]:
                raise self.damaged(
                    self.vocabulary_folder,
                    f"vocabulary {vocabulary.digest[:8]}, but {self.folder} is written in {written_in['digest'][:8]}; "
                    "put that one back, or",
                )
            command = self.manifest["command"]
            if self.spec.targets.uses_vocabulary and vocabulary.commands.get(command["name"]) != command["id"]:
                raise self.damaged(
                    self.vocabulary_folder,
                    f"the command {command['name']!r} has id {vocabulary.commands.get(command['name'])}, but "
                    f"{self.folder} was made with {command['id']}; put that vocabulary back, or",
                )
            self._vocabulary = vocabulary
        return self._vocabulary

    @property
    def digest(self):
        """A sha256 of all that training can see of this store: examples, features, command and vocabulary."""
        names = ("problem", "inputs", "targets", "command", "vocabulary", "splits")
        matters = {"format_version": _DIGEST_VERSION} | {name: self.manifest.get(name) for name in names}
        return hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()

    def split(self, name):
        """The `Split`; raises `UserError` with the splits that there are."""
        if name not in self.manifest["splits"]:
            raise unknown_name(f"split of {self.name}", name, self.manifest["splits"])
        if name not in self._splits:
            self._splits[name] = Split(self, name)
        return self._splits[name]

    def close(self):
        """Closes the files; the store opens them again when it is read again."""
        for split in self._splits.values():
            split.close()

    def damaged(self, path, reason):
        """The `UserError` about a file of this store; a `reason` that ends in "or" has a remedy of its own."""
        joint = "" if reason.endswith(", or") else ";"
        return UserError(f"{path}: {reason}{joint} make the data again: {self._command} --overwrite")

    def _open(self):
        """The (`StoreFolder`, manifest) of this store."""
        try:
            files = StoreFolder(self.folder)
            return files, files.manifest(self.name, self.advice)
        except (FileNotFoundError, NotADirectoryError):
            if self.folder.is_dir():
                reason = f"no data of ours, or incomplete (no {MANIFEST}); move or delete it"
                raise UserError(f"{self.folder}: {reason}, then run: {self._command}") from None
            raise UserError(f"no data for problem {self.name!r} in {self.data_dir}; run: {self._command}") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise UserError(f"{str(self.folder)!r} can't be read: {getattr(error, 'strerror', error)}") from None


class Split:
    """The examples of one split, by row number (their order in the files).

    `input_length` and `target_length` (int32 [rows]): ids, samples of sound, or 1; of several inputs [rows, members].
    """

    def __init__(self, store, name):
        self.store = store
        self.name = name
        self._spec = store.spec
        self._shards = list(store.manifest["splits"][name]["files"])  # their names
        members = len(self._spec.inputs.members)
        index = read_index(store.files, store.manifest, name, members, store.advice)
        self._shard, self._offset, self._size, self.input_length, self.target_length = index
        self._files = {}  # name → open file, in the order of their last use
        self._lock = threading.Lock()  # evaluation may read what the training thread reads too

    def __len__(self):
        return len(self._offset)

    def stored_bytes(self, rows):
        """How many bytes the records of `rows` have on disk."""
        return int(self._size[rows].sum())

    def read(self, rows):
        """The serialised examples of `rows` (row numbers, [n]), in that order; reads in the order of the disk."""
        rows = np.asarray(rows, np.int64)
        places = np.lexsort((self._offset[rows], self._shard[rows]))
        sorted_rows = rows[places]
        shards, offsets, sizes = self._shard[sorted_rows], self._offset[sorted_rows], self._size[sorted_rows]
        starts = (offsets - tfrecord.BEFORE).tolist()
        lengths = (sizes + tfrecord.BEFORE + tfrecord.AFTER).tolist()
        ends = [*(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(rows)] if len(rows) else []
        read, first = [], 0
        with self._lock:
            for end in ends:  # of the records of one shard
                descriptor = self._file(int(shards[first])).fileno()
                read += map(os.pread, itertools.repeat(descriptor), lengths[first:end], starts[first:end])
                first = end
        contents = tfrecord.contents_of(read, sizes.tolist())
        if None in contents:
            number = contents.index(None)
            is_whole = len(read[number]) == lengths[number]
            raise self._damaged_record(int(shards[number]), int(offsets[number]), is_whole)
        in_order_of_rows = np.empty_like(places)
        in_order_of_rows[places] = np.arange(len(rows))
        return list(map(contents.__getitem__, in_order_of_rows.tolist()))

    def columns(self, rows):
        """The two sides of `rows`, all at once: (inputs, targets), each {name: column} as `Modality.pad` takes it.

        A column is a `Ragged` where lengths vary, else an array [n, …].
        """
        rows = np.asarray(rows, np.int64)
        parsed = self._parse(rows, self._features())
        return self._columns("inputs", parsed, rows), self._columns("targets", parsed, rows)

    def examples(self, rows, sides=_SIDES):
        """The examples of `rows` as dicts: `inputs`, `targets` (stored samples: an array, for a class an int, for
        modalities of several arrays a dict of them), `key` (str), `references` (list of str, where there are some).

        Args: sides: the other one is left out.
        """
        rows = np.asarray(rows, np.int64)
        if not len(rows):
            return []
        parsed = self._parse(rows, self._features(sides) | {"key": "texts", "references": "texts"})
        samples = [_samples(self._columns(side, parsed, rows), len(rows)) for side in sides]
        keys = map(_key, parsed["key"])
        examples = [dict(zip((*sides, "key"), (*values, key))) for *values, key in zip(*samples, keys)]
        for example, references in zip(examples, parsed["references"]):
            if references:
                example["references"] = [reference.decode("utf-8") for reference in references]
        return examples

    def each(self, rows, sides=_SIDES):
        """Yields what `examples` gives, and has few of them in memory at a time."""
        rows = np.asarray(rows, np.int64)
        ends = np.cumsum(self._size[rows], dtype=np.int64)
        start = 0
        while start < len(rows):
            most = _BYTES_AT_ONCE + (ends[start - 1] if start else 0)
            fitting = int(np.searchsorted(ends, most, side="right"))
            end = min(max(start + 1, fitting), start + _EXAMPLES_AT_ONCE)
            yield from self.examples(rows[start:end], sides)
            start = end

    def keys(self):
        """The keys of all examples (str), in the order of the rows; reads the whole split."""
        keys = []
        for start in range(0, len(self), _KEYS_AT_ONCE):
            rows = np.arange(start, min(start + _KEYS_AT_ONCE, len(self)))
            keys += map(_key, self._parse(rows, {"key": "texts"})["key"])
        return keys

    def close(self):
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def __del__(self):
        for file in getattr(self, "_files", {}).values():
            file.close()

    def _file(self, shard):
        file = self._files.pop(shard, None)
        if file is None:
            if len(self._files) >= MOST_OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            file = self.store.files.open(self._shards[shard], self.store.advice)
        self._files[shard] = file
        return file

    def _damaged_record(self, shard, offset, is_whole):
        """The `UserError` about a record that is not as it was written."""
        first = int(np.searchsorted(self._shard, shard))
        number = int(np.searchsorted(self._offset[self._shard == shard], offset))
        said = "its checksum is wrong" if is_whole else "truncated shard, it was changed since it was opened"
        where = f"record {number} (row {first + number} of {self.name!r}) is damaged: {said}"
        return self.store.damaged(self.store.folder / self._shards[shard], where)

    def _features(self, sides=_SIDES):
        """What `parse_records` needs to know of the sides."""
        return {
            stored_name(side, name): array.storage
            for side in sides
            for name, array in getattr(self._spec, side).stored().items()
        }

    def _parse(self, rows, features):
        records = self.read(rows)
        try:
            return parse_records(records, features)
        except ValueError:
            reason = f"a record among rows {rows.min()} to {rows.max()} of {self.name!r} is damaged"
            raise self.store.damaged(self.store.folder, reason) from None

    def _columns(self, side, parsed, rows):
        """One side of parsed examples as columns, which must be as long as the index says."""
        modality, columns = getattr(self._spec, side), {}
        lengths = (self.input_length if side == "inputs" else self.target_length)[rows].astype(np.int64)
        for name, array in modality.stored().items():
            columns[name] = _column(array, parsed[stored_name(side, name)])
        if any(column is None for column in columns.values()) or not modality.lengths_agree(columns, lengths):
            reason = f"{side} of a record among rows {rows.min()} to {rows.max()} are not as long as the index says"
            raise self.store.damaged(self.store.folder, reason)
        if fault := _fault(modality, columns):
            reason = f"{side} of a record among rows {rows.min()} to {rows.max()} of {self.name!r}: {fault}"
            raise self.store.damaged(self.store.folder, reason)
        return columns


def _fault(modality, columns):
    """Which numbers of a side stand for nothing; "" where all do. Only a record that is not ours holds such ones."""
    for name, array in modality.stored().items():
        numbers, classes = columns[name], len(array.class_names)
        if array.storage == "class" and len(numbers) and not 0 <= numbers.min() <= numbers.max() < classes:
            return f"no class of the {classes}"
    ids = columns["values"].values if modality.is_text else ()
    return modality.stored_fault({"values": ids}) if len(ids) else ""


def _key(values):
    """The key of an example as text; "" where it has none."""
    return values[0].decode("utf-8", "replace") if values else ""


def _column(array, parsed):
    """The `parsed` values of an `ArraySpec` as a column; None where their size is no array's."""
    if array.storage != "bytes":
        return parsed
    lengths, left = np.divmod(np.fromiter(map(len, parsed), np.int64, len(parsed)), array.row_bytes)
    if left.any() or not (array.varies or (lengths == 1).all()):
        return None
    values = np.frombuffer(b"".join(parsed), array.stored_dtype).reshape(-1, *array.row_shape)
    return Ragged(values, lengths) if array.varies else values


def _samples(columns, count):
    """`count` rows of columns as stored samples: an array, or a dict where there are several or none."""
    rows = {name: rows_of(column) for name, column in columns.items()}
    if set(rows) == {"values"}:
        return rows["values"]
    return [{name: column[row] for name, column in rows.items()} for row in range(count)]
