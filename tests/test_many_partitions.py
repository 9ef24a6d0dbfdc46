"""Promise: thousands of partitions and millions of keys need few open files and little memory."""

import os
import resource
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2t_multimodel.data_gen import partitions, shards
from t2t_multimodel.data_gen.examples import Chunk, Record

HASHES = st.dictionaries(st.integers(0, 9), st.integers(0, 2)).map(lambda halves: set(halves.items()))


@pytest.fixture
def few_open_files():
    """As many more as a store may need, on any system."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 200, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("few_open_files")
def test_there_may_be_more_partitions_than_a_process_may_have_files_open(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_ROWS_AT_ONCE", 100)
    made, hashes = [], []
    for number in range(300):
        records = [Record(f"{number}/{n}", b"record", number, n) for n in range(1 + number % 2)]
        packed = partitions.pack(records, seed=0)
        builder = partitions.PartitionBuilder(0)
        builder.add(Chunk(packed, []))
        parts, about = builder.finished()
        made.append(partitions.Partition(str(tmp_path / f"{number}.records"), about))
        (tmp_path / f"{number}.records").write_bytes(b"".join(parts))
        hashes += zip(packed.columns["high"].tolist(), packed.columns["low"].tolist())
    planned = shards.plan("p", "train", made, shard_bytes=1000)
    assert [tuple(row) for row in planned.hashes.tolist()] == sorted(hashes)
    assert sum(part.rows for shard in planned.shards for part in shard.slices) == 450


@given(HASHES, HASHES, st.sampled_from([1, 3, 100]))
def test_the_keys_that_two_splits_share_are_found(some, others, rows_at_once):
    with mock.patch.object(shards, "_ROWS_AT_ONCE", rows_at_once):
        rows = shards._rows_in_both(*(np.array(sorted(h), np.uint64).reshape(-1, 2) for h in (some, others)))
    assert [sorted(some)[row] for row in rows] == sorted(some & others)


def test_comparing_the_keys_of_two_splits_takes_little_memory():
    rows = 2_000_000
    hashes = np.repeat(np.arange(2 * rows, dtype=np.uint64), 2).reshape(-1, 2)
    plans = {split: shards.SplitPlan([], {}, part) for split, part in (("train", hashes[::2]), ("dev", hashes[1::2]))}
    tracemalloc.start()
    try:
        shards.refuse_shared_keys("p", plans)
        assert tracemalloc.get_traced_memory()[1] < 10 * rows  # bytes; sorting all takes 40 a row
    finally:
        tracemalloc.stop()
