"""Two halves of a batch side by side, for a long chain of large operations of which each waits for the one before."""

import contextvars

import keras
from keras import ops

_made = contextvars.ContextVar("made", default=None)  # by `once`, for the halves that are computed now


def cached_for_split(owner, make):
    """`make()`, which depends on weights alone, made for both halves of a batch together; once for each owner.

    Outside of halves it is made at each call. Not for use within a branch or a loop of the program: what is made there
    is not known outside.
    """
    made = _made.get()
    if made is None:
        return make()
    if owner not in made:
        made[owner] = make()
    return made[owner]


def split_batch(function, *arrays):
    """`function(*arrays)`, an array whose every row comes of that row of the arrays alone, made of two halves.

    TensorFlow runs operations that do not wait for each other at once; such a chain alone would keep one processor
    waiting. XLA shares out each operation, so elsewhere the batch stays whole.
    """
    if keras.backend.backend() != "tensorflow":
        return function(*arrays)
    rows = ops.shape(arrays[0])[0]
    half = rows // 2
    # A single row is computed twice, once for nothing: no operation meets an empty batch.
    ends = ops.maximum(half, 1), half
    halves = zip(*(_halved(x, rows, ends) for x in arrays))
    token = _made.set({})
    try:
        first, second = (function(*parts) for parts in halves)
    finally:
        _made.reset(token)
    return _joined(first, second, rows, ends)


def halved(x, half):
    """x[:half] and x[half:]."""
    if keras.backend.backend() != "tensorflow":
        return x[:half], x[half:]
    return _halved(x, ops.shape(x)[0], (half, half))


def _halved(x, rows, ends):
    """x[: ends[0]] and x[ends[1] :]; the gradient puts halves together, where that of a slice is an array of zeros to
    be added to another.
    """

    @ops.custom_gradient
    def forward(x):
        def gradient(*of_halves, upstream=None):
            whole = ops.concatenate(of_halves if upstream is None else upstream, axis=0)
            return whole[ops.shape(whole)[0] - rows :]

        return (x[: ends[0]], x[ends[1] :]), gradient

    return forward(x)


def _joined(first, second, rows, ends):
    """The halves' results in one array, whose gradient is cut in halves."""

    @ops.custom_gradient
    def forward(first, second):
        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            counts = ops.cast(rows > 1, upstream.dtype)  # whether the first half is anybody's
            return upstream[: ends[0]] * counts, upstream[ends[1] :]

        both = ops.concatenate([first, second], axis=0)
        return both[ops.shape(both)[0] - rows :], gradient

    return forward(first, second)
