"""Depthwise convolutions, each feature with a kernel of its own: over time for the body, over two axes for pictures."""

from keras import ops

from t2t_multimodel.kernels.custom_vjp import custom_vjp
from t2t_multimodel.kernels.select import Kernel


def _depthwise_1d(x, kernel, shape, dilation=1, causal=False, padding_mask=None):
    """Depthwise convolution over time: a sum over the kernel of shifted arrays.

    Args:
      x: [B, T, d] of this `shape`.
      kernel: [k, d].
      dilation: distance between the positions that the kernel reads.
      causal: True: position t reads t and before (padded on the left); False: centred, k must be odd.
      padding_mask: [B, T, 1], 1 = real: padding is zeroed before; None: it is not.

    Returns:
      [B·T, d], as a product takes it.
    """
    x = x if padding_mask is None else x * padding_mask
    length, kernel_size = shape[1], kernel.shape[0]
    before, after = _reach(kernel_size, causal)
    padded = ops.pad(x, [[0, 0], [before * dilation, after * dilation], [0, 0]])
    total = 0
    for i in range(kernel_size):
        # What lies outside a short sequence is padding only: a compiler need not see it.
        if not isinstance(length, int) or abs(i - before) * dilation < length:
            total = total + padded[:, i * dilation : i * dilation + length] * kernel[i]
    return ops.reshape(total, [-1, x.shape[-1]])


def _folded_depthwise_1d(x, kernel, shape, dilation=1, causal=False, padding_mask=None):
    """By TensorFlow's operation, with the length folded by the dilation: [B, T/dilation, dilation, d] meets an
    undilated kernel on the height axis. The same result, several times faster on a CPU than a dilated call.
    """
    kernel_size = kernel.shape[0]
    before, after = _reach(kernel_size, causal)
    spare, form = None, [shape[0], -1, dilation, shape[2]]
    if dilation > 1:
        rows = -(-shape[1] // dilation)
        spare = rows * dilation - shape[1]
        # What lies outside a short sequence is padding only: leave it out.
        kernel = kernel[before - ops.minimum(before, rows - 1) : before + ops.minimum(after, rows - 1) + 1]
        before, after = ops.minimum(before, rows - 1), ops.minimum(after, rows - 1)
    elif kernel_size <= 3:  # over the width the operation is faster, but its gradient for larger kernels 10 × slower
        form = [shape[0], 1, -1, shape[2]]
    padding = before * dilation, after * dilation + (0 if spare is None else spare)
    folded = _folded(x, padding_mask, shape, *padding, form)
    kernel = ops.expand_dims(ops.expand_dims(kernel, 0 if form[1] == 1 else 1), 3)
    y = ops.depthwise_conv(folded, kernel, strides=1, padding="valid", data_format="channels_last")
    return _unfolded(y, shape, spare, form)


# XLA has no fast depthwise convolution on a CPU; there the plain sum is the faster one.
depthwise_1d = Kernel(_depthwise_1d, tensorflow=_folded_depthwise_1d)


def _reach(kernel_size, causal):
    """How many positions before and after its own a kernel reads."""
    before = kernel_size - 1 if causal else (kernel_size - 1) // 2
    return before, kernel_size - 1 - before


# Folding and unfolding with the gradient written out: differentiation would query shapes that are known here.


def _folded(x, padding_mask, shape, before, after, form):
    """x (times the mask) with so much padding before and after, as an array of the shape `form`."""

    def forward(x, *mask):
        masked = x * mask[0] if mask else x
        return ops.reshape(ops.pad(masked, [[0, 0], [before, after], [0, 0]]), form), mask

    def backward(mask, upstream):
        of_x = ops.slice(ops.reshape(upstream, [shape[0], -1, shape[2]]), [0, before, 0], shape)
        return (of_x * mask[0], None) if mask else of_x

    return custom_vjp(forward, backward)(x, *([] if padding_mask is None else [padding_mask]))


def _unfolded(y, shape, spare, form):
    """y without its last `spare` positions (None: it has no such) as [B·T, d]."""

    def forward(y):
        if spare is not None:
            y = ops.slice(ops.reshape(y, [shape[0], -1, shape[2]]), [0, 0, 0], shape)
        return ops.reshape(y, [-1, shape[2]]), None

    def backward(_, upstream):
        if spare is not None:
            upstream = ops.pad(ops.reshape(upstream, shape), [[0, 0], [0, spare], [0, 0]])
        return ops.reshape(upstream, form)

    return custom_vjp(forward, backward)(y)


def _depthwise_2d(x, kernel):
    """Centred depthwise convolution over two axes, stride 1: x [B, H, W, d], kernel [k, k, d], k odd."""
    rows, columns = kernel.shape[:2]
    _, height, width, _ = ops.shape(x)
    padded = ops.pad(x, [[0, 0], [rows // 2] * 2, [columns // 2] * 2, [0, 0]])
    return sum(padded[:, i : i + height, j : j + width] * kernel[i, j] for i in range(rows) for j in range(columns))


def _operation_2d(x, kernel):
    """By TensorFlow's operation."""
    return ops.depthwise_conv(x, kernel[..., None], strides=1, padding="same", data_format="channels_last")


depthwise_2d = Kernel(_depthwise_2d, tensorflow=_operation_2d)
