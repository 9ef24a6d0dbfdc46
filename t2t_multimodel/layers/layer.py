"""The base of every layer here: a Keras layer that has all its weights once it is made."""

import keras

from t2t_multimodel.kernels.int8_weight import Int8Weight, is_making_int8


class Layer(keras.layers.Layer):
    """Sizes are known from the hparams, so nothing waits for a first call: a model can be counted, saved and loaded at
    once.

    Masks are passed as `padding_mask` (1 = real, 0 = padding): Keras gives an argument called `mask` a meaning of its
    own.
    """

    def build(self, *shapes):
        self.built = True

    def add_matrix(self, shape, initializer, name, over=-2, **options):
        """A weight that is multiplied with vectors: a variable, or within `making_int8` an `Int8Weight`.

        Args: over: the axis that a product sums over; or, of a table of vectors, that of a vector's entries. Others: as
        of `add_weight`.
        """
        if not is_making_int8():
            weight = self.add_weight(shape=shape, initializer=initializer, name=name, **options)
            return weight if name in getattr(self, "row_axes", {}) else as_matrix(weight)
        over %= len(shape)
        scales = (*shape[:over], 1, *shape[over + 1 :])
        codes = self.add_weight(shape=shape, initializer="zeros", dtype="int8", trainable=False, name=name)
        scale = self.add_weight(shape=scales, initializer="ones", trainable=False, name=f"{name}_scale", **options)
        weight = Int8Weight(codes, scale, over)
        self.int8_weights = [*getattr(self, "int8_weights", ()), weight]
        return weight


def as_matrix(weight):
    """Marks a variable as one for which `is_matrix` is true; returns it."""
    weight.is_matrix = True
    return weight


def is_matrix(variable):
    """Whether a variable, or each expert's part of one, turns features into features: no vector, no table of ids or
    classes, and no filter of a convolution. Optimizers may treat it as a whole.
    """
    return getattr(variable, "is_matrix", False)


class ModalityNet(Layer):
    """Base of the modality nets. One that serves as input and as output says which of its variables each side uses."""

    # {path of a variable inside the net: the axis whose indices stand for `Modality.row_names`}.
    row_axes = {}

    @property
    def input_variables(self):
        """The trainable variables that a batch with this input updates."""
        return self.trainable_variables

    @property
    def output_variables(self):
        """The trainable variables that a batch with this target updates."""
        return self.trainable_variables


class Dropout(Layer):
    """Dropout that names its seed: Keras's layer numbers its seeds in the order of their making in the
    process, so no other process would find them in a checkpoint."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        if rate:
            with keras.name_scope(self.name):
                self.seed = keras.random.SeedGenerator(name="seed")

    def call(self, x, training=False):
        return keras.random.dropout(x, self.rate, seed=self.seed) if training and self.rate else x
