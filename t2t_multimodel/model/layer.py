"""The base of every layer here: a Keras layer whose weights all exist once it is made."""

import keras


class Layer(keras.layers.Layer):
    """Sizes are known from the hparams, so nothing waits for a first call: a model can be counted, saved and loaded at once.

    Masks are passed as `real` (1 = real, 0 = padding): Keras gives an argument called `mask` a meaning of its own.
    """

    def build(self, *shapes):
        self.built = True


class ModalityNet(Layer):
    """Base of the modality nets. One that serves as input and as output says which of its variables each side uses."""

    @property
    def input_variables(self):
        """The trainable variables that a batch with this input updates."""
        return self.trainable_variables

    @property
    def output_variables(self):
        """The trainable variables that a batch with this target updates."""
        return self.trainable_variables
