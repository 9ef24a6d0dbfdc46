"""No input: a problem that only writes, such as a language model."""

import dataclasses
from typing import ClassVar

import numpy as np

from t2t_multimodel.modalities.base import Modality
from t2t_multimodel.registry import register_modality


@register_modality
@dataclasses.dataclass(frozen=True)
class NoInput(Modality):
    """Nothing is read: `inputs = None` of a problem. Nothing is stored; the model reads one learned position."""

    modality_name: ClassVar[str] = "no_input"
    optional: ClassVar[bool] = True
    line_is_data: ClassVar[bool] = True
    file_kind: ClassVar[str] = "nothing"

    # ---- A sample

    def check(self, value):
        if value is not None:
            raise ValueError(f"this problem has no inputs, so they are None or left out, not {type(value).__name__}")

    def from_line(self, line):
        if line is not None and (not isinstance(line, str) or line.strip()):
            raise ValueError(f"this problem reads no input: give a blank line, or None in Python, not {line!r:.60}")

    def parts(self, sample):
        return []

    # ---- On disk

    def stored(self):
        return {}

    def encode(self, samples, vocabulary=None):
        return [{} for _ in samples]

    def stored_bytes(self, sample, vocabulary=None):
        return 0.0

    # ---- Batches

    def tensors(self):
        return {"values": ((), "int32")}  # zeros, which say how many rows there are

    def columns(self, samples, vocabulary=None):
        return {"values": [0] * len(samples)}, [1] * len(samples)

    def pad(self, columns, rows, length=0):
        return {"values": np.zeros(rows, np.int32)}

    # ---- The nets

    def make_encoder(self, hparams, name):
        from t2t_multimodel.modalities.several_nets import NoInputEncoder

        return NoInputEncoder(hparams, name=name)

    # ---- For people

    def mean_length_in_words(self, mean):
        return "nothing"

    def in_one_line(self, stored, key, vocabulary=None):
        return "(no input)"

    def lines(self, stored, vocabulary=None):
        return [("", "(none)")]
