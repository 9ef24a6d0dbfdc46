"""Worker processes: results in order, the end of one is the end of all, Ctrl-C ends them, nothing hangs."""

import os
import signal
import subprocess
import sys

import pytest
from light_worker import Light, task

from t2t_multimodel.errors import UserError
from t2t_multimodel.training.worker_pool import WorkerPool

CHILD = os.path.join(os.path.dirname(__file__), "light_worker.py")
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def processes():
    with WorkerPool(2, Light, "set up") as made:
        yield made


def test_results_are_in_order_and_few_are_made_ahead(processes):
    made = []

    def tasks():
        for i in range(100):
            made.append(i)
            yield task("sleep", 0.03) if i % 10 == 0 else task("double", i)

    for i, result in enumerate(processes.results(tasks())):
        assert result == ("set up" if i % 10 == 0 else 2 * i)
        assert len(made) <= i + 1 + 8
    assert i == 99


def test_all_take_part(processes):
    first, second = processes.each(task("process"))
    assert first != second
    # While one of them sleeps, the other one does the rest.
    slow = processes.submit(task("sleep", 0.5))
    done = {processes.submit(task("process", problem=str(i))).result() for i in range(5)}
    assert slow.result() == "set up" and done <= {first, second}


def test_large_tasks_and_results_pass_while_none_is_read(processes):
    """More than a pipe holds, both ways at once."""
    finish = processes.begin([task("double", bytes(1 << 20)) for _ in range(12)])
    assert [len(result) for result in finish()] == [2 << 20] * 12


def test_an_error_is_that_of_its_task_alone(processes):
    futures = [processes.submit(each) for each in (task("wrong", "this"), task("bug", 0), task("double", 4))]
    with pytest.raises(UserError, match="this is wrong"):
        futures[0].result()
    with pytest.raises(RuntimeError, match="in a worker process:\n(.|\n)*IndexError: list index out of range"):
        futures[1].result()
    assert futures[2].result() == 8


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_dead_worker_is_named_with_its_signal(number):
    with WorkerPool(2, Light, None) as processes:
        others = [processes.submit(task("sleep", 600))]
        dying = processes.submit(task("die", number, problem="q"))  # done by the other worker
        others += [processes.submit(task("sleep", 600)) for _ in range(3)]
        with pytest.raises(UserError) as error:
            dying.result()
        said = str(error.value)
        assert f"was ended by {signal.Signals(number).name}; " in said and said.startswith("worker ")
        assert " of 2 (process " in said and "\n" not in said
        for future in others:  # which will never be done
            with pytest.raises(UserError, match="was ended by"):
                future.result()
        for ask in (lambda: processes.submit(task("double", 1)), lambda: processes.each(task("double", 1))):
            with pytest.raises(UserError, match="was ended by"):
                ask()
        assert all(worker.process.exitcode is not None for worker in processes._workers)


@pytest.mark.parametrize(
    "setup, words",
    [
        ("can't be made", "no worker can be made of this"),
        ("dies", r"worker . of 2 \(process \d+\) ended with status 3; .* needs `if __name__ == \"__main__\":`"),
    ],
)
def test_workers_that_do_not_start_are_an_error_and_no_wait(setup, words):
    with WorkerPool(2, Light, setup) as processes, pytest.raises(UserError, match=words):
        processes.submit(task("double", 1)).result()


def test_to_close_them_ends_what_they_do():
    processes = WorkerPool(2, Light, None)
    waiting = [processes.submit(task("sleep", 600)) for _ in range(6)]
    processes.close()
    processes.close()
    assert all(future.done() for future in waiting)
    assert all(worker.process.exitcode is not None for worker in processes._workers)


@pytest.fixture
def busy():
    """(a command that keeps two workers busy, their process ids)."""
    child = subprocess.Popen(
        [sys.executable, CHILD],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    said = child.stdout.readline().split()
    assert len(said) == 2, child.stderr.read()
    yield child, [int(process) for process in said]
    child.kill()
    child.communicate()


def ended(process):
    """Whether there is no such process any more, or only its entry in the table."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked up in /proc")
@pytest.mark.parametrize("how", ["worker killed", "Ctrl-C", "killed"])
def test_the_end_of_one_is_the_end_of_all(busy, how):
    child, workers = busy
    if how == "worker killed":
        os.kill(workers[1], signal.SIGKILL)
    elif how == "Ctrl-C":
        os.killpg(child.pid, signal.SIGINT)  # as a terminal sends it: to all of them
    else:
        child.kill()
    out, error = child.communicate(timeout=60)  # to the end of its outputs, which the workers have too
    status = {"worker killed": 2, "Ctrl-C": 130, "killed": -signal.SIGKILL}[how]
    assert (child.returncode, out) == (status, ""), error
    if how == "worker killed":
        said = f"worker 2 of 2 (process {workers[1]}) was ended by SIGKILL; if memory ran out, give fewer workers"
        assert error == f"t2t-example: error: {said}\n"
    else:
        assert error == ""
    assert all(map(ended, workers))
