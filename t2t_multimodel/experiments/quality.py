"""One number for a joint run, the mean of its problems, and what it costs: for suites that compare ways to train."""

import dataclasses
import math

import numpy as np

from t2t_multimodel.experiments.claims import points
from t2t_multimodel.experiments.statistics import at_seconds, interval
from t2t_multimodel.metrics import get as get_metric

MEAN = "mean of all problems"


@dataclasses.dataclass(frozen=True)
class Cost:
    """What runs of a kind cost, means over seeds; None where it is not known."""

    arithmetic: float | None  # operations of an update
    seconds: float | None  # of an update
    memory: float | None  # the most bytes that training took at once
    parameters: int | None


def averaged(measured):
    """The problems that the mean is of: all whose headline metric has a scale, and not a unit of its own."""
    return in_points(measured.plan["metrics"])


def in_points(metrics):
    """The problems of {problem: its metrics, the headline one first} whose headline metric is in points of 100."""
    return [problem for problem, names in metrics.items() if get_metric(names[0]).scale is not None]


def goodness(metric, value):
    """A value in points from 0 to 100, more is better: error rates count from 100 down, and below 0 as 0; NaN stays."""
    scaled = points(metric, value)
    good = scaled if get_metric(metric).higher_is_better else 100.0 - scaled
    return good if math.isnan(good) else max(0.0, good)


def by_problem(measured, kind, problem):
    """{seed: goodness} of the problem's headline metric, of seeds where it is a finite number."""
    metric = measured.plan["metrics"][problem][0]
    return _finite({seed: goodness(metric, score.value) for seed, score in measured.of(kind, problem, metric).items()})


def _finite(by_seed):
    return {seed: value for seed, value in by_seed.items() if math.isfinite(value)}


def mean_quality(measured, kind):
    """{seed: mean goodness of the problems}, of seeds that have all of them, each a finite number."""
    each = [by_problem(measured, kind, problem) for problem in averaged(measured)]
    seeds = set.intersection(*map(set, each)) if each else set()
    return {seed: float(np.mean([one[seed] for one in each])) for seed in sorted(seeds)}


def difference(ours, theirs):
    """The `Interval` of ours − theirs, {seed: number} each, over the seeds of both; None without a common one."""
    both = [ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()]
    return interval(both) if both else None


def mean_at(measured, kind, seconds):
    """{seed: mean goodness on dev after so many seconds in updates}, of seeds with an evaluation before of all."""
    each = []
    for problem in averaged(measured):
        metric = measured.plan["metrics"][problem][0]
        values = at_seconds(measured.curve(kind, problem, metric, "train_seconds"), seconds)
        each.append(_finite({seed: goodness(metric, value) for seed, value in values.items()}))
    seeds = set.intersection(*map(set, each)) if each else set()
    return {seed: float(np.mean([one[seed] for one in each])) for seed in sorted(seeds)}


def cost(measured, kind):
    """The `Cost` of the runs of a kind."""
    scores = {
        seed: score
        for by_metric in measured.scores.get(kind, {}).values()
        for by_seed in by_metric.values()
        for seed, score in by_seed.items()
    }
    steps = next((run["steps"] for run in measured.plan["runs"] if run["kind"] == kind), 0)
    mean = lambda values: float(np.mean(values)) if values and all(values) else None
    seconds = mean([score.seconds for score in scores.values()])
    counted, shares = measured.plan.get("arithmetic", {}).get(kind, {}), measured.plan["shares"]
    whole = bool(counted) and counted.keys() == shares.keys()
    return Cost(
        sum(shares[p] * counted[p] for p in shares) if whole else None,
        seconds / steps if seconds and steps else None,
        mean([score.memory for score in scores.values()]),
        next((score.parameters for score in scores.values() if score.parameters), None),
    )


def frontier(costs, qualities):
    """The indices of the points that none beats, cheapest first: no other is as good for less, or better for as much.

    Args: costs, qualities: numbers, one for each point.
    """
    found, best = [], -math.inf
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -qualities[i])):
        if qualities[i] > best:
            found.append(i)
            best = qualities[i]
    return found


def shown(value, sign=False, digits=1):
    """An `Interval` of points as text."""
    half = "" if value.half is None else f" ± {value.half:.{digits}f}"
    return f"{value.mean:{'+' if sign else ''}.{digits}f}{half}".replace(" ", "\u00a0")
