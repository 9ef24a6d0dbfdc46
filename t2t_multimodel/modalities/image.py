"""Pictures in: the Xception entry flow on per-picture standardised pixels; paper §2.5 (image modality net)."""

import keras
from keras import ops

from t2t_multimodel.model.convolution import ConvRes, ConvStep2D
from t2t_multimodel.model.layer import ModalityNet


class ImageNet(ModalityNet):
    """uint8 [batch, height, width, channels] → a sequence [batch, height'·width', hidden].

    The first convolution is a full one with bias on standardised pixels and has no ReLU before it, as in Xception: a
    separable one on three raw channels has too few filters to learn from.
    """

    def __init__(self, spec, hparams, **kwargs):
        super().__init__(**kwargs)
        self.augment = hparams.image_augment
        first, second = hparams.image_stem_filters
        filters = [f or hparams.hidden_size for f in hparams.image_residual_filters]
        if self.augment:
            self.flip_seed = keras.random.SeedGenerator(name="flip_seed")
        with keras.name_scope(self.name):
            stride = (hparams.image_stem_stride,) * 2
            norm = {"whole_picture": hparams.image_norm == "picture"}
            self.stem = [
                ConvStep2D(spec.channels, first, strides=stride, relu=False, full=True, name="stem0", **norm),
                ConvStep2D(first, second, name="stem1", **norm),
            ]
            self.residual = [
                ConvRes(before, after, name=f"residual{i}", **norm)
                for i, (before, after) in enumerate(zip([second, *filters], filters))
            ]
            self.project = (
                None
                if filters and filters[-1] == hparams.hidden_size
                else ConvStep2D(filters[-1] if filters else second, hparams.hidden_size, taps=1, name="project", **norm)
            )

    def call(self, batch, training=False):
        """→ ([batch, positions, hidden], mask of ones, grid (height', width'))."""
        x = ops.cast(batch["inputs"], "float32") / 255.0
        if training and self.augment:
            flip = keras.random.uniform(ops.shape(x)[:1], seed=self.flip_seed) < 0.5
            x = ops.where(flip[:, None, None, None], ops.flip(x, axis=2), x)
        mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
        deviation = ops.sqrt(ops.var(x, axis=(1, 2, 3), keepdims=True) + 1e-4)
        x = ops.cast((x - mean) / deviation, self.compute_dtype)
        for step in self.stem:
            x = step(x)
        for residual in self.residual:
            x = residual(x)
        if self.project is not None:
            x = self.project(x)
        height, width = x.shape[1:3]
        x = ops.reshape(x, [ops.shape(x)[0], height * width, x.shape[3]])
        return x, ops.ones_like(x[:, :, 0], dtype="float32"), (height, width)
