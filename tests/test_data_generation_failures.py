"""When data generation goes wrong: one clear error, nothing half-written, and `verify` finds any damage."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from stores import edit_manifest

from t2t_multimodel.data_gen import shards, staging
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.data_gen.verify import verify
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Image, Label, Text
from t2t_multimodel.problem import Problem


class Numbers(Problem):
    """Not registered: tests over "every problem" are not about it."""

    name = "test_numbers"
    inputs = targets = Text()
    splits = ("train", "dev")
    count = 200

    def samples(self, split):
        for number in range(self.count if split == "train" else 30):
            yield {"inputs": f"number {number}", "targets": str(number)}


class Pictures(Numbers):
    name = "test_pictures"
    inputs, targets = Image(2, 2, 1), Label(("dark",))

    def samples(self, split):
        for number in range(50):
            yield {"inputs": f"/photos/{split}/{number}.png", "targets": "dark", "key": f"{split}/{number}"}

    def prepare(self, sample):
        if sample["key"] in ("train/7", "train/9"):
            raise ValueError("no picture")
        if sample["key"] == "dev/0":
            raise OSError("the file is cut off")
        return {**sample, "inputs": np.zeros((2, 2, 1), np.uint8)}


class HangsUp(Numbers):
    """In a worker, `prepare` says who it is and then never returns."""

    name = "test_hangs_up"
    marker = None
    count = 1100  # enough for worker processes to start

    def prepare(self, sample):
        if sample["inputs"] == "number 1099" and multiprocessing.parent_process():
            hang(self.marker)
        return sample


def hang(marker):
    Path(marker).with_suffix(".new").write_text(str(os.getpid()))
    os.rename(Path(marker).with_suffix(".new"), marker)
    time.sleep(100)


def silent(line):
    pass


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


# ---- Killed


def generate_and_hang(data_dir, marker, where):
    """Runs in a child process, which is killed while it hangs."""
    problem, count = Numbers(), 1
    if where == "making records":
        problem, count = HangsUp(), 2
        problem.marker = str(marker)
    elif where == "writing shards":
        shards.sha256_of = lambda path: hang(marker)
    elif where == "about to rename":
        staging.os = types.SimpleNamespace(**vars(os) | {"rename": lambda *paths: hang(marker)})
    generate([problem], data_dir, workers=count)


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_looks_complete_and_the_next_run_succeeds(tmp_path):
    places, children = ("making records", "writing shards", "about to rename"), {}
    for number, where in enumerate(places):
        code = f"import test_data_generation_failures as t; t.generate_and_hang({str(tmp_path / str(number))!r}, "
        code += f"{str(tmp_path / f'{number}.marker')!r}, {where!r})"
        environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
        children[number] = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    try:
        for number, child in children.items():
            data_dir, marker = tmp_path / str(number), tmp_path / f"{number}.marker"
            wait_for(marker.exists, child)
            with pytest.raises(UserError, match=f"is being written by another t2t-datagen .process {child.pid} on "):
                generate([Numbers()], data_dir, log=silent)
            child.send_signal(signal.SIGKILL)
            child.wait()
            left = names_in(data_dir)
            assert left[1:] == ["vocabulary"] and left[0].startswith("incomplete.test_")
            wait_for_end(int(marker.read_text()))
            (result,) = generate([Numbers()], data_dir, log=silent)
            assert result.made
            assert names_in(data_dir) == ["test_numbers", "vocabulary"]
            verify(["test_numbers"], data_dir, log=silent)
    finally:
        for child in children.values():
            child.kill()
            child.wait()


def wait_for(condition, child=None):
    end = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < end and (child is None or child.poll() is None)
        time.sleep(0.02)


def wait_for_end(pid):
    def has_ended():
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_for(has_ended)


# ---- Errors


def fails(problem, tmp_path, said, **options):
    with pytest.raises(UserError, match=said) as error:
        generate([problem], tmp_path / "data", workers=1, log=silent, **options)
    assert "\n" not in str(error.value)
    assert set(names_in(tmp_path / "data")) <= {"vocabulary", f"incomplete.{problem.name}"}


def test_zero_examples_is_an_error(tmp_path):
    class NoDev(Numbers):
        def samples(self, split):
            return super().samples(split) if split == "train" else []

    fails(NoDev(), tmp_path, "test_numbers: split 'dev' has no examples")


def test_bad_records_stop_generation_or_are_left_out_and_counted(tmp_path):
    file = r"bad record train/7 \(/photos/train/7.png\): no picture \(none is left out; --max_bad_records=N"
    fails(Pictures(), tmp_path, f"problem test_pictures, split 'train': {file}")
    assert names_in(tmp_path / "data") == []  # nothing was finished
    fails(Pictures(), tmp_path, r"dev/0 \(/photos/dev/0.png\): the file is cut off \(up to 2 are", max_bad_records=2)
    assert names_in(tmp_path / "data") == ["incomplete.test_pictures"]  # the training split was
    lines = []
    (result,) = generate([Pictures()], tmp_path / "data", max_bad_records=3, workers=1, log=lines.append)
    assert [(bad["split"], bad["key"]) for bad in result.manifest["dropped"]] == [
        ("train", "train/7"),
        ("train", "train/9"),
        ("dev", "dev/0"),
    ]
    assert result.manifest["splits"]["train"]["examples"] == 48
    assert "3 bad records left out" in lines[-1]
    verify(["test_pictures"], tmp_path / "data", log=silent)


@pytest.mark.parametrize(
    "sample, said",
    [
        ({"inputs": " \n", "targets": "x"}, "inputs: the text is empty"),
        ({"inputs": "x", "targets": "a\ud800"}, "targets: the text is not valid Unicode: .* at character 1"),
        ({"inputs": "x", "targets": 3}, "targets: text expected, got int"),
        ({"inputs": "x", "targets": "y", "references": ["z"]}, "it has references, which the first sample"),
        ({"inputs": "x", "targets": "y", "key": 7}, "a sample's key is a string that identifies it, not 7"),
    ],
)
def test_samples_that_do_not_fit_their_features_are_bad_records(tmp_path, sample, said):
    class OneWrong(Numbers):
        def samples(self, split):
            yield from super().samples(split)
            if split == "dev":
                yield sample

    fails(OneWrong(), tmp_path, f"split 'dev': bad record .*: {said}")


def test_keys_are_unique_and_no_key_is_in_two_splits(tmp_path):
    class SameKeys(Numbers):
        def samples(self, split):
            for number, sample in enumerate(super().samples(split)):
                yield sample | {"key": self.key(split, number)}

    twice, shared = SameKeys(), SameKeys()
    twice.key = lambda split, number: f"{split}/{number % 29}"
    shared.key = lambda split, number: f"{number + 195 * (split == 'dev')}"
    fails(twice, tmp_path, "two samples of split 'train' have the key 'train/")
    assert names_in(tmp_path / "data") == []  # whatever puts that right, the records will be others
    fails(shared, tmp_path, "the splits 'train' and 'dev' share 5 keys, for instance '19[5-9]'")


def test_a_corpus_that_can_not_be_read_is_an_error(tmp_path):
    class Unreadable(Numbers):
        def samples(self, split):
            yield from super().samples(split)
            if split == "dev":
                open(tmp_path / "missing.txt")

    fails(Unreadable(), tmp_path, "split 'dev', after sample 0: .*No such file.*missing.txt")


def test_a_fault_in_the_problems_code_keeps_its_traceback(tmp_path):
    class Faulty(Numbers):
        def prepare(self, sample):
            return sample["input"]

    with pytest.raises(KeyError):
        generate([Faulty()], tmp_path, log=silent)
    assert "test_numbers" not in names_in(tmp_path)


def test_what_was_finished_before_an_error_stays(tmp_path):
    with pytest.raises(UserError, match="train/7"):
        generate([Numbers(), Pictures()], tmp_path, workers=1, log=silent)
    assert names_in(tmp_path) == ["test_numbers", "vocabulary"]
    results = generate([Numbers(), Pictures()], tmp_path, max_bad_records=3, workers=1, log=silent)
    assert [result.made for result in results] == [False, True]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_is_an_error_that_leaves_what_was_there(tmp_path, monkeypatch, overwrite):
    import tensorflow as tf

    data_dir = tmp_path / "data"
    if overwrite:
        generate([Numbers()], data_dir, log=silent)
    before = {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}
    write = tf.io.TFRecordWriter
    monkeypatch.setattr(tf.io, "TFRecordWriter", lambda path: write("/dev/full"))
    with pytest.raises(UserError, match="the disk is full"):
        generate([Numbers()], data_dir, overwrite=overwrite, log=silent)
    assert names_in(data_dir) == ["incomplete.test_numbers"] + (["test_numbers", "vocabulary"] if overwrite else [])
    assert all(path.read_bytes() == content for path, content in before.items())
    monkeypatch.undo()
    lines = []
    generate([Numbers()], data_dir, overwrite=overwrite, log=lines.append)
    assert any("continuing the unfinished store: 230 samples in 2 partitions" in line for line in lines)
    assert names_in(data_dir) == ["test_numbers", "vocabulary"]


def test_a_folder_that_is_no_store_is_left_alone(tmp_path):
    (tmp_path / "test_numbers").mkdir()
    (tmp_path / "test_numbers" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is in the way"):
        generate([Numbers()], tmp_path, overwrite=True, log=silent)
    assert (tmp_path / "test_numbers" / "mine.txt").read_text() == "mine"


def test_names_that_can_not_be_folders_are_refused(tmp_path):
    for name in ("../evil", "vocabulary", "", "a-b", "größe"):
        problem = Numbers()
        problem.name = name
        with pytest.raises(UserError, match="the name must be letters"):
            generate([problem], tmp_path, log=silent)
    with pytest.raises(UserError, match="test_numbers is named twice"):
        generate([Numbers(), Numbers()], tmp_path, log=silent)
    with pytest.raises(UserError, match="between 1 and 1,024"):
        generate([Numbers()], tmp_path, workers=0, log=silent)


# ---- Damage


@pytest.fixture(scope="module")
def sound_data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    generate([Numbers(), Pictures()], folder, max_bad_records=3, workers=1, log=silent)
    return folder


SHARD, INDEX = "test_numbers-train.tfrecord-00000-of-00001", "index-dev.npz"


def cut(path):
    os.truncate(path, path.stat().st_size - 30)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shift_index(path):
    index = dict(np.load(path))
    index["offset"][3] += 1
    np.savez(path, **index)


def swap_shard(path):
    """Sound records, as many bytes, other content."""
    shutil.copy(path.with_name("test_numbers-dev.tfrecord-00000-of-00001"), path)


@pytest.mark.parametrize(
    "name, damage, said",
    [
        (SHARD, cut, rf"{SHARD}: truncated shard, [\d,]+ bytes instead of [\d,]+ .and 1 more"),
        (SHARD, flip, rf"{SHARD}, record 1\d\d: it is cut off or its checksum is wrong"),
        (SHARD, swap_shard, rf"{SHARD}: truncated shard, [\d,]+ bytes instead of [\d,]+"),
        (SHARD, Path.unlink, f"{SHARD}: the data is incomplete, this file is missing"),
        (INDEX, shift_index, f"{INDEX} is damaged: its sha256 is not the manifest's"),
        (INDEX, cut, f"{INDEX} is damaged: truncated"),
        (INDEX, Path.unlink, f"{INDEX} is damaged: the data is incomplete"),
        ("features.json", cut, "features.json: truncated"),
        ("manifest.json", cut, "manifest.json is damaged"),
        ("manifest.json", Path.unlink, "it is not a store"),
    ],
)
def test_verify_finds_damage_and_names_the_file_and_record(sound_data_dir, tmp_path, name, damage, said):
    data_dir = shutil.copytree(sound_data_dir, tmp_path / "data")
    verify(["test_numbers", "test_pictures"], data_dir, log=silent)
    damage(data_dir / "test_numbers" / name)
    with pytest.raises(UserError, match=said):
        verify(["test_numbers"], data_dir, log=silent)
    verify(["test_pictures"], data_dir, log=silent)


def test_verify_looks_at_the_content_not_only_at_digests(sound_data_dir, tmp_path):
    """A manifest that claims less than its records hold: ids out of range, classes that are not there."""
    data_dir = shutil.copytree(sound_data_dir, tmp_path / "data")
    manifest = edit_manifest(data_dir / "test_pictures")
    edit_manifest(data_dir / "test_pictures", inputs=manifest["inputs"] | {"height": 3})
    with pytest.raises(UserError, match="record 0: inputs: 4 bytes are no image of uint8"):
        verify(["test_pictures"], data_dir, log=silent)
    other = generate([Numbers()], tmp_path / "other", vocabulary_size=400, log=silent) and tmp_path / "other"
    shutil.rmtree(data_dir / "vocabulary")
    shutil.copytree(other / "vocabulary", data_dir / "vocabulary")
    vocabulary = json.loads((other / "vocabulary" / "vocabulary.json").read_text())
    assert vocabulary["size"] <= 400
    with pytest.raises(UserError, match="uses another vocabulary"):
        verify(["test_numbers"], data_dir, log=silent)


def test_verify_lists_all_damage_and_stores_that_are_not_there(sound_data_dir, tmp_path):
    data_dir = shutil.copytree(sound_data_dir, tmp_path / "data")
    cut(data_dir / "test_numbers" / SHARD)
    lines = []
    with pytest.raises(UserError, match="no data for problem 'absent'.*t2t-datagen --problem=absent"):
        verify(["absent", "test_pictures", "test_numbers"], data_dir, log=lines.append)
    assert len(lines) == 4 and lines[1] == "test_pictures: 97 examples, every byte as it was written"


def test_a_cut_shard_is_noticed_by_the_next_run(sound_data_dir, tmp_path):
    data_dir = shutil.copytree(sound_data_dir, tmp_path / "data")
    cut(data_dir / "test_numbers" / SHARD)
    with pytest.raises(UserError, match=f"{SHARD} is damaged: .* --overwrite"):
        generate([Numbers()], data_dir, log=silent)
