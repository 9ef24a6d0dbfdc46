"""How sure one can be: intervals over seeds, and significance over examples by paired bootstrap."""

import dataclasses
import math

import numpy as np

from t2t_multimodel.metrics import get as get_metric

LEVEL = 0.95
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean with its interval at `LEVEL`; of a single value there is none."""

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
    """One kind of run against another on a metric of a problem: `gain` is positive where the first is better."""

    metric: str
    ours: Interval
    theirs: Interval
    gain: Interval  # over the seeds that both have
    p: float | None  # of no difference, over the examples scored; None: nothing in common
    seeds: int
    examples: int


def interval(values):
    """Mean ± half-width of the interval for the mean of a normal variable, from Student's t: an `Interval`.

    Raises:
      ValueError: no values.
    """
    values = np.asarray(values, np.float64)
    if not values.size:
        raise ValueError("no values to take the mean of")
    mean = float(values.mean())
    if values.size < 2:
        return Interval(mean, None, 1)
    error = float(values.std(ddof=1)) / math.sqrt(values.size)
    return Interval(mean, _quantile(LEVEL, values.size) * error, int(values.size))


def _quantile(level, count):
    """Half the width of the interval for the mean of so many values, in standard errors."""
    from scipy import stats

    return float(stats.t.ppf((1 + level) / 2, count - 1))


def compare(results, ours, theirs, problem, metric):
    """The `Comparison` of two kinds of runs; None where one of them has no such score."""
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
    """The probability of a difference at least as large as the one seen, were there none: two-sided.

    The differences of `resampled`, moved to mean zero, stand for what chance alone does (Riezler and Maxwell 2005).
    sacrebleu's paired test moves absolute differences instead, which makes its p one-sided, about half of this one.

    Args:
      ours, theirs: [examples, …] sums of the metric by example, of the same examples.
    """
    seen, drawn = resampled(metric, ours, theirs, resamples, seed)
    as_large = np.abs(drawn - drawn.mean()) >= abs(seen) - 1e-12
    return float((1 + as_large.sum()) / (1 + len(drawn)))


def resampled(metric, ours, theirs, resamples=RESAMPLES, seed=0):
    """(difference of the metric, [resamples] differences of draws of the examples with replacement).

    A draw is the same for both sides, and the metric is taken of the whole of it: of BLEU by sacrebleu, from the sum of
    the sentences' counts.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} examples can't be paired")
    from scipy import stats

    value_of = get_metric(metric).value_of

    def difference(rows):
        return value_of(ours[rows].sum(axis=0)) - value_of(theirs[rows].sum(axis=0))

    rows = np.arange(len(ours))
    if len(rows) < 2:  # scipy draws from no single value
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
    """A p-value as people read it: so many draws can't tell smaller ones apart."""
    return "" if p is None else f"{p:.3f}" if p > 1.5 / RESAMPLES else f"≤ {1 / RESAMPLES:g}"


def at_seconds(curve, seconds):
    """The value of a learning curve ({seed: (seconds, values)}) at so many seconds of training, {seed: value}.

    Between two evaluations it is interpolated; before the first one there is none, and the seed is left out.
    """
    values = {}
    for seed, (xs, ys) in curve.items():
        order = np.argsort(xs)
        xs, ys = np.asarray(xs, np.float64)[order], np.asarray(ys, np.float64)[order]
        if seconds >= xs[0]:
            values[seed] = float(np.interp(seconds, xs, ys))
    return values
