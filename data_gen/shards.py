"""The pieces of a split → shuffled TFRecord shards and their index, in bounded memory.

The order is that of a hash of the keys: the same for any number of workers, and unrelated to the order of the corpus.
Pieces are sorted already, so what a shard holds is a slice of each. `plan` finds the slices from the pieces' tables
alone, a part of the hashes' range at a time; `write_shard` reads them and writes one shard, whole in memory.
"""

import dataclasses
import functools
import itertools

import numpy as np

from t2t_multimodel.data_gen import pieces
from t2t_multimodel.data_gen.examples import key_of
from t2t_multimodel.data_gen.files import sha256_of, sync
from t2t_multimodel.errors import UserError

SHARD_BYTES = 256 << 20
INDEX_DTYPES = {"shard": "<i4", "offset": "<i8", "size": "<i4", "input_length": "<i4", "target_length": "<i4"}
_ROWS_AT_ONCE = 1 << 18  # whose order is found together
# A TFRecord is: size (8 bytes), checksum of the size (4), content, checksum of the content (4).
_BEFORE, _AFTER = 12, 4


class UnfitSamples(UserError):
    """The samples of a problem can't be made a store, whatever is done: what was made of them is of no further use."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One shard as it is planned."""

    name: str  # of its file
    split: str
    number: int
    examples: int
    bytes: int  # of the file
    slices: tuple  # of `pieces.Slice`


@dataclasses.dataclass
class SplitPlan:
    """The shards of one split, and the index of what they will hold."""

    shards: list
    index: dict  # {array name: array}, one row a record in file order
    hashes: np.ndarray  # uint64 [examples, 2], ascending

    @property
    def examples(self):
        return len(self.index["size"])

    @property
    def content_bytes(self):
        return int(self.index["size"].sum(dtype=np.int64))

    def key(self, row, open_piece):
        """The key of the record in a row of the index; reads its shard's slices."""
        shard = self.shards[self.index["shard"][row]]
        for part in shard.slices:
            with open_piece(part.path) as file:
                columns, content = pieces.read_slice(file, part)
            found = np.flatnonzero((columns["high"] == self.hashes[row, 0]) & (columns["low"] == self.hashes[row, 1]))
            if len(found):
                start = int(columns["size"][: found[0]].sum(dtype=np.int64))
                return key_of(content[start : start + int(columns["size"][found[0]])])
        raise KeyError(row)


_open = functools.partial(open, mode="rb")


def plan(problem_name, split, made, *, shard_bytes=SHARD_BYTES, open_piece=_open, columns_of=None):
    """Says which rows of which pieces each shard of a split will hold.

    Args:
      made: `Piece`s, in any order.
      shard_bytes: a shard is closed when it is this large.
      open_piece: path → the piece's file, open for reading.
      columns_of: piece → its table {column: array}; None: mapped into memory, where that can be done.

    Returns:
      A `SplitPlan`.

    Raises:
      UnfitSamples: two records have one key.
    """
    tables = [(columns_of or _mapped)(piece) for piece in made]
    rows = sum(piece.rows for piece in made)
    planned = SplitPlan(
        [], {name: np.empty(rows, dtype) for name, dtype in INDEX_DTYPES.items()}, np.empty((rows, 2), np.uint64)
    )
    cuts = _Cuts(split, made, shard_bytes, planned)
    for part, which in _in_order(tables, rows):
        same = np.flatnonzero((np.diff(part["high"]) == 0) & (np.diff(part["low"]) == 0))
        first = cuts.row
        cuts.add(part, which)
        if len(same):
            cuts.close()
            key = planned.key(first + int(same[0]), open_piece)
            raise UnfitSamples(f"problem {problem_name}: two samples of split {split!r} have the key {key!r}")
    cuts.close()
    names = [shard_name(problem_name, split, number, len(planned.shards)) for number in range(len(planned.shards))]
    planned.shards = [dataclasses.replace(shard, name=name) for shard, name in zip(planned.shards, names)]
    return planned


def write_shard(path, shard, open_piece=_open):
    """Writes the file of a planned `Shard` and returns {"bytes", "sha256", "examples"} of it."""
    import tensorflow as tf

    columns, contents = [], []
    for part in shard.slices:
        with open_piece(part.path) as file:
            table, content = pieces.read_slice(file, part)
        columns.append(table)
        contents.append(content)
    columns = pieces.joined(columns)
    order = pieces.in_hash_order(columns)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in pieces.records_in(order, columns["size"], contents, [part.rows for part in shard.slices]):
            writer.write(record)
    sync(path)
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path), "examples": len(order)}


def write_index(path, index):
    with open(path, "wb") as file:
        np.savez(file, **index)  # numpy dates every entry 1980-01-01: the bytes repeat


def shard_name(problem_name, split, number, count):
    return f"{problem_name}-{split}.tfrecord-{number:05d}-of-{count:05d}"


def index_name(split):
    return f"index-{split}.npz"


def refuse_shared_keys(problem_name, splits, open_piece=_open):
    """Raises `UnfitSamples` if two of `splits`, {split: SplitPlan}, have a key in common."""
    for (a, one), (b, other) in itertools.combinations(splits.items(), 2):
        _, rows, other_rows = np.intersect1d(one.hashes[:, 0], other.hashes[:, 0], return_indices=True)
        same = one.hashes[rows, 1] == other.hashes[other_rows, 1]
        if same.any():
            key = one.key(int(rows[same][0]), open_piece)
            raise UnfitSamples(
                f"problem {problem_name}: the splits {a!r} and {b!r} share {int(same.sum())} keys, for instance "
                f"{key!r}: what is tested on must not be trained on"
            )


def _mapped(piece):
    """The table of a piece on this machine; its pages are read as they are needed."""
    if not piece.rows:  # all bad
        return {name: np.empty(0, dtype) for name, dtype in pieces.COLUMNS.items()}
    return pieces.columns_in(np.memmap(piece.path, np.uint8, "r", 0, piece.rows * pieces.ROW_BYTES), piece.rows)


def _in_order(tables, rows):
    """Yields ({column: array}, the number of each row's piece) of all pieces' rows, hashes ascending, a part a time."""
    parts = -(-rows // _ROWS_AT_ONCE)
    starts = [0] * len(tables)
    for number in range(1, parts + 1):  # none, where there are no rows
        last = np.uint64((number << 64) // parts - 1)  # hashes are spread evenly
        ends = [start + int(np.searchsorted(t["high"][start:], last, "right")) for t, start in zip(tables, starts)]
        cut = [{name: t[name][a:b] for name in t} for t, a, b in zip(tables, starts, ends)]
        which = np.repeat(np.arange(len(tables)), np.subtract(ends, starts))
        starts = ends
        if len(which):
            part = pieces.joined(cut)
            order = pieces.in_hash_order(part)
            yield {name: column[order] for name, column in part.items()}, which[order]


class _Cuts:
    """Takes rows in the order of their hashes and cuts them into shards of about `shard_bytes`."""

    def __init__(self, split, made, shard_bytes, planned):
        self._split, self._made, self._shard_bytes, self._planned = split, made, shard_bytes, planned
        # For every piece: rows and bytes of it that are in closed shards, and in the one that is open.
        self._done = np.zeros((len(made), 2), np.int64)
        self._open = np.zeros((len(made), 2), np.int64)
        self._at = 0  # where the next record of the open shard will begin
        self.row = 0

    def add(self, part, which):
        ends = np.cumsum(part["size"].astype(np.int64) + _BEFORE + _AFTER)
        first = 0
        while first < len(ends):
            shift = self._at - (int(ends[first - 1]) if first else 0)
            full = int(np.searchsorted(ends, self._shard_bytes - shift)) + 1
            last = min(full, len(ends))
            self._add_rows(
                {name: column[first:last] for name, column in part.items()}, which[first:last], ends[first:last] + shift
            )
            if full <= len(ends):
                self.close()
            first = last

    def _add_rows(self, part, which, ends):
        rows = slice(self.row, self.row + len(ends))
        self.row = rows.stop
        index = self._planned.index
        index["shard"][rows] = len(self._planned.shards)
        index["offset"][rows] = ends - part["size"] - _AFTER
        for name in ("size", "input_length", "target_length"):
            index[name][rows] = part[name]
        self._planned.hashes[rows] = np.stack([part["high"], part["low"]], 1)
        np.add.at(self._open, (which, 0), 1)
        np.add.at(self._open, (which, 1), part["size"].astype(np.int64))
        self._at = int(ends[-1])

    def close(self):
        """Ends the open shard, if it holds anything."""
        if not self._at:
            return
        slices = tuple(
            pieces.Slice(piece.path, piece.rows, int(done[0]), int(here[0]), int(done[1]), int(here[1]))
            for piece, done, here in zip(self._made, self._done, self._open)
            if here[0]
        )
        number, examples = len(self._planned.shards), int(self._open[:, 0].sum())
        self._planned.shards.append(Shard("", self._split, number, examples, self._at, slices))
        self._done, self._open = self._done + self._open, np.zeros_like(self._open)
        self._at = 0
