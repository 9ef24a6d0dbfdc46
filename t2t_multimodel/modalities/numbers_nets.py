"""Numbers in: a position each. Numbers out: regression from the pooled encoding."""

import keras
from keras import ops

from t2t_multimodel.layers.layer import ModalityNet
from t2t_multimodel.modalities.pooled_head import PooledHead


class NumbersEncoder(ModalityNet):
    """Number i is position i: x_i = z_i · w_i + b_i with z = (value − mean) / scale; x_i = m_i where it is unknown."""

    row_axes = {"weight": 0, "offset": 0, "unknown": 0}

    def __init__(self, modality, hparams, **kwargs):
        super().__init__(autocast=False, **kwargs)  # numbers stay float32 until they are vectors
        self.mean, self.deviation = modality.mean_array, modality.scale_array
        shape = (len(modality.names), hparams.hidden_size)
        normal = keras.initializers.RandomNormal(stddev=1.0)
        self.weight = self.add_weight(shape=shape, initializer=normal, name="weight")
        self.offset = self.add_weight(shape=shape, initializer=normal, name="offset")
        self.unknown = self.add_weight(shape=shape, initializer=normal, name="unknown")

    def call(self, arrays, training=False):
        """ "values" float32 [B, n] → (x [B, n, d], padding_mask of ones, no grid)."""
        values = arrays["values"]
        known = values == values  # not NaN
        z = (ops.where(known, values, 0.0) - self.mean) / self.deviation
        # Keras reads the weights of the layer that is called first in 16 bits, where the precision is mixed.
        weight, offset, unknown = (ops.cast(v, "float32") for v in (self.weight, self.offset, self.unknown))
        x = ops.where(known[..., None], z[..., None] * weight + offset, unknown)
        return ops.cast(x, self.compute_dtype), ops.ones_like(z, dtype="float32"), None


class NumbersHead(PooledHead):
    """Outputs are standardised, [B, n]; answers are in the target's own unit."""

    def __init__(self, modality, hparams, **kwargs):
        super().__init__(len(modality.names), hparams, **kwargs)
        self.mean, self.deviation, self.huber = modality.mean_array, modality.scale_array, modality.huber

    def loss(self, outputs, targets, example_weights, label_smoothing=0.0):
        """e² of each known number, e the standardised error; Huber's 2·δ·|e| − δ² where |e| > δ. See `Head.loss`."""
        values = targets["values"]
        known = values == values  # not NaN
        error = (ops.where(known, values, 0.0) - self.mean) / self.deviation - outputs
        loss = ops.square(error)
        if self.huber:
            size = ops.abs(error)
            loss = ops.where(size > self.huber, self.huber * (2.0 * size - self.huber), loss)
        weights = ops.cast(known, "float32") * example_weights[:, None]
        return ops.sum(loss * weights), {"weights": weights, "loss": loss}

    def predict(self, outputs):
        """ "values" float32 [B, n], in the target's own unit."""
        return {"values": outputs * self.deviation + self.mean}
