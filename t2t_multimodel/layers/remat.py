"""Rematerialisation: the backward pass computes a layer again, so that its intermediates need not be kept."""

import keras


def rematerialised(layer):
    """`layer`, called in training by the same arguments, as a function that computes its intermediates again.

    Keras's own `remat` can't be put around a layer that draws random numbers: the seeds that it assigns would be values
    from inside the function that is traced twice. So the layer's seeds are arguments and results of that function;
    both passes draw the same numbers, and the values and gradients are those of the plain layer.

    On JAX only. Inside a trace alone: there an assignment is recorded, not made.
    """

    def call(*arrays, **settings):
        seeds = layer.non_trainable_variables  # the layers here have no others

        def pure(states, *arrays):
            for seed, state in zip(seeds, states):
                seed.assign(state)
            outputs = layer(*arrays, **settings)
            return outputs, [seed.value for seed in seeds]

        outputs, states = keras.remat(pure)([seed.value for seed in seeds], *arrays)
        for seed, state in zip(seeds, states):
            seed.assign(state)
        return outputs

    return call
