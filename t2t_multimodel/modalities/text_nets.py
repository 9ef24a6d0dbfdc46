"""Text: embedding in, linear layer and softmax out, over one vocabulary; paper §2.5 (language modality net)."""

import keras
from keras import ops

from t2t_multimodel.kernels.cross_entropy import cross_entropy_split
from t2t_multimodel.kernels.dense import dense
from t2t_multimodel.modalities.heads import AutoregressiveHead


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
        self.embedding = self.add_weight(shape=shape, initializer=normal, name="embedding", autocast=False)
        self.softmax = self.add_weight(
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
        return ops.cast(ops.take(self.embedding, ids, axis=0) * self.scale, self.compute_dtype)

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
