"""Classes out: the Xception exit flow, global average, pointwise to the classes; paper §2.5 (categorical net)."""

import keras
from keras import ops

from t2t_multimodel.layers.convolution import ConvStep2D, max_pool
from t2t_multimodel.layers.layer import ModalityNet


class LabelNet(ModalityNet):
    """Reads the encoder's result directly: a class needs no autoregression.

    skip = ConvStep_{3×3,s2}(x); h = skip + MaxPool_{3×3,s2}(ConvStep(ConvStep(x))); two wider steps; ReLU; average;
    linear.
    """

    def __init__(self, spec, hparams, **kwargs):
        super().__init__(**kwargs)
        size = hparams.hidden_size
        third, fourth = (int(size * ratio) for ratio in hparams.class_filter_ratios)
        norm = {"whole_picture": hparams.image_norm == "picture"}
        with keras.name_scope(self.name):
            self.skip = ConvStep2D(size, size, strides=(2, 2), name="skip", **norm)
            self.step1 = ConvStep2D(size, size, name="step1", **norm)
            self.step2 = ConvStep2D(size, size, name="step2", **norm)
            self.step3 = ConvStep2D(size, third, name="step3", **norm)
            self.step4 = ConvStep2D(third, fourth, name="step4", **norm)
        self.output_weight = self.add_weight(shape=(fourth, spec.classes), initializer="glorot_uniform", name="output")
        self.bias = self.add_weight(shape=(spec.classes,), initializer="zeros", name="bias")

    def call(self, encoded, padding_mask, grid=None):
        """Args: encoded [batch, positions, hidden]; real [batch, positions]; grid (height, width) of 2-D input, or
        None.

        Returns:
          float32 [batch, classes].
        """
        batch, size = ops.shape(encoded)[0], encoded.shape[-1]
        height, width = grid or (ops.shape(encoded)[1], 1)
        x = ops.reshape(encoded, [batch, height, width, size])
        # In 1-D rows of the grid are positions, and may be padding; in 2-D none is.
        wide = None if grid else ops.cast(padding_mask, x.dtype)[:, :, None, None]
        h = max_pool(self.step2(self.step1(x, wide), wide), (2, 2), wide)
        half = None if grid else wide[:, ::2]
        x = self.step4(self.step3(self.skip(x, wide) + h, half), half)
        x = ops.relu(x)
        if half is None:
            x = ops.mean(x, axis=(1, 2))
        else:
            x = ops.sum(x * half, axis=(1, 2)) / ops.maximum(ops.sum(half, axis=(1, 2)), 1.0)
        return ops.cast(ops.matmul(x, self.output_weight) + self.bias, "float32")
