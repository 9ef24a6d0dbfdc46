"""Weights that give outputs of mean zero: the first half of a layer norm, done once for all rows."""

from keras import ops

from t2t_multimodel.kernels.custom_vjp import custom_vjp
from t2t_multimodel.kernels.select import Kernel


def _zero_mean_columns(weights, bias):
    """weights [..., d] and bias [d], both less their mean over the outputs d."""
    return _less_mean(weights), _less_mean(bias)


def _zero_mean_columns_with_gradient(weights, bias):
    """The gradients lose their mean in the same way; differentiation would make nine operations of each."""
    return _both(weights, bias)


def _less_mean(x):
    return x - ops.mean(x, axis=-1, keepdims=True)


_both = custom_vjp(
    lambda weights, bias: (_zero_mean_columns(weights, bias), None),
    lambda _, upstream: tuple(_less_mean(x) for x in upstream),
)
zero_mean_columns = Kernel(_zero_mean_columns, everywhere=_zero_mean_columns_with_gradient)
