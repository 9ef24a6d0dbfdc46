"""Layer normalisation: LN(x) = (x − mean) / √(variance + 1e-6) · scale + bias, over features."""

from keras import ops

from t2t_multimodel.kernels.dense import flatten_leading
from t2t_multimodel.kernels.layer_norm import EPSILON, scaled_rows
from t2t_multimodel.kernels.shapes import shape_of
from t2t_multimodel.layers.layer import Layer


class LayerNorm(Layer):
    """Normalises over the last axis, or over the last two where `positions` gives the size of the one before.

    Not Keras's layer, because the convolution steps need the second half alone (`scale_zero_mean_rows`).
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
        """The same for an `x` that has mean zero over the normalised axes already."""
        axes = axes or self.axes
        if axes == (-1,):
            shape = shape_of(x)
            return self.scale_zero_mean_rows(flatten_leading(x, shape), shape)
        wide = ops.cast(x, "float32")
        variance = ops.mean(ops.square(wide), axis=axes, keepdims=True)
        return ops.cast(wide * ops.rsqrt(variance + EPSILON) * self.scale + self.bias, x.dtype)

    def scale_zero_mean_rows(self, x, shape):
        """The same for x [rows, d], as an array of that `shape`."""
        return ops.cast(scaled_rows(ops.cast(x, "float32"), self.scale, self.bias, shape), x.dtype)
