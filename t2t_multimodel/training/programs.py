"""The programs of a run's updates: how many there will be, found from the plan of its batches, and compiled ahead.

On JAX each shape of a batch has a program of its own, on TensorFlow each kind of problem. Compiling changes no result:
the program of a shape is the same, whenever it is made, and whatever is made beside it.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

LOOKED_AHEAD = 10_000  # updates of which the programs are known beforehand; later ones are counted as they come


class Programs:
    """Which programs the updates need, in the order in which they need them, and which are there."""

    def __init__(self, train_step, stream, problems, static_shapes):
        """
        Args:
          train_step: the `Step`. stream: the `MixtureStream`. problems: {name: what has its `spec`}.
          static_shapes: whether each shape of a batch has a program of its own.
        """
        self._step, self._stream, self._problems = train_step, stream, problems
        self._static_shapes = static_shapes
        self._found = {}  # key → the microbatches, of blank arrays, that first need it
        self._there = set()
        self._thread, self._closing = None, threading.Event()

    def look_ahead(self, step, last):
        """Finds the programs of the updates after `step`, up to `last` or as far as is looked; prints how many."""
        steps = max(0, min(last - step, LOOKED_AHEAD))
        blanks, seen = {}, set()
        for drawn in self._stream.shapes_ahead(step, steps):
            # Where one program serves all shapes, one of them will do: recordings have almost as many as batches.
            kinds = tuple((problem, shape if self._static_shapes else None) for problem, shape in drawn)
            if kinds in seen:
                continue
            seen.add(kinds)
            for kind, (problem, shape) in zip(kinds, drawn):
                if kind not in blanks:
                    blanks[kind] = _without_memory(self._stream.streams[problem].blank(shape))
            microbatches = [(self._problems[kind[0]].spec, blanks[kind]) for kind in kinds]
            for key in self._step.programs_of(microbatches):
                self._found.setdefault(key, microbatches)
        count = len(self._found)
        which = f"the next {steps} updates" if steps < last - step else f"{steps} updates"
        if count:
            print(f"{which}: {count} program{'s' * (count != 1)} to compile")

    @property
    def counts(self):
        """(how many programs are there, how many are known to be needed)."""
        return len(self._there), len(self._found.keys() | self._there)

    def compile_ahead(self, told, wanted, at_once=1):
        """Compiles what is known to be needed, in the order of need, and returns when all is there.

        Args:
          told: `told(programs that are there, all)` is called at the beginning and after each one.
          wanted: `wanted()` false: no more of them.
          at_once: how many; 1: in this thread.
        """
        told(*self.counts)
        waiting = [key for key, microbatches in self._found.items() if microbatches]
        if at_once == 1:
            for key in waiting:
                if not wanted():
                    return
                self._compile(key)
                told(*self.counts)
            return
        with ThreadPoolExecutor(at_once) as threads:
            for _ in threads.map(lambda key: wanted() and self._compile(key), waiting):
                told(*self.counts)

    def _compile(self, key):
        self._step.prepare(key, self._found[key])
        self._there.add(key)
        self._found[key] = None  # its arrays have served

    def compile_beside(self):
        """The same in a thread, beside the updates, which go first: one that needs its program waits for it alone."""
        if self._found:
            wanted = lambda: not self._closing.is_set()
            self._thread = threading.Thread(target=self._quietly, args=(wanted,), name="programs", daemon=True)
            self._thread.start()

    def _quietly(self, wanted):
        try:
            self.compile_ahead(lambda *counts: None, wanted)
        except Exception:  # the update that needs this program meets the same error, and raises it
            self._closing.set()

    def is_new(self, microbatches):
        """Whether an update from `microbatches`, (spec, batch of arrays) pairs, has to wait for a program."""
        return not self._there.issuperset(self._step.programs_of(microbatches))

    def used(self, microbatches):
        """An update from these was begun, so its programs are there."""
        self._there.update(self._step.programs_of(microbatches))

    def close(self):
        """Ends the thread, after the program that it compiles."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def _without_memory(arrays):
    """Zeros of the same shapes and dtypes, of which there is one in memory for all places."""
    return {name: np.broadcast_to(np.zeros((), array.dtype), array.shape) for name, array in arrays.items()}
