"""Convolution steps and blocks, in one dimension (the body) and two (pictures, spectrograms); paper §2.1."""

import keras
from keras import ops

from t2t_multimodel.model.depthwise import depthwise_2d, depthwise_rows
from t2t_multimodel.model.halves import once
from t2t_multimodel.model.layer import Dropout, Layer
from t2t_multimodel.model.normalisation import LayerNorm
from t2t_multimodel.model.product import added, as_rows, product

LOWEST = -1e9  # what loses every maximum


@ops.custom_gradient
def centred(weights, bias):
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

    def __init__(self, features, taps, dilation=1, causal=False, **kwargs):
        super().__init__(**kwargs)
        self.taps, self.dilation, self.causal = taps, dilation, causal
        self.kernel = self.add_weight(
            shape=(taps, features), initializer=_depthwise_initializer(taps), name="depthwise"
        )
        self.pointwise = self.add_weight(shape=(features, features), initializer="glorot_uniform", name="pointwise")
        self.bias = self.add_weight(shape=(features,), initializer="zeros", name="bias")
        with keras.name_scope(self.name):
            self.norm = LayerNorm(features, name="norm")

    def call(self, x, real=None):
        """Args: x [batch, length, features]; real [batch, length, 1], 1 = real: padding is zeroed before the
        convolution.
        """
        return self.of_shape(x, real, ops.shape(x))

    def of_shape(self, x, real, shape):
        """`call` on an x whose `shape` somebody has asked for already: a question to each array costs time."""
        rows = depthwise_rows(ops.relu(x), self.kernel, shape, self.dilation, self.causal, real)
        weights, bias = once(self, self._centred)
        return self.norm.scale_centred_rows(ops.add(ops.matmul(rows, weights), bias), shape)

    def _centred(self):
        return centred(self.pointwise.value, self.bias.value)

    def constants(self):
        """What decoding needs of the weights, computed once: the last tap, the centred pointwise weights and bias."""
        return [ops.cast(self.kernel, "float32")[-1], *self._centred()]

    def step(self, x, position):
        """One position of the causal step (`incremental.Position`): x [batch, features] → the same."""
        return self.norm.scale_centred(position.through(self, ops.relu(x)))


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

    def call(self, x, real=None, training=False):
        shape = ops.shape(x)
        h = self.step1.of_shape(x, real, shape)
        h = added(x, self.step2.of_shape(h, real, shape))
        h = self.step3.of_shape(h, real, shape)
        return self.dropout(added(x, self.step4.of_shape(h, real, shape)), training=training)

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
        taps=3,
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
        self.strides, self.relu, self.full, self.taps = strides, relu, full, taps
        self.whole_picture = whole_picture
        if full:
            self.kernel = self.add_weight(
                shape=(taps, taps, in_features, features), initializer="glorot_uniform", name="kernel"
            )
            self.bias = self.add_weight(
                shape=(features,), initializer=keras.initializers.RandomNormal(0.0, 0.1), name="bias"
            )
        else:
            if taps > 1:
                self.kernel = self.add_weight(
                    shape=(taps, taps, in_features), initializer=_depthwise_initializer(taps * taps), name="depthwise"
                )
            self.pointwise = self.add_weight(
                shape=(in_features, features), initializer="glorot_uniform", name="pointwise"
            )
            self.bias = self.add_weight(shape=(features,), initializer="zeros", name="bias")
        with keras.name_scope(self.name):
            self.norm = LayerNorm(features, positions=norm_positions, name="norm")

    def call(self, x, real=None):
        """Args: x [batch, height, width, in]; real [batch, height, 1, 1], 1 = real (sound: height is time)."""
        down, right = self.strides
        if self.taps == 1:  # nothing of the positions left out is seen
            x, real = every(x, down, right), real if real is None else real[:, ::down]
        if self.relu:
            x = ops.relu(x)
        if real is not None:
            x = x * real
        axes = (1, 2, 3) if self.whole_picture and real is None else self.norm.axes
        weights, bias = self.kernel if self.full else self.pointwise, self.bias
        if axes == (-1,):
            weights, bias = centred(weights.value, bias.value)
        if self.full:
            x = ops.conv(x, weights, strides=1 if down != right else down, padding="same", data_format="channels_last")
            x = ops.add(every(x, down, right) if down != right else x, bias)
        else:
            if self.taps > 1:
                x = every(depthwise_2d(x, self.kernel), down, right)
            if axes == (-1,):
                shape = ops.shape(x)
                rows = ops.add(ops.matmul(as_rows(x, shape), weights), bias)
                return self.norm.scale_centred_rows(rows, [*shape[:-1], rows.shape[-1]])
            x = product(x, weights, bias)
        return self.norm.scale_centred(x) if axes == (-1,) else self.norm(x, axes=axes)


def every(x, down, right):
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


def max_pool(x, strides, real=None):
    """3×3 maximum, output i centred on input i·stride: [batch, height, width, features] → [batch, ⌈height/s⌉, …].

    Padding and masked positions count as minus infinity, so they never win.
    """
    if real is not None:
        x = x * real + LOWEST * (1.0 - real)
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
            self.skip = ConvStep2D(in_features, features, taps=1, strides=strides, name="skip", **norm)

    def call(self, x, real=None):
        """Args: x [batch, height, width, in]; real [batch, height, 1, 1]. The caller halves it: real[:, ::stride]."""
        h = self.step2(self.step1(x, real), real)
        h = max_pool(h, self.strides, real)
        return h + self.skip(x, real)


def _depthwise_initializer(taps):
    """Uniform with variance 1/taps: every output feature sums `taps` products."""
    bound = (3.0 / taps) ** 0.5
    return keras.initializers.RandomUniform(-bound, bound)
