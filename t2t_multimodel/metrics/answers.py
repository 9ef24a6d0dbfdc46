"""Kinds of answers: what a prediction and its references are, and what can be answered without a model.

kind     prediction                                        one reference
TEXT     a string; of ranked classes the best counts       a string
CLASSES  class names, the likeliest first; or one name     a class name
NUMBERS  a number or an array of them                      the same shape; NaN: unknown, not counted
LABELS   {label: probability}                              the labels that are right: a set or list
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from t2t_multimodel.errors import UserError

RANKED = 5  # classes that a prediction names in the trivial answers, best first


class Answers:
    """A kind of answers that nothing is known of: anything may be predicted, and no answer is trivial.

    A metric of answers of its own derives from this; see `Metric.answers`.
    """

    def check(self, predictions, references):
        """Raises `UserError`, with the number of the example, where one is not of this kind."""

    def trivial(self, train_targets, inputs, references, error_rate=False):
        """What can be answered without a model.

        Args:
          train_targets: all targets of the train split; a list, or a `Counter` where they are hashable.
          inputs: the inputs of the examples scored where they are of the same kind as the targets; else None.
          references: as in `metrics.score`.
          error_rate: whether a metric is looked at that counts errors, which saying nothing can keep low.

        Returns:
          {name of the trivial answer: predictions}.
        """
        return {}


class TextAnswers(Answers):
    """Strings. Trivial: always the most frequent training target, the input itself, nothing at all."""

    def check(self, predictions, references):
        for number, right in enumerate(references, 1):
            if not all(isinstance(text, str) for text in right):
                raise _not_a(number, "strings", right)

    def trivial(self, train_targets, inputs, references, error_rate=False):
        answers = {"most_frequent": [self._most_frequent(train_targets)] * len(references)}
        if inputs is not None:
            answers["copy"] = list(inputs)
        if error_rate:
            answers["empty"] = [""] * len(references)
        return answers

    def _most_frequent(self, train_targets):
        return ranked(train_targets)[0]


class ClassAnswers(TextAnswers):
    """Classes, the likeliest first. Trivial: the most frequent classes of training."""

    def _most_frequent(self, train_targets):
        return ranked(train_targets)[:RANKED]


class NumberAnswers(Answers):
    """Numbers, one or an array of them. Trivial: always the mean and the median of training."""

    def check(self, predictions, references):
        for number, (said, right) in enumerate(zip(predictions, references), 1):
            if len(right) != 1:
                raise UserError(f"example {number} has {len(right)} references; numbers have one right answer")
            try:
                shapes = array(said).shape, array(right[0]).shape
            except (TypeError, ValueError):
                raise _not_a(number, "numbers", (said, right[0])) from None
            if shapes[0] != shapes[1]:
                raise UserError(f"example {number}: a prediction of shape {shapes[0]} for a target of {shapes[1]}")

    def trivial(self, train_targets, inputs, references, error_rate=False):
        targets = list(train_targets.elements() if isinstance(train_targets, Counter) else train_targets)
        return {
            "mean": _constant(targets, np.nanmean, references),
            "median": _constant(targets, np.nanmedian, references),
        }


class LabelAnswers(Answers):
    """Sets of labels. Trivial: the most frequent set; each label with the share of training examples that have it."""

    def check(self, predictions, references):
        for number, (said, right) in enumerate(zip(predictions, references), 1):
            if not isinstance(said, Mapping):
                raise UserError(f"prediction {number} must be a dict of label and probability, got {said!r}")
            if len(right) != 1 or isinstance(right[0], str | bytes) or not hasattr(right[0], "__iter__"):
                raise UserError(f"the references of example {number} must be a list of one set of labels, got {right}")

    def trivial(self, train_targets, inputs, references, error_rate=False):
        sets = Counter()
        counted = train_targets.items() if isinstance(train_targets, Counter) else ((each, 1) for each in train_targets)
        for labels, count in counted:
            sets[frozenset(labels)] += count
        best = ranked(sets, key=sorted)[0]
        labels = sorted(frozenset().union(*sets))
        share = {label: sum(n for has, n in sets.items() if label in has) / sets.total() for label in labels}
        return {
            "most_frequent": [{label: float(label in best) for label in labels}] * len(references),
            "frequencies": [share] * len(references),
        }


TEXT, CLASSES, NUMBERS, LABELS = TextAnswers(), ClassAnswers(), NumberAnswers(), LabelAnswers()


def ranked(targets, key=str):
    """The distinct targets, the most frequent first; ties by `key`, not by chance."""
    counts = targets if isinstance(targets, Counter) else Counter(targets)
    return sorted(counts, key=lambda target: (-counts[target], key(target)))


def texts(predictions):
    """The decoded strings; of ranked classes the best, "" where there is none."""
    return [text if isinstance(text, str) else next(iter(text), "") for text in predictions]


def array(numbers):
    return np.asarray(numbers, np.float64)


def check(predictions, references):
    """Raises `UserError` where there is not one prediction and a list of references for each example."""
    if len(predictions) != len(references):
        raise UserError(f"{len(predictions)} predictions for {len(references)} examples; there must be one for each")
    if not len(predictions):
        raise UserError("nothing to score: there are no predictions")
    for number, right in enumerate(references, 1):
        if not isinstance(right, list | tuple) or not right:
            raise UserError(
                f"the references of example {number} must be a list of at least one right answer, got {right!r}"
            )


def _not_a(number, kind, value):
    return UserError(f"example {number}: its prediction and references must be {kind}, got {value!r}"[:200])


def _constant(targets, statistic, references):
    """For each reference an array of its shape: elementwise where all training targets have that shape, else by column.

    A column is a position of the last axis (a channel) where all have as many, else all numbers are one.
    """
    targets = [array(target) for target in targets]
    shapes = {target.shape for target in targets} | {array(right[0]).shape for right in references}
    if len(shapes) == 1:
        rows = np.stack(targets)
    elif all(shapes) and len({shape[-1] for shape in shapes}) == 1 and min(map(len, shapes)) > 1:
        rows = np.concatenate([target.reshape(-1, target.shape[-1]) for target in targets])
    else:
        rows = np.concatenate([target.ravel() for target in targets])
    if np.isnan(rows).all():
        raise UserError("no training target has a number, so there is no mean of them")
    overall = statistic(rows)
    known = ~np.isnan(rows).all(axis=0)
    # Where no training target is known, the statistic of all of them stands in.
    value = np.where(known, statistic(np.where(known, rows, overall), axis=0), overall)
    return [np.broadcast_to(value, array(right[0]).shape) for right in references]
