"""Time series: several channels, NaN where a value is missing; in, and out as a forecast of the steps that follow."""

import dataclasses
from typing import ClassVar

import keras
import numpy as np
from keras import ops

from t2t_multimodel.layers.layer import ModalityNet
from t2t_multimodel.modalities import ArraySpec, Modality
from t2t_multimodel.modalities.heads import Head
from t2t_multimodel.registry import register_modality


@register_modality
@dataclasses.dataclass(frozen=True)
class TimeSeries(Modality):
    """float32 [steps, channels]. The model reads and writes (value − mean) / scale."""

    variable_length: ClassVar[bool] = True
    channels: tuple = ("value",)
    mean: float = 0.0
    scale: float = 1.0

    def declaration_fault(self):
        return "" if self.channels and self.scale > 0 else "must have channels and a positive scale"

    def check(self, value):
        steps, channels = self.stored()["values"].shape
        shape = getattr(value, "shape", ())
        if shape[1:] != (channels,) or shape[0] != (steps or max(shape[0], 1)):
            raise ValueError(f"an array [{steps or 'any'}, {channels}] expected, got {shape}")
        if value.dtype != np.float32 or np.isinf(value).any():
            raise ValueError("float32 expected, finite or NaN")

    def from_line(self, line):
        """An array, or the path of a CSV file: a step a line, a channel a column, nothing where a value is missing."""
        line = line if isinstance(line, np.ndarray) else np.genfromtxt(line, delimiter=",", ndmin=2, dtype=np.float32)
        self.check(line)
        return line

    def stored(self):
        return {"values": ArraySpec("float32", (None, len(self.channels)))}

    def encode(self, samples, vocabulary=None):
        return [{"values": sample} for sample in samples]

    def make_encoder(self, hparams, name):
        return SeriesEncoder(self, hparams, name=name)


@register_modality
@dataclasses.dataclass(frozen=True)
class Forecast(TimeSeries):
    """float32 [horizon, channels]: the steps after the end of a series. What is NaN is not counted."""

    variable_length: ClassVar[bool] = False
    default_metrics: ClassVar[tuple] = ("mae", "rmse", "r2")
    make_encoder = Modality.make_encoder  # no input
    horizon: int = 1

    def stored(self):
        return {"values": ArraySpec("float32", (self.horizon, len(self.channels)))}

    def make_head(self, hparams, name):
        return ForecastHead(self, hparams, name=name)

    def empty_answer(self):
        return np.full(self.stored()["values"].shape, np.nan)


class SeriesEncoder(ModalityNet):
    """x_t = W [z_t; whether each is known] + sinusoids of the steps from t to the end of the series."""

    def __init__(self, modality, hparams, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.mean, self.deviation, self.size = modality.mean, modality.scale, hparams.hidden_size
        with keras.name_scope(self.name):
            self.project = keras.layers.Dense(self.size, name="project")
            self.project.build((None, None, 2 * len(modality.channels)))

    def call(self, arrays, training=False):
        values, length = arrays["values"], arrays["length"]
        left = ops.cast(length[:, None] - 1 - ops.arange(ops.shape(values)[1], dtype="int32"), "float32")  # [B, T]
        mask, known = ops.cast(left >= 0, "float32"), values == values  # a NaN is unlike itself
        z = ops.where(known, (values - self.mean) / self.deviation, 0.0)
        x = self.project(ops.concatenate([z, ops.cast(known, "float32")], axis=-1))
        angles = left[..., None] * 1e3 ** -np.linspace(0, 1, self.size // 2, dtype=np.float32)
        x = x + ops.cast(ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1), x.dtype)
        return x * ops.cast(mask, x.dtype)[..., None], mask, None


class ForecastHead(Head):
    """A learned query for each step ahead attends to the encoded positions; an MLP makes the channels of it."""

    def __init__(self, modality, hparams, **kwargs):
        super().__init__(**kwargs)
        self.mean, self.deviation, size = modality.mean, modality.scale, hparams.hidden_size
        self.queries = self.add_weight(shape=(modality.horizon, size), initializer="glorot_uniform", name="queries")
        with keras.name_scope(self.name):
            self.hidden = keras.layers.Dense(2 * size, activation="relu", name="hidden")
            self.output_layer = keras.layers.Dense(len(modality.channels), name="output")
        self.hidden.build((None, None, size))
        self.output_layer.build((None, None, 2 * size))

    def call(self, encoded, padding_mask, grid=None):
        scores = ops.cast(ops.einsum("hd,btd->bht", self.queries, encoded), "float32")
        shares = ops.softmax(ops.where(padding_mask[:, None] > 0, scores, -1e9))
        context = ops.einsum("bht,btd->bhd", ops.cast(shares, encoded.dtype), encoded) + self.queries
        return ops.cast(self.output_layer(self.hidden(context)), "float32")  # [B, horizon, channels], standardised

    def loss(self, outputs, targets, example_weights, label_smoothing=0.0):
        right = (targets["values"] - self.mean) / self.deviation
        loss = ops.square(ops.where(right == right, right - outputs, 0.0))  # a NaN is unlike itself
        weights = ops.cast(right == right, "float32") * example_weights[:, None, None]
        return ops.sum(loss * weights), {"weights": weights, "loss": loss}

    def predict(self, outputs):
        return {"values": outputs * self.deviation + self.mean}
