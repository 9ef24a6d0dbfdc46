"""A run that is told to stop ends, once continued, with the bits of one that was not. test_kill_loop.py: of kills."""

import shutil
import signal

import pytest
from child_runs import STEPS, count_lines, finish, newest, start, wait_until
from small_world import make_data

from t2t_multimodel.training.trainer import INTERRUPTED, RESUME_ME

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kept_programs")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("undisturbed")
    return finish(start(data, output_dir), output_dir)


@pytest.mark.parametrize(
    "told, status, save_interval",
    [(signal.SIGTERM, RESUME_ME, 10), (signal.SIGINT, INTERRUPTED, 1000)],
    ids=["SIGTERM", "Ctrl-C before the first save"],
)
def test_a_signal_finishes_the_step_and_saves(data, undisturbed, tmp_path, told, status, save_interval):
    child = start(data, tmp_path, save_interval)
    wait_until(child, lambda: newest(tmp_path) >= 10 if save_interval == 10 else count_lines(tmp_path) > 4)
    child.send_signal(told)
    assert child.wait() == status, child.stderr.read()
    assert 0 < newest(tmp_path) < STEPS
    assert finish(start(data, tmp_path, save_interval), tmp_path) == undisturbed


def test_data_generated_anew_meanwhile_changes_nothing(data, undisturbed, tmp_path):
    """The trainer keeps the store that it opened."""
    from small_world import generate_data

    shutil.copytree(data, tmp_path / "data")
    child = start(tmp_path / "data", tmp_path / "run")
    wait_until(child, lambda: newest(tmp_path / "run") >= 2)
    generate_data(tmp_path / "data", seed=5, overwrite=True)
    assert newest(tmp_path / "run") < STEPS, "training was done before the data was made"
    assert finish(child, tmp_path / "run") == undisturbed
