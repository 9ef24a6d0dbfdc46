"""Text: embedding in, linear layer and softmax out, over one vocabulary; paper §2.5 (language modality net)."""

import keras
from keras import ops

from t2t_multimodel.kernels.dense import dense
from t2t_multimodel.layers.layer import ModalityNet


class TextNet(ModalityNet):
    """Both nets of one vocabulary. Its control symbols (command tokens) are rows of the same embedding."""

    def __init__(self, spec, hparams, **kwargs):
        super().__init__(**kwargs)
        size = hparams.hidden_size
        # Small weights, scaled up on the way: vectors as large as the timing signal they are added to, and yet quick
        # to learn (an Adam step moves every weight by about the learning rate, whatever its size).
        self.scale = size**0.5
        normal = keras.initializers.RandomNormal(0.0, size**-0.5)
        # float32 in mixed precision too: the rows that are taken are cast, not all there are.
        shape = (spec.vocabulary_size, size)
        self.embedding = self.add_weight(shape=shape, initializer=normal, name="embedding", autocast=False)
        self.softmax = self.add_weight(shape=(size, spec.vocabulary_size), initializer="glorot_uniform", name="softmax")
        self.bias = self.add_weight(shape=(spec.vocabulary_size,), initializer="zeros", name="bias")

    def call(self, batch, training=False):
        """Input net: ids [batch, length], 0 = padding → ([batch, length, hidden], real [batch, length], no grid)."""
        ids = batch["inputs"]
        padding_mask = ops.cast(ops.not_equal(ids, 0), "float32")
        return self.embed(ids) * ops.cast(padding_mask, self.compute_dtype)[..., None], padding_mask, None

    def embed(self, ids):
        """ids [...] → [..., hidden]."""
        return ops.cast(ops.take(self.embedding, ids, axis=0) * self.scale, self.compute_dtype)

    def shifted(self, targets, command):
        """Decoder inputs: the command's vector, then the targets but the last: ids [batch, length] → [batch, length,
        hidden].
        """
        return self.embed(ops.concatenate([command[:, None], targets[:, :-1]], axis=1))

    @property
    def input_variables(self):
        return [self.embedding]

    def logits(self, x):
        """Output net: [..., hidden] → float32 [..., vocabulary]."""
        return ops.cast(dense(x, ops.cast(self.softmax, x.dtype), ops.cast(self.bias, x.dtype)), "float32")
