"""A metric: how answers are scored, which way is better, and its parts by example for significance tests.

A metric of your own, in a `--t2t_usr_dir` folder or an installed package, is a class with three lines:

    @register_metric
    class WithinTen(Metric):
        \"\"\"The share of numbers that are off by at most ten.\"\"\"
        answers = NUMBERS  # of metrics/answers.py

        def per_example(self, predictions, references):
            return [np.all(abs(said - right[0]) <= 10) for said, right in zip(predictions, references)]

It is called `within_ten`, unless it says `name = "..."`. A problem asks for it with `metrics = ("within_ten",)`.
docs/own_problem.md has a whole example.
"""

import numpy as np

from t2t_multimodel.arguments import in_short
from t2t_multimodel.errors import UserError
from t2t_multimodel.metrics.answers import TEXT


class Metric:
    """Base class of metrics. A subclass says how to read its value, and defines one of:

    - `per_example`: a value for each example; the metric is their mean; or
    - `example_sums` and `value_of`: numbers that add up over examples, and the metric of their total; or
    - `score` alone: any function of all examples. It can't be compared between runs by example.
    """

    name = None  # set by @register_metric
    higher_is_better = True
    perfect = 1.0  # the value of right answers; None: there is no such value
    scale = 1.0  # what a hundred points are: 1 for rates, 100 for BLEU; None: it has a unit of its own, or no bounds
    digits = 3  # behind the point, where it is printed
    answers = TEXT  # what predictions and references are, see answers.py
    teacher_forced = False  # True: of the ids given those before, without decoding; see teacher_forced.py

    def per_example(self, predictions, references):
        """A value for each example; arguments as of `metrics.score`."""
        raise NotImplementedError(f"metric {self.name} has no value of a single example")

    def example_sums(self, predictions, references):
        """For each example a list of numbers, of equal lengths, that add up over examples."""
        return [[self._number(value), 1] for value in self.per_example(predictions, references)]

    def _number(self, value):
        if np.size(value) != 1:
            raise UserError(f"metric {self.name}: per_example gives {in_short(value)} for an example, no single number")
        return np.asarray(value, np.float64).item()

    def value_of(self, total):
        """The metric of a sum of `example_sums`' lists."""
        return float(total[0] / total[1]) if total[1] else 0.0

    def score(self, predictions, references):
        """{name: value} of all examples, and what else there is to say: {"bleu_signature": "…", …}."""
        return {self.name: self.value_of(totals(self.example_sums(predictions, references)))}

    def fits(self, targets):
        """Whether a problem with these targets, a `Modality`, can ask for it."""
        return True

    @property
    def adds_up(self):
        """Whether the metric can be taken apart by example."""
        return any(getattr(type(self), name) is not getattr(Metric, name) for name in ("per_example", "example_sums"))

    def format(self, value):
        """The value as text. Where the metric has a unit of its own, very large and small values have 3 digits."""
        if self.scale is None and value and not 0.1 <= abs(value) < 10_000:
            return f"{value:.{self.digits}g}"
        return f"{value:.{self.digits}f}"


def totals(sums):
    """The sum over examples of their lists, an array."""
    return np.sum(np.asarray(sums, np.float64), axis=0)
