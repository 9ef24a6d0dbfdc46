"""A head of a fixed number of values: what the encoder found anywhere in the input, pooled; out of it an MLP."""

import keras
from keras import ops

from t2t_multimodel.layers.layer import as_matrix
from t2t_multimodel.modalities.heads import Head


class PooledHead(Head):
    """x = [mean; max] over the encoded positions that are no padding; outputs = W₂ relu(W₁ x + b₁) + b₂."""

    row_axes = {"output/kernel": 1, "output/bias": 0}

    def __init__(self, outputs, hparams, **kwargs):
        """Args: outputs: how many values."""
        super().__init__(**kwargs)
        size = hparams.hidden_size
        with keras.name_scope(self.name):
            self.hidden = keras.layers.Dense(2 * size, activation="relu", name="hidden")
            self.hidden.build((None, 2 * size))
            as_matrix(self.hidden.kernel)
            self.output_layer = keras.layers.Dense(outputs, name="output")
            self.output_layer.build((None, 2 * size))

    def call(self, encoded, padding_mask, grid=None):
        """→ float32 [B, outputs]."""
        mask = ops.cast(padding_mask, encoded.dtype)[..., None]
        count = ops.sum(mask, axis=1)  # [B, 1]
        mean = ops.sum(encoded * mask, axis=1) / ops.maximum(count, 1.0)
        most = ops.max(ops.where(mask > 0, encoded, -1e4), axis=1)
        most = ops.where(count > 0, most, 0.0)  # rows that only fill up a shape have no position
        x = self.hidden(ops.concatenate([mean, most], axis=-1))
        return ops.cast(self.output_layer(x), "float32")
