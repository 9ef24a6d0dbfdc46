"""Convolution steps and blocks, in one dimension (the body) and two (pictures, spectrograms); paper §2.1."""

import keras
from keras import ops

from t2t_multimodel.kernels.dense import dense, flatten_leading, residual_add
from t2t_multimodel.kernels.depthwise import depthwise_1d, depthwise_2d
from t2t_multimodel.kernels.shapes import shape_of
from t2t_multimodel.kernels.split_batch import cached_for_split
from t2t_multimodel.kernels.strided_slice import strided_slice_2d
from t2t_multimodel.kernels.zero_mean import zero_mean_columns
from t2t_multimodel.layers.layer import Dropout, Layer
from t2t_multimodel.layers.normalization import LayerNorm

LOWEST = -1e9  # what loses every maximum


class ConvStep(Layer):
    """ConvStep_{k,δ}(x) = LN(SepConv_{k,δ}(ReLU(x))): [B, T, d] → the same (paper §2.1)."""

    def __init__(self, features, kernel_size, dilation=1, causal=False, **kwargs):
        super().__init__(**kwargs)
        self.kernel_size, self.dilation, self.causal = kernel_size, dilation, causal
        self.kernel = self.add_weight(
            shape=(kernel_size, features), initializer=_depthwise_initializer(kernel_size), name="depthwise"
        )
        self.pointwise = self.add_matrix(shape=(features, features), initializer="glorot_uniform", name="pointwise")
        self.bias = self.add_weight(shape=(features,), initializer="zeros", name="bias")
        with keras.name_scope(self.name):
            self.norm = LayerNorm(features, name="norm")

    def call(self, x, padding_mask=None):
        """x [B, T, d] → the same. padding_mask [B, T, 1]: padding is zeroed before the convolution."""
        shape = shape_of(x)
        rows = depthwise_1d(ops.relu(x), self.kernel, shape, self.dilation, self.causal, padding_mask)  # [B·T, d]
        weights, bias = cached_for_split(self, self._zero_mean_weights)
        return self.norm.scale_zero_mean_rows(ops.add(ops.matmul(rows, weights), bias), shape)

    def _zero_mean_weights(self):
        return zero_mean_columns(self.pointwise, self.bias)

    def constants(self):
        """What decoding needs of the weights, computed once: the kernel at the position itself, the zero-mean weights
        and bias.
        """
        return [ops.cast(self.kernel, "float32")[-1], *self._zero_mean_weights()]

    def step(self, x, position):
        """One position of the causal step (`convolution_cache.Position`): x [B, d] → the same."""
        return self.norm.scale_zero_mean(position.through(self, ops.relu(x)))


class ConvBlock(Layer):
    """Four convolution steps with two residuals (paper §2.1): [B, T, d] → the same.

    h1 = Step_{3,1}(x); h2 = x + Step_{3,1}(h1); h3 = Step_{15,1}(h2); h4 = x + Step_{15,8}(h3); Dropout(h4).
    """

    def __init__(self, hparams, causal=False, **kwargs):
        super().__init__(**kwargs)
        h = hparams
        with keras.name_scope(self.name):
            self.step1 = ConvStep(h.hidden_size, h.small_kernel, causal=causal, name="step1")
            self.step2 = ConvStep(h.hidden_size, h.small_kernel, causal=causal, name="step2")
            self.step3 = ConvStep(h.hidden_size, h.large_kernel, causal=causal, name="step3")
            self.step4 = ConvStep(h.hidden_size, h.large_kernel, h.large_dilation, causal=causal, name="step4")
            self.dropout = Dropout(h.dropout, name="dropout")

    def call(self, x, padding_mask=None, training=False):
        h = self.step1(x, padding_mask)
        h = residual_add(x, self.step2(h, padding_mask))
        h = self.step3(h, padding_mask)
        return self.dropout(residual_add(x, self.step4(h, padding_mask)), training=training)

    @property
    def steps(self):
        return [self.step1, self.step2, self.step3, self.step4]

    def step(self, x, position):
        """One position of the causal block: x [B, d] → the same."""
        h = x + self.step2.step(self.step1.step(x, position), position)
        return x + self.step4.step(self.step3.step(h, position), position)


def conv_blocks(hparams, count, causal=False):
    """`count` blocks of a part of the body: block0, block1, …; none in the ablation "no convolutions"."""
    return [ConvBlock(hparams, causal, name=f"block{i}") for i in range(count if hparams.use_convolutions else 0)]


class ConvStep2D(Layer):
    """LN(SepConv(ReLU(x))) over pictures: [B, H, W, d] → [B, ⌈H/s⌉, ⌈W/s⌉, f] for strides s.

    A stride takes every second output of the separable convolution, so that padding never shifts the grid.
    """

    def __init__(
        self,
        in_features,
        features,
        kernel_size=3,
        strides=(1, 1),
        relu=True,
        full=False,
        norm_positions=None,
        whole_picture=False,
        **kwargs,
    ):
        """Args:
        full: a full convolution instead of a separable one, with a random bias (for a net's first layer: three raw
          channels have too few depthwise filters).
        norm_positions: width of the grid, to normalise over width × features instead of features alone (spectrograms).
        whole_picture: normalise each picture as a whole, where no padding would take part.
        """
        super().__init__(**kwargs)
        self.strides, self.relu, self.full, self.kernel_size = strides, relu, full, kernel_size
        self.whole_picture = whole_picture
        if full:
            self.kernel = self.add_weight(
                shape=(kernel_size, kernel_size, in_features, features), initializer="glorot_uniform", name="kernel"
            )
            self.bias = self.add_weight(
                shape=(features,), initializer=keras.initializers.RandomNormal(0.0, 0.1), name="bias"
            )
        else:
            if kernel_size > 1:
                self.kernel = self.add_weight(
                    shape=(kernel_size, kernel_size, in_features),
                    initializer=_depthwise_initializer(kernel_size * kernel_size),
                    name="depthwise",
                )
            self.pointwise = self.add_matrix(
                shape=(in_features, features), initializer="glorot_uniform", name="pointwise"
            )
            self.bias = self.add_weight(shape=(features,), initializer="zeros", name="bias")
        with keras.name_scope(self.name):
            self.norm = LayerNorm(features, positions=norm_positions, name="norm")

    def call(self, x, padding_mask=None):
        """x [B, H, W, d]; padding_mask [B, H, 1, 1] (sound: the height is time)."""
        down, right = self.strides
        if self.kernel_size == 1:  # nothing reads the positions left out
            x = strided_slice_2d(x, down, right)
            padding_mask = padding_mask if padding_mask is None else padding_mask[:, ::down]
        if self.relu:
            x = ops.relu(x)
        if padding_mask is not None:
            x = x * padding_mask
        axes = (1, 2, 3) if self.whole_picture and padding_mask is None else self.norm.axes
        weights, bias = self.kernel if self.full else self.pointwise, self.bias
        if axes == (-1,):
            weights, bias = zero_mean_columns(weights, bias)
        if self.full:
            x = ops.conv(x, weights, strides=1 if down != right else down, padding="same", data_format="channels_last")
            x = ops.add(strided_slice_2d(x, down, right) if down != right else x, bias)
        else:
            if self.kernel_size > 1:
                x = strided_slice_2d(depthwise_2d(x, self.kernel), down, right)
            if axes == (-1,):
                shape = shape_of(x)
                rows = ops.add(ops.matmul(flatten_leading(x, shape), weights), bias)
                return self.norm.scale_zero_mean_rows(rows, [*shape[:-1], rows.shape[-1]])
            x = dense(x, weights, bias)
        return self.norm.scale_zero_mean(x) if axes == (-1,) else self.norm(x, axes=axes)


def max_pool(x, strides, padding_mask=None):
    """3×3 maximum, output i centred on input i·stride: [B, H, W, d] → [B, ⌈H/s⌉, ⌈W/s⌉, d].

    Padding and masked positions count as minus infinity, so they never win.
    """
    if padding_mask is not None:
        x = x * padding_mask + LOWEST * (1.0 - padding_mask)
    x = ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=LOWEST)
    return ops.max_pool(x, pool_size=3, strides=strides, padding="valid", data_format="channels_last")


class ConvRes(Layer):
    """ConvRes(x, f) = MaxPool_{3×3,s}(ConvStep_f(ConvStep_f(x))) + ConvStep_{1×1,s,f}(x) (paper §2.5)."""

    def __init__(self, in_features, features, strides=(2, 2), norm_positions=None, whole_picture=False, **kwargs):
        super().__init__(**kwargs)
        self.strides = strides
        with keras.name_scope(self.name):
            norm = {"norm_positions": norm_positions, "whole_picture": whole_picture}
            self.step1 = ConvStep2D(in_features, features, name="step1", **norm)
            self.step2 = ConvStep2D(features, features, name="step2", **norm)
            if norm_positions is not None:
                norm["norm_positions"] = -(-norm_positions // strides[1])
            self.skip = ConvStep2D(in_features, features, kernel_size=1, strides=strides, name="skip", **norm)

    def call(self, x, padding_mask=None):
        """x [B, H, W, d]; padding_mask [B, H, 1, 1], of which the caller takes [:, ::stride] for the result."""
        h = self.step2(self.step1(x, padding_mask), padding_mask)
        h = max_pool(h, self.strides, padding_mask)
        return h + self.skip(x, padding_mask)


def _depthwise_initializer(kernel_size):
    """Uniform with variance 1/k: every output feature sums k products."""
    bound = (3.0 / kernel_size) ** 0.5
    return keras.initializers.RandomUniform(-bound, bound)
