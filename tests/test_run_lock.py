"""One trainer at a time writes to a run directory; the lock goes with the process that holds it, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from t2t_multimodel import locks
from t2t_multimodel.errors import UserError
from t2t_multimodel.training.run_directory import LOCK_FILE, RunDirectory

pytestmark = pytest.mark.usefixtures("kept_programs")

HOLDER = """
import sys, time
from t2t_multimodel.training.run_directory import RunDirectory
with RunDirectory(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of tmp_path / "run"."""
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"held\n"
    yield child
    child.kill()
    child.wait()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_second_trainer_gets_one_line_that_names_the_first(tmp_path, other, ending):
    run = RunDirectory(tmp_path / "run")
    for use in (run.check_free, run.lock().__enter__):
        with pytest.raises(UserError, match=f"run is being trained by another t2t-trainer .process {other.pid} on "):
            use()
    os.kill(other.pid, ending)
    other.wait()
    run.check_free()
    with run.lock():
        assert f"process {os.getpid()} on " in (tmp_path / "run" / LOCK_FILE).read_text()
    with run.lock():
        pass


def test_to_ask_makes_nothing(tmp_path):
    RunDirectory(tmp_path / "run").check_free()
    assert list(tmp_path.iterdir()) == []


def test_one_that_only_asks_does_not_make_another_fail(tmp_path):
    asking = "import sys\nfrom t2t_multimodel import locks\nprint('now', flush=True)\n" + (
        "while True:\n    locks.check_free(sys.argv[1])\n"
    )
    (tmp_path / "lock").touch()
    child = subprocess.Popen([sys.executable, "-c", asking, str(tmp_path / "lock")], stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        held = 0
        for _ in range(50):
            with locks.hold(tmp_path / "lock"):
                held += 1
        assert held == 50
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path.parent.parent / "elsewhere")])
def test_what_is_planted_at_the_place_of_the_lock_is_not_opened(tmp_path, plant):
    (tmp_path / "run").mkdir()
    plant(tmp_path / "run" / LOCK_FILE)
    with pytest.raises(UserError, match="run"), RunDirectory(tmp_path / "run").lock():
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_can_not_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't make the run directory"), RunDirectory(tmp_path / "file" / "run").lock():
        pass


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from small_world import make_data

    return make_data(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
def test_a_trainer_beside_another_changes_nothing(data, tmp_path, other):
    from small_world import make_trainer

    with pytest.raises(UserError, match="is being trained by another"):
        make_trainer(data, tmp_path / "run", problems=("tiny_image",))
    assert [p.name for p in (tmp_path / "run").iterdir()] == [LOCK_FILE]


@pytest.mark.slow
def test_an_evaluation_needs_no_lock_and_only_adds_lines(data, tmp_path):
    from small_world import make_trainer

    make = lambda **settings: make_trainer(data, tmp_path / "run", problems=("tiny_image",), **settings)
    assert make().run() == 0
    run = tmp_path / "run"
    before = {p: p.read_bytes() for p in Path(run).rglob("*") if p.is_file() and p.name != LOCK_FILE}
    later = b'{"step": 999, "split": "train", "loss": 1.0}\n'  # of the trainer that goes on
    with open(run / "metrics.jsonl", "ab") as log:
        log.write(later)
    with RunDirectory(run).lock():
        assert make(schedule="evaluate", eval_batches=1).run() == 0
    for path, content in before.items():
        if path.name == "metrics.jsonl":
            assert path.read_bytes().startswith(content + later)
            assert b'"split": "dev"' in path.read_bytes()[len(content) :]
        else:
            assert path.read_bytes() == content, path


@pytest.mark.slow
def test_what_another_trainer_did_meanwhile_is_not_undone(data, tmp_path):
    from small_world import make_trainer

    early = make_trainer(data, tmp_path / "run", problems=("tiny_image",))
    assert make_trainer(data, tmp_path / "run", problems=("tiny_image",)).run() == 0
    with pytest.raises(UserError, match="trained by another process while this one started"):
        early.run()
    assert make_trainer(data, tmp_path / "run", problems=("tiny_image",)).step == 12


@pytest.mark.slow
def test_a_damaged_checkpoint_is_moved_aside_by_the_run_that_goes_on(data, tmp_path, capsys):
    from small_world import make_trainer, weights

    assert make_trainer(data, tmp_path / "run", problems=("tiny_image",)).run() == 0
    undisturbed = weights(tmp_path / "run", 12)
    damaged = tmp_path / "run" / "checkpoints" / "step-000012" / "arrays.safetensors"
    damaged.write_bytes(damaged.read_bytes() + b"x")
    again = make_trainer(data, tmp_path / "run", problems=("tiny_image",), save_interval=1, keep_checkpoints=1)
    assert again.step == 8 and damaged.exists()
    update = again.train_step.update

    def killed(*arguments):
        if again.step == 10:
            raise KeyboardInterrupt
        return update(*arguments)

    again.train_step.update = killed
    with pytest.raises(KeyboardInterrupt):
        again.run()
    assert (tmp_path / "run" / "checkpoints" / "damaged" / "step-000012" / damaged.name).exists()
    assert "moved to" in capsys.readouterr().err
    last = make_trainer(data, tmp_path / "run", problems=("tiny_image",))
    assert last.step == 10, "the whole ones were kept"
    assert last.run() == 0 and weights(tmp_path / "run", 12) == undisturbed
