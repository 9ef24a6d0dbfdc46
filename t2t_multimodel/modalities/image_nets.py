"""Pictures in: the Xception entry flow on per-picture standardised pixels; paper §2.5 (image modality net)."""

import keras
from keras import ops

from t2t_multimodel.kernels.split_batch import split_batch
from t2t_multimodel.layers.convolution import ConvRes, ConvStep2D
from t2t_multimodel.layers.layer import ModalityNet


class ImageEncoder(ModalityNet):
    """uint8 [batch, height, width, channels] → a sequence [batch, height'·width', hidden].

    The first convolution is a full one with bias on standardised pixels and has no ReLU before it, as in Xception: a
    separable one on three raw channels has too few filters to learn from.
    """

    def __init__(self, modality, hparams, **kwargs):
        super().__init__(**kwargs)
        self.augment = hparams.image_augment
        first, second = hparams.image_stem_filters
        filters = [f or hparams.hidden_size for f in hparams.image_residual_filters]
        self.shift = tuple(round(hparams.image_shift * side) for side in (modality.height, modality.width))  # pixels
        with keras.name_scope(self.name):  # the seeds too, since a model may have nets for several sizes
            if self.augment:
                self.flip_seed = keras.random.SeedGenerator(name="flip_seed")
            if any(self.shift):
                self.shift_seed = keras.random.SeedGenerator(name="shift_seed")
            stride = (hparams.image_stem_stride,) * 2
            norm = {"whole_picture": hparams.image_norm == "picture"}
            self.stem = [
                ConvStep2D(modality.channels, first, strides=stride, relu=False, full=True, name="stem0", **norm),
                ConvStep2D(first, second, name="stem1", **norm),
            ]
            self.residual = [
                ConvRes(before, after, name=f"residual{i}", **norm)
                for i, (before, after) in enumerate(zip([second, *filters], filters))
            ]
            self.project = (
                None
                if filters and filters[-1] == hparams.hidden_size
                else ConvStep2D(
                    filters[-1] if filters else second, hparams.hidden_size, kernel_size=1, name="project", **norm
                )
            )

    def call(self, arrays, training=False):
        """→ (x [batch, positions, hidden], padding_mask of ones, grid (height', width'))."""
        x = ops.cast(arrays["values"], "float32")
        if training and self.augment:
            flip = keras.random.uniform(ops.shape(x)[:1], seed=self.flip_seed) < 0.5
            x = ops.where(flip[:, None, None, None], ops.flip(x, axis=2), x)
        if training and any(self.shift):
            x = self._shifted(x)
        x = x / 255.0
        mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
        deviation = ops.sqrt(ops.var(x, axis=(1, 2, 3), keepdims=True) + 1e-4)
        x = ops.cast((x - mean) / deviation, self.compute_dtype)
        x = split_batch(self._entry_flow, x)
        height, width = x.shape[1:3]
        x = ops.reshape(x, [ops.shape(x)[0], height * width, x.shape[3]])
        return x, ops.ones_like(x[:, :, 0], dtype="float32"), (height, width)

    def _entry_flow(self, x):
        for step in (*self.stem, *self.residual, *([] if self.project is None else [self.project])):
            x = step(x)
        return x

    def _shifted(self, x):
        """Every picture moved by its own number of rows and columns; what comes in at an edge is mirrored there.

        That is a random crop of the picture padded by its mirror image. [batch, height, width, channels] → the same.
        """
        most = ops.convert_to_tensor(self.shift, "float32")
        draws = keras.random.uniform([ops.shape(x)[0], 2], seed=self.shift_seed)  # in [0, 1)
        moves = ops.cast(ops.floor(draws * (2 * most + 1) - most), "int32")  # -most … most, each as likely
        for axis, dense in ((1, "bih,bhwc->biwc"), (2, "bjw,bhwc->bhjc")):
            last = x.shape[axis] - 1
            taken = ops.arange(last + 1, dtype="int32") + moves[:, axis - 1 : axis]  # [batch, side]
            taken = last - ops.abs(last - ops.abs(taken))
            # A product with ones and zeros, exact for pixels of 0 to 255; five times as fast on a CPU as gathering.
            x = ops.einsum(dense, ops.one_hot(taken, last + 1, dtype="float32"), x)
        return x
