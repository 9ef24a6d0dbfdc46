"""The second half of a layer norm, x / √(mean(x²) + ε) · scale + bias, of rows of mean zero."""

from keras import ops

from t2t_multimodel.kernels.custom_vjp import custom_vjp
from t2t_multimodel.kernels.select import Kernel
from t2t_multimodel.kernels.shapes import with_shape

EPSILON = 1e-6


def _scaled_rows(x, scale, bias, shape):
    """x [rows, d] → `shape` [..., d], normalised over d. scale, bias: [d]."""
    variance = ops.mean(ops.square(x), axis=-1, keepdims=True)
    return ops.reshape(x * ops.rsqrt(variance + EPSILON) * scale + bias, shape)


def _scaled_rows_with_gradient(x, scale, bias, shape):
    """With the gradient written out: every operation is a pass over memory, and differentiation makes more of them.

    The sums that the gradient needs are products with a single row or column: a CPU sums columns faster so. The bias is
    left to `ops.add`: TensorFlow makes one operation of its gradient. XLA makes one pass of the formula by itself.
    """

    def forward(x, scale):
        variance = ops.mean(ops.square(x), axis=-1, keepdims=True) + EPSILON  # [rows, 1]
        inverse = ops.rsqrt(variance)
        return ops.reshape(x * inverse * scale, shape), (x, scale, variance, inverse)

    def backward(residuals, upstream):
        x, scale, variance, inverse = residuals
        upstream = ops.reshape(upstream, [-1, x.shape[-1]])
        both = upstream * x
        # [rows, 1]: the part of the gradient along x, which only changes its length
        along = ops.matmul(both, ops.reshape(scale, [-1, 1])) / (variance * x.shape[-1])
        of_x = (upstream * scale - x * along) * inverse
        return of_x, ops.reshape(ops.matmul(ops.reshape(inverse, [1, -1]), both), [-1])

    return with_shape(ops.add(custom_vjp(forward, backward)(x, scale), bias), shape)


scaled_rows = Kernel(_scaled_rows, tensorflow=_scaled_rows_with_gradient)
