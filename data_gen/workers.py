"""The processes that make records: one pool for all problems of a call, results in order, the same for any number.

A worker is a fresh interpreter (TensorFlow in the parent makes forking unsafe). It gets each problem as a `Recipe`
and makes it again, importing the modules that the problem's classes come from, by file where a plain import would not
find them: that covers problems of a user's folder, of a script and of a test.
"""

import collections
import dataclasses
import importlib
import importlib.util
import itertools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from t2t_multimodel import registry
from t2t_multimodel.data_gen import examples, pieces
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.errors import UserError
from t2t_multimodel.problem import samples_of
from t2t_multimodel.startup import processors
from t2t_multimodel.vocabulary import Vocabulary

_CHUNK, _COSTLY_CHUNK = 256, 32  # samples sent to a worker at once


class Workers:
    """Makes records of the samples of `problems` in `count` processes; used as a context."""

    def __init__(self, problems, count=None):
        self.count = processors() if count is None else count
        if self.count < 1:
            raise UserError(f"--workers={count}: at least one process has to do the work")
        self._problems = list(problems)
        self._recipes = [recipe_of(problem) for problem in self._problems]
        self._pool = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def chunks(self, problem, split, vocabulary_folder, with_references, seed=0, first=0):
        """Yields the `examples.Chunk`s of a split's samples, in the order of the samples, their records `Packed`.

        Args:
          problem: one of the `problems`.
          vocabulary_folder: the data folder's `vocabulary/`; None if neither side is text.
          with_references: whether the store has references.
          seed: of the order of the examples on disk.
          first: number of the sample to begin with; those before it are read, and not made.
        """
        number = next(i for i, known in enumerate(self._problems) if known is problem)
        task = _Task(number, split, vocabulary_folder, with_references, seed)
        batches = batches_of(problem, split, chunk_size(problem), first)
        start_of_it = list(itertools.islice(batches, 2))
        batches = itertools.chain(start_of_it, batches)
        if self.count == 1 or len(start_of_it) < 2 or self._recipes[number] is None:
            vocabulary = Vocabulary.load(vocabulary_folder) if vocabulary_folder else None
            features = examples.store_features(problem, with_references)
            for start, samples in batches:
                yield packed(examples.make_records(problem, features, vocabulary, split, start, samples), seed)
        else:
            yield from self._in_order(task, batches)

    def _in_order(self, task, batches):
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.count,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(self._recipes, corpora.folders()),
            )
        waiting = collections.deque()
        try:
            for start, samples in batches:
                waiting.append(self._pool.submit(_work, task, start, samples))
                if len(waiting) > 2 * self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process died, most likely for lack of memory, or because the script that called this lacks "
                'its `if __name__ == "__main__":`; try fewer --workers'
            ) from error
        finally:
            for future in waiting:
                future.cancel()


@dataclasses.dataclass(frozen=True)
class _Task:
    problem_number: int
    split: str
    vocabulary_folder: object
    with_references: bool
    seed: int


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a worker makes a problem again."""

    name: str
    modules: tuple  # (module name, file, folders of sub-modules or None), packages before what is in them
    pickled: bytes | None  # the instance; None: the registry makes it by its name

    def make(self):
        for name, file, inside in self.modules:
            _import(name, file, inside)
        return pickle.loads(self.pickled) if self.pickled else registry.problem(self.name)


def recipe_of(problem):
    """The `Recipe` of a problem; None if a worker could not make the same one, so that it stays in this process."""
    modules = tuple(_module_and_packages(problem))
    try:
        return Recipe(problem.name, modules, pickle.dumps(problem))
    except (pickle.PicklingError, AttributeError, TypeError):  # such as a class that is made on demand
        pass
    try:
        if registry.problem(problem.name).arguments() == problem.arguments():
            return Recipe(problem.name, modules, None)
    except UserError:
        pass
    return None


def _module_and_packages(problem):
    for cls in reversed(type(problem).__mro__):
        parts = cls.__module__.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            module = sys.modules.get(name)
            if getattr(module, "__file__", None) and name != "__main__":
                inside = getattr(module, "__path__", None)
                yield name, module.__file__, inside and tuple(inside)


def _import(name, file, inside):
    if name in sys.modules:
        return
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside and list(inside))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


def chunk_size(problem):
    """How many samples are made at once."""
    return _COSTLY_CHUNK if problem.inputs.costly or problem.targets.costly else _CHUNK


def batches_of(problem, split, size, first=0):
    """Cuts a split's samples, from number `first` on, into (number of the first, list of samples).

    Raises:
      UserError: what comes next can't be read.
    """
    start = first
    try:
        samples = itertools.islice(samples_of(problem, split), first, None)
        while batch := list(itertools.islice(samples, size)):
            yield start, batch
            start += len(batch)
    except (ValueError, OSError) as error:  # what comes after it can't be read
        raise UserError(f"problem {problem.name}, split {split!r}, after sample {start}: {error}") from error


# ---- Inside a worker

_recipes, _made = [], {}


def _start_worker(recipes, folders):
    _recipes[:] = recipes
    corpora.use_folders(folders)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """A worker waits for work for ever; if the parent is killed, nobody would tell it."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(task, start, samples):
    if task not in _made:
        problem = _recipes[task.problem_number].make()
        vocabulary = Vocabulary.load(task.vocabulary_folder) if task.vocabulary_folder else None
        _made[task] = problem, examples.store_features(problem, task.with_references), vocabulary
    problem, features, vocabulary = _made[task]
    return packed(examples.make_records(problem, features, vocabulary, task.split, start, samples), task.seed)


def packed(chunk, seed):
    """`chunk` with its records as arrays: a few large values pass between processes quicker than many small ones."""
    return dataclasses.replace(chunk, records=pieces.pack(chunk.records, seed))
