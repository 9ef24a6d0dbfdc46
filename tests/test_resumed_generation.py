"""A killed t2t-datagen is continued: finished partitions and shards stay, after a check, and the result is the same."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from t2t_multimodel.data_gen import partitions
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.data_gen.verify import verify
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Image, Text
from t2t_multimodel.problem import Problem

pytestmark = pytest.mark.slow
SHARD_BYTES = 20_000


class SlowCaptions(Problem):
    """Writes down every sample that it prepares. Not registered: tests over "every problem" are not about it."""

    name = "test_slow_captions"
    inputs, targets = Image(8, 8, 3), Text()
    splits = ("train", "dev")
    tone = 0
    _log = None  # the underscore: the examples do not depend on it
    _seconds = 0.0

    def samples(self, split):
        for number in range(1500 if split == "train" else 200):
            yield {"inputs": number, "targets": f"picture {number}", "key": f"{split}/{number}"}

    def prepare(self, sample):
        if self._log:
            with open(self._log, "a") as log:
                log.write(sample["key"] + "\n")
        if self._seconds:
            time.sleep(self._seconds)
        if sample["inputs"] % 500 == 17:
            raise ValueError("no picture")
        random = np.random.default_rng(sample["inputs"] + self.tone)
        return {**sample, "inputs": random.integers(0, 256, (8, 8, 3), np.uint8)}


def make(data_dir, workers=1, log=None, seconds=0.0, report=lambda line: None, **options):
    problem = SlowCaptions()
    problem._log, problem._seconds = log and str(log), seconds
    options = {"max_bad_records": 10, "shard_bytes": SHARD_BYTES} | options
    (result,) = generate([problem], data_dir, workers=workers, log=report, progress=False, **options)
    return result


def content_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    result = make(folder)
    assert len(result.manifest["splits"]["train"]["files"]) > 10 and result.manifest["dropped_count"] == 4
    return content_of(folder)


def killed(data_dir, log, ready, *, workers, seconds):
    """Runs generation in a process that is killed with SIGKILL as soon as `ready(folder of the unfinished work)`."""
    code = "import test_resumed_generation as t; import sys; from pathlib import Path; "
    code += f"t.make(Path({str(data_dir)!r}), {workers}, {str(log)!r}, {seconds})"
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL) as child:
        end = time.monotonic() + 120
        while not ready(data_dir / "incomplete.test_slow_captions"):
            assert child.poll() is None, "generation ended before it could be killed"
            assert time.monotonic() < end
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
    time.sleep(0.3)  # its workers notice


def finished(folder, split):
    """The keys of the samples in finished partitions."""
    found = set()
    for path in (folder / "partitions").glob(f"{split}-*.json"):
        about = json.loads(path.read_text())
        found |= {f"{split}/{n}" for n in range(about["first"], about["first"] + about["samples"])}
    return found


def count(folder, pattern):
    return len(list(folder.glob(pattern)))


@pytest.mark.parametrize(
    "workers, then, seconds, ready",
    [
        (2, 1, 0.004, lambda folder: count(folder, "partitions/train-*.json") >= 4),
        (1, 1, 0.001, lambda folder: count(folder, "partitions/dev-*.json") >= 1),
        (1, 2, 0.0, lambda folder: count(folder, "shards/train-*.json") >= 3),
    ],
    ids=["first split, two workers", "second split", "writing shards"],
)
def test_a_killed_run_is_continued_to_the_same_bytes(tmp_path, undisturbed, workers, then, seconds, ready):
    data_dir, log, second_log = tmp_path / "data", tmp_path / "first.log", tmp_path / "second.log"
    killed(data_dir, log, ready, workers=workers, seconds=seconds)
    folder = data_dir / "incomplete.test_slow_captions"
    assert not (data_dir / "test_slow_captions").exists()
    done = finished(folder, "train") | finished(folder, "dev")
    shards = {path.name.split(".")[0]: path for path in (folder / "shards").glob("*.json")}
    written = {path: path.stat().st_mtime_ns for path in (folder / "store").glob("*.tfrecord-*")}
    assert done
    lines = []
    make(data_dir, then, second_log, report=lines.append)
    assert f"continuing the unfinished store: {len(done):,} samples in" in "\n".join(lines)
    assert content_of(data_dir) == undisturbed
    made_again = second_log.read_text().split() if second_log.exists() else []
    assert len(set(made_again)) == len(made_again)
    made_again = set(made_again)
    assert not made_again & done, "samples of finished partitions were prepared again"
    assert made_again | done == {f"train/{n}" for n in range(1500)} | {f"dev/{n}" for n in range(200)}
    kept = [path for path, when in written.items() if _now(data_dir, path).stat().st_mtime_ns == when]
    assert len(kept) >= len(shards), "finished shards were written again"
    verify(["test_slow_captions"], data_dir, log=lambda line: None)


def _now(data_dir, path):
    return data_dir / "test_slow_captions" / path.name


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A data folder in which a run was stopped at its second shard, by an error that is no fault of the data."""
    from t2t_multimodel.data_gen import shards

    write, calls = shards.write_shard, []

    def once(path, shard):
        calls.append(path)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return write(path, shard)

    with monkeypatch.context() as patched:
        patched.setattr(shards, "write_shard", once)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "data")
    return tmp_path / "data"


def test_what_is_altered_is_made_again(stopped, tmp_path, undisturbed):
    """The same size, other content: a piece and a shard; and a piece that is cut off."""
    folder = stopped / "incomplete.test_slow_captions"
    altered, cut = sorted(folder.glob("partitions/train-*.records"))[2], next(folder.glob("partitions/dev-*.records"))
    for path in (altered, sorted((folder / "store").glob("*.tfrecord-*"))[0]):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    os.truncate(cut, cut.stat().st_size - 1)
    first = json.loads(altered.with_suffix(".json").read_text())["first"]
    make(stopped, log=tmp_path / "log")
    assert content_of(stopped) == undisturbed
    again = set((tmp_path / "log").read_text().split())
    assert f"train/{first}" in again and f"train/{first - 1}" not in again


@pytest.mark.parametrize(
    "change, said",
    [
        ({"tone": 5}, "argument tone was 0, is 5"),
        ({"shard_bytes": SHARD_BYTES + 1}, f"setting shard_bytes was {SHARD_BYTES}, is {SHARD_BYTES + 1}"),
        ({"seed": 1}, "setting seed was 0, is 1"),
        ({"overwrite": True}, "overwrite was False, is True"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_work_made_from_something_else_is_discarded_aloud(stopped, tmp_path, monkeypatch, change, said):
    options = dict(change)
    if "tone" in options:
        monkeypatch.setattr(SlowCaptions, "tone", options.pop("tone"))
    lines = []
    make(stopped, log=tmp_path / "log", report=lines.append, **options)
    (line,) = [line for line in lines if "discarded" in line]
    assert "1,700 samples in" in line and "2 shards" in line and line.endswith(f"is discarded: {said}")
    assert len(set((tmp_path / "log").read_text().split())) == 1700
    other = tmp_path / "other"
    make(other, **options | {"overwrite": False})
    assert content_of(stopped) == content_of(other)


def test_bad_records_of_finished_pieces_still_count(stopped):
    with pytest.raises(UserError, match="train/1017.*up to 2 are left out"):
        make(stopped, max_bad_records=2)
    assert make(stopped, max_bad_records=4).manifest["dropped_count"] == 4


def test_work_of_other_problems_waits_and_is_mentioned(stopped, undisturbed):
    class Other(SlowCaptions):
        name = "test_other_captions"

    lines = []
    generate([Other()], stopped, workers=1, max_bad_records=10, log=lines.append, progress=False)
    assert any(line.startswith("test_slow_captions: an unfinished store, ") for line in lines)
    make(stopped)
    store = {name: content for name, content in undisturbed.items() if name.startswith("test_slow_captions/")}
    assert store.items() <= content_of(stopped).items()


def test_a_piece_is_closed_in_time_however_slow_the_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "PARTITION_SECONDS", 0.0)
    with pytest.raises(UserError, match="train/17"):
        make(tmp_path, max_bad_records=0)
    monkeypatch.setattr(SlowCaptions, "prepare", _interrupted(SlowCaptions.prepare, after=100))
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, shard_bytes=10**9)
    assert finished(tmp_path / "incomplete.test_slow_captions", "train") == {f"train/{n}" for n in range(96)}


def _interrupted(prepare, after):
    def until(self, sample):
        if sample["key"] == f"train/{after}":
            raise KeyboardInterrupt
        return prepare(self, sample)

    return until
