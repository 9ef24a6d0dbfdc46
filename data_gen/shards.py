"""Records of a split → shuffled TFRecord shards and their index, in bounded memory.

The order is that of a hash of the keys: the same for any number of workers, and unrelated to the order of the corpus.
First pass: records go into buckets by the first bits of their hash, to disk when memory is used up.
Second pass: one bucket at a time is read, sorted and appended to the shards.
"""

import array
import dataclasses
import hashlib
import itertools
import os
import struct

import numpy as np

from t2t_multimodel.data_gen.examples import key_of
from t2t_multimodel.data_gen.files import sha256_of
from t2t_multimodel.errors import UserError

SHARD_BYTES = 256 << 20
MEMORY_BYTES = 128 << 20  # what the first pass keeps before it writes
_BUCKET_BITS = 10
_ENTRY = struct.Struct("<16sIII")  # hash, input length, target length, size; then the record
INDEX_DTYPES = {"shard": "<i4", "offset": "<i8", "size": "<i4", "input_length": "<i4", "target_length": "<i4"}
# A TFRecord is: size (8 bytes), checksum of the size (4), content, checksum of the content (4).
_BEFORE, _AFTER = 12, 4


class HashShuffle:
    """Takes records in any order, gives them back in the order of their keys' hashes. Files lie in `folder`."""

    def __init__(self, folder, seed, memory_bytes=MEMORY_BYTES):
        self._folder = folder
        self._salt = int(seed).to_bytes(8, "little", signed=True)
        self._memory_bytes = memory_bytes
        self._buckets = [bytearray() for _ in range(1 << _BUCKET_BITS)]
        self._held = 0

    def add(self, record):
        digest = hashlib.blake2b(record.key.encode(), digest_size=16, salt=self._salt).digest()
        bucket = self._buckets[int.from_bytes(digest[:2], "big") >> (16 - _BUCKET_BITS)]
        bucket += _ENTRY.pack(digest, record.input_length, record.target_length, len(record.content))
        bucket += record.content
        self._held += _ENTRY.size + len(record.content)
        if self._held > self._memory_bytes:
            self._spill()

    def in_order(self):
        """Yields (hash, input length, target length, content), and forgets them."""
        for number, bucket in enumerate(self._buckets):
            path = self._path(number)
            if path.exists():
                bucket = path.read_bytes() + bucket
                path.unlink()
            self._buckets[number] = None
            yield from sorted(_entries(bucket), key=lambda entry: entry[0])

    def _spill(self):
        self._folder.mkdir(exist_ok=True)
        for number, bucket in enumerate(self._buckets):
            if bucket:
                with open(self._path(number), "ab") as file:
                    file.write(bucket)
                self._buckets[number] = bytearray()
        self._held = 0

    def _path(self, number):
        return self._folder / f"{number:04d}"


def _entries(bucket):
    at, view = 0, memoryview(bucket)
    while at < len(view):
        digest, input_length, target_length, size = _ENTRY.unpack_from(view, at)
        at += _ENTRY.size
        yield digest, input_length, target_length, bytes(view[at : at + size])
        at += size


@dataclasses.dataclass
class SplitOnDisk:
    """The shards of one split: their names and content, and the index as it was written."""

    files: dict  # {file name: {"bytes", "sha256", "examples"}}
    index: dict  # {array name: array}, one row a record in file order
    hashes: np.ndarray  # uint64 [examples, 2], ascending

    @property
    def examples(self):
        return len(self.index["size"])

    @property
    def content_bytes(self):
        return int(self.index["size"].sum(dtype=np.int64))


def write_split(folder, problem_name, split, records, *, seed, shard_bytes=SHARD_BYTES, memory_bytes=MEMORY_BYTES):
    """Writes the shards and the index of a split into `folder`.

    Args:
      records: an iterable of `Record`.
      shard_bytes: a shard is closed when it is this large.

    Returns:
      A `SplitOnDisk`.

    Raises:
      UserError: two records have one key.
    """
    buckets = folder / "buckets"
    shuffle = HashShuffle(buckets, seed, memory_bytes)
    for record in records:
        shuffle.add(record)
    columns = {name: array.array("q" if name == "offset" else "i") for name in INDEX_DTYPES}
    hashes, before = bytearray(), None
    shards = _ShardWriter(folder, shard_bytes)
    for digest, input_length, target_length, content in shuffle.in_order():
        if digest == before:
            raise UserError(f"problem {problem_name}: two samples of split {split!r} have the key {key_of(content)!r}")
        before = digest
        hashes += digest
        shard, offset = shards.write(content)
        for column, value in zip(columns.values(), (shard, offset, len(content), input_length, target_length)):
            column.append(value)
    parts = shards.close()
    if buckets.exists():
        buckets.rmdir()
    index = {name: np.array(columns[name], dtype) for name, dtype in INDEX_DTYPES.items()}
    with open(folder / index_name(split), "wb") as file:
        np.savez(file, **index)  # numpy dates every entry 1980-01-01: the bytes repeat
    files = {}
    for number, (path, examples) in enumerate(parts):
        name = shard_name(problem_name, split, number, len(parts))
        os.rename(path, folder / name)
        size = (folder / name).stat().st_size
        files[name] = {"bytes": size, "sha256": sha256_of(folder / name), "examples": examples}
    return SplitOnDisk(files, index, np.frombuffer(bytes(hashes), ">u8").reshape(-1, 2).astype(np.uint64))


def shard_name(problem_name, split, number, count):
    return f"{problem_name}-{split}.tfrecord-{number:05d}-of-{count:05d}"


def index_name(split):
    return f"index-{split}.npz"


def refuse_shared_keys(folder, problem_name, splits):
    """Raises `UserError` if two of `splits`, {split: SplitOnDisk}, have a key in common."""
    for (a, one), (b, other) in itertools.combinations(splits.items(), 2):
        _, rows, other_rows = np.intersect1d(one.hashes[:, 0], other.hashes[:, 0], return_indices=True)
        same = one.hashes[rows, 1] == other.hashes[other_rows, 1]
        if same.any():
            key = key_of(read_record(folder, one, int(rows[same][0])))
            raise UserError(
                f"problem {problem_name}: the splits {a!r} and {b!r} share {int(same.sum())} keys, for instance "
                f"{key!r}: what is tested on must not be trained on"
            )


def read_record(folder, on_disk, row):
    """The content of the record in `row` of a split's index."""
    name = list(on_disk.files)[on_disk.index["shard"][row]]
    with open(folder / name, "rb") as file:
        file.seek(int(on_disk.index["offset"][row]))
        return file.read(int(on_disk.index["size"][row]))


class _ShardWriter:
    """Writes records one after another into `part-…` files of about `shard_bytes`."""

    def __init__(self, folder, shard_bytes):
        self._folder, self._shard_bytes = folder, shard_bytes
        self._parts = []  # [path, examples]
        self._writer, self._at = None, 0

    def write(self, content):
        """Returns the number of the shard and the place of the record's content in it."""
        import tensorflow as tf

        if self._writer is None:
            self._parts.append([self._folder / f"part-{len(self._parts):05d}", 0])
            self._writer, self._at = tf.io.TFRecordWriter(str(self._parts[-1][0])), 0
        self._writer.write(content)
        self._parts[-1][1] += 1
        offset = self._at + _BEFORE
        self._at = offset + len(content) + _AFTER
        place = len(self._parts) - 1, offset
        if self._at >= self._shard_bytes:
            self.close()
        return place

    def close(self):
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        return self._parts
