"""Label sets: any number of labels that hold at once; out."""

import dataclasses
import functools
from typing import ClassVar

import numpy as np

from t2t_multimodel.modalities.arrays import ArraySpec, is_key
from t2t_multimodel.modalities.base import Modality, counts_in_words, digest_of
from t2t_multimodel.registry import register_modality

_SAID = 0.5  # the probability from which on an answer says a label


@register_modality
@dataclasses.dataclass(frozen=True)
class LabelSet(Modality):
    """Some of several labels, also none or all. Samples are collections of them: a set, list or tuple."""

    modality_name: ClassVar[str] = "label_set"
    default_metrics: ClassVar[tuple] = ("f1_micro", "f1_macro", "average_precision")

    labels: tuple = ()

    def declaration_fault(self):
        if not 0 < len(self.labels) == len(set(map(str, self.labels))):
            return "must have labels, each with a name of its own: LabelSet(labels=(…))"
        return ""

    # What is as long as the names of all labels is made once: there may be very many.

    @functools.cached_property
    def _numbers(self):
        return {label: i for i, label in enumerate(self.labels)}

    @functools.cached_property
    def weights_name(self):
        return f"label_set_{digest_of(self.labels)}"

    # ---- A sample

    def check(self, value):
        if not isinstance(value, set | frozenset | list | tuple):
            raise ValueError(f"a set, list or tuple of labels expected, got {type(value).__name__}")
        for label in value:
            if not is_key(label, self._numbers):
                some = ", ".join(map(str, self.labels[:5]))
                raise ValueError(f"{label!r} is not one of the {len(self.labels)} labels ({some}, …)")

    def from_cell(self, value):
        """Of a list, its items; of text, what is between its commas."""
        if value is None:
            return []
        if not isinstance(value, str | list):
            raise ValueError(f"a list of labels expected, got {type(value).__name__}")
        return [str(label).strip() for label in (value.split(",") if isinstance(value, str) else value) if label != ""]

    @property
    def lacks_classes(self):
        return not self.labels

    def with_classes(self, values):
        return dataclasses.replace(self, labels=tuple(sorted({label for labels in values for label in labels})))

    # ---- On disk

    def bind(self, vocabulary):
        return dataclasses.replace(self, labels=tuple(map(str, self.labels)))

    def stored(self):
        return {"values": ArraySpec("uint8", (len(self.labels),))}

    def encode(self, samples, vocabulary=None):
        """For each label 1 where the sample has it, else 0."""
        encoded = np.zeros((len(samples), len(self.labels)), np.uint8)
        for row, sample in zip(encoded, samples):
            row[[self._numbers[label] for label in sample]] = 1
        return [{"values": row} for row in encoded]

    def stored_fault(self, arrays):
        return "" if arrays["values"].max() <= 1 else "a label that is neither there (1) nor not (0)"

    # ---- Batches

    def fixed_positions(self, hparams):
        return 0

    # ---- The nets

    def row_names(self, vocabulary=None):
        return list(map(str, self.labels))

    def make_head(self, hparams, name):
        from t2t_multimodel.modalities.label_set_nets import LabelSetHead

        return LabelSetHead(self, hparams, name=name)

    # ---- Answers

    @property
    def value_names(self):
        return tuple(map(str, self.labels))

    def answers(self, predicted):
        """{label: probability} of each row."""
        return [dict(zip(map(str, self.labels), row)) for row in np.asarray(predicted["values"], float).tolist()]

    def reference(self, stored, vocabulary=None):
        return tuple(str(label) for label, there in zip(self.labels, stored) if there)

    def as_answer(self, sample):
        return {str(label): 1.0 for label in sample}

    def empty_answer(self):
        return {}

    def is_right(self, answer, references):
        said = {label for label, probability in answer.items() if probability >= _SAID}
        return any(said == set(reference) for reference in references)

    def to_line(self, answer):
        """The labels that are said, the surest first, with their probabilities."""
        said = sorted((pair for pair in answer.items() if pair[1] >= _SAID), key=lambda pair: -pair[1])
        return ", ".join(f"{label} {probability:.2f}" for label, probability in said) or "(none)"

    # ---- For people

    def in_one_line(self, stored, key, vocabulary=None):
        return ", ".join(self.reference(stored)) or "(none)"

    def lines(self, stored, vocabulary=None):
        said = self.reference(stored)
        return [("", f"{self.in_one_line(stored, '')} ({len(said)} of {len(self.labels)} labels)")]

    def distribution_in_words(self, stored, of=""):
        rows = np.stack(list(stored)).astype(int)
        counts = rows.sum(axis=0)
        head = f"{len(counts):,} labels{of}, {rows.sum(axis=1).mean():.1f} each"
        return counts_in_words(head, self.labels, counts, "labels", "there", of)
