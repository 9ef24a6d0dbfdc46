"""Text: embedding in, linear layer and softmax out, over one vocabulary; paper §2.5 (language modality net)."""

import keras
from keras import ops

from t2t_multimodel.kernels.cross_entropy import cross_entropy_split
from t2t_multimodel.kernels.ctc import IMPOSSIBLE, ctc_nats
from t2t_multimodel.kernels.dense import dense
from t2t_multimodel.kernels.int8_weight import rows_of
from t2t_multimodel.layers.layer import ModalityNet
from t2t_multimodel.modalities.heads import AutoregressiveHead
from t2t_multimodel.vocabulary import EOS_ID


class TextNet(AutoregressiveHead):
    """Encoder and head of one vocabulary. Its control symbols (command tokens) are rows of the same embedding."""

    row_axes = {"embedding": 0, "softmax": 1, "bias": 0}

    def __init__(self, modality, hparams, **kwargs):
        super().__init__(**kwargs)
        size = hparams.hidden_size
        # Small weights, scaled up on the way: vectors as large as the timing signal they are added to, and yet quick
        # to learn (an Adam step moves every weight by about the learning rate, whatever its size).
        self.scale = size**0.5
        normal = keras.initializers.RandomNormal(0.0, size**-0.5)
        # float32 in mixed precision too: the rows that are taken are cast, not all there are.
        shape = (modality.vocabulary_size, size)
        self.embedding = self.add_matrix(shape, normal, "embedding", over=1, autocast=False)
        self.softmax = self.add_matrix(
            shape=(size, modality.vocabulary_size), initializer="glorot_uniform", name="softmax"
        )
        self.bias = self.add_weight(shape=(modality.vocabulary_size,), initializer="zeros", name="bias")

    def call(self, arrays, training=False):
        """The encoder: "values" [B, T] ids, 0 = padding → (x [B, T, d], padding_mask [B, T], no grid)."""
        ids = arrays["values"]
        padding_mask = ops.cast(ops.not_equal(ids, 0), "float32")
        return self.embed(ids) * ops.cast(padding_mask, self.compute_dtype)[..., None], padding_mask, None

    def embed(self, ids):
        """ids [...] → [..., d]."""
        return ops.cast(rows_of(self.embedding, ids) * self.scale, self.compute_dtype)

    @property
    def input_variables(self):
        return [self.embedding]

    def logits(self, x):
        """[..., d] → float32 [..., vocabulary]."""
        return ops.cast(dense(x, ops.cast(self.softmax, x.dtype), ops.cast(self.bias, x.dtype)), "float32")

    def loss(self, outputs, targets, example_weights, label_smoothing=0.0):
        """Cross entropy of each id, computed for the two halves of the batch by themselves; see `Head.loss`."""
        ids = self.ids(targets)
        weights = self.padding_mask(targets) * example_weights[:, None]
        total, log_probability, correct, logits = cross_entropy_split(
            self.logits, outputs, ids, weights, label_smoothing
        )
        statistics = {"log_probability": log_probability, "correct": correct, "weights": weights}
        return total, statistics | {"logits": logits}


class CtcNet(ModalityNet):
    """Says of every encoded position which id stands there, or none: connectionist temporal classification.

    A second way from the encoder to the text, which knows that the text comes in the order of the input; with the
    decoder as in Watanabe et al. 2017 ("Hybrid CTC/Attention Architecture for End-to-End Speech Recognition").
    """

    row_axes = {"softmax": 1, "bias": 0}

    def __init__(self, modality, hparams, **kwargs):
        super().__init__(**kwargs)
        shape = (hparams.hidden_size, modality.vocabulary_size)
        self.softmax = self.add_matrix(shape=shape, initializer="glorot_uniform", name="softmax")
        self.bias = self.add_weight(shape=shape[1:], initializer="zeros", name="bias")

    def call(self, encoded):
        """[B, S, d] → float32 [B, S, V]; id 0 is "none"."""
        return ops.cast(dense(encoded, self.softmax, self.bias), "float32")

    def loss(self, encoded, padding_mask, targets):
        """The sum of the negative log-probabilities of all texts (nats), of those that fit on the positions.

        Args: encoded [B, S, d], padding_mask [B, S], targets: {"values": ids int32 [B, T] with end-of-sequence}. Rows
        without a position cost nothing.

        Returns:
          the sum; and how many texts need more positions than there are.
        """
        nats = self.nats(self(encoded), padding_mask, targets["values"])
        fits = nats < IMPOSSIBLE
        too_long = ops.logical_and(ops.logical_not(fits), ops.any(padding_mask > 0, axis=1))
        return ops.sum(ops.where(fits, nats, 0.0)), ops.sum(ops.cast(too_long, "float32"))

    def nats(self, logits, padding_mask, ids):
        """The negative log-probability of each text: logits [B, S, V], ids [B, T] → [B]; see `kernels.ctc`."""
        counts = ops.sum(ops.cast(ops.logical_and(ids != 0, ids != EOS_ID), "int32"), axis=1)
        return ctc_nats(logits, ids, counts, ops.cast(ops.sum(padding_mask, axis=1), "int32"))
