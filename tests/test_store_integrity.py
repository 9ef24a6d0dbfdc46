"""A store is read as it was written or not at all; a reader keeps its store; a stranger's store opens nothing else."""

import gc
import io
import os
import random
import zipfile

import numpy as np
import pytest
from fuzz_store import FuzzLabels, FuzzWords, everything_in, fresh_copy, make
from stores import edit_manifest, facts_of

from t2t_multimodel.data_gen import store as store_module
from t2t_multimodel.data_gen.verify import verify
from t2t_multimodel.digests import read_sealed, sealed
from t2t_multimodel.errors import UserError
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.json_files import ANY

SHARD = "fuzz_words-train.tfrecord-00001-of-00004"
INDEX = "index-train.npz"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    make(folder, (FuzzWords, FuzzLabels))
    assert (folder / "fuzz_words" / SHARD).exists(), list((folder / "fuzz_words").iterdir())
    return folder


@pytest.fixture
def data(whole, tmp_path):
    """(a copy of the data folder, the folder of its store)."""
    return fresh_copy(whole, tmp_path / "data"), tmp_path / "data" / "fuzz_words"


def refused(data_dir, *words):
    """Reads everything; the `UserError`'s message, which is one line with all `words`."""
    with pytest.raises(UserError) as error:
        everything_in(data_dir)
    message = str(error.value)
    assert "\n" not in message and all(word in message for word in words), message
    return message


# ---- Damage


def test_every_flipped_bit_of_a_shard_is_noticed_when_its_record_is_read(data):
    data_dir, folder = data
    right, rng = (folder / SHARD).read_bytes(), random.Random(0)
    for _ in range(100):
        at, content = rng.randrange(len(right)), bytearray(right)
        content[at] ^= 1 << rng.randrange(8)
        (folder / SHARD).write_bytes(content)
        refused(data_dir, SHARD, "record", "its checksum is wrong", "t2t-datagen --problem=fuzz_words", "--overwrite")


def test_the_record_is_named(data):
    data_dir, folder = data
    index = np.load(folder / INDEX)
    row = int(np.flatnonzero(index["shard"] == 1)[3])
    content = bytearray((folder / SHARD).read_bytes())
    content[index["offset"][row] + 2] ^= 1
    (folder / SHARD).write_bytes(content)
    refused(data_dir, SHARD, f"record 3 (row {row} of 'train')")


@pytest.mark.parametrize("name", [INDEX, "dataset_info.json", "features.json", "manifest.json"])
def test_every_flipped_bit_of_the_other_files_is_noticed_when_the_store_is_opened(data, name):
    data_dir, folder = data
    right, rng = (folder / name).read_bytes(), random.Random(name)
    for _ in range(30):
        at, content = rng.randrange(len(right)), bytearray(right)
        content[at] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(content)
        refused(data_dir, name)
        with pytest.raises(UserError, match=name):
            verify(["fuzz_words"], data_dir, log=lambda line: None, progress=False)
        with pytest.raises(UserError, match=name):
            make(data_dir)


def test_a_store_with_a_damaged_manifest_is_made_again_by_overwrite(whole, data):
    data_dir, folder = data
    (folder / "manifest.json").write_bytes(b"[" * 100_000)
    make(data_dir, overwrite=True)
    assert everything_in(data_dir) == everything_in(whole)


# ---- Replaced while it is read


def test_a_reader_keeps_the_store_that_it_opened(data, monkeypatch):
    data_dir, folder = data
    reader = ExampleStore(data_dir, "fuzz_words").split("train")
    before = [example["key"] for example in reader.examples(range(5))]
    lines = make(data_dir, overwrite=True, seed=7)
    assert any("is being read" in line for line in lines), lines
    assert sorted(reader.keys()) == sorted(ExampleStore(data_dir, "fuzz_words").split("train").keys())
    assert [example["key"] for example in reader.examples(range(5))] == before  # in the old order
    assert [
        example["key"] for example in ExampleStore(data_dir, "fuzz_words").split("train").examples(range(5))
    ] != before
    make(data_dir, seed=7)
    assert len(list(data_dir.glob("incomplete.*"))) == 1  # it is still read
    del reader
    gc.collect()
    make(data_dir, seed=7)
    assert not list(data_dir.glob("incomplete.*"))


def test_a_store_that_is_removed_while_it_is_read_is_called_so(data):
    data_dir, folder = data
    reader = ExampleStore(data_dir, "fuzz_words").split("train")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(UserError, match="removed or replaced after it was opened") as error:
        reader.examples(range(5))
    assert "damaged: the data is incomplete" not in str(error.value)


# ---- A stranger's store


@pytest.mark.parametrize("name", [SHARD, INDEX, "features.json", "manifest.json"])
@pytest.mark.parametrize("put", ["pipe", "folder", "zero", "link"])
def test_only_regular_files_are_read(data, name, put):
    data_dir, folder = data
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if put == "pipe":
        os.mkfifo(folder / name)
    elif put == "folder":
        (folder / name).mkdir()
    else:
        target = "/dev/zero" if put == "zero" else folder.parent / "elsewhere"
        (folder.parent / "elsewhere").write_bytes(content)
        (folder / name).symlink_to(target)
    refused(data_dir, name, "regular file")
    with pytest.raises(UserError, match="regular file"):
        verify(["fuzz_words"], data_dir, log=lambda line: None, progress=False)


@pytest.mark.parametrize("name", ["bpe.model", "vocabulary.json"])
@pytest.mark.parametrize("put", ["pipe", "folder", "zero"])
def test_only_regular_files_are_read_as_a_vocabulary(data, name, put):
    data_dir, _ = data
    path = data_dir / "vocabulary" / name
    path.unlink()
    {"pipe": os.mkfifo, "folder": os.mkdir, "zero": lambda path: os.symlink("/dev/zero", path)}[put](path)
    refused(data_dir, name, "regular file")


@pytest.mark.parametrize("name", ["../secret", "/dev/zero", "..", "x/../../secret", "a\0b", SHARD + "\x1b[2J"])
def test_names_stay_inside_the_folder(data, name):
    data_dir, folder = data
    manifest = edit_manifest(folder)
    train = manifest["splits"]["train"]
    files = {name if key == SHARD else key: facts for key, facts in train["files"].items()}
    edit_manifest(folder, splits=manifest["splits"] | {"train": train | {"files": files}})
    refused(data_dir, "manifest.json", "other names")
    edit_manifest(folder, splits=manifest["splits"], files=manifest["files"] | {name: {"bytes": 0, "sha256": ""}})
    message = refused(data_dir, "manifest.json", "lists the file")
    assert message.isprintable()
    edit_manifest(folder, splits={**manifest["splits"], name: train}, files=manifest["files"])
    refused(data_dir, "manifest.json")


@pytest.mark.parametrize(
    "change",
    [
        {"splits": {}},
        {"splits": []},
        {"files": {}},
        {"metrics": "bleu"},
        {"evaluation_split": 1},
        {"vocabulary": None},
        {"vocabulary": {"digest": "0", "size": 2**40, "file": ""}},
        {"command": {"name": "to_fuzz_words", "id": 4}},
        {"command": {"name": "to_fuzz_words", "id": -1}},
        {"dropped_count": -1},
        {"decode_hparams": {"beam_size": [[]]}},
        {"fingerprint": {"arguments": []}},
        {"inputs": {"modality": "image", "height": 10**12, "width": 10**12, "channels": 3}},
        {"inputs": {"modality": "nothing"}},
        {"inputs": {"modality": "text", "vocabulary_size": 10**9, "vocabulary_digest": "x"}},
    ],
)
def test_forged_manifests_are_one_line(data, change):
    data_dir, folder = data
    edit_manifest(folder, **change)
    refused(data_dir, "fuzz_words")


def _npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _claiming(shape, index):
    """An index whose first array says that it has another shape than it has."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, values in index.items():
            array = io.BytesIO()
            np.lib.format.write_array(array, values)
            content = array.getvalue()
            if name == "shard":
                content = content.replace(f"({len(values)},), }}".encode(), f"({shape},), }}".encode())
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


FORGERIES = {
    "negative offsets": lambda i: _npz(**i | {"offset": -i["offset"]}),
    "huge sizes": lambda i: _npz(**i | {"size": np.full_like(i["size"], 2**31 - 1)}),
    "negative sizes": lambda i: _npz(**i | {"size": -i["size"]}),
    "negative lengths": lambda i: _npz(**i | {"input_length": -i["input_length"]}),
    "a shard too many": lambda i: _npz(**i | {"shard": i["shard"] + 1}),
    "two columns": lambda i: _npz(**i | {"shard": np.stack([i["shard"]] * 2, 1)}),
    "floats": lambda i: _npz(**i | {"offset": i["offset"].astype(float)}),
    "objects": lambda i: _npz(**i | {"offset": np.array([None] * len(i["offset"]))}),
    "backwards": lambda i: _npz(**{name: values[::-1] for name, values in i.items()}),
    "one row too few": lambda i: _npz(**{name: values[1:] for name, values in i.items()}),
    "a column missing": lambda i: _npz(**{name: values for name, values in i.items() if name != "size"}),
    "4 TiB": lambda i: _claiming(2**40, i),
    "no zip": lambda i: b"PK" + b"x" * 100,
    "empty": lambda i: b"",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_indexes_are_one_line(data, forgery):
    data_dir, folder = data
    path = folder / INDEX
    path.write_bytes(FORGERIES[forgery](dict(np.load(path))))
    manifest = edit_manifest(folder)
    edit_manifest(folder, files=manifest["files"] | {INDEX: facts_of(path)})
    refused(data_dir, INDEX)
    with pytest.raises(UserError, match=INDEX):
        verify(["fuzz_words"], data_dir, log=lambda line: None, progress=False)


def test_a_sealed_file_comes_back_as_it_was_written(tmp_path):
    values = {"a": 1.5, "ü": [None, True, {"b": "c"}], "bad": "\udcff"}
    (tmp_path / "a").write_bytes(sealed(values))
    assert read_sealed(tmp_path / "a", {str: ANY}) == values | {"bad": "?"}


def test_the_parts_of_data_generation_read_the_same_manifest(data):
    data_dir, folder = data
    assert store_module.read_manifest(folder) == ExampleStore(data_dir, "fuzz_words").manifest
