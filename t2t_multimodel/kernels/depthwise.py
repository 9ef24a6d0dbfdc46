"""Depthwise convolutions, every feature with taps of its own: along time for the body, over two axes for pictures."""

import keras
from keras import ops


def depthwise_1d(x, kernel, shape, dilation=1, causal=False, padding_mask=None):
    """Depthwise convolution along time, as a product takes it.

    On TensorFlow the length is folded by the dilation, [batch, length/dilation, dilation, features], and meets an
    undilated kernel on the height axis: the same result, several times faster on a CPU than a dilated call. XLA has no
    fast depthwise convolution on a CPU; there it is a sum over shifted taps.

    Args:
      x: [batch, length, features].
      kernel: [taps, features].
      shape: that of x: who calls has asked for it already.
      dilation: distance of the taps, in positions.
      causal: True: position t sees t and before only (padded on the left); False: centred, taps must be odd.
      real: [batch, length, 1], 1 = real: padding is zeroed before; None: it is not.

    Returns:
      [batch · length, features].
    """
    kernel_size = kernel.shape[0]
    before = kernel_size - 1 if causal else (kernel_size - 1) // 2
    after = kernel_size - 1 - before
    if keras.backend.backend() != "tensorflow":
        x = x if padding_mask is None else x * padding_mask
        return ops.reshape(_shifted_sum(x, kernel, dilation, before, after), [-1, x.shape[-1]])
    spare, form = None, [shape[0], -1, dilation, shape[2]]
    if dilation > 1:
        rows = -(-shape[1] // dilation)
        spare = rows * dilation - shape[1]
        # Taps that fall outside a short sequence see padding only: leave them out.
        kernel = kernel[before - ops.minimum(before, rows - 1) : before + ops.minimum(after, rows - 1) + 1]
        before, after = ops.minimum(before, rows - 1), ops.minimum(after, rows - 1)
    elif kernel_size <= 3:  # along the width the operation is quicker, but its gradient for more taps ten times slower
        form = [shape[0], 1, -1, shape[2]]
    folded = _folded(
        x, padding_mask, shape, before * dilation, after * dilation + (0 if spare is None else spare), form
    )
    kernel = ops.expand_dims(ops.expand_dims(kernel, 0 if form[1] == 1 else 1), 3)
    out = ops.depthwise_conv(folded, kernel, strides=1, padding="valid", data_format="channels_last")
    return _unfolded(out, shape, spare, form)


# Both ways with the gradient written out: differentiation would work out from the arrays, a dozen operations each time,
# what is known here.


def _folded(x, padding_mask, shape, before, after, form):
    """x (times `real`) with so much padding before and after, as an array of another form."""

    @ops.custom_gradient
    def forward(x, *padding_mask):
        masked = x * padding_mask[0] if padding_mask else x

        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            flat = ops.reshape(upstream, [shape[0], -1, shape[2]])
            of_x = ops.slice(flat, [0, before, 0], shape)
            return (of_x * padding_mask[0], None) if padding_mask else of_x

        return ops.reshape(ops.pad(masked, [[0, 0], [before, after], [0, 0]]), form), gradient

    return forward(x, *([] if padding_mask is None else [padding_mask]))


def _unfolded(out, shape, spare, form):
    """`out` without its last `spare` positions (None: it has no such) as [batch · length, features]."""

    @ops.custom_gradient
    def forward(out):
        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            if spare is not None:
                upstream = ops.pad(ops.reshape(upstream, shape), [[0, 0], [0, spare], [0, 0]])
            return ops.reshape(upstream, form)

        if spare is not None:
            out = ops.slice(ops.reshape(out, [shape[0], -1, shape[2]]), [0, 0, 0], shape)
        return ops.reshape(out, [-1, shape[2]]), gradient

    return forward(out)


def _shifted_sum(x, kernel, dilation, before, after):
    length = x.shape[1]
    padded = ops.pad(x, [[0, 0], [before * dilation, after * dilation], [0, 0]])
    total = 0
    for tap in range(kernel.shape[0]):
        if abs(tap - before) * dilation < length:  # taps outside a short sequence see padding only
            total = total + padded[:, tap * dilation : tap * dilation + length] * kernel[tap]
    return total


def depthwise_2d(x, kernel):
    """Centred depthwise convolution over two axes, stride 1.

    Args:
      x: [batch, height, width, features].
      kernel: [taps, taps, features], taps odd.
    """
    if keras.backend.backend() == "tensorflow":
        return ops.depthwise_conv(x, kernel[..., None], strides=1, padding="same", data_format="channels_last")
    rows, columns = kernel.shape[:2]
    height, width = x.shape[1:3]
    padded = ops.pad(x, [[0, 0], [rows // 2] * 2, [columns // 2] * 2, [0, 0]])
    return sum(padded[:, i : i + height, j : j + width] * kernel[i, j] for i in range(rows) for j in range(columns))
