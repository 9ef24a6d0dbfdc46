"""Products over an array's last axis as products of two matrices."""

import keras
from keras import ops


def on_rows(x, function, shape=None):
    """`function`, which takes [rows, features] and gives [rows, more], on the last axis of x: [..., features] →
    [..., more].

    Args:
      shape: of x, where the caller has asked for it already (the last entry does not matter).
    """
    if len(x.shape) == 2:
        return function(x)
    leading = (ops.shape(x) if shape is None else shape)[:-1]
    rows = function(_reshaped(x, [-1, x.shape[-1]], [*leading, x.shape[-1]]))
    return _reshaped(rows, [*leading, rows.shape[-1]], [-1, rows.shape[-1]])


def _reshaped(x, shape, back):
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


def product(x, weights, bias=None):
    """x · weights (+ bias): [..., features] × [features, more] → [..., more].

    On TensorFlow `ops.matmul` of three axes with two works out at run time which axes to fold, a dozen operations for
    each product; and a bias is added within the product only where that is one of two matrices.
    """
    linear = lambda rows: ops.matmul(rows, weights) if bias is None else ops.add(ops.matmul(rows, weights), bias)
    return on_rows(x, linear)
