"""Every n-th position of a picture."""

from keras import ops

from t2t_multimodel.kernels.select import Kernel


def _strided_slice_2d(x, down, right):
    """x [B, H, W, d] → x[:, ::down, ::right]."""
    return x[:, ::down, ::right]


def _two_slices(x, down, right):
    """As two slices of contiguous numbers: a CPU copies a strided slice, and its gradient more so, one by one."""
    if (down, right) == (1, 1):
        return x
    batch, height, width, features = ops.shape(x)
    rows, columns = -(-height // down), -(-width // right)
    if width % right or not isinstance(height, int) or height % down:
        x = ops.pad(x, [[0, 0], [0, rows * down - height], [0, columns * right - width], [0, 0]])
    line = columns * right * features
    x = ops.slice(ops.reshape(x, [-1, down * line]), [0, 0], [batch * rows, line])
    x = ops.slice(ops.reshape(x, [-1, right * features]), [0, 0], [batch * rows * columns, features])
    return ops.reshape(x, [batch, rows, columns, features])


strided_slice_2d = Kernel(_strided_slice_2d, tensorflow_cpu=_two_slices)
