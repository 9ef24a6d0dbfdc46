"""Which of neighbouring ranges each index is in."""

from keras import ops

from t2t_multimodel.kernels.select import Kernel


def _ends_passed(ends, index):
    """How many of the ends of neighbouring ranges, int32 [E], rising, are at or before each index, int32 [n]: [n]."""
    return ops.sum(ops.cast(index[:, None] >= ends[None], "int32"), axis=-1)


def _binary_search(ends, index):
    """Without comparing each with each. Not every runtime has the operation."""
    return ops.cast(ops.searchsorted(ends, index, side="right"), "int32")


ends_passed = Kernel(_ends_passed, everywhere=_binary_search)
