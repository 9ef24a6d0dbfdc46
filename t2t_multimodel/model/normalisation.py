"""Layer normalisation: LN(x) = (x − mean) / √(variance + 1e-6) · scale + bias, over features."""

import keras
from keras import ops

from t2t_multimodel.model.layer import Layer
from t2t_multimodel.model.product import on_rows

EPSILON = 1e-6


class LayerNorm(Layer):
    """Normalises over the last axis, or over the last two where `positions` gives the size of the one before.

    A layer of our own rather than Keras's because the convolution steps need its second half alone (`scale_centred`).
    """

    def __init__(self, features, positions=None, **kwargs):
        super().__init__(**kwargs)
        self.axes = (-1,) if positions is None else (-2, -1)
        shape = (features,) if positions is None else (positions, features)
        # float32 in mixed precision too: a CPU multiplies 16 bits by 16 bits outside of products in three steps.
        self.scale = self.add_weight(shape=shape, initializer="ones", name="scale", autocast=False)
        self.bias = self.add_weight(shape=shape, initializer="zeros", name="bias", autocast=False)

    def call(self, x, axes=None):
        """Args: axes: others than the layer's own, e.g. (1, 2, 3) to normalise a whole picture with scale and bias by
        feature.
        """
        wide = ops.cast(x, "float32")
        normal = self.scale_centred(wide - ops.mean(wide, axis=axes or self.axes, keepdims=True), axes)
        return ops.cast(normal, x.dtype)

    def scale_centred(self, x, axes=None):
        """The same for an `x` whose mean over the normalised axes is zero already."""
        wide, axes = ops.cast(x, "float32"), axes or self.axes
        if axes == (-1,) and keras.backend.backend() == "tensorflow":  # XLA makes one pass of the formula by itself
            normal = on_rows(wide, lambda rows: ops.add(scaled_rows(rows, self.scale.value), self.bias.value))
        else:
            variance = ops.mean(ops.square(wide), axis=axes, keepdims=True)
            normal = wide * ops.rsqrt(variance + EPSILON) * self.scale + self.bias
        return ops.cast(normal, x.dtype)


@ops.custom_gradient
def scaled_rows(x, scale):
    """`scale_centred` of x [rows, features] but for the bias, its gradient written out; one row or more.

    Every operation is a pass over memory, and differentiation makes more of them. The sums that the gradients need are
    products of two arrays here, one of them with a single row or column: a CPU sums columns faster so. (The bias is
    left to `ops.add`, of whose gradient TensorFlow makes one operation.)
    """
    inverse = ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + EPSILON)  # [rows, 1]

    def gradient(*arguments, upstream=None):
        upstream = arguments[0] if upstream is None else upstream
        both = upstream * x
        along = ops.matmul(both, scale[:, None]) / x.shape[-1]  # [rows, 1]: how far the gradient only stretches x
        of_x = upstream * scale * inverse - x * (along * inverse * inverse * inverse)
        of_scale = ops.matmul(ops.reshape(inverse, [1, -1]), both)[0]
        return of_x, of_scale

    return x * inverse * scale, gradient
