"""Picks the trainer's adapter for the backend that Keras runs on; nothing else of the trainer asks which one it is."""

import contextlib

import keras

from t2t_multimodel.errors import UserError, unknown_name


def adapter():
    """`Step`, `compiled`, `fused`, `to_host`, `seed` and more of the backend; `STATIC_SHAPES`: whether batches for the
    first two must come in few shapes; `UPDATES_UNDER_WAY`: how many updates may be under way while another one is
    begun; `PREPARED_AT_ONCE`: how many threads may prepare programs of a `Step`; and `PREPARED_BESIDE`: whether one may
    beside the updates.
    """
    name = keras.backend.backend()
    if name == "tensorflow":
        from t2t_multimodel.training import tensorflow_step as module
    elif name == "jax":
        from t2t_multimodel.training import jax_step as module
    else:
        raise unknown_name("backend", name, ("tensorflow", "jax"), "set --backend or KERAS_BACKEND")
    return module


def chosen_devices(settings, hparams):
    """The `Devices` of `devices.py` that the `RunSettings` ask for, None for one alone; only JAX trains on several.

    Raises:
      UserError: they can't be had, or the work can't be shared evenly.
    """
    if keras.backend.backend() == "jax":
        from t2t_multimodel.training import devices

        return devices.chosen_devices(settings, hparams)
    for name, alone in (("devices", 1), ("expert_devices", 1), ("shard_weights", False)):
        value = getattr(settings, name)
        if value and value != alone:
            raise UserError(f"--{name} needs --backend=jax: on {keras.backend.backend()} a run has one device")
    return None


def scope(devices):
    """The context in which the variables of a model on these devices are made."""
    return contextlib.nullcontext() if devices is None else devices.making()
