"""Rows on their way to the experts and back: gathered in another order, and split into parts of given lengths."""

from keras import ops

from t2t_multimodel.kernels.custom_vjp import custom_vjp
from t2t_multimodel.kernels.select import Kernel


def _ragged_split(x, counts):
    """The first counts[0] rows of x, then the next counts[1], and so on.

    The lengths are known only when the program runs: not for XLA.

    Args:
      x: [rows, d]. counts: [n] int32; their sum is the number of rows.

    Returns:
      a tuple of n arrays [counts[i], d].
    """
    starts = ops.unstack(ops.cumsum(counts) - counts)
    parts = zip(starts, ops.unstack(counts))
    return tuple(ops.slice(x, [start, 0], [count, x.shape[-1]]) for start, count in parts)


def _ragged_split_with_gradient(x, counts):
    """The gradient puts the parts together; that of a slice is an array of all rows for each part."""
    return _split(x, counts)


_split = custom_vjp(
    lambda x, counts: (_ragged_split(x, counts), None),
    lambda _, upstream: (ops.concatenate(upstream, axis=0), None),
)
ragged_split = Kernel(_ragged_split, everywhere=_ragged_split_with_gradient)


def _gather_rows(x, rows, copies, gaps=False):
    """x[rows], for a caller that knows where each row of x goes.

    Args:
      x: [n, d]. rows: [m] int32.
      copies: [n, c] int32, where in the result the copies of each row of x are. A row that needs no gradient
        may name any.
      gaps: whether `copies` holds m for a copy that does not exist.
    """
    return ops.take(x, rows, axis=0)


def _gather_rows_both_ways(x, rows, copies, gaps=False):
    """The gradient gathers rows too.

    Differentiation would add up rows wherever they came from, several times as slow, and through a concatenation it
    would look for the rows of each part anew.
    """

    def forward(x, rows, copies):  # as arguments: TensorFlow would search all that a closure's arrays are made of
        return ops.take(x, rows, axis=0), (x, copies)

    def backward(residuals, upstream):
        x, copies = residuals
        of_copies = ops.pad(upstream, [[0, 1], [0, 0]]) if gaps else upstream
        each = copies.shape[1]
        of_copies = ops.take(of_copies, ops.reshape(copies, [-1]), axis=0)
        if each > 1:
            of_copies = ops.sum(ops.reshape(of_copies, [-1, each, x.shape[-1]]), axis=1)
        return of_copies, None, None

    return custom_vjp(forward, backward)(x, rows, copies)


gather_rows = Kernel(_gather_rows, everywhere=_gather_rows_both_ways)
