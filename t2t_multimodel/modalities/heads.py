"""What a target's net promises: outputs, their loss, and what is decoded of them.

B is the batch, T target positions, S encoded positions, d the hidden size.
"""

from keras import ops

from t2t_multimodel.errors import MustDefine
from t2t_multimodel.layers.layer import ModalityNet


class Head(ModalityNet):
    """Reads the encoder's result directly; no autoregression (paper §2.5, categorical net).

    A head defines `call`, `loss` and `predict`.
    """

    autoregressive = False
    # What `loss` reports of each target besides "weights": "log_probability" and "correct" of heads that give
    # probabilities, "loss" of others.
    statistics = ("loss",)

    def call(self, encoded, padding_mask, grid=None):
        """encoded [B, S, d], padding_mask [B, S], grid (height, width) of two-dimensional input → outputs [B, …]."""
        raise MustDefine(self, "call(encoded, padding_mask, grid)")

    def loss(self, outputs, targets, example_weights, label_smoothing=0.0):
        """Args: outputs: of `call`. targets: {name: array} of the modality's `tensors`. example_weights: [B], 0 for
        rows that only fill up a shape.

        Returns:
          the sum of the weighted losses, a scalar; and {"weights": [B, …], and each of `statistics`, of that shape}.
          The training loss is the sum over the sum of the weights.
        """
        raise MustDefine(self, "loss(outputs, targets, example_weights)")

    def predict(self, outputs):
        """outputs → {name: array [B, …]}, of which `Modality.answers` makes answers."""
        return {"values": outputs}


class AutoregressiveHead(Head):
    """Writes ids one after the other: `outputs` are the decoder's [B, T, d], to which `call` is not applied."""

    autoregressive = True
    statistics = ("log_probability", "correct")

    def embed(self, ids):
        """ids [...] → [..., d]: what the decoder reads of ids written before."""
        raise MustDefine(self, "embed(ids)")

    def logits(self, x):
        """[..., d] → float32 [..., ids]."""
        raise MustDefine(self, "logits(x)")

    def ids(self, targets):
        """The ids [B, T] of {name: array}, 0 = padding."""
        return targets["values"]

    def padding_mask(self, targets):
        """[B, T], 1 where there is an id."""
        return ops.cast(ops.not_equal(self.ids(targets), 0), "float32")

    def shifted(self, targets, command):
        """Decoder inputs [B, T, d]: the command's vector, command [B], then the targets but the last."""
        return self.embed(ops.concatenate([command[:, None], self.ids(targets)[:, :-1]], axis=1))
