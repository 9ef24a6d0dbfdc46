"""Ctrl-C is SIGTERM with another status: the step is finished and saved, and a second one ends the process at once."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from t2t_multimodel.training.stopping import INTERRUPTED, RESUME_ME

CHILD = Path(__file__).with_name("small_world.py")

# Its steps end with a callback of a C library that drops what is raised in it, as libraries' callbacks do.
LOOP = """
import gc, sys, time, weakref
from t2t_multimodel.training.stopping import Stop, StopSignals

class Dropped:
    def __del__(self):
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            pass

def loop(stop):
    stop.training()
    print("training", flush=True)
    steps = 0
    while not stop.status and steps < 400:
        Dropped()  # nearly all of the time is spent here
        steps += 1
    print("saved", stop.status, flush=True)
    return stop.status

with StopSignals(exit_at_once=sys.argv[1] == "exit") as stop:
    {body}
"""
TRAINING = "sys.exit(loop(stop))"
LONG_CALL = (  # no handler of Python runs within it
    "import hashlib; stop.training(); print('training', flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
)
STARTING = "print('training', flush=True); time.sleep(60)"


def start(body, mode="exit"):
    child = subprocess.Popen(
        [sys.executable, "-c", LOOP.replace("{body}", body), mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert child.stdout.readline() == "training\n"
    return child


@pytest.mark.parametrize("mode", ["exit", "raise"])
@pytest.mark.parametrize("number, status", [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, RESUME_ME)])
def test_no_callback_of_a_library_can_drop_a_signal(mode, number, status):
    child = start(TRAINING, mode)
    time.sleep(0.1)
    child.send_signal(number)
    out, err = child.communicate()
    assert (child.returncode, out) == (status, f"saved {status}\n")
    assert ("another Ctrl-C" in err) == (number == signal.SIGINT)


def test_a_second_one_ends_the_process_at_once_within_a_long_call_too():
    child = start(LONG_CALL)
    child.send_signal(signal.SIGINT)
    assert "another Ctrl-C" in child.stderr.readline() + child.stderr.readline()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate()
    assert (child.returncode, out) == (INTERRUPTED, "") and "at once" in err


def test_sigterm_after_ctrl_c_is_no_second_one():
    child = start(TRAINING)
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate()
    assert (child.returncode, out) == (INTERRUPTED, f"saved {INTERRUPTED}\n")


def test_before_training_there_is_nothing_to_save():
    child = start(STARTING)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate()
    assert "KeyboardInterrupt" in err and child.returncode != 0


def test_handlers_are_put_back():
    from t2t_multimodel.training.stopping import StopSignals

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals(exit_at_once=True) as stop:
        stop.training()
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.slow
class TestTraining:
    STEPS = 30

    @pytest.fixture(scope="class")
    def data(self, tmp_path_factory):
        from small_world import make_data

        return make_data(tmp_path_factory.mktemp("data"))

    def train(self, data, run, save_interval, meanwhile=None):
        """Runs training in a child, in `meanwhile` of which something may happen to it; returns its status."""
        command = [sys.executable, str(CHILD), str(data), str(run), str(save_interval), str(self.STEPS)]
        reset = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=reset
        )
        if meanwhile:
            while child.poll() is None and not (run / "metrics.jsonl").exists():
                time.sleep(0.01)
            meanwhile(child)
        err = child.communicate()[1]
        assert child.returncode in (0, INTERRUPTED), err
        return child.returncode

    def test_before_the_first_save_nothing_is_lost_and_no_line_of_the_log_differs(self, data, tmp_path):
        """The first 3 steps' log lines come of one process, the others' of two: sums between lines are kept."""
        from small_world import weights

        assert self.train(data, tmp_path / "whole", 1000) == 0
        run = tmp_path / "run"
        assert self.train(data, run, 1000, lambda child: child.send_signal(signal.SIGINT)) == INTERRUPTED
        (checkpoint,) = (run / "checkpoints").glob("step-*")
        assert 0 < int(checkpoint.name[5:]) < self.STEPS
        assert self.train(data, run, 1000) == 0
        assert weights(run, self.STEPS) == weights(tmp_path / "whole", self.STEPS)
        assert log_lines(run) == log_lines(tmp_path / "whole")

    def test_an_evaluation_is_given_up_and_made_up_for(self, data, tmp_path):
        from small_world import make_trainer, weights

        settings = {
            "schedule": "train_and_evaluate",
            "eval_interval": 5,
            "eval_batches": 1,
            "problems": ("tiny_image",),
        }
        assert make_trainer(data, tmp_path / "whole", **settings).run() == 0
        trainer = make_trainer(data, tmp_path / "run", **settings)
        evaluate = trainer.evaluator._step.evaluate

        def interrupted(*arguments):
            signal.raise_signal(signal.SIGINT)
            trainer.evaluator.check_stop()
            return evaluate(*arguments)

        trainer.evaluator._step.evaluate = interrupted
        assert trainer.run() == INTERRUPTED
        assert trainer.step == 5
        assert not any(r["split"] == "dev" for r in log_lines(tmp_path / "run"))
        assert make_trainer(data, tmp_path / "run", **settings).run() == 0
        assert log_lines(tmp_path / "run") == log_lines(tmp_path / "whole")
        assert weights(tmp_path / "run", 12) == weights(tmp_path / "whole", 12)


def log_lines(run):
    """The lines of a run's log, without times."""
    times = ("tokens_per_second", "steps_per_second", "train_seconds")
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name not in times} for line in lines]
