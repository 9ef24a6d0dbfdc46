"""Layer normalisation: LN(x) = (x − mean) / √(variance + 1e-6) · scale + bias, over features."""

import keras
from keras import ops

from t2t_multimodel.kernels.dense import flatten_leading
from t2t_multimodel.layers.layer import Layer

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
        normal = self.scale_zero_mean(wide - ops.mean(wide, axis=axes or self.axes, keepdims=True), axes)
        return ops.cast(normal, x.dtype)

    def scale_zero_mean(self, x, axes=None):
        """The same for an `x` whose mean over the normalised axes is zero already."""
        axes = axes or self.axes
        if axes == (-1,) and keras.backend.backend() == "tensorflow":
            shape = ops.shape(x)
            return self.scale_zero_mean_rows(flatten_leading(x, shape), shape)
        return ops.cast(self._scaled(ops.cast(x, "float32"), axes), x.dtype)

    def scale_zero_mean_rows(self, x, shape):
        """`scale_centred` of x [rows, features], as an array of that shape."""
        wide = ops.cast(x, "float32")
        if keras.backend.backend() == "tensorflow":
            normal = ops.add(scaled_rows(wide, self.scale.value, shape), self.bias.value)
        else:  # XLA makes one pass of the formula by itself
            normal = ops.reshape(self._scaled(wide, (-1,)), shape)
        return ops.cast(normal, x.dtype)

    def _scaled(self, wide, axes):
        variance = ops.mean(ops.square(wide), axis=axes, keepdims=True)
        return wide * ops.rsqrt(variance + EPSILON) * self.scale + self.bias


def scaled_rows(x, scale, shape):
    """`LayerNorm.scale_centred_rows` but for the bias, its gradient written out: x [rows, features], one row or more.

    Every operation is a pass over memory, and differentiation makes more of them. The sums that the gradients need are
    products of two arrays here, one of them with a single row or column: a CPU sums columns faster so. (The bias is
    left to `ops.add`, of whose gradient TensorFlow makes one operation.)
    """

    @ops.custom_gradient
    def forward(x, scale):
        variance = ops.mean(ops.square(x), axis=-1, keepdims=True) + EPSILON  # [rows, 1]
        inverse = ops.rsqrt(variance)

        def gradient(*arguments, upstream=None):
            upstream = ops.reshape(arguments[0] if upstream is None else upstream, [-1, x.shape[-1]])
            both = upstream * x
            # [rows, 1]: how far the gradient only stretches x
            along = ops.matmul(both, ops.reshape(scale, [-1, 1])) / (variance * x.shape[-1])
            of_x = (upstream * scale - x * along) * inverse
            of_scale = ops.reshape(ops.matmul(ops.reshape(inverse, [1, -1]), both), [-1])
            return of_x, of_scale

        return ops.reshape(x * inverse * scale, shape), gradient

    return forward(x, scale)
