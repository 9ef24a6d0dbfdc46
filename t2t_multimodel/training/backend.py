"""Picks the trainer's adapter for the backend that Keras runs on; nothing else of the trainer asks which one it is."""

import keras


def adapter():
    """`Step`, `compiled`, `fused`, `seed` of the backend, and `STATIC_SHAPES`: whether batches for the first
    two must come in few shapes.
    """
    name = keras.backend.backend()
    if name == "tensorflow":
        from t2t_multimodel.training import tensorflow_step as module
    elif name == "jax":
        from t2t_multimodel.training import jax_step as module
    else:
        from t2t_multimodel.errors import unknown_name

        raise unknown_name("backend", name, ("tensorflow", "jax"), "set --backend or KERAS_BACKEND")
    return module
