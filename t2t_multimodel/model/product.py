"""Products over an array's last axis as products of two matrices."""

from keras import ops


def on_rows(x, function):
    """`function`, which takes [rows, features] and gives [rows, more], on the last axis of x: [..., features] →
    [..., more].
    """
    if len(x.shape) == 2:
        return function(x)
    rows = function(ops.reshape(x, [-1, x.shape[-1]]))
    return ops.reshape(rows, [*ops.shape(x)[:-1], rows.shape[-1]])


def product(x, weights, bias=None):
    """x · weights (+ bias): [..., features] × [features, more] → [..., more].

    On TensorFlow `ops.matmul` of three axes with two works out at run time which axes to fold, a dozen operations for
    each product; and a bias is added within the product only where that is one of two matrices.
    """
    linear = lambda rows: ops.matmul(rows, weights) if bias is None else ops.add(ops.matmul(rows, weights), bias)
    return on_rows(x, linear)
