"""The page of suite balancing: ways to learn several problems together, beside the joint run at equal time."""

import numpy as np

from t2t_multimodel.experiments import plan
from t2t_multimodel.experiments.balancing import WORDS
from t2t_multimodel.experiments.claims import ALPHA, FAILS, HOLDS, UNSURE, Verdict
from t2t_multimodel.experiments.quality import averaged, by_problem, cost, difference, mean_at, mean_quality, shown
from t2t_multimodel.experiments.statistics import interval
from t2t_multimodel.report import figures

RULE = (
    "Every run has as many updates as take the time of the joint run, by the times measured before. Quality is the "
    "mean of the problems' headline metrics in points of 100 (error rates count from 100 down). A gain is the "
    "difference to the joint run with the same seed, ± the 95 % interval over seeds. It holds if the interval, widened "
    "for the number of ways looked at (Bonferroni), lies above 0, and does not hold if it lies below 0; else it can't "
    "be told."
)


def add(page, measured):
    """Adds the verdicts, the figure and the tables."""
    section = page.section("Ways to learn together")
    kinds = [kind for kind in WORDS if kind in measured.scores]
    joint = mean_quality(measured, plan.JOINT)
    gains = {kind: difference(mean_quality(measured, kind), joint) for kind in kinds}
    for kind, gain in gains.items():
        if gain is not None:
            verdict = _verdict(kind, gain, len(kinds))
            section.note(verdict.sentence, verdict.mood)
    _figure(section, measured, kinds)
    _table(section, measured, gains)
    _problems(section, measured, kinds)
    section.text(RULE)


def _verdict(kind, gain, looks):
    wide = gain.at(1 - ALPHA / looks)
    unsure = wide.half is None or wide.low <= 0 <= wide.high
    verdict = UNSURE if unsure else HOLDS if wide.low > 0 else FAILS
    seeds = f"{gain.count} seed{'s' if gain.count != 1 else ''}"
    return Verdict(f"{kind} gains on the mean", verdict, f"{shown(gain, True, 2)} points over {seeds}: {WORDS[kind]}.")


def _figure(section, measured, kinds):
    """The mean of all problems over seconds in updates."""
    lines, said = [], []
    for kind in (plan.JOINT, *kinds):
        seconds = _places(measured, kind)
        means = [mean_at(measured, kind, each) for each in seconds]
        shared = [(x, list(by_seed.values())) for x, by_seed in zip(seconds, means) if by_seed]
        if not shared:
            continue
        xs, ys = zip(*shared)
        mean = [float(np.mean(y)) for y in ys]
        lines.append(figures.Line(kind, list(xs), mean, [min(y) for y in ys], [max(y) for y in ys], marks=True))
        said.append(f"{kind} ends at {mean[-1]:.4g}")
    if lines:
        panel = figures.Panel("", lines, x_label="seconds in updates", y_label="mean of all problems, dev")
        caption = "Mean of all problems on dev over seconds in updates; line: mean over seeds, band: min to max."
        section.figure(figures.curves([panel], columns=1), "; ".join(said), caption)


def _places(measured, kind):
    """Seconds at which all seeds of a kind have been evaluated: of each evaluation the latest of them."""
    for problem in averaged(measured):
        metric = measured.plan["metrics"][problem][0]
        curve = measured.curve(kind, problem, metric, "train_seconds")
        if curve:
            count = min(len(xs) for xs, _ in curve.values())
            return [max(xs[i] for xs, _ in curve.values()) for i in range(count)]
    return []


def _table(section, measured, gains):
    rows, moods = [("way", "updates", "seconds", "quality", "gain", "gain on dev at equal seconds")], {}
    seconds = {kind: _seconds(measured, kind) for kind in (plan.JOINT, *gains)}
    for kind in (plan.JOINT, *gains):
        quality, steps = mean_quality(measured, kind), _steps(measured, kind)
        gain, at_time = gains.get(kind), None
        if kind != plan.JOINT and seconds[kind] and seconds[plan.JOINT]:
            end = min(seconds[kind], seconds[plan.JOINT])
            at_time = difference(mean_at(measured, kind, end), mean_at(measured, plan.JOINT, end))
        if gain is not None and gain.half is not None and not gain.low <= 0 <= gain.high:
            moods[(len(rows) - 1, 4)] = "good" if gain.mean > 0 else "bad"
        cells = ["" if g is None else shown(g, True, 2) for g in (gain, at_time)]
        mean = shown(interval(list(quality.values())), digits=2) if quality else ""
        rows.append((kind, steps, None if seconds[kind] is None else round(seconds[kind], 1), mean, *cells))
    section.table(rows, moods=moods, caption="Quality on the scored split: mean of all problems, in points of 100")


def _steps(measured, kind):
    return next(run["steps"] for run in measured.plan["runs"] if run["kind"] == kind)


def _seconds(measured, kind):
    """Seconds in updates of a run, mean over seeds."""
    each = cost(measured, kind).seconds
    return None if each is None else each * _steps(measured, kind)


def _problems(section, measured, kinds):
    """The gain of every problem."""
    rows = [("problem", "metric", plan.JOINT, *kinds)]
    for problem in averaged(measured):
        joint = by_problem(measured, plan.JOINT, problem)
        found = [difference(by_problem(measured, kind, problem), joint) for kind in kinds]
        mean = shown(interval(list(joint.values()))) if joint else ""
        cells = ["" if gain is None else shown(gain, sign=True) for gain in found]
        rows.append((problem, measured.plan["metrics"][problem][0], mean, *cells))
    section.table(rows, caption="Gains of every problem, in points of 100")
