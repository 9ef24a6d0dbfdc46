"""Products over an array's last axis as products of two matrices; reshapes and sums that ask no array for its shape."""

import keras
from keras import ops


def reshape_known(x, shape, back):
    """`ops.reshape` whose gradient is told the way `back`.

    TensorFlow's asks x for its shape. Each such question of an array in the making costs ten microseconds on the way:
    what comes next is handed to another thread.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.reshape(x, shape)

    @ops.custom_gradient
    def forward(x):
        return ops.reshape(x, shape), lambda *arguments, upstream=None: ops.reshape(
            arguments[0] if upstream is None else upstream, back
        )

    return forward(x)


def residual_add(x, y):
    """x + y of equal shapes: TensorFlow's gradient would first find out at run time that they are."""
    if keras.backend.backend() != "tensorflow":
        return x + y

    @ops.custom_gradient
    def forward(x, y):
        return x + y, lambda *arguments, upstream=None: (arguments[0] if upstream is None else upstream,) * 2

    return forward(x, y)


def flatten_leading(x, shape):
    """x [..., features], whose shape somebody has asked for already, as [rows, features]."""
    return x if len(x.shape) == 2 else reshape_known(x, [-1, x.shape[-1]], shape)


def dense(x, weights, bias=None):
    """x · weights (+ bias): [..., features] × [features, more] → [..., more].

    On TensorFlow `ops.matmul` of three axes with two works out at run time which axes to fold, a dozen operations for
    each product; and a bias is added within the product only where that is one of two matrices.
    """
    linear = lambda rows: ops.matmul(rows, weights) if bias is None else ops.add(ops.matmul(rows, weights), bias)
    if len(x.shape) == 2:
        return linear(x)
    shape = ops.shape(x)
    rows = linear(flatten_leading(x, shape))
    return reshape_known(rows, [*shape[:-1], rows.shape[-1]], [-1, rows.shape[-1]])
