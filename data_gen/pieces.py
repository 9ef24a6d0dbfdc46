"""Pieces: the records of a run of consecutive samples, sorted by hash, in one file; what a stopped run has finished.

A piece's file holds a table (a column after another: the two halves of the hash, size, input length, target length) and
then the records themselves, both in the order of the hashes. Beside it, written last, a small JSON file says which
samples it holds, its size and its sha256: with that, the piece is finished.
"""

import dataclasses
import hashlib
import itertools
import json

import numpy as np

from t2t_multimodel.data_gen import examples

PIECE_BYTES = 64 << 20  # a piece is closed when it is this large, or a shard's size where that is less …
PIECE_SECONDS = 30.0  # … or this old: a run that is stopped loses no more
COLUMNS = {"high": "<u8", "low": "<u8", "size": "<i4", "input_length": "<i4", "target_length": "<i4"}
ROW_BYTES = sum(np.dtype(dtype).itemsize for dtype in COLUMNS.values())
RECORDS, ABOUT = ".records", ".json"  # the two files of a piece


@dataclasses.dataclass(frozen=True)
class Packed:
    """Records as arrays: {column: array} and their content one after another."""

    columns: dict
    content: bytes

    def __len__(self):
        return len(self.columns["size"])


def pack(records, seed):
    """Makes `Packed` of a list of `examples.Record`; `seed` decides the hashes and so the order on disk."""
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
    columns = {name: np.array(values[name], dtype) for name, dtype in COLUMNS.items()}
    return Packed(columns, b"".join(record.content for record in records))


def in_hash_order(columns):
    """The numbers of the rows in the order of their hashes."""
    return np.lexsort((columns["low"], columns["high"]))


def joined(tables):
    """Several {column: array} as one."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


class Run:
    """A piece in the making: chunks of consecutive samples, from sample number `first` on."""

    def __init__(self, first):
        self.first, self.samples, self.bytes = first, 0, 0
        self._packed, self._bad = [], []
        self._text_ids = self._characters = 0

    def add(self, chunk):
        """Takes an `examples.Chunk` whose records are `Packed`."""
        self.samples += len(chunk.records) + len(chunk.bad)
        self.bytes += len(chunk.records.content)
        self._packed.append(chunk.records)
        self._bad += chunk.bad
        self._text_ids += chunk.text_ids
        self._characters += chunk.characters

    def finished(self):
        """(content of its file as an iterable of bytes, what its JSON file says)."""
        columns = joined([packed.columns for packed in self._packed])
        contents = [packed.content for packed in self._packed]
        order = in_hash_order(columns)
        parts = [column[order].tobytes() for column in columns.values()]
        parts += records_in(order, columns["size"], contents, [len(packed) for packed in self._packed])
        digest, size = hashlib.sha256(), 0
        for part in parts:
            digest.update(part)
            size += len(part)
        return parts, self.about(len(order), size, digest)

    def about(self, records, size, digest):
        """What the JSON file of the piece says."""
        return {
            "first": self.first,
            "samples": self.samples,
            "records": records,
            "bytes": size,
            "sha256": digest.hexdigest(),
            "text_ids": self._text_ids,
            "characters": self._characters,
            "bad": [dataclasses.asdict(record) for record in self._bad],
        }


def records_in(order, sizes, contents, rows):
    """Yields the records of several contents in `order`; `rows` says how many of all rows each content has."""
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
class Piece:
    """A finished piece: where it lies, and what its JSON file says."""

    path: str
    about: dict

    @property
    def rows(self):
        return self.about["records"]

    @property
    def samples(self):
        return range(self.about["first"], self.about["first"] + self.about["samples"])

    @property
    def bad(self):
        return [examples.BadRecord(**record) for record in self.about["bad"]]


@dataclasses.dataclass(frozen=True)
class Slice:
    """Consecutive rows of a piece."""

    path: str
    piece_rows: int  # of the whole piece: the records begin behind its table
    first_row: int
    rows: int
    first_byte: int  # of the records' part
    bytes: int


def columns_in(table, rows):
    """{column: array} of the bytes of a whole table, an array of uint8."""
    columns, at = {}, 0
    for name, dtype in COLUMNS.items():
        end = at + rows * np.dtype(dtype).itemsize
        columns[name] = np.asarray(table[at:end]).view(dtype)
        at = end
    return columns


def read_slice(file, part):
    """({column: array}, the records' content) of a `Slice` of an open piece; of the columns hash and size only."""
    columns, at = {}, 0
    for name in ("high", "low", "size"):  # the first three
        width = np.dtype(COLUMNS[name]).itemsize
        file.seek(at + part.first_row * width)
        columns[name] = np.frombuffer(file.read(part.rows * width), COLUMNS[name])
        at += part.piece_rows * width
    file.seek(ROW_BYTES * part.piece_rows + part.first_byte)
    return columns, file.read(part.bytes)


def name_of(split, first):
    return f"{split}-{first:012d}"


def to_json(about):
    return (json.dumps(about, ensure_ascii=False) + "\n").encode()


def contiguous(pieces):
    """Of pieces in the order of their samples those that leave no sample out, from the first on."""
    ends = itertools.accumulate((piece.about["samples"] for piece in pieces), initial=0)
    return [p for p, _ in itertools.takewhile(lambda pair: pair[0].about["first"] == pair[1], zip(pieces, ends))]
