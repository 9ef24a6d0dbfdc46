"""The page of suite efficiency: quality against arithmetic, seconds and memory over a grid of hparams."""

import numpy as np

from t2t_multimodel.experiments import claims, plan
from t2t_multimodel.experiments.claims import FAILS, HOLDS, TOLERANCE, UNSURE, Verdict
from t2t_multimodel.experiments.quality import averaged, cost, difference, frontier, mean_quality, shown
from t2t_multimodel.experiments.statistics import interval
from t2t_multimodel.report import figures

SHORT = {"num_experts": "experts", "experts_per_token": "experts a token", "num_heads": "heads"}
_COSTS = (  # of a `Cost`: name, what it is called, what the number is divided by, digits
    ("arithmetic", "10⁹ operations", 1e9, 2),
    ("seconds", "milliseconds", 1e-3, 1),
    ("memory", "MiB", 2**20, 0),
)
_SHOWN = 8  # points of the frontiers
_OF = {"arithmetic": "an update", "seconds": "an update", "memory": "in training"}
RULE = (
    "Quality is the mean of the problems' headline metrics in points of 100 (error rates count from 100 down), ± the "
    "95 % interval over seeds. The effect of a value is its mean difference to the first value of --grid over the "
    "points that are alike in all else, for each seed. An hparam matters if such an interval, widened for the number "
    "of values looked at (Bonferroni), excludes 0 on either side; it does not if all lie within "
    f"±{TOLERANCE:g} point; else it can't be told. "
    "Arithmetic is counted as the model is written: products at two operations each, an expert for its own tokens "
    "alone. A program may compute more: few experts are computed for every token."
)


def add(page, measured):
    """Adds the sections: what pays, in one screen; effects of each hparam; every point."""
    points = _points(measured)
    if not points:
        page.section("What pays").note("No point of the grid has been trained and scored on all problems yet.", "bad")
        return
    section = page.section("What pays")
    effects = {name: _effects(measured, points, name) for name in _dimensions(measured)}
    for name, found in effects.items():
        if found:
            verdict = _verdict(name, found)
            section.note(verdict.sentence, verdict.mood)
    _frontiers(section, points)
    section = page.section("The effect of each hparam")
    section.text(RULE)
    rows, moods = [("hparam", "value", "against", "gain in points", "arithmetic", "seconds", "memory", "pairs")], {}
    for name, found in effects.items():
        for value, reference, gain, ratios, pairs in found:
            if gain.half is not None and (gain.low > 0 or gain.high < 0):
                moods[(len(rows) - 1, 3)] = "good" if gain.low > 0 else "bad"
            rows.append((name, value, reference, shown(gain, sign=True), *map(_times, ratios), pairs))
    section.table(rows, moods=moods)
    missing = [p for p in measured.plan["problems"] if p not in averaged(measured)]
    if missing:
        section.text(f"Not in the mean, since their headline metrics have units of their own: {', '.join(missing)}.")
    _table(page.section("Every point"), measured, points)


def _dimensions(measured):
    return list(next(iter(measured.plan["grid"].values()), {}))


def _points(measured):
    """[(its values, {seed: quality}, its `Cost`)] of each point that has been scored."""
    found = []
    for kind, values in measured.plan["grid"].items():
        quality = mean_quality(measured, kind)
        if quality:
            found.append(({name: _plain(value) for name, value in values.items()}, quality, cost(measured, kind)))
    order = {name: [*_order(measured, found, name), None] for name in _dimensions(measured)}
    return sorted(found, key=lambda point: [order[name].index(value) for name, value in point[0].items()])


def _plain(value):
    return tuple(value) if isinstance(value, list) else value


def _order(measured, points, name):
    """The values of an hparam that points have: those of --grid in its order, then others, as of the joint run."""
    given = [_plain(value) for value in measured.plan.get("grid_values", {}).get(name, ())]
    place = lambda value: (given.index(value), "", 0) if value in given else (len(given), str(type(value)), value)
    return sorted({values[name] for values, *_ in points} - {None}, key=place)


def _alike(one, other, name):
    """Whether two points differ in `name` at most; None is any value."""
    return all(one[n] is None or other.get(n) is None or one[n] == other.get(n) for n in one if n != name)


def _effects(measured, points, name):
    """[(value, the first value of the grid, the `Interval` of the gain, ratios of the costs, pairs of points)]."""
    values = _order(measured, points, name)
    found = []
    for value in values[1:]:
        pairs = [
            (one, other)
            for one in points
            for other in points
            if one[0][name] == value and other[0][name] == values[0] and _alike(one[0], other[0], name)
        ]
        by_seed = {}
        for (_, ours, _), (_, theirs, _) in pairs:
            for seed in ours.keys() & theirs.keys():
                by_seed.setdefault(seed, []).append(ours[seed] - theirs[seed])
        if not by_seed:
            continue
        ratios = []
        for what, *_ in _COSTS:
            costs = [(getattr(one[2], what), getattr(other[2], what)) for one, other in pairs]
            ratios.append(float(np.mean([a / b for a, b in costs])) if costs and all(map(all, costs)) else None)
        gain = interval([float(np.mean(gains)) for _, gains in sorted(by_seed.items())])
        found.append((value, values[0], gain, ratios, len(pairs)))
    return found


def _verdict(name, found):
    """Whether any value is better or worse than the first, and which: a `Verdict`."""
    level = 1 - claims.ALPHA / len(found)
    wide = [(effect, effect[2].at(level)) for effect in found]
    told = all(gain.half is not None for _, gain in wide)
    gain_of = lambda effect: effect[2].mean
    if told and (better := [effect for effect, gain in wide if gain.low > 0]):
        verdict, words, most = HOLDS, "{value} is better than {reference}:", max(better, key=gain_of)
    elif told and (worse := [effect for effect, gain in wide if gain.high < 0]):
        verdict, words, most = HOLDS, "{reference} is better than {value}, which has", min(worse, key=gain_of)
    else:
        small = told and all(-TOLERANCE < gain.low and gain.high < TOLERANCE for _, gain in wide)
        verdict, words = FAILS if small else UNSURE, "The largest difference is of {value} to {reference}:"
        most = max(found, key=lambda effect: abs(gain_of(effect)))
    value, reference, gain, ratios, _ = most
    times = [f"{_times(ratio)} the {what}" for ratio, (what, *_) in zip(ratios, _COSTS) if ratio is not None]
    evidence = f"{words.format(value=value, reference=reference)} {shown(gain, sign=True)} points" + (
        f" for {', '.join(times)}." if times else "."
    )
    label = f"The number of {SHORT[name]}" if name in SHORT else name
    return Verdict(f"{label} matters", verdict, evidence)


def _times(ratio):
    return "" if ratio is None else f"×\u00a0{ratio:.2f}"


def _frontiers(section, points):
    """The figure, and the table of the points that none beats in arithmetic."""
    names = list(points[0][0])
    qualities = [interval(list(quality.values())).mean for _, quality, _ in points]
    costs, best = {}, {}
    for what, label, unit, _ in _COSTS:
        numbers = [getattr(each, what) for *_, each in points]
        if all(numbers):
            best[what] = frontier(numbers, qualities)
            costs[f"{label} {_OF[what]}"] = ([number / unit for number in numbers], best[what])
    if not costs:
        return
    marked = names[1] if len(names) > 1 else names[0]
    label = lambda name, value: f"{'any' if value is None else value} {SHORT.get(name, name)}"
    section.figure(
        figures.frontiers(
            costs,
            qualities,
            [label(names[0], values[names[0]]) for values, *_ in points],
            [label(marked, values[marked]) for values, *_ in points] if len(names) > 1 else [""] * len(points),
            y_label="mean of all problems",
        ),
        f"Quality of {len(points)} points over what they cost",
        "Quality over cost; each point is a mean over seeds.",
    )
    which = sorted(set().union(*best.values()), key=lambda i: -qualities[i])
    rows = [(*(SHORT.get(n, n) for n in names), "quality", *(label for _, label, *_ in _COSTS), "best for as little")]
    for i in which[:_SHOWN]:
        values, quality, each = points[i]
        cells = ["–" if values[name] is None else values[name] for name in names]
        best_for = ", ".join(what for what in best if i in best[what])
        rows.append((*cells, shown(interval(list(quality.values()))), *_cost_cells(each), best_for))
    more = f"; {len(which) - _SHOWN} more are below" if len(which) > _SHOWN else ""
    section.table(
        rows, caption=f"Points that none beats at their cost (of an update, and in training), best first{more}"
    )


def _cost_cells(each):
    return [
        None if (number := getattr(each, what)) is None else f"{number / unit:,.{digits}f}"
        for what, _, unit, digits in _COSTS
    ]


def _table(section, measured, points):
    names = list(points[0][0])
    problems = measured.plan["problems"]
    rows = [(*names, "quality", "to the joint run", *(label for _, label, *_ in _COSTS), "weights", "seeds")]
    joint = mean_quality(measured, plan.JOINT)
    for values, quality, each in sorted(points, key=lambda point: -interval(list(point[1].values())).mean):
        gain = difference(quality, joint)
        cells = ["–" if values[name] is None else values[name] for name in names]
        gained = "" if gain is None else shown(gain, sign=True)
        weights = None if each.parameters is None else f"{each.parameters:,}"
        mean = shown(interval(list(quality.values())))
        rows.append((*cells, mean, gained, *_cost_cells(each), weights, len(quality)))
    section.details(f"{len(points)} points, best first").table(
        rows, caption=f"Quality: mean of {len(averaged(measured))} of {len(problems)} problems"
    )
