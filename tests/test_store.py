"""The example store: what was written comes back, and damage is one clear line."""

import shutil

import numpy as np
import pytest
from input_data import (
    CAPTIONS,
    PICTURES,
    RANDOM,
    RECORDINGS,
    TEXTS,
    make_input_data,
)
from stores import SmallVocabulary, edit_manifest

from t2t_multimodel.errors import UserError
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.modalities import ProblemSpec, Text


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_input_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def copy(data, tmp_path):
    """A copy of `words` that a test may damage: (data folder, store folder)."""
    shutil.copytree(data / "words", tmp_path / "words")
    return tmp_path, tmp_path / "words"


@pytest.mark.parametrize(
    "name, samples",
    [("words", TEXTS), ("shapes", PICTURES), ("speech", RECORDINGS), ("captions", CAPTIONS)],
)
def test_examples_come_back_as_they_were_written(data, name, samples):
    rows = RANDOM.permutation(len(samples))[:20]
    examples = ExampleStore(data, name).split("train").examples(rows)
    for row, example in zip(rows, examples):
        np.testing.assert_array_equal(example["inputs"], samples[row]["inputs"])
        targets = samples[row]["targets"]
        np.testing.assert_array_equal(example["targets"], "xyz".index(targets) if name == "shapes" else targets)
        assert example["key"] == f"train-{row}"
        assert example.get("references") == samples[row].get("references")
    assert ExampleStore(data, name).split("train").examples([]) == []


def test_what_a_store_says_of_itself(data):
    words, shapes = ExampleStore(data, "words"), ExampleStore(data, "shapes")
    assert words.spec == ProblemSpec("words", *2 * [Text().bind(SmallVocabulary)], 3)
    assert words.vocabulary_folder == data / "vocabulary"
    assert shapes.vocabulary_folder is None
    assert shapes.spec.targets.classes == ("x", "y", "z")
    assert (shapes.evaluation_split, words.evaluation_split) == ("test", "dev")
    assert words.metrics == ("exact_match",)
    assert len(words.split("train")) == 150
    with pytest.raises(UserError, match="'train'"):
        words.split("trian")


def test_digest_follows_what_training_can_see(copy):
    data, folder = copy
    before = ExampleStore(data, "words").digest
    edit_manifest(folder, description="other words")
    assert ExampleStore(data, "words").digest == before
    edit_manifest(folder, command={"name": "to_words", "id": 4})
    assert ExampleStore(data, "words").digest != before


def test_missing_data_names_the_command(tmp_path):
    with pytest.raises(UserError) as error:
        ExampleStore(tmp_path, "words")
    assert f"t2t-datagen --problem=words --data_dir={tmp_path}" in str(error.value)


def _edit_manifest(**changes):
    return lambda folder: edit_manifest(folder, **changes)


def _cut(name, size=-7):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


SHARD = "words-train.tfrecord-00001-of-00003"


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda f: (f / "manifest.json").unlink(), ["incomplete", "manifest.json"]),
        (_cut("manifest.json"), ["manifest.json", "damaged"]),
        (_edit_manifest(format_version=99), ["format version 99"]),
        (_edit_manifest(problem="other"), ["'other'"]),
        (_edit_manifest(splits=None), ["manifest.json", "damaged"]),
        (_edit_manifest(inputs={"colour": 1}), ["manifest.json", "damaged"]),
        (_edit_manifest(command=None), ["manifest.json", "damaged"]),
        (lambda f: (f / SHARD).unlink(), ["incomplete", SHARD]),
        (_cut(SHARD), ["truncated shard", SHARD, "bytes instead of"]),
        (lambda f: (f / SHARD).open("ab").write(b"more"), ["changed shard", SHARD]),
        (lambda f: (f / "index-train.npz").unlink(), ["incomplete", "index-train.npz"]),
        (_cut("index-train.npz"), ["index-train.npz", "truncated"]),
        (lambda f: shutil.copy(f / "index-dev.npz", f / "index-train.npz"), ["index-train.npz", "bytes instead of"]),
    ],
)
def test_damaged_stores_are_one_clear_line(copy, damage, words):
    data, folder = copy
    damage(folder)
    with pytest.raises(UserError) as error:
        ExampleStore(data, "words").split("train")
    for word in [*words, f"t2t-datagen --problem=words --data_dir={data}"]:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("garbage", [b"\xff", b"\0"])
def test_damaged_records_are_noticed_when_they_are_read(copy, garbage):
    data, folder = copy
    size = (folder / SHARD).stat().st_size
    (folder / SHARD).write_bytes(garbage * size)
    split = ExampleStore(data, "words").split("train")
    with pytest.raises(UserError, match="its checksum is wrong"):
        split.columns(np.arange(150))


def test_a_shard_cut_while_it_is_open_is_noticed(copy):
    data, folder = copy
    split = ExampleStore(data, "words").split("train")
    split.read([0, 149])
    with open(folder / SHARD, "r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match="truncated shard"):
        split.read(np.arange(150))
