"""The feed-forward nets of all experts, each on as many rows."""

from keras import ops

from t2t_multimodel.kernels.custom_vjp import custom_vjp
from t2t_multimodel.kernels.select import Kernel


def _feed_forward_by_expert(x, first, second):
    """ReLU(x · first) · second of each expert: x [E, S, d], first [E, d, f], second [E, f, d] → [E, S, d]."""
    return ops.matmul(ops.relu(ops.matmul(x, first)), second)


def _two_halves_of_the_experts(x, first, second):
    """Half of the experts beside the other half: on a CPU TensorFlow's batched product is one operation on one thread.

    The gradients are two products at a time anyway, and those of the weights are better made whole: put together of
    halves, they would be copied.
    """
    half = first.shape[0] // 2

    def forward(x, first, second):
        parts = slice(None, half), slice(half, None)
        hidden = [ops.relu(ops.matmul(x[part], first[part])) for part in parts]
        y = ops.concatenate([ops.matmul(h, second[part]) for h, part in zip(hidden, parts)], axis=0)
        return y, (x, first, second, hidden)

    def backward(residuals, upstream):
        x, first, second, hidden = residuals
        whole = ops.concatenate(hidden, axis=0)
        # (einsum: a transpose before a product would be a copy.)
        of_second = ops.einsum("erf,erd->efd", whole, upstream)
        of_hidden = ops.einsum("erd,efd->erf", upstream, second)
        of_hidden = ops.where(whole > 0, of_hidden, ops.zeros((), whole.dtype))  # where ReLU let it through
        of_first = ops.einsum("erd,erf->edf", x, of_hidden)
        return ops.einsum("erf,edf->erd", of_hidden, first), of_first, of_second

    return custom_vjp(forward, backward)(x, first, second)


feed_forward_by_expert = Kernel(_feed_forward_by_expert, tensorflow_cpu=_two_halves_of_the_experts)
