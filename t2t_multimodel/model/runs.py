"""Cuts rows into runs of given lengths, one behind the other."""

from keras import ops


@ops.custom_gradient
def runs_of(x, counts):
    """The first counts[0] rows of x, then the next counts[1], and so on.

    The lengths are known only when the program runs, so this is for a backend that takes such. The gradient is written
    out, runs put together again: that of a slice is an array of all rows for each run.

    Args:
      x: [rows, features]. counts: [n] int32; their sum is the number of rows.

    Returns:
      a list of n arrays [counts[i], features].
    """
    starts = ops.unstack(ops.cumsum(counts) - counts)
    runs = [ops.slice(x, [start, 0], [count, x.shape[-1]]) for start, count in zip(starts, ops.unstack(counts))]

    def gradient(*of_runs, upstream=None):
        return ops.concatenate(of_runs if upstream is None else upstream, axis=0), None

    return runs, gradient
