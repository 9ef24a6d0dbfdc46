"""Metrics of numbers: mean absolute error, root mean squared error, the coefficient of determination.

All are over all values: of an array each element counts as much as any other. An element whose reference is NaN is
unknown and does not count; a NaN that is predicted makes the metric NaN.
"""

import math

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.metrics.answers import NUMBERS, array
from t2t_multimodel.metrics.base import Metric, totals
from t2t_multimodel.registry import register_metric


class NumberMetric(Metric):
    """A metric of errors and right values; in the unit of the numbers, so that it has no scale."""

    higher_is_better, perfect, scale = False, 0.0, None
    answers = NUMBERS

    def example_sums(self, predictions, references):
        pairs = []
        for said, (right,) in zip(predictions, references):
            right = array(right).ravel()
            known = ~np.isnan(right)
            pairs.append((array(said).ravel()[known] - right[known], right[known]))
        return self.sums(pairs)

    def sums(self, pairs):
        """`example_sums` of (errors, right values) for each example."""
        raise NotImplementedError

    def score(self, predictions, references):
        total = totals(self.example_sums(predictions, references))
        if not total[-1]:
            raise UserError(f"{self.name}: nothing to score, every reference is NaN")
        return {self.name: self.value_of(total)}


@register_metric
class MeanAbsoluteError(NumberMetric):
    """The mean absolute difference, in the unit of the numbers."""

    name = "mae"

    def sums(self, pairs):
        return [[float(np.abs(errors).sum()), len(errors)] for errors, _ in pairs]


@register_metric
class RootMeanSquaredError(NumberMetric):
    """The root of the mean squared difference, in the unit of the numbers."""

    name = "rmse"

    def sums(self, pairs):
        return [[float(np.square(errors).sum()), len(errors)] for errors, _ in pairs]

    def value_of(self, total):
        return math.sqrt(super().value_of(total))


@register_metric
class RSquared(NumberMetric):
    """The share of the numbers' variance that is predicted (R²): 1 is perfect, 0 is always the mean, and less is worse.

    Where all right numbers are equal there is no variance: 1 if all are met, else 0.
    """

    name = "r2"
    higher_is_better, perfect, scale = True, 1.0, 1.0

    def sums(self, pairs):
        # The variance does not depend on where numbers are counted from; from their mean, no digits are lost.
        whole = np.concatenate([right for _, right in pairs])
        centre = whole.mean() if len(whole) else 0.0
        return [
            [
                float(np.square(errors).sum()),
                float((right - centre).sum()),
                float(np.square(right - centre).sum()),
                len(right),
            ]
            for errors, right in pairs
        ]

    def value_of(self, total):
        squared_errors, linear, squares, count = total
        variation = squares - linear**2 / count if count else 0.0
        if variation <= 1e-12 * squares or not variation:
            return float(squared_errors == 0)
        return float(1.0 - squared_errors / variation)
