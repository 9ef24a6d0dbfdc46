"""Merges the partitions of a split into shuffled TFRecord shards and their index, in bounded memory.

Records are ordered by a hash of their keys: the same order for any number of workers, unrelated to the order of the
corpus. Since partitions are sorted by this hash, a shard consists of one slice of each. `plan` finds the slices from
the tables of the partitions, one part of the hash range at a time; `write_shard` merges them into one shard in memory.
"""

import dataclasses
import functools
import itertools

import numpy as np

from t2t_multimodel.data_gen import partitions
from t2t_multimodel.data_gen.examples import key_of
from t2t_multimodel.data_gen.files import new_file, sha256_of, sync
from t2t_multimodel.errors import UserError
from t2t_multimodel.store_folder import shard_name
from t2t_multimodel.store_index import INDEX_COLUMNS
from t2t_multimodel.tfrecord import AFTER, BEFORE

SHARD_BYTES = 256 << 20
_ROWS_AT_ONCE = 1 << 18  # sorted together
_MOST_MAPPED = 128  # tables that stay memory-mapped: each has an open file, of which a process may have 1,024 or 256


class UnfitSamples(UserError):
    """The samples of a problem can't form a store, so their finished partitions are of no use."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """The plan of one shard."""

    name: str  # of its file
    split: str
    number: int
    examples: int
    bytes: int  # of the file
    slices: tuple  # of `partitions.Slice`


@dataclasses.dataclass
class SplitPlan:
    """The planned shards of one split, and their index."""

    shards: list
    index: dict  # {array name: array}, one row per record, in file order
    hashes: np.ndarray  # uint64 [examples, 2], ascending

    @property
    def examples(self):
        return len(self.index["size"])

    @property
    def content_bytes(self):
        return int(self.index["size"].sum(dtype=np.int64))

    def key(self, row, open_partition):
        """The key of the record in an index row; reads the slices of its shard."""
        shard = self.shards[self.index["shard"][row]]
        for part in shard.slices:
            with open_partition(part.path) as file:
                columns, content = partitions.read_slice(file, part)
            found = np.flatnonzero((columns["high"] == self.hashes[row, 0]) & (columns["low"] == self.hashes[row, 1]))
            if len(found):
                start = int(columns["size"][: found[0]].sum(dtype=np.int64))
                return key_of(content[start : start + int(columns["size"][found[0]])])
        raise KeyError(row)


_open = functools.partial(open, mode="rb")


def plan(problem_name, split, made, *, shard_bytes=SHARD_BYTES, open_partition=_open, columns_of=None):
    """Decides which rows of which partitions each shard of a split holds.

    Args:
      made: the finished `Partition`s, in any order.
      shard_bytes: size at which a shard is closed.
      open_partition: path → the partition file, open for reading.
      columns_of: partition → its table {column: array}; None: memory-mapped.

    Returns:
      A `SplitPlan`.

    Raises:
      UnfitSamples: two records have the same key.
    """
    tables = _Tables(made, columns_of)
    rows = sum(partition.rows for partition in made)
    shapes = {name: (rows, *column.shape[1:]) for name, column in (tables[0] if tables else {}).items()}
    index = {name: np.empty(shapes.get(name, rows), dtype) for name, dtype in INDEX_COLUMNS.items()}
    planned = SplitPlan([], index, np.empty((rows, 2), np.uint64))
    cuts = _Cuts(split, made, shard_bytes, planned)
    for part, which in _in_order(tables, rows):
        same = np.flatnonzero((np.diff(part["high"]) == 0) & (np.diff(part["low"]) == 0))
        first = cuts.row
        cuts.add(part, which)
        if len(same):
            cuts.close()
            key = planned.key(first + int(same[0]), open_partition)
            raise UnfitSamples(f"problem {problem_name}: two samples of split {split!r} have the key {key!r}")
    cuts.close()
    names = [shard_name(problem_name, split, number, len(planned.shards)) for number in range(len(planned.shards))]
    planned.shards = [dataclasses.replace(shard, name=name) for shard, name in zip(planned.shards, names)]
    return planned


def write_shard(path, shard, open_partition=_open):
    """Writes the file of a planned `Shard` and returns {"bytes", "sha256", "examples"} of it."""
    import tensorflow as tf

    columns, contents = [], []
    for part in shard.slices:
        with open_partition(part.path) as file:
            table, content = partitions.read_slice(file, part)
        columns.append(table)
        contents.append(content)
    columns = partitions.joined(columns)
    order = partitions.in_hash_order(columns)
    new_file(path).close()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in partitions.records_in(order, columns["size"], contents, [part.rows for part in shard.slices]):
            writer.write(record)
    sync(path)
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path), "examples": len(order)}


def write_index(path, index):
    with new_file(path) as file:
        np.savez(file, **index)  # numpy dates every entry 1980-01-01, so the bytes are reproducible


def refuse_shared_keys(problem_name, splits, open_partition=_open):
    """Raises `UnfitSamples` if two of `splits`, {split: SplitPlan}, have a key in common."""
    for (a, one), (b, other) in itertools.combinations(splits.items(), 2):
        rows = _rows_in_both(one.hashes, other.hashes)
        if len(rows):
            key = one.key(int(rows[0]), open_partition)
            raise UnfitSamples(
                f"problem {problem_name}: the splits {a!r} and {b!r} share {len(rows)} keys, for instance "
                f"{key!r}: what is tested on must not be trained on"
            )


def _rows_in_both(hashes, others):
    """The rows of `hashes` that `others` has too, ascending.

    Both are uint64 [rows, 2], ascending, with different first halves: 64 bits of a hash don't agree by chance.
    """
    found = [np.empty(0, np.intp)]
    for first in range(0, len(others), _ROWS_AT_ONCE):
        part = others[first : first + _ROWS_AT_ONCE]
        rows = np.searchsorted(hashes[:, 0], part[:, 0])
        inside = rows < len(hashes)
        rows, part = rows[inside], part[inside]
        found.append(rows[(hashes[rows] == part).all(1)])
    return np.concatenate(found)


class _Tables:
    """The tables of partitions: those of `columns_of`, or memory-mapped files of this machine.

    Thousands of mapped files would be more than a process may have open, so only the first stay mapped. Of the others
    one at a time is mapped, for as long as it is used.
    """

    def __init__(self, made, columns_of=None):
        self._made = made
        self._kept = [(columns_of or _mapped)(partition) for partition in (made if columns_of else made[:_MOST_MAPPED])]

    def __len__(self):
        return len(self._made)

    def __getitem__(self, number):
        return self._kept[number] if number < len(self._kept) else _mapped(self._made[number])

    def part(self, number, start, last):
        """A copy of the rows of a partition from `start` on whose hashes begin with at most `last`."""
        table = self[number]
        end = start + int(np.searchsorted(table["high"][start:], last, "right"))
        return {name: column[start:end].copy() for name, column in table.items()}  # a view would keep the file open


def _mapped(partition):
    """The memory-mapped table of a partition on this machine."""
    if not partition.rows:  # only bad records
        return partition.columns_in(np.empty(0, np.uint8))
    return partition.columns_in(np.memmap(partition.path, np.uint8, "r", 0, partition.table_bytes))


def _in_order(tables, rows):
    """Yields ({column: array}, partition number of each row) in ascending hash order, one part at a time."""
    parts = -(-rows // _ROWS_AT_ONCE)
    starts = np.zeros(len(tables), np.int64)
    for number in range(1, parts + 1):  # none if there are no rows
        last = np.uint64((number << 64) // parts - 1)  # hashes are uniformly distributed
        cut = [tables.part(which, int(start), last) for which, start in enumerate(starts)]
        counts = [len(part["high"]) for part in cut]
        starts += counts
        which = np.repeat(np.arange(len(tables)), counts)
        if len(which):
            part = partitions.joined(cut)
            order = partitions.in_hash_order(part)
            yield {name: column[order] for name, column in part.items()}, which[order]


class _Cuts:
    """Cuts rows, given in hash order, into shards of about `shard_bytes`."""

    def __init__(self, split, made, shard_bytes, planned):
        self._split, self._made, self._shard_bytes, self._planned = split, made, shard_bytes, planned
        # For each partition: its rows and bytes in closed shards, and in the open shard.
        self._done = np.zeros((len(made), 2), np.int64)
        self._open = np.zeros((len(made), 2), np.int64)
        self._at = 0  # offset of the next record in the open shard
        self.row = 0

    def add(self, part, which):
        ends = np.cumsum(part["size"].astype(np.int64) + BEFORE + AFTER)
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
        index["offset"][rows] = ends - part["size"] - AFTER
        for name in ("size", "input_length", "target_length"):
            index[name][rows] = part[name]
        self._planned.hashes[rows] = np.stack([part["high"], part["low"]], 1)
        np.add.at(self._open, (which, 0), 1)
        np.add.at(self._open, (which, 1), part["size"].astype(np.int64))
        self._at = int(ends[-1])

    def close(self):
        """Closes the open shard, if it is not empty."""
        if not self._at:
            return
        slices = tuple(
            partitions.Slice(made.path, made.rows, made.table_bytes, *map(int, (done[0], here[0], done[1], here[1])))
            for made, done, here in zip(self._made, self._done, self._open)
            if here[0]
        )
        number, examples = len(self._planned.shards), int(self._open[:, 0].sum())
        self._planned.shards.append(Shard("", self._split, number, examples, self._at, slices))
        self._done, self._open = self._done + self._open, np.zeros_like(self._open)
        self._at = 0
