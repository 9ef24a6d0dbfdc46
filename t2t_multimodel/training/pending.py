"""Updates under way: their reports are read some updates later, so that a device does not wait for the host."""

import collections

import numpy as np


class PendingUpdates:
    """Updates that were begun, in order, and have reports that are not read yet."""

    def __init__(self, late, done):
        """
        Args:
          late: so many updates may be under way when another one is begun; 0 where an update ends with its call.
          done: `done(step, batches, reports, norm)` is called for each one in order, with reports and norm as floats.
        """
        self._late, self._done = late, done
        self._begun = collections.deque()

    def __len__(self):
        return len(self._begun)

    def add(self, step, batches, reports, norm):
        """The update that makes this `step` was begun; reports ({name: number} of each batch) and norm may be arrays
        that are not computed yet.
        """
        self._begun.append((step, batches, reports, norm))

    def read(self, all_of_them=False):
        """Waits until no more than `late` updates are under way, or none; returns whether none is."""
        while len(self._begun) > (0 if all_of_them else self._late):
            step, batches, reports, norm = self._begun.popleft()
            reports = [{name: _number(value) for name, value in report.items()} for report in reports]
            self._done(step, batches, reports, _number(norm))
        return not self._begun


def _number(value):
    return float(np.asarray(value))  # by way of NumPy, which of JAX's arrays takes a sixth of the time
