"""SIGKILL at random moments of training and of data generation changes no bit. T2T_KILLS=100: so many of each."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from child_runs import STEPS, finish, newest, start, wait_until
from small_world import make_data

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kept_programs")]
KILLS = int(os.environ.get("T2T_KILLS", 2))
GENERATION = """
import sys
import test_resumed_generation as t
from pathlib import Path
t.make(Path(sys.argv[1]), int(sys.argv[2]), seconds=float(sys.argv[3]))
"""


def start_generation(data_dir, workers, seconds):
    command = [sys.executable, "-c", GENERATION, str(data_dir), str(workers), str(seconds)]
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("undisturbed")
    return finish(start(data, output_dir), output_dir)


@pytest.mark.parametrize("number", range(-(-KILLS // 2)))
def test_training_ends_in_the_same_bits_and_log(data, undisturbed, tmp_path, number):
    """Two kills in each run. With a checkpoint after every update, most moments fall into the writing of one, or
    between two lines of the log, which are written after every second update.
    """
    moments = random.Random(number + 5)
    save_interval = 1 if number % 2 == 0 else 3
    for _ in range(2):
        before = newest(tmp_path)
        child = start(data, tmp_path, save_interval)
        wait_until(child, lambda before=before: newest(tmp_path) >= before + 6)
        time.sleep(moments.uniform(0.0, 0.2))
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert newest(tmp_path) < STEPS, "the child came to its end before it was killed"
    assert finish(start(data, tmp_path, save_interval), tmp_path) == undisturbed


@pytest.mark.parametrize("number", range(-(-KILLS // 2)))
def test_data_generation_ends_in_the_same_bytes(tmp_path, number):
    from test_resumed_generation import content_of, make

    make(tmp_path / "whole")
    moments, killed = random.Random(number), 0
    for _ in range(2):
        child = start_generation(tmp_path / "data", 1 + moments.randrange(2), moments.choice((0.0, 0.001, 0.002)))
        wait_until(child, (tmp_path / "data").exists)
        time.sleep(moments.uniform(0.0, 2.0))
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
    time.sleep(0.3)  # workers notice
    make(tmp_path / "data")
    ignored = (".datagen.lock",)
    whole, continued = (
        {name: content for name, content in content_of(folder).items() if name not in ignored}
        for folder in (tmp_path / "whole", tmp_path / "data")
    )
    assert continued == whole
    assert killed or KILLS == 2, "generation was done before each of the kills"
