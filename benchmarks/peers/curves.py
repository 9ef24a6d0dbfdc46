"""Curves of BLEU against minutes of training: which side is ahead when, as a table and as a figure.

A curve is {"side", "seed", "length": minutes that were planned, "parameters", "others": processors that others used,
"points": [{"minutes", "updates", "bleu"}], "seconds_in_all", "environment"}.
"""

import statistics

from peers.turns import QUIET

EQUAL = 0.05  # BLEU; sides that differ by less are called equal
LATE = 1.1  # a curve says nothing of minutes later than its end by this factor
LONGER = 1.1  # a training this much longer or shorter than planned, by a factor, is none of that length


def bleu_at(points, minutes):
    """BLEU after so many minutes, between the evaluations before and after; None where the curve doesn't reach it."""
    before = {"minutes": 0.0, "bleu": 0.0}
    for after in points:
        if after["minutes"] >= minutes:
            share = (minutes - before["minutes"]) / (after["minutes"] - before["minutes"])
            return before["bleu"] + share * (after["bleu"] - before["bleu"])
        before = after
    return before["bleu"] if minutes <= LATE * before["minutes"] else None


def ends(curves, side, minutes):
    """The last BLEU of each training that was planned for so many minutes and took about as long."""
    chosen = [curve for curve in curves if curve["side"] == side and curve["length"] == minutes]
    return [curve["points"][-1]["bleu"] for curve in chosen if as_planned(curve)]


def as_planned(curve):
    took = curve["points"][-1]["minutes"] / curve["length"]
    return 1 / LONGER <= took <= LONGER


def along(curves, side, minutes):
    """BLEU after so many minutes, of each of the longest trainings."""
    longest = max(curve["length"] for curve in curves)
    chosen = [curve for curve in curves if curve["side"] == side and curve["length"] == longest]
    found = [bleu_at(curve["points"], minutes) for curve in chosen]
    return [] if None in found else found


def rows(curves, sides, minutes):
    """[(minutes, "a training of that length" or "on the way", {side: BLEU of each seed}, the side ahead, by what)]."""
    found = []
    for mark in minutes:
        for what, values in (("a training of that length", ends), ("on the way", along)):
            by_side = {side: values(curves, side, mark) for side in sides}
            if not all(by_side.values()):
                continue
            first, second = (statistics.mean(by_side[side]) for side in sides)
            ahead = "equal" if abs(first - second) < EQUAL else sides[0] if first > second else sides[1]
            found.append((mark, what, by_side, ahead, first - second))
    return found


def page(problems, sides, minutes):
    """The text of quality_a_minute.md. `problems`: {problem: curves}."""
    blocks = [
        "# Quality a minute\n\nWritten by `benchmarks/quality_a_minute.py`, which says how it is measured. BLEU on "
        "dev, by sacrebleu, greedy. *A training of that length* has its learning rate fall to zero at its end; *on the "
        "way* is the longest training at that minute.\n\n![BLEU against minutes of training](quality_a_minute.png)\n"
    ]
    for problem, curves in problems.items():
        blocks.append(f"## {problem}\n\n{about(curves, sides)}\n")
        lines = [f"| minutes | | {' | '.join(sides)} | ahead | by |", "| --- " * (len(sides) + 4) + "|"]
        for mark, what, by_side, ahead, gain in rows(curves, sides, minutes):
            scores = " | ".join(in_words(by_side[side]) for side in sides)
            lines.append(f"| {mark:g} | {what} | {scores} | {ahead} | {abs(gain):.1f} |")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def about(curves, sides):
    """Machine, sizes, and which curves others disturbed."""
    where = curves[0]["environment"]
    sizes = [next(c["parameters"] for c in curves if c["side"] == side) for side in sides]
    said = f"{where['machine']}, {where['cpus']} processors, {where['date']}. Weights: "
    said += ", ".join(f"{side} {size:,}" for side, size in zip(sides, sizes)) + "."
    disturbed = sum(curve["others"] > QUIET for curve in curves)
    if disturbed:
        said += (
            f" Others used more than {QUIET} processors beside {disturbed} of {len(curves)} trainings: no clean timing."
        )
    missed = sum(not as_planned(curve) for curve in curves)
    if missed:
        said += f" Trainings that took over a tenth longer or shorter than planned: {missed}; no rows of their length."
    return said


def in_words(values):
    """The mean; of several seeds with the least and the most."""
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def draw(problems, sides, path):
    """A panel for each problem: the longest trainings as lines, the ends of all as dots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(1, len(problems), figsize=(5 * len(problems), 3.6), squeeze=False)
    for (problem, curves), axis in zip(problems.items(), axes[0]):
        longest = max(curve["length"] for curve in curves)
        for number, side in enumerate(sides):
            named = side
            for curve in (c for c in curves if c["side"] == side):
                x, y = ([point[name] for point in curve["points"]] for name in ("minutes", "bleu"))
                if curve["length"] == longest:
                    axis.plot([0, *x], [0, *y], color=f"C{number}", linewidth=1.2, label=named)
                    named = None
                axis.plot(x[-1], y[-1], marker="o", color=f"C{number}")
        axis.set_title(problem, fontsize=10)
        axis.set_xlabel("minutes of training")
        axis.set_ylabel("BLEU on dev")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right", fontsize=8, title="dots: trainings that end there", title_fontsize=8)
    drawing.tight_layout()
    drawing.savefig(path, dpi=100)
    pyplot.close(drawing)
