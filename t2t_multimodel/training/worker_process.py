"""A worker process: it makes a model of weights that it shares with others, and answers batches on one processor."""

import dataclasses
import json
import os
import queue
import signal
import threading
import traceback
from typing import Any

from t2t_multimodel import compile_cache, startup
from t2t_multimodel.errors import UserError
from t2t_multimodel.modules import Module, import_all

# Two workers with threads for all processors would slow each other down.
ONE_PROCESSOR = {
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "NPROC": "1",  # of JAX's pools of threads
    "PJRT_NPROC": "1",
    "OMP_NUM_THREADS": "1",
}
READY, DONE, FAILED = "ready", "done", "failed"  # what a worker says; the last two with a value


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that a worker is made from."""

    modules: tuple[Module, ...]  # that register what the run uses
    run: str  # of `Run.to_json`, as text
    hparams: Any
    weights: Any  # `SharedWeights`
    vocabulary: tuple[bytes, dict[str, int]] | None  # arguments of `Vocabulary`
    source: tuple[str, str, str]  # arguments of `model_of_stored`
    quantize: str = "none"  # of `model_of_stored`


@dataclasses.dataclass(frozen=True)
class NewWeights:
    """The shared weights have other values from here on."""


def serve(connection: Any, make: Any, setup: Any) -> None:
    """What the process does: makes a worker and says `READY`, then does one task after the other and says (`DONE`,
    result) or (`FAILED`, error). It ends with the other end of the connection.

    Args:
      make: function from `setup` to an object with a method `do`, from a task to its result.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to handle
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    try:
        worker = make(setup)
        connection.send((READY, None))
        while True:
            task = tasks.get()
            try:
                found = (DONE, worker.do(task))
            except Exception as error:
                found = (FAILED, portable(error))
            connection.send(found)
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        connection.send((FAILED, portable(error)))


def portable(error: Exception) -> Exception:
    """The error as it may be sent: a `UserError` as itself, another with its traceback as its text."""
    if isinstance(error, UserError):
        return UserError(str(error))
    if isinstance(error, MemoryError):
        return MemoryError(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    return RuntimeError("in a worker process:\n" + "".join(traceback.format_exception(error)))


def _receive(connection, tasks):
    """Takes tasks off the connection at once, so that the other end never waits for this process to read."""
    try:
        while True:
            tasks.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)  # in the middle of whatever is computed: no process waits for it


class Worker:
    """Does the `Task`s of a run, and takes `NewWeights`."""

    def __init__(self, setup):
        os.environ.update(ONE_PROCESSOR)
        startup.set_environment()
        compile_cache.use_in_worker()
        startup.import_backend()
        import_all(setup.modules)
        from t2t_multimodel.training.answerer import Answerer
        from t2t_multimodel.training.backend import adapter
        from t2t_multimodel.training.run import Run, model_of_stored
        from t2t_multimodel.vocabulary import Vocabulary

        backend = adapter()
        self._setup = setup
        run = Run.from_json(json.loads(setup.run))
        self._in_place = backend.in_place
        weights = setup.weights.arrays()
        given = {"as_value": backend.in_place, "quantize": setup.quantize}
        self._model = model_of_stored(run, setup.hparams, weights, *setup.source, **given)
        vocabulary = Vocabulary(*setup.vocabulary) if setup.vocabulary else None
        self._answerer = Answerer(self._model, run, setup.hparams, vocabulary)
        startup.give_back_memory()  # that of the weights that the model was made with

    def do(self, task):
        """What comes of a `Task`; None of `NewWeights`."""
        from t2t_multimodel.training.run import load_variables

        if not isinstance(task, NewWeights):
            outcome = self._answerer.do(task)
            compile_cache.keep_new_of_xla()
            return outcome
        weights = self._setup.weights.arrays()
        load_variables(self._model.variables, weights, self._setup.source[0], as_value=self._in_place)
        return None
