"""A worker without a model, for tests of the processes; and a command that keeps two of them busy."""

import os
import signal
import sys
import time
from types import SimpleNamespace

from t2t_multimodel.errors import UserError


class Light:
    """Does tasks of its own: (what, value)."""

    def __init__(self, setup):
        if setup == "can't be made":
            raise UserError("no worker can be made of this")
        if setup == "dies":
            os._exit(3)
        self._setup = setup

    def do(self, task):
        what, value = task.what, task.value
        if what == "double":
            return 2 * value
        if what == "sleep":
            time.sleep(value)
        if what == "wrong":
            raise UserError(f"{value} is wrong")
        if what == "bug":
            return [][value]
        if what == "die":
            os.kill(os.getpid(), value)
        if what == "process":
            return os.getpid()
        return self._setup


def task(what, value=None, problem="p"):
    return SimpleNamespace(what=what, value=value, problem=problem)


def busy():
    """Prints the workers' process ids, and gives them work for ever."""
    from t2t_multimodel.training.worker_pool import WorkerPool

    with WorkerPool(2, Light, None) as processes:
        print(*processes.each(task("process")), flush=True)
        while True:
            list(processes.results(task("sleep", 0.01) for _ in range(10)))


if __name__ == "__main__":
    from t2t_multimodel.cli import interrupts
    from t2t_multimodel.cli.command import Command

    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(interrupts.status_of(lambda: Command("t2t-example", "An example.").guarded(busy)))
