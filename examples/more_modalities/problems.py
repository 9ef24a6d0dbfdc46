"""A problem for each of the modalities of this folder, made here: no download."""

import zlib

import numpy as np
from graph import Graph
from time_series import Forecast, TimeSeries

from t2t_multimodel.modalities import Label
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_problem

_SIZES = {"train": 4000, "dev": 200, "test": 500}


class Made(Problem):
    """Samples from a generator of random numbers, seeded by split and number."""

    sizes = tuple(_SIZES.items())

    def samples(self, split):
        for number in range(dict(self.sizes)[split]):
            yield {"key": f"{split}-{number}"} | self.made(
                np.random.default_rng(zlib.crc32(f"{split} {number}".encode()))
            )

    def made(self, rng):
        """The sample that `rng` decides."""
        raise NotImplementedError(f"{type(self).__name__} must define made(rng)")


@register_problem
class SeasonForecast(Made):
    """Two noisy seasonal channels of 24 to 48 steps, a tenth missing → their next 6 steps.

    Each series has its own level, amplitude and phase; the period is 12 steps, the noise 0.1 against an amplitude of
    about 1. Source: made here, 2 MB. Metric: mean absolute error.
    """

    inputs = TimeSeries(("heat", "load"))
    targets = Forecast(("heat", "load"), horizon=6)
    missing = 0.1

    def made(self, rng):
        length = int(rng.integers(24, 49))
        time = np.arange(length + self.targets.horizon)[:, None]
        level, size, phase = rng.normal(0, 0.5, 2), rng.uniform(0.5, 1.5, 2), rng.uniform(0, 2 * np.pi, 2)
        series = level + size * np.sin(2 * np.pi * time / 12 + phase) + rng.normal(0, 0.1, (len(time), 2))
        series[rng.random(series.shape) < self.missing] = np.nan
        series = series.astype(np.float32)
        return {"inputs": series[:length], "targets": series[length:]}


@register_problem
class GraphDistance(Made):
    """A graph of 8 to 12 nodes, two of them marked → how many edges the shortest path between these has.

    A random tree and up to three edges more; node features: whether it is the start, whether it is the end. Each
    distance is as frequent. Source: made here, 2 MB. Metric: top-1 accuracy.
    """

    inputs = Graph(features=2)
    targets = Label(("1", "2", "3", "4"))
    metrics = ("accuracy_top1",)

    def made(self, rng):
        wanted = int(rng.integers(1, 5))
        while True:
            count = int(rng.integers(8, 13))
            order = rng.permutation(count)  # node i of the tree hangs on an earlier one
            edges = [(order[i], order[rng.integers(max(0, i - 3), i)]) for i in range(1, count)]
            edges += [tuple(rng.choice(count, 2, replace=False)) for _ in range(rng.integers(0, 4))]
            pairs = np.argwhere(distances(count, edges) == wanted)
            if len(pairs):
                break
        start, end = pairs[rng.integers(len(pairs))]
        nodes = np.zeros((count, 2), np.float32)
        nodes[start, 0] = nodes[end, 1] = 1.0
        return {"inputs": {"nodes": nodes, "edges": np.array(edges, np.int32)}, "targets": str(wanted)}


def distances(count, edges):
    """[count, count]: edges on the shortest path; -1 where there is none."""
    adjacency = np.eye(count, dtype=int)
    for one, other in edges:
        adjacency[one, other] = adjacency[other, one] = 1
    found, reached = np.where(np.eye(count, dtype=bool), 0, -1), np.eye(count, dtype=int)
    for steps in range(1, count):
        reached = np.minimum(reached @ adjacency, 1)
        found[(reached > 0) & (found < 0)] = steps
    return found
