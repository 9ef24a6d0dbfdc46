"""Some neighbouring slices of an array are replaced, at a place that is known only when the program runs."""

from keras import ops

from t2t_multimodel.kernels.select import Kernel


def _write_slice(x, place, values, axis):
    """x with `values` from `place` on along an axis.

    Args:
      x: [..., n, ...], n known while the program is traced. place: int32 scalar, from 0 to n − m.
      values: as x, m instead of n, known as well.
    """
    slices = values.shape[axis]
    number = ops.arange(x.shape[axis], dtype="int32") - ops.cast(place, "int32")  # of the slice of `values`
    if slices > 1:
        values = ops.take(values, ops.clip(number, 0, slices - 1), axis=axis)
    shape = [1] * len(x.shape)
    shape[axis] = x.shape[axis]
    number = ops.reshape(number, shape)
    return ops.where(ops.logical_and(number >= 0, number < slices), values, x)


def _in_place(x, place, values, axis):
    """Without passing over the rest. On TensorFlow it is an operation of XLA's, which not every runtime has:
    programs that are passed on have the plain formula.
    """
    start = [0] * len(x.shape)
    start[axis] = place
    return ops.slice_update(x, start, values)


write_slice = Kernel(_write_slice, tensorflow_cpu=_in_place, tensorflow_gpu=_in_place, jax=_in_place)
