"""Numbers: one value for each of a few names, NaN where it is unknown; in, and out as regression."""

import dataclasses
import math
import re
from typing import ClassVar

import numpy as np

from t2t_multimodel.modalities.arrays import ArraySpec
from t2t_multimodel.modalities.base import Modality, digest_of
from t2t_multimodel.registry import register_modality

_UNKNOWN = ("", "?", "nan", "na")  # as a person writes a value that is not known


@register_modality
@dataclasses.dataclass(frozen=True)
class Numbers(Modality):
    """float32 [names]; samples are arrays or lists of numbers in that order. A NaN of a target is not counted.

    The model reads and writes (value − mean) / scale, so a problem says about how large its numbers are.
    """

    modality_name: ClassVar[str] = "numbers"
    line_is_data: ClassVar[bool] = True
    default_metrics: ClassVar[tuple] = ("mae", "rmse", "r2")

    names: tuple = ("value",)
    mean: tuple = ()  # one a name; (): 0 each
    scale: tuple = ()  # one a name, about the standard deviation; (): 1 each
    # The loss of a target is the square of its error e; from |e| = huber scales on it grows linearly. 0: never.
    huber: float = 0.0

    def declaration_fault(self):
        if not 0 < len(self.names) == len(set(map(str, self.names))):
            return 'must have names, each once: Numbers(names=("price",))'
        for field in ("mean", "scale"):
            values = getattr(self, field)
            if values and len(values) != len(self.names):
                return f"must have a {field} for each of {len(self.names)} names, not {len(values)}"
            if not all(isinstance(v, int | float) and math.isfinite(v) and (v > 0 or field == "mean") for v in values):
                return f"must have {field}s that are {'positive' if field == 'scale' else 'finite'}, not {values}"
        return "" if self.huber >= 0 else f"must have a huber of at least 0, not {self.huber}"

    # ---- A sample

    def check(self, value):
        array = np.asarray(value) if isinstance(value, np.ndarray | list | tuple) else None
        if array is None or array.dtype.kind not in "fiu" or array.shape != (len(self.names),):
            said = " ".join(repr(value).split())
            raise ValueError(f"an array or list of {len(self.names)} numbers expected, got {said:.80}")
        if np.isinf(array.astype(np.float32)).any():
            raise ValueError(f"finite numbers expected, or NaN for unknown, got {array}")

    def from_line(self, line):
        """Numbers with commas or spaces between them; "?" or "nan": unknown."""
        if isinstance(line, str):
            words = re.split(r"\s*,\s*|\s+", line.strip())
            line = [math.nan if word.lower() in _UNKNOWN else float(word) for word in words]
        self.check(line)
        return np.asarray(line, np.float32)

    def from_cell(self, value):
        return self.from_line(value if isinstance(value, str | list) else [value])

    # ---- On disk

    def stored(self):
        return {"values": ArraySpec("float32", (len(self.names),))}

    def encode(self, samples, vocabulary=None):
        return [{"values": np.asarray(sample, np.float32)} for sample in samples]

    # ---- Batches

    @property
    def weights_name(self):
        return f"numbers_{digest_of([self.names, self.mean, self.scale, self.huber])}"

    def fixed_positions(self, hparams):
        return len(self.names)

    # ---- The nets

    def row_names(self, vocabulary=None):
        return list(map(str, self.names))

    def make_encoder(self, hparams, name):
        from t2t_multimodel.modalities.numbers_nets import NumbersEncoder

        return NumbersEncoder(self, hparams, name=name)

    def make_head(self, hparams, name):
        from t2t_multimodel.modalities.numbers_nets import NumbersHead

        return NumbersHead(self, hparams, name=name)

    @property
    def mean_array(self):
        return np.asarray(self.mean or [0.0] * len(self.names), np.float32)

    @property
    def scale_array(self):
        return np.asarray(self.scale or [1.0] * len(self.names), np.float32)

    # ---- Answers

    def as_answer(self, sample):
        return np.asarray(sample, np.float32)

    def empty_answer(self):
        return np.full(len(self.names), np.nan, np.float32)

    def to_line(self, answer):
        return " ".join(f"{value:.6g}" for value in answer)

    # ---- For people

    def in_one_line(self, stored, key, vocabulary=None):
        return self.to_line(stored)

    def lines(self, stored, vocabulary=None):
        return [("", ", ".join(f"{name} {value:.6g}" for name, value in zip(self.names, stored)))]

    def distribution_in_words(self, stored, of=""):
        values = np.stack(list(stored)).astype(np.float64)
        lines = []
        for name, column in zip(self.names, values.T):
            known = column[~np.isnan(column)]
            if not len(known):
                lines.append(f"warning: {name}: no value is known{of}")
                continue
            said = f"{name}{of}: mean {known.mean():.4g}, standard deviation {known.std():.4g}"
            unknown = f", {1 - len(known) / len(column):.1%} unknown" if len(known) < len(column) else ""
            lines.append(f"{said}, {known.min():.4g} to {known.max():.4g}{unknown}")
        return lines
