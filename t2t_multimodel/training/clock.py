"""How long a run has trained and how much it has seen: what its scores are plotted over besides steps."""

import time


class TrainingClock:
    """Seconds spent in updates, of this run and of what it continues.

    The time of an update is that of drawing its batches and of the update itself, until its results are there. Several
    may be under way: the clock runs from the start of the first to the end of the last. Evaluations, checkpoints and
    start-up don't count, nor does an update that waits for its program, which spends its time on compiling it.
    """

    def __init__(self, seconds=0.0):
        """Args: seconds: of the run that is continued."""
        self.seconds = seconds
        self._started = None

    def start(self):
        """An update begins; where others are under way the clock is running and goes on."""
        if self._started is None:
            self._started = time.perf_counter()

    def stop(self, counts=True):
        """No update is under way any more. Args: counts: False: the time since the start is that of compiling."""
        if counts and self._started is not None:
            self.seconds += time.perf_counter() - self._started
        self._started = None


def seconds_logged(records, step):
    """The training seconds in a run's log (records of `read_metrics`) in its last line up to `step`; else 0."""
    values = [r["train_seconds"] for r in records if "train_seconds" in r and r["step"] <= step]
    return float(values[-1]) if values else 0.0
