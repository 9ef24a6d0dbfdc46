"""Metrics of sets of labels: F1 over all decisions and over labels, and mean average precision.

A prediction is {label: probability}, a reference the set of labels that are right; a label that a prediction does not
name has probability 0. F1 takes a label as said from a probability of 0.5 on.
"""

import numpy as np

from t2t_multimodel.metrics.answers import LABELS
from t2t_multimodel.metrics.base import Metric
from t2t_multimodel.metrics.evalb import f1
from t2t_multimodel.registry import register_metric

THRESHOLD = 0.5


class LabelMetric(Metric):
    """A metric of label sets."""

    answers = LABELS


@register_metric
class F1Micro(LabelMetric):
    """F1 over all pairs of an example and a label: frequent labels decide."""

    name = "f1_micro"

    def example_sums(self, predictions, references):
        _, scores, right = matrices(predictions, references)
        said = scores >= THRESHOLD
        return np.stack([(said & right).sum(1), said.sum(1), right.sum(1)], axis=1).tolist()

    def value_of(self, total):
        return float(f1(*total))


@register_metric
class F1Macro(LabelMetric):
    """The mean over labels of each one's F1: rare labels count as much as frequent ones.

    Labels that are neither right nor said anywhere are left out of the mean.
    """

    name = "f1_macro"

    def example_sums(self, predictions, references):
        _, scores, right = matrices(predictions, references)
        said = scores >= THRESHOLD
        counts = np.stack([said & right, said, right], axis=2).astype(int)  # [examples, labels, 3]
        return counts.reshape(len(predictions), -1).tolist()

    def value_of(self, total):
        each = [f1(*counts) for counts in np.reshape(total, [-1, 3]) if counts[1] + counts[2]]
        return float(np.mean(each)) if each else 1.0


@register_metric
class AveragePrecision(LabelMetric):
    """Mean average precision: over labels, the area under precision against recall as the threshold falls.

    Labels that no reference has are left out of the mean. It depends on how all examples are ranked, so it is no sum
    over examples.
    """

    name = "average_precision"

    def score(self, predictions, references):
        _, scores, right = matrices(predictions, references)
        each = [average_precision(scores[:, i], right[:, i]) for i in range(right.shape[1]) if right[:, i].any()]
        return {self.name: float(np.mean(each)) if each else 0.0}


def matrices(predictions, references):
    """(labels in order, [examples, labels] probabilities, [examples, labels] whether each is right)."""
    right = [frozenset(labels) for (labels,) in references]
    labels = sorted(frozenset().union(*right, *predictions))
    scores = np.array([[said.get(label, 0.0) for label in labels] for said in predictions], np.float64)
    marked = np.array([[label in these for label in labels] for these in right], bool)
    shape = (len(predictions), len(labels))
    return labels, scores.reshape(shape), marked.reshape(shape)


def average_precision(scores, right):
    """Σ precision · gain in recall over falling thresholds; equal scores share a threshold, so their order is free."""
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], right[order]
    last = np.append(scores[1:] != scores[:-1], True)  # of the examples at a threshold
    hits = np.cumsum(right)[last]
    seen = np.flatnonzero(last) + 1
    return float(np.sum(hits / seen * np.diff(hits, prepend=0)) / right.sum())
