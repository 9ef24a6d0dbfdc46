"""Convolution steps and blocks, in one dimension (the body) and two (pictures, spectrograms); paper §2.1."""

import keras
from keras import ops

from t2t_multimodel.kernels.dense import dense, flatten_leading, residual_add
from t2t_multimodel.kernels.depthwise import depthwise_1d, depthwise_2d
from t2t_multimodel.kernels.split_batch import cached_for_split
from t2t_multimodel.layers.layer import Dropout, Layer
from t2t_multimodel.layers.normalization import LayerNorm

LOWEST = -1e9  # what loses every maximum


@ops.custom_gradient
def zero_mean_columns(weights, bias):
    """Both less their mean over outputs: it centres every output, which is half of a layer norm for free.

    The gradients are centred in the same way; differentiation would make nine operations of each.
    """

    def gradient(*arguments, upstream=None):
        of_both = arguments if upstream is None else upstream
        of_both = of_both[0] if len(of_both) == 1 else of_both  # JAX gives the two as one argument
        return tuple(_less_mean(x) for x in of_both)

    return (_less_mean(weights), _less_mean(bias)), gradient


def _less_mean(x):
    return x - ops.mean(x, axis=-1, keepdims=True)


class ConvStep(Layer):
    """ConvStep_{k,δ}(x) = LN(SepConv_{k,δ}(ReLU(x))): [batch, length, features] → the same (paper §2.1)."""

    def __init__(self, features, kernel_size, dilation=1, causal=False, **kwargs):
        super().__init__(**kwargs)
        self.kernel_size, self.dilation, self.causal = kernel_size, dilation, causal
        self.kernel = self.add_weight(
            shape=(kernel_size, features), initializer=_depthwise_initializer(kernel_size), name="depthwise"
        )
        self.pointwise = self.add_weight(shape=(features, features), initializer="glorot_uniform", name="pointwise")
        self.bias = self.add_weight(shape=(features,), initializer="zeros", name="bias")
        with keras.name_scope(self.name):
            self.norm = LayerNorm(features, name="norm")

    def call(self, x, padding_mask=None):
        """Args: x [batch, length, features]; real [batch, length, 1], 1 = real: padding is zeroed before the
        convolution.
        """
        return self.of_shape(x, padding_mask, ops.shape(x))

    def of_shape(self, x, padding_mask, shape):
        """`call` on an x whose `shape` somebody has asked for already: a question to each array costs time."""
        rows = depthwise_1d(ops.relu(x), self.kernel, shape, self.dilation, self.causal, padding_mask)
        weights, bias = cached_for_split(self, self._centred)
        return self.norm.scale_zero_mean_rows(ops.add(ops.matmul(rows, weights), bias), shape)

    def _centred(self):
        return zero_mean_columns(self.pointwise.value, self.bias.value)

    def constants(self):
        """What decoding needs of the weights, computed once: the last tap, the centred pointwise weights and bias."""
        return [ops.cast(self.kernel, "float32")[-1], *self._centred()]

    def step(self, x, position):
        """One position of the causal step (`incremental.Position`): x [batch, features] → the same."""
        return self.norm.scale_zero_mean(position.through(self, ops.relu(x)))


class ConvBlock(Layer):
    """Four convolution steps with two residuals (paper §2.1): [batch, length, features] → the same.

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
        shape = ops.shape(x)
        h = self.step1.of_shape(x, padding_mask, shape)
        h = residual_add(x, self.step2.of_shape(h, padding_mask, shape))
        h = self.step3.of_shape(h, padding_mask, shape)
        return self.dropout(residual_add(x, self.step4.of_shape(h, padding_mask, shape)), training=training)

    @property
    def steps(self):
        return [self.step1, self.step2, self.step3, self.step4]

    def step(self, x, position):
        """One position of the causal block: x [batch, features] → the same."""
        h = x + self.step2.step(self.step1.step(x, position), position)
        return x + self.step4.step(self.step3.step(h, position), position)


class ConvStep2D(Layer):
    """LN(SepConv(ReLU(x))) over pictures: [batch, height, width, in] → [batch, height', width', features].

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
            self.pointwise = self.add_weight(
                shape=(in_features, features), initializer="glorot_uniform", name="pointwise"
            )
            self.bias = self.add_weight(shape=(features,), initializer="zeros", name="bias")
        with keras.name_scope(self.name):
            self.norm = LayerNorm(features, positions=norm_positions, name="norm")

    def call(self, x, padding_mask=None):
        """Args: x [batch, height, width, in]; real [batch, height, 1, 1], 1 = real (sound: height is time)."""
        down, right = self.strides
        if self.kernel_size == 1:  # nothing of the positions left out is seen
            x, padding_mask = (
                strided_slice_2d(x, down, right),
                padding_mask if padding_mask is None else padding_mask[:, ::down],
            )
        if self.relu:
            x = ops.relu(x)
        if padding_mask is not None:
            x = x * padding_mask
        axes = (1, 2, 3) if self.whole_picture and padding_mask is None else self.norm.axes
        weights, bias = self.kernel if self.full else self.pointwise, self.bias
        if axes == (-1,):
            weights, bias = zero_mean_columns(weights.value, bias.value)
        if self.full:
            x = ops.conv(x, weights, strides=1 if down != right else down, padding="same", data_format="channels_last")
            x = ops.add(strided_slice_2d(x, down, right) if down != right else x, bias)
        else:
            if self.kernel_size > 1:
                x = strided_slice_2d(depthwise_2d(x, self.kernel), down, right)
            if axes == (-1,):
                shape = ops.shape(x)
                rows = ops.add(ops.matmul(flatten_leading(x, shape), weights), bias)
                return self.norm.scale_zero_mean_rows(rows, [*shape[:-1], rows.shape[-1]])
            x = dense(x, weights, bias)
        return self.norm.scale_zero_mean(x) if axes == (-1,) else self.norm(x, axes=axes)


def strided_slice_2d(x, down, right):
    """x[:, ::down, ::right] of x [batch, height, width, features], as two slices of whole runs of numbers: a strided
    slice, and its gradient more so, is copied number by number on a CPU.
    """
    if (down, right) == (1, 1):
        return x
    if keras.backend.backend() != "tensorflow":
        return x[:, ::down, ::right]
    batch, height, width, features = ops.shape(x)
    rows, columns = -(-height // down), -(-width // right)
    if width % right or not isinstance(height, int) or height % down:
        x = ops.pad(x, [[0, 0], [0, rows * down - height], [0, columns * right - width], [0, 0]])
    line = columns * right * features
    x = ops.slice(ops.reshape(x, [-1, down * line]), [0, 0], [batch * rows, line])
    x = ops.slice(ops.reshape(x, [-1, right * features]), [0, 0], [batch * rows * columns, features])
    return ops.reshape(x, [batch, rows, columns, features])


def max_pool(x, strides, padding_mask=None):
    """3×3 maximum, output i centred on input i·stride: [batch, height, width, features] → [batch, ⌈height/s⌉, …].

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
            self.skip = ConvStep2D(in_features, features, kernel_size=1, strides=strides, name="skip", **norm)

    def call(self, x, padding_mask=None):
        """Args: x [batch, height, width, in]; real [batch, height, 1, 1]. The caller halves it: real[:, ::stride]."""
        h = self.step2(self.step1(x, padding_mask), padding_mask)
        h = max_pool(h, self.strides, padding_mask)
        return h + self.skip(x, padding_mask)


def _depthwise_initializer(kernel_size):
    """Uniform with variance 1/taps: every output feature sums `taps` products."""
    bound = (3.0 / kernel_size) ** 0.5
    return keras.initializers.RandomUniform(-bound, bound)
