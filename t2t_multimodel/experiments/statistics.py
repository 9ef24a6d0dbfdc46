"""Confidence intervals over seeds, and significance over examples by paired bootstrap."""

import dataclasses
import math

import numpy as np

from t2t_multimodel.metrics import get as get_metric

LEVEL = 0.95
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval at `LEVEL`; a single value has no interval."""

    mean: float
    half: float | None
    count: int

    def at(self, level):
        """The interval for the same mean at another level."""
        if self.half is None:
            return self
        return dataclasses.replace(self, half=self.half * _quantile(level, self.count) / _quantile(LEVEL, self.count))

    @property
    def low(self):
        return None if self.half is None else self.mean - self.half

    @property
    def high(self):
        return None if self.half is None else self.mean + self.half


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Compares two kinds of runs on a metric of a problem: `gain` is positive if the first is better."""

    metric: str
    ours: Interval
    theirs: Interval
    gain: Interval  # over the seeds that both have
    p: float | None  # of no difference, over the scored examples; None: no common seeds or examples
    seeds: int
    examples: int


def interval(values):
    """The mean and its Student's t confidence interval: an `Interval`.

    Raises:
      ValueError: no values.
    """
    values = np.asarray(values, np.float64)
    if not values.size:
        raise ValueError("the mean of no values is not defined")
    mean = float(values.mean())
    if values.size < 2:
        return Interval(mean, None, 1)
    error = float(values.std(ddof=1)) / math.sqrt(values.size)
    return Interval(mean, _quantile(LEVEL, values.size) * error, int(values.size))


def seeds_that_tell(value, mark, level=LEVEL, most=1000):
    """How many seeds would put `mark` outside the interval of a level if mean and spread stay: int; None: more than
    `most`, or one seed, which has no spread.
    """
    if value.half is None:
        return None
    spread = value.half * math.sqrt(value.count) / _quantile(LEVEL, value.count)
    far = abs(value.mean - mark)
    wide = lambda count: _quantile(level, count) * spread / math.sqrt(count) >= far
    if not math.isfinite(far) or wide(most):
        return None
    low, high = 1, most  # the width falls with the number of seeds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if wide(middle) else (low, middle)
    return high


def _quantile(level, count):
    """Half the width of the interval of a mean of `count` values, in standard errors."""
    from scipy import stats

    return float(stats.t.ppf((1 + level) / 2, count - 1))


def compare(results, ours, theirs, problem, metric):
    """The `Comparison` of two kinds of runs; None if one of them has no such score."""
    first, second = results.of(ours, problem, metric), results.of(theirs, problem, metric)
    if not first or not second:
        return None
    sign = 1.0 if get_metric(metric).higher_is_better else -1.0
    common = sorted(first.keys() & second.keys())
    keys = {scores[seed].keys for scores in (first, second) for seed in common}
    p = examples = None
    if common and len(keys) == 1:
        sums = [sum(scores[seed].sums for seed in common) for scores in (first, second)]
        p, examples = paired_bootstrap(metric, *sums), len(sums[0])
    differences = [sign * (first[seed].value - second[seed].value) for seed in common]
    values = lambda scores: interval([score.value for score in scores.values()])
    gain = interval(differences) if differences else Interval(float("nan"), None, 0)
    return Comparison(metric, values(first), values(second), gain, p, len(common), examples or 0)


def paired_bootstrap(metric, ours, theirs, resamples=RESAMPLES, seed=0):
    """The two-sided p-value of the observed difference under the hypothesis of no difference.

    The differences of `resampled`, shifted to mean zero, are the distribution under this hypothesis (Riezler and
    Maxwell 2005). sacrebleu's paired test shifts absolute differences instead, so its p is one-sided: about half of
    this one.

    Args:
      ours, theirs: [examples, …] sums of the metric by example, for the same examples.
    """
    seen, drawn = resampled(metric, ours, theirs, resamples, seed)
    as_large = np.abs(drawn - drawn.mean()) >= abs(seen) - 1e-12
    return float((1 + as_large.sum()) / (1 + len(drawn)))


def resampled(metric, ours, theirs, resamples=RESAMPLES, seed=0):
    """(difference of the metric, [resamples] differences on bootstrap samples of the examples).

    Both sides use the same samples. The metric is computed on the whole sample: for BLEU by sacrebleu, from the summed
    counts of the sentences.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} examples can't be paired")
    from scipy import stats

    value_of = get_metric(metric).value_of

    def difference(rows):
        return value_of(ours[rows].sum(axis=0)) - value_of(theirs[rows].sum(axis=0))

    rows = np.arange(len(ours))
    if len(rows) < 2:  # scipy needs two values
        return difference(rows), np.zeros(resamples)
    drawn = stats.bootstrap(
        (rows,),
        difference,
        n_resamples=resamples,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).bootstrap_distribution
    return difference(rows), drawn


def p_text(p):
    """A p-value as text; values below the resolution of the resamples are shown as a bound."""
    return "" if p is None else f"{p:.3f}" if p > 1.5 / RESAMPLES else f"≤ {1 / RESAMPLES:g}"


def at_seconds(curve, seconds):
    """The value of a learning curve ({seed: (seconds, values)}) after `seconds` of training: {seed: value}.

    It is interpolated between two evaluations; a seed without an evaluation before that time is left out.
    """
    values = {}
    for seed, (xs, ys) in curve.items():
        order = np.argsort(xs)
        xs, ys = np.asarray(xs, np.float64)[order], np.asarray(ys, np.float64)[order]
        if seconds >= xs[0]:
            values[seed] = float(np.interp(seconds, xs, ys))
    return values
