"""Rows on their way to the experts and back: picked in another order, and cut into runs of given lengths."""

from keras import ops


@ops.custom_gradient
def ragged_split(x, counts):
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


def gather_rows(x, rows, copies, gaps=False):
    """x[rows], where it is known beforehand what becomes of each row of x: so the gradient picks rows too.

    Differentiation would add up rows wherever they came from, several times as slow, and through a concatenation it
    would look for the rows of each part anew.

    Args:
      x: [n, features]. rows: [m] int32.
      copies: [n, most] int32, where in the result the copies of each row of x are. A row whose gradient nobody uses
        may name any.
      gaps: whether `copies` holds m for a copy that there is not.
    """

    @ops.custom_gradient
    def forward(x, rows, copies):  # as arguments: TensorFlow would search all that a closure's arrays are made of
        def gradient(*arguments, upstream=None):
            of_copies = arguments[0] if upstream is None else upstream
            if gaps:
                of_copies = ops.pad(of_copies, [[0, 1], [0, 0]])
            most = copies.shape[1]
            of_copies = ops.take(of_copies, ops.reshape(copies, [-1]), axis=0)
            if most > 1:
                of_copies = ops.sum(ops.reshape(of_copies, [-1, most, x.shape[-1]]), axis=1)
            return of_copies, None, None

        return ops.take(x, rows, axis=0), gradient

    return forward(x, rows, copies)
