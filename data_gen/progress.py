"""Progress bars of data generation on stderr: examples or bytes per second, megabytes, and time left if known."""

import contextlib
import itertools
import sys
import time

from t2t_multimodel.problem import samples_of

_COUNTING_SECONDS = 2.0  # for counting the samples of a split, to show the time left


class Bars:
    """Creates the bars of all stages; draws nothing if stderr is not a terminal, unless `show` is true."""

    def __init__(self, show=None):
        self.shown = sys.stderr.isatty() if show is None else show

    @contextlib.contextmanager
    def examples(self, stage, total=None, before=0):
        """Yields `advance(examples, bytes)`; `before` of the `total` are finished already."""
        with self._bar(stage, total, unit=" examples", initial=before) as bar:
            size = 0

            def advance(examples, more):
                nonlocal size
                size += more
                bar.set_postfix_str(f"{size / 1e6:,.1f} MB", refresh=False)
                bar.update(examples)

            yield advance

    @contextlib.contextmanager
    def bytes(self, stage, total):
        """Yields `advance(bytes)`."""
        with self._bar(stage, total, unit="B", unit_scale=True) as bar:
            yield bar.update

    @contextlib.contextmanager
    def reading(self, stage, afterwards):
        """Yields `texts → texts`, which counts the texts read; then the bar shows the stage `afterwards`."""
        with self._bar(stage, None, unit=" texts") as bar:

            def read(texts):
                characters = 0
                for text in texts:
                    characters += len(text)
                    if bar.update():
                        bar.set_postfix_str(f"{characters / 1e6:,.1f} M characters", refresh=False)
                    yield text
                bar.set_description_str(afterwards)

            yield read

    def samples(self, problem, split):
        """The number of samples of a split, or None if counting takes too long."""
        if not self.shown:
            return None
        count, is_all = count_samples(samples_of(problem, split), _COUNTING_SECONDS)
        return count if is_all else None

    def _bar(self, stage, total, **options):
        import tqdm

        return tqdm.tqdm(
            total=total, desc=stage, file=sys.stderr, disable=not self.shown, leave=False, dynamic_ncols=True, **options
        )


def count_samples(samples, seconds):
    """Counts for at most `seconds`: (number of samples, whether these are all)."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        some = sum(1 for _ in itertools.islice(samples, 100))
        count += some
        if some < 100:
            return count, True
    return count, False
