"""Promise: several processes train what one does; they stop, fail and go on together. (JAX; several_processes.py.)"""

import json
import shutil

import numpy as np
import pytest
from several_processes import PROBLEMS, STEPS, assert_close, assert_same_bits, ends, finish, logged, make, saved, start

from t2t_multimodel.training import checkpoints

pytest.importorskip("jax")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    return make(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def undisturbed(flags, tmp_path_factory):
    """The run directory of two processes that nothing disturbed."""
    output_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(flags, output_dir)
    return output_dir


@pytest.fixture(scope="module")
def alone(flags, tmp_path_factory):
    """That of one process."""
    output_dir = tmp_path_factory.mktemp("alone") / "run"
    finish(flags, output_dir, count=1)
    return output_dir


def test_two_processes_train_as_one_does(undisturbed, alone):
    for record, other in zip(logged(undisturbed), logged(alone), strict=True):
        assert record.keys() == other.keys()
        for name, value in record.items():
            assert value == (pytest.approx(other[name], rel=1e-4) if isinstance(value, float) else other[name]), name
    assert_close(saved(undisturbed, 2), saved(alone, 2), 1e-5)


def test_told_to_stop_all_save_and_end_and_either_layout_goes_on(flags, undisturbed, tmp_path):
    """SIGTERM to the second process only. Resumed as tasks of SLURM: the same bits; by one process: to rounding."""
    children = start(flags, tmp_path / "run", environment={"TEST_DISTURB": "SIGTERM 3 1"})
    for status, said in ends(children):
        assert status == 75, said
    newest = max(int(path.name[5:]) for path in (tmp_path / "run" / "checkpoints").glob("step-*"))
    assert 3 <= newest < STEPS
    shutil.copytree(tmp_path / "run", tmp_path / "alone")
    finish(flags, tmp_path / "run", how="slurm")
    assert_same_bits(saved(tmp_path / "run"), saved(undisturbed))
    assert logged(tmp_path / "run") == logged(undisturbed)
    finish(flags, tmp_path / "alone", count=1)
    assert_close(saved(tmp_path / "alone"), saved(undisturbed), 1e-5)


def test_a_process_that_is_killed_ends_the_others_and_the_run_goes_on(flags, undisturbed, tmp_path):
    """Restarted as ranks of Open MPI."""
    first, second = ends(start(flags, tmp_path / "run", environment={"TEST_DISTURB": "SIGKILL 6 1"}))
    assert second[0] == -9
    assert first[0] == 2 and "process 1 is gone, or can't be reached, in the update of step 6" in first[1], first[1]
    finish(flags, tmp_path / "run", how="openmpi")
    assert_same_bits(saved(tmp_path / "run"), saved(undisturbed))
    assert logged(tmp_path / "run") == logged(undisturbed)


def test_a_process_that_is_killed_while_the_others_wait_beside_an_update_ends_them(flags, tmp_path):
    """For its file of a checkpoint, which is not made; the one before is there."""
    environment = {"TEST_DIE_AT": "the checkpoint of step 4: writing"}
    first, second = ends(start(flags, tmp_path / "run", environment=environment))
    assert second[0] == -9 and first[0] == 2, first[1]
    waiting = "process 0 waits in the checkpoint of step 4: waiting for the files of all; start all processes again"
    assert "is gone, or can't be reached, last in " in first[1] and waiting in first[1]
    assert checkpoints.steps(tmp_path / "run" / "checkpoints") == [2]


def test_bad_data_of_one_process_stops_all_with_its_message(flags, tmp_path):
    shutil.copytree(flags["data_dir"], tmp_path / "data")
    for path in (tmp_path / "data" / PROBLEMS[0]).glob("*-train.tfrecord-*"):
        content = bytearray(path.read_bytes())
        content[12::40] = bytes(len(content[12::40]))
        path.write_bytes(content)
    ended = ends(start(flags, tmp_path / "run", own={1: {"data_dir": tmp_path / "data"}}))
    assert [status for status, _ in ended] == [2, 2]
    assert "its checksum is wrong" in ended[1][1]
    assert "t2t-trainer: error: process 1 on " in ended[0][1] and "its checksum is wrong" in ended[0][1]
    assert "Traceback" not in ended[0][1] + ended[1][1]


def test_the_watch_names_the_process_that_is_stuck_and_ends_all(flags, tmp_path):
    ended = ends(start(flags, tmp_path / "run", environment={"TEST_DISTURB": "hang 4 1"}))
    for status, said in ended:
        assert status == 1 and "is stuck in the batches of step 4; process 0 waits in the update of step 4" in said, (
            said
        )
        assert "nothing went on for 5 s (--stuck_after)" in said
        assert "process 1 (process " in said


def test_other_settings_in_one_process_are_refused(flags, tmp_path):
    ended = ends(start(flags, tmp_path / "run", own={1: {"save_interval": 3}}))
    assert [status for status, _ in ended] == [2, 2]
    assert all("process 1 has another save_interval than process 0: 3, not 2" in said for _, said in ended)
    assert not (tmp_path / "run").exists()


def test_evaluation_and_decoding_by_two_processes_are_complete_and_in_order(flags, tmp_path):
    scores, answers = [], {}
    for count in (2, 1):
        output_dir, folder = tmp_path / f"run{count}", tmp_path / f"answers{count}"
        folder.mkdir()
        more = {"problem": ",".join(PROBLEMS), "schedule": "train_and_evaluate", "train_steps": 1}
        finish(flags, output_dir, count=count, environment={"TEST_ANSWERS": str(folder)}, **more)
        scores.append(logged(output_dir, "dev"))
        for path in folder.iterdir():
            answers[count, path.stem] = [json.loads(line) for line in path.read_text().splitlines()]
    assert answers[2, "0"] == answers[2, "1"] == answers[1, "0"]
    rows = {name: sorted(r for n, of_batch, _ in answers[1, "0"] if n == name for r in of_batch) for name in PROBLEMS}
    assert rows == {name: list(range(13)) for name in PROBLEMS}
    assert len({answer for name, _, of_batch in answers[1, "0"] if name == PROBLEMS[0] for answer in of_batch}) == 2
    two, one = scores
    assert len(two) == len(one) == 2
    for record, other in zip(two, one):
        assert record.keys() == other.keys() and record["examples"] == 13
        for name, value in record.items():
            if isinstance(value, float):
                np.testing.assert_allclose(value, other[name], rtol=1e-4, err_msg=name)
            else:
                assert value == other[name], name
