"""Several processes that train one model (JAX): how they start, wait for each other, agree, and end together.

Every process runs the same program. Process 0 also writes: the log, the run directory, what says that a checkpoint is
whole. Beside the training, values pass through the coordination service of `jax.distributed`, which process 0 runs.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import re
import sys
import time
import traceback
from importlib.metadata import version

from t2t_multimodel.errors import UserError
from t2t_multimodel.training.watch import FOREVER, HINT, Watch, one_line

_LOST = re.compile(r"gloo|nccl|connection|socket|heartbeat|coordination|unavailable|deadline|aborted|cancelled", re.I)
_COMPARED = ("jax", "jaxlib", "keras", "numpy", "t2t-multimodel")  # other versions may compute other bits
_PATIENCE = 3.0  # seconds in which an error of another process, or its silence, explains a connection that broke


@dataclasses.dataclass(frozen=True)
class Launch:
    """What the flags of `t2t-trainer` ask for; true where they ask for several processes.

    Attributes:
      distributed: "auto": JAX finds out (SLURM, Open MPI, Kubernetes); "": the next three say it, or it is one process.
      coordinator: "HOST:PORT" of process 0. num_processes, process_id: how many there are, and which this one is.
      stuck_after: seconds without progress after which all are ended; 0: never.
    """

    distributed: str = ""
    coordinator: str = ""
    num_processes: int | None = None
    process_id: int | None = None
    stuck_after: int = 0

    def __post_init__(self):
        """Raises `UserError` for flags that contradict each other."""
        three = {"coordinator": self.coordinator or None}
        three |= {"num_processes": self.num_processes, "process_id": self.process_id}
        given = [f"--{name}" for name, value in three.items() if value is not None]
        missing = [f"--{name}" for name, value in three.items() if value is None]
        if self.distributed and given:
            raise UserError(f"--distributed={self.distributed} finds out what {given[0]} says; give only one of them")
        if given and missing:
            raise UserError(
                f"{' and '.join(given)} need{'s' * (len(given) == 1)} {' and '.join(missing)}; give all three"
            )
        port = re.fullmatch(r"\S+:([0-9]{1,5})", self.coordinator or "x:1")
        if port is None or not 0 < int(port[1]) < 1 << 16:
            raise UserError(f"--coordinator={self.coordinator} must be HOST:PORT, of the machine of process 0")
        if given and not 0 <= self.process_id < self.num_processes:
            raise UserError(
                f"--process_id={self.process_id} must be one of 0 to {self.num_processes - 1}: there are "
                f"--num_processes={self.num_processes}"
            )

    def __bool__(self):
        return bool(self.distributed or self.coordinator)


class Alone:
    """A process that trains by itself. `Group` has the same methods."""

    index, count, first, several = 0, 1, True, False

    def stage(self, doing):
        """Says what this process does next, for the message that it is stuck there."""

    def meeting(self, doing):
        """The same of what all processes do together, each of them waiting for the others."""

    def barrier(self, doing):
        """Waits until all processes are here."""

    def told(self, doing, value):
        """`value` of process 0, a plain one, in every process."""
        return value

    def gathered(self, doing, value):
        """The `value`s of all processes in order, at process 0; None elsewhere. Waits until all are there."""
        return [value]

    def same(self, doing, values):
        """Raises `UserError` where a process has other `values` ({what they are: plain value}) than process 0."""


class Group(Alone):
    """This process as one of several."""

    several = True

    def __init__(self, index, count, client, stuck_after=0):
        """Args: client: of the coordination service. stuck_after: seconds, of `Launch`."""
        self.index, self.count, self.first = index, count, index == 0
        self._client = client
        self._numbers = itertools.count()
        self.status = None  # that another process's error ends this one with
        self.watch = Watch(client, index, count, stuck_after)

    def stage(self, doing):
        self.watch.stage(doing, together=False)

    def meeting(self, doing):
        self.watch.stage(doing, together=True)

    def barrier(self, doing):
        self.meeting(doing)
        self._client.wait_at_barrier(f"t2t/barrier/{next(self._numbers)}", FOREVER)

    def told(self, doing, value):
        self.meeting(doing)
        key = f"t2t/told/{next(self._numbers)}"
        if self.first:
            self._client.key_value_set(key, json.dumps(value))
        return json.loads(self._client.blocking_key_value_get(key, FOREVER))

    def gathered(self, doing, value):
        self.meeting(doing)
        key = f"t2t/gathered/{next(self._numbers)}"
        self._client.key_value_set(f"{key}/{self.index}", json.dumps(value))
        self._client.wait_at_barrier(key, FOREVER)
        if not self.first:
            return None
        return [json.loads(self._client.blocking_key_value_get(f"{key}/{i}", FOREVER)) for i in range(self.count)]

    def same(self, doing, values):
        values = json.loads(json.dumps(values))
        theirs = self.told(doing, values)
        for name, value in theirs.items():
            if values.get(name) != value:
                said = f"{_short(values.get(name))}, not {_short(value)}"
                raise UserError(f"process {self.index} has another {name} than process 0: {said}")
        self.barrier(doing)  # so that none goes on where another one differs

    def fail(self, error):
        """Has all processes end because of `error`, which is being handled; raises a better one where there is one."""
        cause = None
        if not isinstance(error, UserError) and _LOST.search(str(error)):
            cause = self._lost(error)
        said, status = one_line(cause or error), 2
        if isinstance(error, KeyboardInterrupt):
            said, status = "it was interrupted", 130
        elif not isinstance(cause or error, UserError):
            said, status = f"{type(error).__name__}: {said}", 1
        self.watch.end_all(said, status)
        if cause is not None:
            raise cause from error

    def _lost(self, error):
        """The `UserError` that explains a broken connection."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(Exception):  # the service may be gone
                if (failed := self.watch.failure()) is not None:
                    self.status = failed.status
                    return UserError(failed.line)
            time.sleep(0.1)
        silent = [f"process {number}" for number in self.watch.silent()]
        who = " and ".join(silent) or "another process"
        return UserError(f"{who} is gone, or can't be reached, in {self.watch.doing} ({one_line(error)[:200]}); {HINT}")


ALONE = Alone()
_current, _broken = ALONE, None  # the group that an error ended


def current():
    """The `Group` of this process, or `ALONE`."""
    return _current


@contextlib.contextmanager
def together(launch):
    """The block in which this process is one of those that a `Launch` asks for.

    An error that the block raises ends the other processes too; it ends this one with the error of another.

    Raises:
      UserError: the backend is not JAX, or the processes don't find each other.
    """
    global _current, _broken
    if not launch:
        yield ALONE
        return
    import keras

    if keras.backend.backend() != "jax":
        name = "distributed" if launch.distributed else "coordinator"
        raise UserError(f"--{name} needs --backend=jax: on {keras.backend.backend()} a run has one process")
    from t2t_multimodel.training import jax_processes

    index, count, client = jax_processes.start(launch)
    if count == 1:
        yield ALONE
        return
    _current = group = Group(index, count, client, launch.stuck_after)
    try:
        group.watch.start()
        jax_processes.check_devices()
        group.same("comparing versions", {f"version of {name}": version(name) for name in _COMPARED})
        print(f"process {index} of {count}", file=sys.stderr, flush=True)
        with contextlib.ExitStack() as silence:
            if index:  # what all of them would print, process 0 does
                nowhere = silence.enter_context(open(os.devnull, "w", encoding="utf-8"))
                silence.enter_context(contextlib.redirect_stdout(nowhere))
            yield group
        group.barrier("the end")
    except BaseException as error:
        _broken = group
        group.fail(error)
        raise
    finally:
        group.watch.close()
        _current = ALONE
    jax_processes.stop()


def status_of(run):
    """The exit status that `run()` returns. After an error in one of several processes the process ends here: at its
    usual end JAX would wait for the others.
    """
    try:
        status = run()
    except BaseException:
        if _broken is None:
            raise
        traceback.print_exc()
        status = 1
    if _broken is not None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        _broken.watch.goodbye()
        os._exit(status if _broken.status is None else _broken.status)
    return status


def _short(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
