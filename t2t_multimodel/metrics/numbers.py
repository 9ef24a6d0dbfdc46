"""Metrics of numbers: mean absolute error, root mean squared error, the coefficient of determination.

All are over all values: of an array each element counts as much as any other. An element whose reference is NaN is
unknown and does not count; a NaN that is predicted makes the metric NaN.
"""

import math

import numpy as np

from t2t_multimodel.errors import MustDefine, UserError
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
        raise MustDefine(self, "sums(pairs)")

    def score(self, predictions, references):
        if all(np.isnan(array(right)).all() for (right,) in references):
            raise UserError(f"{self.name}: nothing to score, every reference is NaN")
        return {self.name: self.value_of(totals(self.example_sums(predictions, references)))}


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

    Where all targets have one shape, each element varies around its own mean; else all around one mean. Where all right
    numbers are equal there is no variance: 1 if all are met, else 0.
    """

    name = "r2"
    higher_is_better, perfect, scale = True, 1.0, 1.0

    def example_sums(self, predictions, references):
        rights = [array(right) for (right,) in references]
        alike = len({right.shape for right in rights}) == 1
        flat = [right.ravel() for right in rights]
        # The variance does not depend on where numbers are counted from; from their mean, no digits are lost.
        whole = np.stack(flat) if alike else np.concatenate(flat)[:, None]
        counted = np.maximum((~np.isnan(whole)).sum(axis=0), 1)
        centre = np.nansum(whole, axis=0) / counted
        sums = []
        for said, right in zip(predictions, flat):
            known = ~np.isnan(right)
            errors, right = array(said).ravel() - right, right - centre
            parts = [np.where(known, part, 0.0) for part in (np.square(errors), right, np.square(right), 1.0)]
            sums.append(np.ravel(parts if alike else [[part.sum()] for part in parts]).tolist())
        return sums

    def value_of(self, total):
        squared_errors, linear, squares, count = np.reshape(total, [4, -1])
        variation = np.sum(squares - np.square(linear) / np.maximum(count, 1))
        if variation <= 1e-12 * squares.sum() or not variation:
            return float(squared_errors.sum() == 0)
        return float(1.0 - squared_errors.sum() / variation)
