"""The base of every layer here: a Keras layer that has all its weights once it is made."""

import keras


class Layer(keras.layers.Layer):
    """Sizes are known from the hparams, so nothing waits for a first call: a model can be counted, saved and loaded at
    once.

    Masks are passed as `padding_mask` (1 = real, 0 = padding): Keras gives an argument called `mask` a meaning of its
    own.
    """

    def build(self, *shapes):
        self.built = True


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
