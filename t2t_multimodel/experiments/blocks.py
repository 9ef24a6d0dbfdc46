"""The page of suite blocks: what each problem loses without each kind of block, as the paper's table 4."""

import numpy as np

from t2t_multimodel.experiments import claims, plan
from t2t_multimodel.experiments.claims import points
from t2t_multimodel.experiments.quality import MEAN, averaged, cost, difference, mean_quality, shown
from t2t_multimodel.experiments.statistics import compare
from t2t_multimodel.report import figures
from t2t_multimodel.training.reporting import short_names


def add(page, measured):
    """Adds the verdicts, the figure and the table, in one screen."""
    section = page.section("Without each kind of block")
    for verdict in claims.block_claims(measured, numbers=False):
        section.note(verdict.sentence, verdict.mood)
    kinds = [kind for kind in plan.LEFT_OUT if kind in measured.scores]
    problems = measured.plan["problems"]
    lost = {
        (p, kind): compare(measured, plan.JOINT, kind, p, measured.plan["metrics"][p][0])
        for p in problems
        for kind in kinds
    }
    scaled = averaged(measured)  # alone have points to lose
    values = np.array([[_points(lost[p, kind]) for p in scaled] for kind in kinds], np.float64).reshape(len(kinds), -1)
    if np.isfinite(values).any():
        names = list(short_names(scaled).values())
        section.figure(
            figures.heat_map(values, kinds, names, label="points lost", digits=1, centre=0.0),
            "Points that each problem loses without each kind of block",
            "Points lost without the block, by the headline metric; positive: the block helps.",
        )
    _table(section, measured, lost, kinds)
    _costs(section, measured, kinds)


def _points(comparison):
    return np.nan if comparison is None else points(comparison.metric, comparison.gain.mean)


def _table(section, measured, lost, kinds):
    """What is lost, with intervals over seeds, and the mean of all problems."""
    rows, moods = [("problem", "metric", "all blocks", *(f"{kind}: lost" for kind in kinds))], {}
    for problem in measured.plan["problems"]:
        metric = measured.plan["metrics"][problem][0]
        found = [lost[problem, kind] for kind in kinds]
        whole = next((c.ours for c in found if c is not None), None)
        for column, c in enumerate(found):
            verdict = claims.gains(c)
            if verdict != claims.UNSURE:
                moods[(len(rows) - 1, 3 + column)] = "good" if verdict == claims.HOLDS else "bad"
        all_blocks = "" if whole is None else claims.value_text(metric, whole.mean)
        rows.append((problem, metric, all_blocks, *("" if c is None else claims.signed(c) for c in found)))
    joint = mean_quality(measured, plan.JOINT)
    gains = [difference(joint, mean_quality(measured, kind)) for kind in kinds]
    if joint and averaged(measured):
        mean = f"{np.mean(list(joint.values())):.1f}"
        rows.append((MEAN, "points", mean, *("" if g is None else shown(g, True, 2) for g in gains)))
    caption = "Mean ± half the width of the 95 % interval over seeds, in points of 100"
    own = [p for p in measured.plan["problems"] if p not in averaged(measured)]
    if own:
        caption += f"; {', '.join(own)}: in the unit of the metric"
    section.table(rows, moods=moods, caption=caption)


def _costs(section, measured, kinds):
    rows = [("cost", "all blocks", *kinds)]
    each = [cost(measured, kind) for kind in (plan.JOINT, *kinds)]
    for label, field, unit, digits in (
        ("billion operations an update, as counted", "arithmetic", 1e9, 2),
        ("milliseconds an update", "seconds", 1e-3, 1),
        ("MiB that training took", "memory", 2**20, 0),
        ("weights", "parameters", 1, 0),
    ):
        numbers = [getattr(one, field) for one in each]
        rows.append((label, *(None if n is None else f"{n / unit:,.{digits}f}" for n in numbers)))
    section.table(rows, caption="What it costs")
