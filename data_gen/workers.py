"""The worker processes that make records: one pool for all problems; results are in order for any number of workers.

A worker is a new interpreter, since TensorFlow in the parent makes forking unsafe. It recreates each problem from a
`Recipe`: it imports the modules of the problem's classes, by file path if a plain import does not find them. This works
for problems of a user's folder, of a script and of a test.
"""

import collections
import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from t2t_multimodel import registry
from t2t_multimodel.data_gen import examples, partitions, sending
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.errors import UserError
from t2t_multimodel.files import remove_folder
from t2t_multimodel.modules import import_all, with_packages
from t2t_multimodel.problem import samples_of
from t2t_multimodel.startup import processors
from t2t_multimodel.vocabulary import Vocabulary

_MOST_WORKERS = 1024  # processes of this machine
_CHUNK, _COSTLY_CHUNK = 1024, 32  # samples sent to a worker at once …
_CHUNK_BYTES = 16 << 20  # … or fewer, whose records have this size


class Workers:
    """Makes records of the samples of `problems` in `count` processes; a context manager."""

    def __init__(self, problems, count=None):
        self.count = processors() if count is None else count
        if not 1 <= self.count <= _MOST_WORKERS:
            raise UserError(f"--workers={count}: give a number of processes between 1 and {_MOST_WORKERS:,}")
        self._problems = list(problems)
        self._recipes = [recipe_of(problem) for problem in self._problems]
        self._pool = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def chunks(self, problem, split, vocabulary_folder, with_references, seed=0, first=0, folder=None):
        """Yields the `examples.Chunk`s of a split, in sample order; their records are `Packed`.

        Args:
          problem: one of the `problems`.
          vocabulary_folder: the data folder's `vocabulary/`; None if neither side is text.
          with_references: whether the store has references.
          seed: decides the order of the examples on disk.
          first: index of the first sample; samples before it are skipped.
          folder: for the files of `sending.py`, of this call alone; None: all goes through the pipe.
        """
        number = next(i for i, known in enumerate(self._problems) if known is problem)
        task = _Task(number, split, vocabulary_folder, with_references, seed)
        batches = batches_of(problem, split, chunk_size(problem), first)
        first_two = list(itertools.islice(batches, 2))
        sizes = _Sizes()
        batches = sizes.cut(itertools.chain(first_two, batches))
        if self.count == 1 or len(first_two) < 2 or self._recipes[number] is None:
            vocabulary = Vocabulary.load(vocabulary_folder) if vocabulary_folder else None
            features = examples.feature_names(problem, with_references)
            for start, samples in batches:
                chunk = examples.make_records(problem, features, vocabulary, split, start, samples)
                yield sizes.learned(packed(problem, chunk, seed))
        else:
            with _own_folder(folder):
                yield from self._in_order(task, batches, sizes, folder)

    def _in_order(self, task, batches, sizes, folder):
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
                sent = sending.send(samples, folder)
                waiting.append(self._pool.submit(_run_task, task, start, sent))
                if len(waiting) > 2 * self.count:
                    yield sizes.learned(waiting.popleft().result())
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process died: out of memory (try fewer --workers), or the calling script has no "
                '`if __name__ == "__main__":`'
            ) from error
        finally:
            for future in waiting:
                future.cancel()


class _Sizes:
    """Cuts batches of samples, so that neither a worker nor the first process holds many large records at once.

    The size of records is known when they are made: the first pieces are single samples.
    """

    def __init__(self):
        self._samples, self._bytes_each = 0, 1.0

    def cut(self, batches):
        """Yields (index of the first sample, samples) of the same samples in smaller pieces."""
        for start, samples in batches:
            first = 0
            while first < len(samples):
                last = first + max(1, min(self._samples, int(_CHUNK_BYTES / self._bytes_each)))
                yield start + first, samples[first:last]
                first = last

    def learned(self, chunk):
        """The `chunk`, which tells the size of records: a larger one counts at once, smaller ones slowly."""
        self._samples += len(chunk.records) + len(chunk.bad)
        if len(chunk.records):
            each = len(chunk.records.content) / len(chunk.records)
            self._bytes_each = max(each, (self._bytes_each + each) / 2, 1.0)
        return chunk


@contextlib.contextmanager
def _own_folder(folder):
    """Makes an empty folder that is removed at the end; None: makes none."""
    if folder is None:
        yield
        return
    remove_folder(folder)  # of a killed process
    os.makedirs(folder)
    try:
        yield
    finally:
        remove_folder(folder)


@dataclasses.dataclass(frozen=True)
class _Task:
    problem_number: int
    split: str
    vocabulary_folder: object
    with_references: bool
    seed: int


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a worker recreates a problem."""

    name: str
    modules: tuple  # (module name, file, folders of sub-modules or None); packages before their modules
    pickled: bytes | None  # the instance; None: the registry creates it by name

    def make(self):
        import_all(self.modules)
        return pickle.loads(self.pickled) if self.pickled else registry.problem(self.name)


def recipe_of(problem):
    """The `Recipe` of a problem; None if a worker can't recreate it: then this process does its work."""
    modules = tuple(_module_and_packages(problem))
    try:
        return Recipe(problem.name, modules, pickle.dumps(problem))
    except (pickle.PicklingError, AttributeError, TypeError):  # for example a class created at run time
        pass
    try:
        if registry.problem(problem.name).arguments() == problem.arguments():
            return Recipe(problem.name, modules, None)
    except UserError:
        pass
    return None


def _module_and_packages(problem):
    for cls in reversed(type(problem).__mro__):
        yield from with_packages(cls.__module__)


def chunk_size(problem):
    """How many samples are made at once."""
    return _COSTLY_CHUNK if problem.inputs.costly or problem.targets.costly else _CHUNK


def batches_of(problem, split, size, first=0):
    """Yields a split's samples from index `first` on in batches: (index of the first sample, list of samples).

    Raises:
      UserError: the next sample can't be read.
    """
    start = first
    try:
        samples = itertools.islice(samples_of(problem, split), first, None)
        while batch := list(itertools.islice(samples, size)):
            yield start, batch
            start += len(batch)
    except (ValueError, OSError) as error:
        raise UserError(f"problem {problem.name}, split {split!r}, after sample {start}: {error}") from error


# ---- Inside a worker

_recipes, _made = [], {}  # `_made`: what the latest task needs


def _start_worker(recipes, folders):
    _recipes[:] = recipes
    corpora.use_folders(folders)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """Ends this worker when its parent is killed; otherwise it would wait forever for tasks."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _run_task(task, start, sent):
    samples = sending.receive(sent)
    if task not in _made:
        _made.clear()  # tasks come split by split; the words that a vocabulary remembers take 100 MB
        problem = _recipes[task.problem_number].make()
        vocabulary = Vocabulary.load(task.vocabulary_folder) if task.vocabulary_folder else None
        _made[task] = problem, examples.feature_names(problem, task.with_references), vocabulary
    problem, features, vocabulary = _made[task]
    return packed(problem, examples.make_records(problem, features, vocabulary, task.split, start, samples), task.seed)


def packed(problem, chunk, seed):
    """`chunk` with its records as arrays: faster to send between processes than many small values."""
    return dataclasses.replace(chunk, records=partitions.pack(chunk.records, seed, len(problem.inputs.members)))
