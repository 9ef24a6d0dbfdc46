"""Ctrl-C is SIGTERM with another status: the step is finished and saved, and a second one ends the process at once."""

import signal
import subprocess
import sys
import time

import pytest

from t2t_multimodel.training.stopping import INTERRUPTED, RESUME_ME

pytestmark = pytest.mark.usefixtures("kept_programs")

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


@pytest.fixture(autouse=True)
def listening():
    """Also where the tests themselves were started with Ctrl-C ignored, as a shell starts a job in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
def test_an_evaluation_is_given_up_and_made_up_for(tmp_path):
    from small_world import log_lines, make_data, make_trainer, weights

    data = make_data(tmp_path / "data")
    settings = {"schedule": "train_and_evaluate", "eval_interval": 5, "eval_batches": 1, "problems": ("tiny_image",)}
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
