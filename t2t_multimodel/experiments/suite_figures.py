"""The figures of a suite's report: learning curves, heat maps of transfer and of experts, shares of draws."""

from typing import Any, NamedTuple

import numpy as np

from t2t_multimodel.experiments import plan
from t2t_multimodel.experiments.claims import points
from t2t_multimodel.experiments.quality import averaged
from t2t_multimodel.experiments.statistics import compare
from t2t_multimodel.metrics import get as get_metric
from t2t_multimodel.report import figures
from t2t_multimodel.training.reporting import short_names


class Map(NamedTuple):
    """A heat map, and the same numbers as rows of a table."""

    figure: Any
    alt: str
    caption: str
    rows: list


def learning_curves(measured, problem, metric):
    """(figure, description) of a problem's score over examples seen and over seconds, for all kinds of runs.

    (None, "") if nothing was evaluated.
    """
    panels = []
    said = []
    for over, label in (("examples_seen", f"examples of {problem} seen"), ("train_seconds", "seconds in updates")):
        lines = []
        for kind in _shown_kinds(measured, problem):
            curve = measured.curve(kind, problem, metric, over)
            if not curve:
                continue
            xs, ys = _stacked(curve)
            name = "alone" if kind == plan.alone(problem) else kind
            lines.append(
                figures.Line(name, xs.mean(axis=0), ys.mean(axis=0), ys.min(axis=0), ys.max(axis=0), marks=True)
            )
            if over == "examples_seen":
                said.append(f"{name} ends at {ys[:, -1].mean():.4g}")
        if lines:
            panels.append(
                figures.Panel("", lines, x_label=label, y_label=metric.replace("_", " "), y_range=_range(metric, lines))
            )
    if not panels:
        return None, ""
    return figures.curves(panels, columns=2), f"{problem}, {metric}: {'; '.join(said)}"


def _shown_kinds(measured, problem):
    """The kinds of runs that train a problem, joint and alone first, without the leave-one-out runs."""
    first = [plan.JOINT, plan.alone(problem)]
    others = [kind for kind in measured.kinds if kind not in first and not kind.startswith("without ")]
    return [*first, *others]


def _stacked(curve):
    """[seeds, points] of both axes, cut to the shortest seed."""
    count = min(len(xs) for xs, _ in curve.values())
    return tuple(np.array([side[i][:count] for side in curve.values()], np.float64) for i in (0, 1))


def _range(metric, lines):
    """Rates and scores from 0 to a little over their best; error rates from 0."""
    metric = get_metric(metric)
    lowest = min(0.0, *(float(np.min(line.y)) for line in lines))
    if metric.scale and metric.perfect:  # scores on another scale, as CIDEr's, seldom come near their perfect value
        return (lowest, 1.04 * metric.perfect if metric.scale in (1, 100) else None)
    return (lowest, 1.05 * max(1e-6, max(float(np.max(line.high)) for line in lines)))


def add_left_out(section, measured):
    """Adds what each problem loses when another one is left out, if there are such runs: a heat map and its numbers."""
    rows, figure = left_out_table(measured), left_out(measured)
    if not any(cell for _, *cells in rows[1:] for cell in cells):
        return
    section.text(
        "The effect of leaving out a problem: the loss in points of the column's problem (positive: the left-out "
        "problem helped it) when the row's problem is not in the mixture, by its headline metric."
    )
    if figure is not None:
        section.figure(figure, "Loss of each problem for each left-out problem", "Leaving one out")
    own = [problem for problem in measured.plan["problems"] if problem not in averaged(measured)]
    units = f"; {', '.join(own)}: in the unit of the metric" if own else ""
    section.table(rows, caption=f"The same with intervals over seeds, in points{units}")


def left_out(measured):
    """The heat map of the loss of each problem when another one is left out; None without such runs of metrics in
    points.
    """
    problems = measured.plan["problems"]
    values = np.full((len(problems), len(problems)), np.nan)
    for row, missing in enumerate(problems):
        for column, problem in enumerate(problems):
            c = _loss(measured, missing, problem)
            if c is not None and get_metric(c.metric).scale is not None:
                values[row, column] = points(c.metric, c.gain.mean)
    if not np.isfinite(values).any():
        return None
    names = list(short_names(problems).values())
    return figures.heat_map(
        values, names, names, label="points lost", digits=1, centre=0.0, x_label="affected", y_label="left out"
    )


def left_out_table(measured):
    """The same as table rows, with intervals over seeds, for each pair of problems; a metric with a unit of its own is
    in that.
    """
    problems = measured.plan["problems"]
    rows = [("left out", *problems)]
    for missing in problems:
        cells = []
        for problem in problems:
            c = _loss(measured, missing, problem)
            half = "" if c is None or c.gain.half is None else f" ± {points(c.metric, c.gain.half):.1f}"
            cells.append(None if c is None else f"{points(c.metric, c.gain.mean):+.1f}{half}")
        rows.append((missing, *cells))
    return rows


def _loss(measured, missing, problem):
    """The `Comparison` of the joint run with the run without `missing`, on another problem."""
    if missing == problem:
        return None
    kind = plan.without(missing, measured.plan["problems"])
    return compare(measured, plan.JOINT, kind, problem, measured.plan["metrics"][problem][0])


def cosines(measured):
    """Yields a `Map` of the gradient cosines for each probed step, means over seeds."""
    for step in sorted({probe["step"] for probe in measured.probes}):
        probes = [probe for probe in measured.probes if probe["step"] == step]
        values = _mean([np.array(probe["cosines"], np.float64) for probe in probes])
        names = list(short_names(probes[0]["problems"]).values())
        figure = figures.heat_map(values, names, names, label="cosine", centre=0.0)
        caption = f"After {step:,} updates"
        yield Map(figure, f"Cosines between gradients after {step} updates", caption, _rows(values, names, names))


def expert_use(measured):
    """Yields, for encoder and decoder, a `Map` of expert loads by problem and a `Map` of their overlap."""
    if not measured.probes:
        return
    last = max(probe["step"] for probe in measured.probes)
    probes = [probe for probe in measured.probes if probe["step"] == last]
    for part in ("encoder", "decoder"):
        loads = [_loads(probe, part) for probe in probes]
        if not loads[0]:
            continue
        names = list(short_names(list(loads[0])).values())
        values = np.array(list(loads[0].values()))
        experts = [str(i) for i in range(values.shape[1])]
        figure = figures.heat_map(values, names, experts, label="share of tokens", x_label=f"expert of the {part}")
        alt = f"Share of each problem's tokens that each expert of the {part} serves"
        yield Map(figure, alt, f"Experts of the {part}", _rows(values, names, [f"expert {i}" for i in experts]))
        shared = _mean([_overlap(np.array(list(load.values()))) for load in loads])
        figure = figures.heat_map(shared, names, names, label="overlap")
        caption = f"Overlap in the {part}, mean over seeds"
        yield Map(figure, f"Overlap of the problems' experts in the {part}", caption, _rows(shared, names, names))


def _rows(values, names, columns):
    """A matrix as table rows, with two digits."""
    cells = [[None if np.isnan(value) else round(float(value), 2) for value in row] for row in values]
    return [("", *columns), *((name, *row) for name, row in zip(names, cells))]


def _loads(probe, part):
    """{problem: [experts]} of a part of the body, without problems that do not use it."""
    return {problem: used[part]["load"] for problem, used in probe["loads"].items() if part in used}


def _overlap(loads):
    """[problems, problems]: the sum over experts of the smaller of two shares."""
    return np.minimum(loads[:, None], loads[None]).sum(axis=-1)


def mixing(measured):
    """Planned and actual shares over steps in the joint run of the first seed; None if nothing was logged."""
    logged = {}  # problem → {step: (planned, actual)}
    for line in measured.curves:
        if line["kind"] == plan.JOINT and line["split"] == "train" and line["seed"] == 0 and "share_planned" in line:
            logged.setdefault(line["problem"], {})[line["step"]] = (line["share_planned"], line["share_actual"])
    steps = sorted({step for lines in logged.values() for step in lines})
    if not steps:
        return None
    series = {}
    for problem in measured.plan["problems"]:
        shares, at = [], (measured.plan["shares"][problem], 0.0)  # the log has no line if it was not drawn
        for step in steps:
            at = logged.get(problem, {}).get(step, at)
            shares.append(at)
        series[problem] = (steps, *map(list, zip(*shares)))
    return figures.shares(series)


def _mean(matrices):
    """The element-wise mean of matrices, ignoring NaN."""
    stacked = np.array(matrices, np.float64)
    known = np.isfinite(stacked)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
