"""Teacher-forced metrics: what the model says of each id of a target when the ids before it are given.

They need no decoding and are no measure of decoded text: a model that ignores its source can look good in them. Of a
language model, which has no source, they are all that there is to measure: perplexity and bits per character.

    forced = TeacherForced()
    forced.add(statistics, characters)   # for each batch, what the head reports of each target
    forced.result(("perplexity", "bits_per_character"))        # with the three of TEACHER_FORCED
"""

import math
from typing import NamedTuple

import numpy as np

from t2t_multimodel import registry
from t2t_multimodel.errors import MustDefine, UserError
from t2t_multimodel.metrics.answers import Answers
from t2t_multimodel.metrics.base import Metric
from t2t_multimodel.registry import register_metric

TEACHER_FORCED = ("teacher_forced_log_perplexity", "teacher_forced_accuracy", "teacher_forced_sequence_accuracy")


class Sums(NamedTuple):
    """What is summed over targets: of one target, or of any number of them."""

    log_probability: float  # natural logarithm, of all ids that count
    right: int  # ids that were the likeliest
    ids: int  # that count, the end-of-sequence among them
    right_sequences: int  # targets with all ids right
    sequences: int
    characters: int = 0  # of the targets as text; 0: not told
    loss: float = 0.0  # of heads that give no probabilities


class TeacherForcedMetric(Metric):
    """A ratio of two sums; a subclass says which, and may say what becomes of the ratio (`value_of`)."""

    answers = Answers()
    teacher_forced = True

    def sums_of(self, sums):
        """[numerator, denominator] of `Sums`, of one target or of many."""
        raise MustDefine(self, "sums_of(sums)")

    def fits(self, targets):
        return "teacher_forced_log_perplexity" in targets.teacher_forced_metrics  # its head gives probabilities

    def score(self, predictions, references):
        raise UserError(f"metric {self.name} is teacher-forced: it is not of decoded output")


@register_metric
class LogPerplexity(TeacherForcedMetric):
    """The mean negative log-probability of the right ids (natural logarithm)."""

    name = "teacher_forced_log_perplexity"
    higher_is_better, perfect, scale = False, 0.0, None

    def sums_of(self, sums):
        return [-sums.log_probability, sums.ids]


@register_metric
class TokenAccuracy(TeacherForcedMetric):
    """The share of ids that are the likeliest."""

    name = "teacher_forced_accuracy"

    def sums_of(self, sums):
        return [sums.right, sums.ids]


@register_metric
class SequenceAccuracy(TeacherForcedMetric):
    """The share of targets of which all ids are the likeliest."""

    name = "teacher_forced_sequence_accuracy"

    def sums_of(self, sums):
        return [sums.right_sequences, sums.sequences]


@register_metric
class TargetLoss(TeacherForcedMetric):
    """The mean loss of a target, of heads that give no probabilities; compare it between runs of one problem only."""

    name = "teacher_forced_loss"
    higher_is_better, perfect, scale = False, 0.0, None

    def fits(self, targets):
        return self.name in targets.teacher_forced_metrics

    def sums_of(self, sums):
        return [sums.loss, sums.ids]


@register_metric
class Perplexity(TeacherForcedMetric):
    """e to the mean negative log-probability of an id; compare it between models of one vocabulary only."""

    higher_is_better, perfect, scale = False, 1.0, None

    def sums_of(self, sums):
        return [-sums.log_probability, sums.ids]

    def value_of(self, total):
        mean = super().value_of(total)
        return math.exp(mean) if mean < 700 else math.inf


@register_metric
class BitsPerCharacter(TeacherForcedMetric):
    """Bits that a character of the text costs, the end-of-sequence paid for too; comparable between vocabularies."""

    higher_is_better, perfect, scale = False, 0.0, None

    def sums_of(self, sums):
        return [-sums.log_probability / math.log(2), sums.characters]

    def fits(self, targets):
        return targets.uses_vocabulary

    def value_of(self, total):
        if not total[1]:
            raise UserError("bits_per_character: the targets have no characters, or their number was not told")
        return super().value_of(total)


class TeacherForced:
    """The teacher-forced metrics, summed over batches."""

    def __init__(self):
        self.sums = Sums(0.0, 0, 0, 0, 0)

    def add(self, statistics, characters=None):
        """Adds a batch; arguments as of `teacher_forced_sums`. Rows where nothing counts only fill up a shape."""
        rows = teacher_forced_sums(statistics, characters)
        self.sums = Sums(*(sum(column) for column in zip(self.sums, *rows)))

    def result(self, names=TEACHER_FORCED):
        """{metric: value} of the metrics `names`, with "tokens" (targets) and "sequences": their numbers.

        Raises:
          UserError: nothing was counted.
        """
        if not self.sums.ids:
            raise UserError("teacher-forced metrics: no target was counted; the evaluation data has no targets")
        metrics = [registry.metrics.get(name) for name in dict.fromkeys(names)]
        values = {metric.name: metric.value_of(metric.sums_of(self.sums)) for metric in metrics}
        return values | {"tokens": self.sums.ids, "sequences": self.sums.sequences}


def teacher_forced_sums(statistics, characters=None):
    """The `Sums` of each row of a batch.

    Args:
      statistics: {"weights": nonzero where a target counts, and of each target "log_probability" (natural logarithm, of
        the right id) and "correct" (whether the likeliest id is right), or "loss"}; arrays of one shape, [rows, …].
      characters: [rows], the length of each target as text; None: not known.
    """
    shapes = {name: np.shape(value) for name, value in statistics.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"the statistics of a batch must have one shape, got {shapes}")
    rows, *inner = shapes["weights"]
    flat = {name: np.asarray(value).reshape(rows, int(np.prod(inner))) for name, value in statistics.items()}
    mask = flat["weights"].astype(bool)
    counted = mask.any(axis=1)
    correct = flat.get("correct", np.zeros_like(mask)).astype(bool)

    def summed(name):  # a selection, not a product: what does not count may be NaN
        return np.where(mask, flat[name].astype(np.float64), 0.0).sum(axis=1) if name in flat else np.zeros(rows)

    counts = (
        (correct & mask).sum(axis=1),
        mask.sum(axis=1),
        (correct | ~mask).all(axis=1) & counted,
        counted,
        np.where(counted, 0 if characters is None else characters, 0),
    )
    integers = (np.asarray(each, int).tolist() for each in counts)
    return [Sums(*row) for row in zip(summed("log_probability").tolist(), *integers, summed("loss").tolist())]


def teacher_forced_example_sums(rows, names=TEACHER_FORCED):
    """{metric: for each example a list of numbers}; `rows`: `Sums`, or lists of their values, one an example."""
    rows = [Sums(*row) for row in rows]
    metrics = [registry.metrics.get(name) for name in names]
    return {metric.name: [metric.sums_of(row) for row in rows] for metric in metrics}
