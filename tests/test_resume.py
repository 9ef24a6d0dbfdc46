"""A run that is told to stop ends, once continued, with the bits of one that was not. test_kill_loop.py: of kills."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_world import log_lines, make_data, weights

from t2t_multimodel.training.trainer import INTERRUPTED, RESUME_ME

pytestmark = pytest.mark.slow
STEPS = 30
CHILD = Path(__file__).with_name("small_world.py")


def start(data, output_dir, save_interval=1):
    command = [sys.executable, str(CHILD), str(data), str(output_dir), str(save_interval), str(STEPS)]
    reset = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=reset)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("undisturbed")
    child = start(data, output_dir)
    assert child.wait() == 0, child.stderr.read()
    return weights(output_dir, STEPS), log_lines(output_dir)


@pytest.mark.parametrize(
    "told, status, save_interval",
    [(signal.SIGTERM, RESUME_ME, 10), (signal.SIGINT, INTERRUPTED, 1000)],
    ids=["SIGTERM", "Ctrl-C before the first save"],
)
def test_a_signal_finishes_the_step_and_saves(data, undisturbed, tmp_path, told, status, save_interval):
    child = start(data, tmp_path, save_interval)
    ready = lambda: newest(tmp_path / "checkpoints") >= 10 if save_interval == 10 else count_lines(tmp_path) > 4
    while child.poll() is None and not ready():
        time.sleep(0.01)
    child.send_signal(told)
    assert child.wait() == status, child.stderr.read()
    assert 0 < newest(tmp_path / "checkpoints") < STEPS
    child = start(data, tmp_path, save_interval)
    assert child.wait() == 0, child.stderr.read()
    assert (weights(tmp_path, STEPS), log_lines(tmp_path)) == undisturbed


def count_lines(output_dir):
    log = output_dir / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def number(path):
    return int(path.name.partition("-")[2])


def newest(checkpoints):
    return max(map(number, checkpoints.glob("step-*")), default=0) if checkpoints.is_dir() else 0
