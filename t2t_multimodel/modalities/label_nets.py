"""Classes out: the Xception exit flow, global average, pointwise to the classes; paper §2.5 (categorical net)."""

import keras
from keras import ops

from t2t_multimodel.kernels.cross_entropy import cross_entropy
from t2t_multimodel.layers.convolution import ConvStep2D, max_pool
from t2t_multimodel.modalities.heads import Head
from t2t_multimodel.modalities.label import MOST_RANKED


class LabelHead(Head):
    """Reads the encoder's result directly: a class needs no autoregression.

    skip = ConvStep_{3×3,s2}(x); h = skip + MaxPool_{3×3,s2}(ConvStep(ConvStep(x))); two wider steps; ReLU; average;
    linear.
    """

    statistics = ("log_probability", "correct")
    row_axes = {"output": 1, "bias": 0}

    def __init__(self, modality, hparams, **kwargs):
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
        self.output_weight = self.add_matrix(
            shape=(fourth, len(modality.classes)), initializer="glorot_uniform", name="output"
        )
        self.bias = self.add_weight(shape=(len(modality.classes),), initializer="zeros", name="bias")

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

    def loss(self, outputs, targets, example_weights, label_smoothing=0.0):
        """Cross entropy of the class; see `Head.loss`."""
        total, log_probability, correct = cross_entropy(outputs, targets["values"], example_weights, label_smoothing)
        statistics = {"log_probability": log_probability, "correct": correct, "weights": example_weights}
        return total, statistics | {"logits": outputs}

    def predict(self, outputs):
        """ "order" int32 [B, classes], the classes likeliest first, `MOST_RANKED` at most; "scores" their
        log-probabilities."""
        scores, order = ops.top_k(ops.log_softmax(outputs), min(MOST_RANKED, outputs.shape[-1]))
        return {"order": ops.cast(order, "int32"), "scores": scores}
