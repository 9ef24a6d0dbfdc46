"""The frame of a record: what is whole comes back, and every flipped bit of it is noticed."""

import io
import random

from hypothesis import given
from hypothesis import strategies as st

from t2t_multimodel import tfrecord


def framed(content):
    """A record as it lies in a file (`tests/test_store.py` reads those of TensorFlow)."""
    return tfrecord._header(len(content)) + content + tfrecord._checksum(content)


def test_a_known_record():
    assert framed(b"") == bytes(8) + bytes.fromhex("29039807") + bytes.fromhex("d8ea82a2")


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_whole_records_come_back(contents):
    sizes = list(map(len, contents))
    assert tfrecord.contents_of(list(map(framed, contents)), sizes) == contents
    file = b"".join(map(framed, contents))
    assert [content for _, content in tfrecord.records(io.BytesIO(file), len(file))] == contents


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_every_flipped_bit_is_noticed(contents, rng: random.Random):
    records, number = list(map(framed, contents)), rng.randrange(len(contents))
    damaged = bytearray(records[number])
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    records[number] = bytes(damaged)
    found = tfrecord.contents_of(records, list(map(len, contents)))
    assert [row for row, content in enumerate(found) if content is None] == [number]
    file = b"".join(records)
    *before, (_, last) = tfrecord.records(io.BytesIO(file), len(file))
    assert last is None and [content for _, content in before] == contents[:number]


@given(st.binary(max_size=40), st.integers(0, 60))
def test_a_cut_record_is_noticed(content, size):
    record = framed(content)
    if size < len(record):
        assert tfrecord.contents_of([record[:size]], [len(content)]) == [None]
