"""A run that is told to stop ends, once continued, with the bits of one that was not. test_kill_loop.py: of kills."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_world import make_data, weights

from t2t_multimodel.training.trainer import RESUME_ME

pytestmark = pytest.mark.slow
STEPS = 30
CHILD = Path(__file__).with_name("small_world.py")


def start(data, output_dir, save_interval=1):
    command = [sys.executable, str(CHILD), str(data), str(output_dir), str(save_interval), str(STEPS)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("undisturbed")
    child = start(data, output_dir)
    assert child.wait() == 0, child.stderr.read()
    return weights(output_dir, STEPS)


def test_sigterm_finishes_the_step_saves_and_says_resume_me(data, undisturbed, tmp_path):
    child = start(data, tmp_path, save_interval=10)
    while child.poll() is None and newest(tmp_path / "checkpoints") < 10:
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    assert child.wait() == RESUME_ME, child.stderr.read()
    assert 10 <= newest(tmp_path / "checkpoints") < STEPS
    child = start(data, tmp_path, save_interval=10)
    assert child.wait() == 0, child.stderr.read()
    assert weights(tmp_path, STEPS) == undisturbed


def number(path):
    return int(path.name.partition("-")[2])


def newest(checkpoints):
    return max(map(number, checkpoints.glob("step-*")), default=0) if checkpoints.is_dir() else 0
