"""What reads several inputs, and what stands for none."""

import warnings

import keras
from keras import ops

from t2t_multimodel.kernels.shapes import shape_of
from t2t_multimodel.layers.layer import ModalityNet
from t2t_multimodel.modalities.arrays import joined_name

# Attention over the single position of `NoInputEncoder` is meant.
warnings.filterwarnings("ignore", message="You are using a softmax over axis -1 of a tensor of shape .* size 1")


class InputsEncoder(ModalityNet):
    """The members' encoded sequences one after the other, each plus a learned vector of its member."""

    row_axes = {"member": 0}

    def __init__(self, modality, hparams, parts, **kwargs):
        """Args: modality: the `Inputs`. parts: the encoder of each member, which other problems may use too."""
        super().__init__(autocast=False, **kwargs)  # each member casts its own arrays: numbers and sound stay float32
        self.members = modality.members
        self.parts = list(parts)
        # Padding between two members is moved to the end, so that no position depends on it.
        self.packs = any(member.variable_length for _, member in modality.members[:-1])
        size = hparams.hidden_size
        self.scale = size**0.5  # small weights, scaled up: see `TextNet`
        normal = keras.initializers.RandomNormal(0.0, size**-0.5)
        self.member = self.add_weight(shape=(len(self.members), size), initializer=normal, name="member")

    def call(self, arrays, training=False):
        """→ (x [B, S, d], padding_mask [B, S], no grid); S is the sum of the members' positions."""
        encoded, masks = [], []
        for i, ((name, member), part) in enumerate(zip(self.members, self.parts)):
            own = {each: arrays[joined_name(name, each)] for each in member.tensors()}
            x, padding_mask, _ = part(own, training=training)
            vector = ops.cast(self.member[i] * self.scale, x.dtype)
            encoded.append((x + vector) * ops.cast(padding_mask, x.dtype)[..., None])
            masks.append(ops.cast(padding_mask, "float32"))
        x, padding_mask = ops.concatenate(encoded, axis=1), ops.concatenate(masks, axis=1)
        return (*(_packed(x, padding_mask) if self.packs else (x, padding_mask)), None)

    @property
    def input_variables(self):
        found = [self.member, *(variable for part in self.parts for variable in part.input_variables)]
        return list({id(variable): variable for variable in found}.values())


class NoInputEncoder(ModalityNet):
    """One learned position."""

    def __init__(self, hparams, **kwargs):
        super().__init__(**kwargs)
        size = hparams.hidden_size
        self.scale = size**0.5  # as in `InputsEncoder`
        normal = keras.initializers.RandomNormal(0.0, size**-0.5)
        self.start = self.add_weight(shape=(size,), initializer=normal, name="start")

    def call(self, arrays, training=False):
        """ "values" [B] → (x [B, 1, d], padding_mask of ones, no grid)."""
        ones = ops.ones_like(ops.cast(arrays["values"], "float32"))[:, None]
        vector = ops.cast(self.start * self.scale, self.compute_dtype)
        return ops.cast(ones, self.compute_dtype)[..., None] * vector, ones, None


def _packed(x, padding_mask):
    """The real positions of each row first, in their order: x [B, S, d], padding_mask [B, S] → the same."""
    rows, length = shape_of(x)[:2]
    places = ops.arange(length, dtype="int32")
    order = ops.argsort(ops.where(padding_mask > 0, places, places + length), axis=1)
    at = ops.reshape(ops.cast(order, "int32") + ops.arange(rows, dtype="int32")[:, None] * length, [-1])
    flat = ops.take(ops.reshape(x, [rows * length, x.shape[-1]]), at, axis=0)
    return ops.reshape(flat, [rows, length, x.shape[-1]]), ops.reshape(
        ops.take(ops.reshape(padding_mask, [-1]), at, axis=0), [rows, length]
    )
