"""Labels: one class of several; out."""

import dataclasses
import functools
from typing import ClassVar

import numpy as np

from t2t_multimodel.modalities import operations
from t2t_multimodel.modalities.arrays import ArraySpec, is_key
from t2t_multimodel.modalities.base import Modality, counts_in_words, digest_of
from t2t_multimodel.modalities.text import Text
from t2t_multimodel.registry import register_modality

MOST_RANKED = 1000  # classes that an answer names, the likeliest first


@register_modality
@dataclasses.dataclass(frozen=True)
class Label(Modality):
    """One class of several. `classes` are the names in order; samples are names."""

    modality_name: ClassVar[str] = "label"
    ranked: ClassVar[bool] = True
    default_metrics: ClassVar[tuple] = ("accuracy_top1", "accuracy_top5")
    teacher_forced_metrics: ClassVar[tuple] = Text.teacher_forced_metrics

    classes: tuple = ()

    def declaration_fault(self):
        if not 0 < len(self.classes) == len(set(map(str, self.classes))):
            return "must have classes, each with a name of its own: Label(classes=(…))"
        if ends := [name for name in map(str, self.classes) if "\n" in name or "\r" in name]:
            return f"must have classes without line ends in their names, not {ends[0]!r:.60}"
        return ""

    # What is as long as the names of all classes is made once: there may be a million.

    @functools.cached_property
    def _numbers(self):
        return {name: i for i, name in enumerate(self.classes)}

    @functools.cached_property
    def _array(self):
        return ArraySpec("int64", (), "class", tuple(map(str, self.classes)))

    @functools.cached_property
    def weights_name(self):
        return f"label_{digest_of(self.classes)}"

    # ---- A sample

    def check(self, value):
        if not is_key(value, self._numbers):
            some = ", ".join(map(str, self.classes[:5]))
            raise ValueError(f"{value!r} is not one of the {len(self.classes)} classes ({some}, …)")

    def from_cell(self, value):
        if value is None or not isinstance(value, str | int | bool) or value == "":
            raise ValueError(f"the name of a class expected, got {'nothing' if value in (None, '') else repr(value)}")
        return str(value)

    @property
    def lacks_classes(self):
        return not self.classes

    def with_classes(self, values):
        return dataclasses.replace(self, classes=tuple(sorted(set(values))))

    # ---- On disk

    def bind(self, vocabulary):
        return dataclasses.replace(self, classes=tuple(map(str, self.classes)))

    def stored(self):
        return {"values": self._array}

    def encode(self, samples, vocabulary=None):
        return [{"values": self._numbers[name]} for name in samples]

    def stored_fault(self, arrays):
        if not 0 <= arrays["values"] < len(self.classes):
            return f"no class of the {len(self.classes)}"
        return ""

    # ---- Batches

    def tensors(self):
        return {"values": ((), "int32")}

    def pad(self, columns, rows, length=0):
        padded = np.zeros(rows, np.int32)
        padded[: len(columns["values"])] = columns["values"]
        return {"values": padded}

    def fixed_positions(self, hparams):
        return 0

    # ---- The nets

    def row_names(self, vocabulary=None):
        return list(map(str, self.classes))

    def make_head(self, hparams, name):
        from t2t_multimodel.modalities.label_nets import LabelHead

        return LabelHead(self, hparams, name=name)

    def head_operations(self, hparams, rows, positions, grid, written):
        return operations.class_net(hparams, grid or (positions, 1), rows, len(self.classes))

    # ---- Answers

    @property
    def value_names(self):
        return tuple(map(str, self.classes))

    def answers(self, predicted):
        """The names of the classes, likeliest first, `MOST_RANKED` at most."""
        return [[self.classes[i] for i in row] for row in predicted["order"]]

    def reference(self, stored, vocabulary=None):
        return self.classes[int(stored)]

    def as_answer(self, sample):
        return [sample]

    def empty_answer(self):
        return []

    def best(self, answer):
        return answer[0]

    # ---- For people

    def distribution_in_words(self, stored, of=""):
        counts = np.bincount(np.fromiter(stored, np.int64), minlength=len(self.classes))
        return counts_in_words(f"{len(counts):,} classes{of}", self.classes, counts, "classes", "the target", of)

    def in_one_line(self, stored, key, vocabulary=None):
        return self.reference(stored)

    def lines(self, stored, vocabulary=None):
        return [("", f"{self.classes[stored]!r} (class {stored} of {len(self.classes)})")]
