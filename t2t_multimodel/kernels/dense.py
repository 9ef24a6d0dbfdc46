"""Dense layers as products of two matrices; reshapes and residual sums that query no dynamic shape."""

from keras import ops

from t2t_multimodel.kernels.custom_vjp import custom_vjp
from t2t_multimodel.kernels.select import Kernel
from t2t_multimodel.kernels.shapes import shape_of, with_shape


def _dense(x, weights, bias=None):
    """x · weights (+ bias): [..., d] × [d, f] → [..., f]."""
    y = ops.matmul(x, weights)
    return y if bias is None else ops.add(y, bias)


def _dense_of_matrices(x, weights, bias=None):
    """With leading axes flattened.

    On TensorFlow `ops.matmul` of three axes with two works out at run time which axes to fold, a dozen operations for
    each product; and a bias is added within the product only where that is one of two matrices.
    """
    if len(x.shape) == 2:
        return _dense(x, weights, bias)
    shape = shape_of(x)
    rows = _dense(flatten_leading(x, shape), weights, bias)
    return reshape_known(rows, [*shape[:-1], rows.shape[-1]], [-1, rows.shape[-1]])


dense = Kernel(_dense, everywhere=_dense_of_matrices)


def _reshape(x, shape, back):
    """x as an array of `shape`; `back` is the shape of x."""
    return ops.reshape(x, shape)


def _reshape_with_shape_back(x, shape, back):
    """TensorFlow's own gradient would query the shape of x."""
    y = custom_vjp(lambda x: (ops.reshape(x, shape), None), lambda _, upstream: ops.reshape(upstream, back))(x)
    return y if any(isinstance(side, int) and side < 0 for side in shape) else with_shape(y, shape)


reshape_known = Kernel(_reshape, tensorflow=_reshape_with_shape_back)


def flatten_leading(x, shape):
    """x [..., d] of this `shape` as [rows, d]."""
    return x if len(x.shape) == 2 else reshape_known(x, [-1, x.shape[-1]], shape)


def _residual_add(x, y):
    """x + y of equal shapes."""
    return x + y


def _residual_add_of_equal_shapes(x, y):
    """TensorFlow's own gradient would first find out at run time that the shapes are equal."""
    total = custom_vjp(lambda x, y: (x + y, None), lambda _, upstream: (upstream, upstream))(x, y)
    known = next((z for z in (x, y) if hasattr(z, "_known_shape")), None)
    return total if known is None else with_shape(total, shape_of(known))


residual_add = Kernel(_residual_add, tensorflow=_residual_add_of_equal_shapes)
