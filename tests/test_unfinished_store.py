"""What is not as it was written in an unfinished store is made again: no number in it is trusted."""

import json
import os

import pytest
from fuzz_store import FuzzWords, content_of, fresh_copy, make, make_unfinished

from t2t_multimodel.data_gen import files
from t2t_multimodel.digests import sealed

PARTITION, SHARD = "partitions/train-*.json", "shards/train-*.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    make(folder)
    return content_of(folder)


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unfinished")
    make_unfinished(folder)
    return folder


def values(change):
    """Changes the values of a JSON file, and leaves the digest that is written in it."""

    def damage(path):
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    return damage


def forged(change):
    """The same, with the right digest."""

    def damage(path):
        found = json.loads(path.read_text())
        change(found)
        path.write_bytes(sealed(found))

    return damage


def content(new):
    return lambda path: path.write_bytes(new)


def flipped(path):
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 4
    path.write_bytes(found)


DAMAGE = {
    "a sample more": (PARTITION, values(lambda about: about.update(samples=about["samples"] + 1))),
    "a record less": (PARTITION, values(lambda about: about.update(records=about["records"] - 1))),
    "another first sample": (PARTITION, values(lambda about: about.update(first=1))),
    "no bytes": (PARTITION, values(lambda about: about.pop("bytes"))),
    "a name more": (PARTITION, values(lambda about: about.update(more=1))),
    "a list": (PARTITION, content(b"[]")),
    "empty": (PARTITION, content(b"")),
    "deep": (PARTITION, content(b"[" * 100_000)),
    "a sample more, forged": (PARTITION, forged(lambda about: about.update(samples=about["samples"] + 1))),
    "more records, forged": (PARTITION, forged(lambda about: about.update(records=10**15, samples=10**15))),
    "huge, forged": (PARTITION, forged(lambda about: about.update(bytes=2**62, first=2**62))),
    "many inputs, forged": (PARTITION, forged(lambda about: about.update(inputs=2**62))),
    "one of several inputs, forged": (PARTITION, forged(lambda about: about.update(inputs=1))),
    "a bad record, forged": (PARTITION, forged(lambda about: about.update(bad=[{"key": 1}]))),
    "flipped records": ("partitions/train-*.records", flipped),
    "no records": ("partitions/train-*.records", content(b"")),
    "all of it, forged": ("partitions/train.all.json", forged(lambda about: about.update(samples=5))),
    "shard: no bytes": (SHARD, values(lambda about: about.pop("bytes"))),
    "shard: another sha256": (SHARD, forged(lambda about: about.update(sha256="0" * 64))),
    "shard: a list": (SHARD, content(b"[]")),
    "flipped shard": ("store/*.tfrecord-*", flipped),
    "references": ("references.json", content(b"true")),
    "references of a wrong type": ("references.json", forged(lambda about: about.update(references={}))),
    "made from nothing": ("made_from.json", forged(lambda about: about.update(fingerprint=None))),
    "made from a list": ("made_from.json", content(b"[]")),
    "made from an empty file": ("made_from.json", content(b"")),
    "a pipe": (PARTITION, lambda path: path.unlink() or os.mkfifo(path)),
    "a stranger's shard": (SHARD, lambda path: path.with_name("train-00099.json").write_bytes(path.read_bytes())),
    "another file": (SHARD, lambda path: (path.parents[1] / "store" / "evil.py").write_bytes(b"import os")),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_not_as_it_was_written_is_made_again(whole, unfinished, tmp_path, name):
    data_dir = fresh_copy(unfinished, tmp_path / "data")
    pattern, damage = DAMAGE[name]
    found = sorted((data_dir / f"{files.INCOMPLETE}{FuzzWords.name}").glob(pattern))
    assert found, pattern
    damage(found[0])
    make(data_dir)
    assert content_of(data_dir) == whole
