"""Two halves of a batch side by side, for a long chain of large operations of which each waits for the one before."""

import contextvars

from keras import ops

from t2t_multimodel.kernels.custom_vjp import custom_vjp
from t2t_multimodel.kernels.select import Kernel

_cache = contextvars.ContextVar("cache", default=None)  # of `cached_for_split`, for the halves computed now


def cached_for_split(owner, make):
    """`make()`, which depends on weights alone, made once for each owner and shared by both halves of a batch.

    Outside of halves it is made at each call. Not for use within a branch or a loop of the program: what is made there
    is not known outside.
    """
    cache = _cache.get()
    if cache is None:
        return make()
    if owner not in cache:
        cache[owner] = make()
    return cache[owner]


def _whole_batch(function, *arrays):
    """`function(*arrays)`: arrays [B, …] → an array [B, …]; its rows must be independent of each other."""
    return function(*arrays)


def _two_halves(function, *arrays):
    """The two halves are independent, so TensorFlow on a CPU runs operations of both at once.

    One chain alone would keep one thread waiting. XLA shares out each operation, and a GPU takes a whole batch faster.
    """
    rows = ops.shape(arrays[0])[0]
    half = rows // 2
    # A single row is computed twice, once for nothing: no operation meets an empty batch.
    ends = ops.maximum(half, 1), half
    halves = zip(*(_split(x, rows, ends) for x in arrays))
    token = _cache.set({})
    try:
        first, second = (function(*parts) for parts in halves)
    finally:
        _cache.reset(token)
    return _joined(first, second, rows, ends)


split_batch = Kernel(_whole_batch, tensorflow_cpu=_two_halves)


def _halved(x, half):
    """x[:half] and x[half:]."""
    return x[:half], x[half:]


def _halved_with_gradient(x, half):
    return _split(x, ops.shape(x)[0], (half, half))


halved = Kernel(_halved, tensorflow=_halved_with_gradient)


def _split(x, rows, ends):
    """x[: ends[0]] and x[ends[1] :]; the gradient puts the halves together, where that of a slice is an array of zeros
    to be added to another.
    """

    def backward(_, upstream):
        whole = ops.concatenate(upstream, axis=0)
        return whole[ops.shape(whole)[0] - rows :]

    return custom_vjp(lambda x: ((x[: ends[0]], x[ends[1] :]), None), backward)(x)


def _joined(first, second, rows, ends):
    """The halves' results in one array; the gradient is split again."""

    def forward(first, second):
        both = ops.concatenate([first, second], axis=0)
        return both[ops.shape(both)[0] - rows :], None

    def backward(_, upstream):
        counts = ops.cast(rows > 1, upstream.dtype)  # whether the first half is more than a copy
        return upstream[: ends[0]] * counts, upstream[ends[1] :]

    return custom_vjp(forward, backward)(first, second)
