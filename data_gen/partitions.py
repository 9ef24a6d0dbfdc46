"""Partitions: the records of a range of consecutive samples, sorted by hash, in one file; the unit that is resumed.

A partition file holds a table, column by column (the two halves of the hash, size, input length, target length; of
several inputs one length each), and then the records, both in hash order. A small JSON file beside it, written last,
holds the range of samples, the size, the sha256 and a digest of these values. A partition is finished when its JSON
file exists and its values are what was written.
"""

import dataclasses
import hashlib
import itertools
import math
import os

import numpy as np

from t2t_multimodel.data_gen import examples
from t2t_multimodel.digests import unsealed
from t2t_multimodel.json_files import DamagedFile, Exactly, Whole

PARTITION_BYTES = 64 << 20  # a partition is closed at this size (at most the size of a shard) …
PARTITION_SECONDS = 30.0  # … or after this time: an interrupted job loses no more
COLUMNS = {"high": "<u8", "low": "<u8", "size": "<i4", "input_length": "<i4", "target_length": "<i4"}
RECORDS, ABOUT = ".records", ".json"  # the two files of a partition
_COUNT = Whole(0)
_SCHEMA = {
    "first": _COUNT,
    "samples": _COUNT,
    "records": _COUNT,
    "inputs": _COUNT,
    "bytes": _COUNT,
    "sha256": str,
    "text_ids": _COUNT,
    "characters": _COUNT,
    "bad": [Exactly({"key": str, "file": str, "reason": str})],
    "error?": str,
}


@dataclasses.dataclass(frozen=True)
class Packed:
    """Records as arrays: {column: array}, and their contents concatenated."""

    columns: dict
    content: bytes

    def __len__(self):
        return len(self.columns["size"])


def pack(records, seed, inputs=0):
    """The `Packed` of a list of `examples.Record`; `seed` decides the hashes, and so the order on disk.

    `inputs`: how many lengths the inputs of a record have; 0: a single one, which is no tuple.
    """
    salt = int(seed).to_bytes(8, "little", signed=True)
    digests = b"".join(hashlib.blake2b(r.key.encode(), digest_size=16, salt=salt).digest() for r in records)
    high, low = np.frombuffer(digests, ">u8").reshape(-1, 2).T
    values = {
        "high": high,
        "low": low,
        "size": [len(record.content) for record in records],
        "input_length": [record.input_length for record in records],
        "target_length": [record.target_length for record in records],
    }
    columns = {n: np.array(values[n], dtype).reshape(_shape(n, len(records), inputs)) for n, dtype in COLUMNS.items()}
    return Packed(columns, b"".join(record.content for record in records))


def in_hash_order(columns):
    """The row indices in the order of the hashes."""
    return np.lexsort((columns["low"], columns["high"]))


def joined(tables):
    """Several {column: array} concatenated."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


class PartitionBuilder:
    """Collects chunks of consecutive samples, from sample number `first` on, for one partition."""

    def __init__(self, first):
        self.first, self.samples, self.bytes = first, 0, 0
        self._packed, self._bad = [], []
        self._text_ids = self._characters = 0

    def add(self, chunk):
        """Adds an `examples.Chunk` with `Packed` records."""
        self.samples += len(chunk.records) + len(chunk.bad)
        self.bytes += len(chunk.records.content)
        self._packed.append(chunk.records)
        self._bad += chunk.bad
        self._text_ids += chunk.text_ids
        self._characters += chunk.characters

    def finished(self):
        """(content of the partition file as a list of bytes, content of its JSON file)."""
        columns = joined([packed.columns for packed in self._packed])
        contents = [packed.content for packed in self._packed]
        order = in_hash_order(columns)
        parts = [column[order].tobytes() for column in columns.values()]
        parts += records_in(order, columns["size"], contents, [len(packed) for packed in self._packed])
        digest, size = hashlib.sha256(), 0
        for part in parts:
            digest.update(part)
            size += len(part)
        return parts, self.about(len(order), size, digest, *columns["input_length"].shape[1:])

    def about(self, records, size, digest, inputs=0):
        """The content of the partition's JSON file."""
        return {
            "first": self.first,
            "samples": self.samples,
            "records": records,
            "inputs": inputs,
            "bytes": size,
            "sha256": digest.hexdigest(),
            "text_ids": self._text_ids,
            "characters": self._characters,
            "bad": [dataclasses.asdict(record) for record in self._bad],
        }


def records_in(order, sizes, contents, rows):
    """Yields the records of several contents in `order`; `rows` is the number of rows of each content."""
    first = 0
    starts = np.empty(len(sizes), np.int64)
    for count in rows:
        part = sizes[first : first + count].astype(np.int64)
        starts[first : first + count] = np.cumsum(part) - part
        first += count
    which = np.repeat(np.arange(len(rows)), rows)
    for number, start, size in zip(which[order].tolist(), starts[order].tolist(), sizes[order].tolist()):
        yield contents[number][start : start + size]


@dataclasses.dataclass(frozen=True)
class Partition:
    """A finished partition: its path, and the content of its JSON file."""

    path: str
    about: dict

    @property
    def rows(self):
        return self.about["records"]

    @property
    def inputs(self):
        """How many lengths the inputs of a row have; 0: a single one."""
        return self.about["inputs"]

    @property
    def table_bytes(self):
        return sum(np.dtype(dtype).itemsize * _count(name, self.rows, self.inputs) for name, dtype in COLUMNS.items())

    def columns_in(self, table):
        """{column: array} from the bytes of the whole table, an array of uint8."""
        columns, at = {}, 0
        for name, dtype in COLUMNS.items():
            end = at + np.dtype(dtype).itemsize * _count(name, self.rows, self.inputs)
            columns[name] = np.asarray(table[at:end]).view(dtype).reshape(_shape(name, self.rows, self.inputs))
            at = end
        return columns

    def is_consistent(self):
        """Whether the table of the file, which has the right size and sha256, describes the records behind it."""
        if not self.rows:
            return True
        table = self.columns_in(np.memmap(self.path, np.uint8, "r", 0, self.table_bytes))
        lengths = [table[name].min() for name in ("size", "input_length", "target_length") if table[name].size]
        total = self.table_bytes + int(table["size"].sum(dtype=np.int64))
        ascending = bool((table["high"][1:] >= table["high"][:-1]).all())
        return ascending and min(lengths) >= 0 and total == self.about["bytes"]

    @property
    def samples(self):
        return range(self.about["first"], self.about["first"] + self.about["samples"])

    @property
    def bad(self):
        return [examples.BadRecord(**record) for record in self.about["bad"]]


@dataclasses.dataclass(frozen=True)
class Slice:
    """Consecutive rows of a partition."""

    path: str
    partition_rows: int  # of the whole partition
    table_bytes: int  # of the whole partition: the records start after its table
    first_row: int
    rows: int
    first_byte: int  # from the start of the records
    bytes: int


def read_slice(file, part):
    """({column: array}, content of the records) of a `Slice` of an open partition; only the hash and size columns."""
    columns, at = {}, 0
    for name in ("high", "low", "size"):  # the first three
        width = np.dtype(COLUMNS[name]).itemsize
        file.seek(at + part.first_row * width)
        columns[name] = np.frombuffer(file.read(part.rows * width), COLUMNS[name])
        at += part.partition_rows * width
    file.seek(part.table_bytes + part.first_byte)
    return columns, file.read(part.bytes)


def name_of(split, first):
    return f"{split}-{first:012d}"


def from_json(content, path, split):
    """The finished `Partition` of a split whose JSON file `path` has `content` (bytes); None if it is not valid."""
    try:
        about = unsealed(content, _SCHEMA, path)
    except DamagedFile:
        return None
    stem = os.path.basename(path).removesuffix(ABOUT)
    if stem != name_of(split, about["first"]) or about["records"] + len(about["bad"]) != about["samples"]:
        return None
    partition = Partition(str(path).removesuffix(ABOUT) + RECORDS, about)
    return partition if partition.table_bytes <= about["bytes"] else None


def contiguous(partitions):
    """The leading partitions that follow each other without a gap; `partitions` are in sample order."""
    ends = itertools.accumulate((partition.about["samples"] for partition in partitions), initial=0)
    return [p for p, _ in itertools.takewhile(lambda pair: pair[0].about["first"] == pair[1], zip(partitions, ends))]


def _shape(name, rows, inputs):
    """The shape of a column."""
    return (rows, inputs) if inputs and name == "input_length" else (rows,)


def _count(name, rows, inputs):
    return math.prod(_shape(name, rows, inputs))
