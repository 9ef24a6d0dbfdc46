"""Tests the paper's claims on our results: each holds, does not hold, or can't be decided at this size."""

import dataclasses

from t2t_multimodel.experiments import plan
from t2t_multimodel.experiments.paper import TOKEN_ACCURACY, WHOLE
from t2t_multimodel.experiments.statistics import LEVEL, compare, p_text, seeds_that_tell
from t2t_multimodel.metrics import get as get_metric

HOLDS, FAILS, UNSURE = "holds", "does not hold", "can't tell at this size"
ALPHA = 0.05
TOLERANCE = 1.0  # points of 100: a smaller loss counts as no harm; the paper itself loses 1 point on pictures

BLOCKS = {
    plan.NO_EXPERTS: "The mixture of experts",
    plan.NO_ATTENTION: "Attention",
    plan.NO_CONVOLUTIONS: "Convolution",
}
RULE = (
    "How a verdict is decided. A gain is the difference of two kinds of runs with the same seed, positive if the first "
    "is better, with its 95 % interval over seeds (Student's t). A gain holds if the whole interval is above 0 and the "
    "paired bootstrap over the scored examples gives p < 0.05; it does not hold if the whole interval is below 0 with "
    "p < 0.05. “No harm” holds if the whole interval is above -1 point (of 100), and does not hold if it is below "
    "-1 point. A claim on every task holds if it holds on each task. It does not hold if it fails on one task with an "
    "interval widened for the number of tasks (Bonferroni), since of eight 95 % intervals at least one is wrong in one "
    "of three cases. The sentence says if a gain as large as the paper's is outside the interval. In all other cases "
    "the verdict is: can't tell. These are: a single seed; both sides within half a point of perfect, so that there is "
    "nothing to gain; and neither side has learned anything (under 1 point, or an error rate over 90 %), so that there "
    "is nothing to lose."
)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim, the verdict, and the numbers in a sentence."""

    claim: str
    verdict: str
    evidence: str
    gains: tuple = ()  # (problem, gain in points, half its interval or None) of each comparison, for a figure

    @property
    def mood(self):
        return {HOLDS: "good", FAILS: "bad", UNSURE: "unsure"}[self.verdict]

    @property
    def sentence(self):
        return f"{self.claim}: {self.verdict}. {self.evidence}"


def points(metric, value):
    """A metric's value, or a difference, in points of 100; as it is where the metric has a unit of its own."""
    scale = get_metric(metric).scale
    return value if scale is None else value * 100.0 / scale


def gains(comparison):
    """Whether the first side is better: HOLDS, FAILS or UNSURE."""
    c = comparison
    if c is None or c.gain.half is None or c.p is None or saturated(c):
        return UNSURE
    if c.p >= ALPHA:
        return UNSURE
    return HOLDS if c.gain.low > 0 else FAILS if c.gain.high < 0 else UNSURE


def harmless(comparison, tolerance=TOLERANCE, looks=1):
    """Whether the first side is at most `tolerance` points worse than the second: HOLDS, FAILS or UNSURE.

    Args:
      looks: the number of comparisons made together, for the Bonferroni correction.
    """
    c = comparison
    if c is None or c.gain.half is None or untaught(c) or get_metric(c.metric).scale is None:
        return UNSURE
    low, high = points(c.metric, c.gain.low), points(c.metric, c.gain.at(1 - ALPHA / looks).high)
    return HOLDS if low > -tolerance else FAILS if high < -tolerance else UNSURE


def saturated(comparison):
    """Whether both sides are within half a point of perfect, so that neither can be better."""
    perfect = get_metric(comparison.metric).perfect
    if perfect is None or get_metric(comparison.metric).scale is None:
        return False
    return all(
        abs(points(comparison.metric, side.mean - perfect)) < 0.5 for side in (comparison.ours, comparison.theirs)
    )


def untaught(comparison):
    """Whether neither side has learned anything, so that neither can be worse."""
    metric = get_metric(comparison.metric)
    sides = [points(metric.name, side.mean) for side in (comparison.ours, comparison.theirs)]
    if metric.scale is None:
        return False
    return max(sides) < 1.0 if metric.higher_is_better else min(sides) > 90.0


def on_all(verdicts):
    """The verdict on a claim about all tasks, from the verdicts on each task; None without tasks."""
    if not verdicts:
        return None
    return FAILS if FAILS in verdicts else UNSURE if UNSURE in verdicts else HOLDS


def paper_claims(results):
    """The `Verdict`s on those of the paper's claims that the runs of the suite can test."""
    plays = results.plan["roles"]
    verdicts = []
    for role, label in (("parsing", "parsing"), ("speech", "speech")):
        problem = plays.get(role)
        if problem is None:
            continue
        for metric, said in ((TOKEN_ACCURACY, "token accuracy"), (_whole(results, problem), "whole targets right")):
            paper = {("parsing", TOKEN_ACCURACY): (97.1, 97.9), ("speech", TOKEN_ACCURACY): (23, 41)}
            numbers = paper.get((role, metric), (11.7, 14.5) if role == "parsing" else None)
            claim = f"Small tasks gain from joint training: {label} ({problem}), {said}"
            verdicts.append(_gain(results, claim, plan.JOINT, plan.alone(problem), problem, metric, numbers))
    if {"parsing", "images"} <= plays.keys():
        kind, problem = plan.with_images(plays, results.plan["problems"]), plays["parsing"]
        for metric, numbers in ((TOKEN_ACCURACY, (97.1, 97.5)), (_whole(results, problem), (11.7, 12.7))):
            said = "token accuracy" if metric == TOKEN_ACCURACY else "whole targets right"
            claim = f"Even pictures alone help parsing ({problem}), {said}"
            verdicts.append(_gain(results, claim, kind, plan.alone(problem), problem, metric, numbers))
    for role, label, numbers in (("images", "pictures", (67, 66)), ("en_de", "English→German", (71, 72))):
        if role in plays:
            metric = "accuracy_top1" if role == "images" else TOKEN_ACCURACY
            claim = f"Large tasks lose little (at most {TOLERANCE:g} point): {label} ({plays[role]})"
            verdicts.append(
                _harmless(results, claim, plan.JOINT, plan.alone(plays[role]), plays[role], metric, numbers)
            )
    return [verdict for verdict in verdicts if verdict is not None] + block_claims(results)


def block_claims(results, numbers=True):
    """The `Verdict`s on the kinds of blocks that runs of the suite lack; `numbers`: of every problem."""
    verdicts = [_block(results, kind, label, numbers) for kind, label in BLOCKS.items()]
    return [verdict for verdict in verdicts if verdict is not None]


def transfer_claims(results):
    """For each problem, whether joint training helps it, by its headline metric."""
    verdicts = []
    for problem, metrics in results.plan["metrics"].items():
        claim = f"{problem} gains from joint training"
        verdicts.append(_gain(results, claim, plan.JOINT, plan.alone(problem), problem, metrics[0]))
    return [verdict for verdict in verdicts if verdict is not None]


def _gain(results, claim, ours, theirs, problem, metric, numbers=None):
    comparison = compare(results, ours, theirs, problem, metric)
    if comparison is None:
        return None
    note = " Both are as good as perfect." if saturated(comparison) else ""
    gain = comparison.gain
    if numbers and gain.half is not None and points(metric, gain.high) < numbers[1] - numbers[0]:
        note += f" A gain as large as the paper's ({numbers[1] - numbers[0]:+.1f}) lies outside the interval."
    verdict = gains(comparison)
    if verdict == UNSURE and not saturated(comparison):
        note += _would_tell({problem: comparison}, 0.0)
    said = _evidence(comparison, ours, theirs, numbers) + note
    return Verdict(claim, verdict, said, _in_points({problem: comparison}))


def _harmless(results, claim, ours, theirs, problem, metric, numbers):
    comparison = compare(results, ours, theirs, problem, metric)
    if comparison is None:
        return None
    verdict = harmless(comparison)
    note = _would_tell({problem: comparison}, -TOLERANCE) if verdict == UNSURE else ""
    said = _evidence(comparison, ours, theirs, numbers) + note
    return Verdict(claim, verdict, said, _in_points({problem: comparison}))


def _would_tell(comparisons, mark):
    """What would tell on comparisons, {problem: comparison}, that are undecided against a mark (points), as a sentence:
    on all of them.
    """
    comparisons = {p: c for p, c in comparisons.items() if get_metric(c.metric).scale is not None}
    if names := [p for p, c in comparisons.items() if untaught(c)]:
        return f" Longer runs would tell: neither side has learned {', '.join(names)}."
    if any(c.gain.half is None for c in comparisons.values()):
        return " Two more seeds would give an interval."
    needed = [_seeds(c, mark) for c in comparisons.values()]
    if not needed:
        return ""
    if None in needed:
        return " Not even 1,000 seeds would tell, if the gain is what it seems."
    if max(needed) <= max(c.gain.count for c in comparisons.values()):
        return " More scored examples would tell."  # the bootstrap over them alone is undecided
    return f" About {max(needed)} seeds would tell, if the gain is what it seems."


def _one_would_tell(comparisons, mark, looks):
    """The same of a claim that fails with one of `looks` comparisons, by its widened interval."""
    able = {p: c for p, c in comparisons.items() if get_metric(c.metric).scale is not None and not untaught(c)}
    able = {p: c for p, c in able.items() if c.gain.half is not None and points(c.metric, c.gain.mean) < mark}
    needed = {p: n for p, c in able.items() if (n := _seeds(c, mark, 1 - ALPHA / looks)) is not None}
    if not needed:
        return _would_tell(comparisons, mark)
    first = min(needed, key=needed.__getitem__)
    return f" About {needed[first]} seeds would tell, if the loss on {first} is what it seems."


def _seeds(c, mark, level=LEVEL):
    return seeds_that_tell(c.gain, mark * get_metric(c.metric).scale / 100, level)


def _in_points(comparisons):
    return tuple(
        (problem, points(c.metric, c.gain.mean), None if c.gain.half is None else points(c.metric, c.gain.half))
        for problem, c in comparisons.items()
    )


def _block(results, without, label, with_numbers):
    """The verdict that a block helps or does no harm on every task, by the headline metrics."""
    each = {}
    for problem, metrics in results.plan["metrics"].items():
        comparison = compare(results, plan.JOINT, without, problem, metrics[0])
        if comparison is not None:
            each[problem] = comparison
    outcomes = {p: harmless(c, looks=len(each)) for p, c in each.items()}
    verdict = on_all(list(outcomes.values()))
    if verdict is None:
        return None
    better = [p for p, c in each.items() if gains(c) == HOLDS]
    words = {HOLDS: "no harm on", FAILS: "harm on", UNSURE: "can't tell on"}
    groups = {said: [p for p, outcome in outcomes.items() if outcome == which] for which, said in words.items()}
    by_itself = [p for p, c in each.items() if harmless(c) == FAILS and outcomes[p] == UNSURE]
    groups[words[UNSURE]] = [p for p in groups[words[UNSURE]] if p not in by_itself]
    groups["harm without the correction for several tasks on"] = by_itself
    parts = [f"{said} {', '.join(names)}" for said, names in groups.items() if names]
    parts.append(f"a gain on {', '.join(better)}" if better else "a significant gain on none")
    numbers = ", ".join(f"{p} {signed(c)}" for p, c in each.items())
    unsure = {p: each[p] for p, outcome in outcomes.items() if outcome == UNSURE}
    note = _one_would_tell(unsure, -TOLERANCE, len(each)) if verdict == UNSURE else ""
    gained = f" Gain of the headline metric with the block, in points, mean ± 95 %: {numbers}." if with_numbers else ""
    said = f"{'; '.join(parts)}.{gained}{note}"
    return Verdict(f"{label} helps or does no harm on every task", verdict, said, _in_points(each))


def _evidence(c, ours, theirs, numbers):
    paper = f" The paper: {numbers[0]} → {numbers[1]} % (alone → together)." if numbers else ""
    p = "" if c.p is None else f", p {_equals(p_text(c.p))} on {c.examples} examples"
    unit = c.metric.replace("_", " ")
    points_word = "" if get_metric(c.metric).scale is None else " points"
    seeds = f"{c.seeds} seed{'s' if c.seeds != 1 else ''}"
    return (
        f"{unit}: {value_text(c.metric, c.theirs.mean)} with “{theirs}”, {value_text(c.metric, c.ours.mean)} with "
        f"“{ours}”; gain {signed(c)}{points_word} over {seeds}{p}.{paper}"
    )


def _equals(text):
    return text if text.startswith("≤") else f"= {text}"


def signed(c):
    """The gain of a `Comparison` in points, with its interval, as text."""
    half = "" if c.gain.half is None else f" ± {points(c.metric, c.gain.half):.2f}"
    return f"{points(c.metric, c.gain.mean):+.2f}{half}"


def value_text(metric, value):
    """A metric's value as text."""
    metric = get_metric(metric)
    if metric.scale == 1:
        return f"{100 * value:.1f} %"
    return metric.format(value) if metric.scale is None else f"{value:.1f}"


def _whole(results, problem):
    """The metric of completely right targets that the problem has."""
    measured = results.scores.get(plan.JOINT, {}).get(problem, {})
    return next((metric for metric in WHOLE if metric in measured), WHOLE[-1])
