"""The int8 weights of a whole model, and its arrays as they take them; see `kernels/int8_weight.py`."""

from typing import Any

import numpy as np

from t2t_multimodel.kernels.int8_weight import Int8Weight, making_int8, quantized

__all__ = ["floats_of", "int8_arrays", "making_int8", "weights_of"]


def weights_of(model: Any) -> list[Int8Weight]:
    """The `Int8Weight`s of a layer and all layers in it."""
    return [weight for layer in model._flatten_layers() for weight in getattr(layer, "int8_weights", ())]


def floats_of(model: Any) -> dict[int, Any]:
    """The floats of all `Int8Weight`s of a model, for `int8_weight.known`."""
    return {id(weight): weight.value for weight in weights_of(model)}


def int8_arrays(model: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{path: array} as a model with `Int8Weight`s takes them; those that are floats are quantized."""
    found = dict(arrays)
    for weight in weights_of(model):
        array = found.get(weight.path)
        if array is not None and array.shape == tuple(weight.shape) and array.dtype != np.int8:
            found[weight.path], found[weight.scale.path] = quantized(array, weight.over)
    return found
