"""Checkpoints: what is saved comes back, what is damaged is noticed, and no kill harms what is on the disk."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2t_multimodel.errors import UserError
from t2t_multimodel.training import checkpoints

ARRAYS = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array(7, np.int64)}


def save_steps(folder, *steps):
    for step in steps:
        checkpoints.save(folder, step, {**ARRAYS, "w": np.full(1000, step, np.float32)}, {"step": step})


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5, np.float32),
        np.array(7, np.int64),
        np.zeros((0, 3), np.float32),
        np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16),
        np.ones((2, 2), np.float16),
        np.arange(24, dtype=np.float64).reshape(2, 3, 4).transpose(2, 0, 1),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.arange(10, dtype=np.int32)[::-2],
        np.array([True, False]),
        np.array([0, 2**64 - 1], np.uint64),
        np.array([np.nan, np.inf, -0.0], np.float32),
        np.arange(3, dtype=">f4"),
    ],
)
def test_arrays_come_back_bit_for_bit(tmp_path, array):
    checkpoints.save(tmp_path, 1, {"x": array}, {})
    back = checkpoints.load(tmp_path, 1).arrays["x"]
    assert (back.dtype.newbyteorder("="), back.shape) == (array.dtype.newbyteorder("="), array.shape)
    assert back.astype(array.dtype).tobytes() == array.tobytes()


def test_state_comes_back_and_nothing_else_is_there(tmp_path):
    state = {"streams": {"a": {"epoch": 3}}, "loss": 0.1 + 0.2, "text": "ü"}
    folder = checkpoints.save(tmp_path / "c", 300, ARRAYS, state)
    assert folder.name == "step-000300"
    assert {path.name for path in folder.iterdir()} == {"arrays.safetensors", "state.json", "manifest.json"}
    back = checkpoints.load(tmp_path / "c", 300)
    assert (back.step, back.state) == (300, state)


def test_latest_is_the_newest_by_number(tmp_path):
    assert checkpoints.latest(tmp_path / "none") is None
    assert checkpoints.latest(tmp_path) is None
    save_steps(tmp_path, 999_999, 5, 1_000_000)
    (tmp_path / "step-2000000.old").mkdir()
    assert checkpoints.steps(tmp_path) == [5, 999_999, 1_000_000]
    assert checkpoints.latest(tmp_path) == 1_000_000


def test_a_second_checkpoint_of_a_step_replaces_the_first(tmp_path):
    save_steps(tmp_path, 5)
    checkpoints.save(tmp_path, 5, {"x": np.zeros(2)}, {"new": 1})
    assert checkpoints.load(tmp_path, 5).state == {"new": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["step-000005"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


FAULTS = [cut, lambda path: flip(path, 40), lambda path: path.unlink(), lambda path: path.write_bytes(b"")]


@pytest.mark.parametrize("fault", FAULTS, ids=["cut", "flipped", "missing", "empty"])
@pytest.mark.parametrize("name", ["arrays.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_said_aloud_and_the_one_before_is_used(tmp_path, name, fault):
    for step in (1, 2, 3):
        checkpoints.save(tmp_path, step, ARRAYS, {"step": step, "filling": "x" * 100})
    fault(tmp_path / "step-000003" / name)
    said = []
    assert checkpoints.latest(tmp_path, said.append) == 2
    assert len(said) == 1
    assert "step-000003" in said[0]
    assert name in said[0]
    assert "step 2 is used" in said[0]
    with pytest.raises(UserError, match="step-000003 is damaged"):
        checkpoints.load(tmp_path, 3)
    assert checkpoints.load(tmp_path, 2).state["step"] == 2


def test_warnings_go_to_standard_error_by_default(tmp_path, capsys):
    save_steps(tmp_path, 1, 2)
    cut(tmp_path / "step-000002" / "state.json")
    assert checkpoints.latest(tmp_path) == 1
    assert "step-000002 is damaged" in capsys.readouterr().err


def test_all_damaged_is_an_error(tmp_path):
    save_steps(tmp_path, 1, 2)
    for step in (1, 2):
        flip(tmp_path / f"step-00000{step}" / "arrays.safetensors", -1)
    with pytest.raises(UserError, match="all 2 of this run"):
        checkpoints.latest(tmp_path)


def test_other_users_may_read_a_checkpoint_as_they_may_read_other_new_files(tmp_path):
    save_steps(tmp_path, 1)
    (tmp_path / "new").touch()
    modes = {path.stat().st_mode for path in [tmp_path / "new", *(tmp_path / "step-000001").iterdir()]}
    assert len(modes) == 1


def test_a_checkpoint_that_may_not_be_read_is_neither_damaged_nor_passed_over(tmp_path, monkeypatch):
    save_steps(tmp_path, 1, 2)
    opened = checkpoints.open_regular

    def refuse(path, *args, **kwargs):
        if "step-000002" in str(path) and str(path).endswith("arrays.safetensors"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(checkpoints, "open_regular", refuse)
    with pytest.raises(UserError, match="arrays.safetensors can't be read: Permission denied; let the user"):
        checkpoints.latest(tmp_path)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["arrays.safetensors", "state.json"]), place=st.integers(0, 10**6))
def test_any_flipped_byte_of_content_is_noticed(tmp_path_factory, name, place):
    folder = tmp_path_factory.getbasetemp() / "flipped"
    if not folder.exists():
        save_steps(folder, 1)
    path = folder / "step-000001" / name
    flip(path, place)
    assert checkpoints.damage(folder, 1) is not None
    flip(path, place)
    assert checkpoints.damage(folder, 1) is None


def test_a_missing_step_names_those_that_are_there(tmp_path):
    save_steps(tmp_path, 10, 20)
    with pytest.raises(UserError, match="step 15 .* 10, 20"):
        checkpoints.load(tmp_path, 15)


@pytest.mark.parametrize("keep_last, kept", [(2, [500, 600]), (0, [600]), (9, [100, 200, 300, 400, 500, 600])])
def test_prune(tmp_path, keep_last, kept):
    save_steps(tmp_path, 100, 200, 300, 400, 500, 600)
    removed = checkpoints.prune(tmp_path, keep_last)
    assert checkpoints.steps(tmp_path) == kept
    assert sorted(removed + kept) == [100, 200, 300, 400, 500, 600]
    assert len(list(tmp_path.iterdir())) == len(kept)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("place", range(5))
def test_a_disk_that_fails_leaves_nothing_half_written(tmp_path, monkeypatch, number, place):
    save_steps(tmp_path, 1)
    calls = iter(range(100))
    fsync = os.fsync

    def failing(descriptor):
        if next(calls) == place:
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(UserError) as error:
        checkpoints.save(tmp_path, 2, ARRAYS, {})
    assert os.strerror(number) in str(error.value)
    assert "\n" not in str(error.value)
    assert set(p.name for p in tmp_path.iterdir()) <= {"step-000001", "step-000002"}
    assert all(checkpoints.damage(tmp_path, step) is None for step in checkpoints.steps(tmp_path))


def test_a_file_that_can_not_grow_is_a_user_error(tmp_path):
    """A real refusal of the operating system, inside the library that writes the arrays."""
    code = (
        "import resource, sys, numpy as np; from t2t_multimodel.training import checkpoints;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000));"
        "checkpoints.save(sys.argv[1], 1, {'w': np.zeros(100_000)}, {})"
    )
    there = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "UserError: the checkpoint of step 1 could not be written" in there.stderr
    assert "File too large" in there.stderr
    assert list(tmp_path.iterdir()) == []


SAVING = """
import sys, numpy as np
from t2t_multimodel.training import checkpoints
folder, step = sys.argv[1], int(sys.argv[2])
while True:
    step += 1
    arrays = {"w": np.full((300, 300), step, np.float32), "step": np.array(step)}
    checkpoints.save(folder, step, arrays, {"step": step})
    print(step, flush=True)
    checkpoints.prune(folder, keep_last=3)
"""


@pytest.mark.slow
def test_sigkill_while_saving_never_harms_what_was_saved(tmp_path):
    chance, reported, unfinished = random.Random(1), 0, 0
    for _ in range(8):
        command = [sys.executable, "-c", SAVING, str(tmp_path), str(reported)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        first = child.stdout.readline()
        time.sleep(chance.uniform(0, 0.1))
        os.kill(child.pid, signal.SIGKILL)
        said = [int(line) for line in (first + child.communicate()[0]).split("\n")[:-1]]
        unfinished += any(path.name.startswith(".") for path in tmp_path.iterdir())
        newest = checkpoints.latest(tmp_path, pytest.fail)
        assert newest >= said[-1] > reported
        for step in checkpoints.steps(tmp_path):
            whole = checkpoints.load(tmp_path, step)
            assert whole.state == {"step": step}
            assert (whole.arrays["w"] == step).all()
        reported = newest
    assert unfinished  # some kills did hit a checkpoint half-way
    save_steps(tmp_path, reported + 1)
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_manifest_is_plain_json_with_digests(tmp_path):
    save_steps(tmp_path, 1)
    manifest = json.loads((tmp_path / "step-000001" / "manifest.json").read_text())
    assert (manifest["format_version"], manifest["step"]) == (1, 1)
    for name, facts in manifest["files"].items():
        assert facts["bytes"] == (tmp_path / "step-000001" / name).stat().st_size
        assert len(facts["sha256"]) == 64
