"""Estimates the time of a suite from measured times of its parts, and the run length that fits a budget."""

from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import plan
from t2t_multimodel.experiments.queue import makespan
from t2t_multimodel.training.reporting import format_seconds

RESERVE = 1.08  # safety factor on the estimated time, since machines vary
PROBES, PROBE_BATCHES = 3, 8  # approximate: checkpoints probed, and batches per problem for gradients and experts
REPORT_SECONDS = 30.0
LEAST_RUN_SECONDS = 5.0  # a lower bound: imports and tracing take longer on any machine


def check_possible(budget, runs, workers):
    """Raises `UserError` if a budget is too small for the start-up of the runs, before anything is measured."""
    needed = runs * LEAST_RUN_SECONDS / workers
    if budget < needed:
        raise UserError(
            f"--budget={format_seconds(budget)} is too small: starting {runs} runs takes more than "
            f"{format_seconds(needed)} (minutes:seconds); give more time, or fewer --seeds"
        )


def update_seconds(kind, shares, timings):
    """The expected seconds of an update of a run of this kind; see `run_seconds`."""
    timed = timings.get(kind.structure) or timings[""]
    total = sum(shares[p] for p in kind.problems)
    draws = dict(kind.draws) or {p: shares[p] / total for p in kind.problems}
    return sum(share * timed["problems"][p]["step"] for p, share in draws.items())


def run_seconds(kind, steps, shares, timings, sizes):
    """The expected seconds of one run.

    Args:
      kind: a `Kind`. steps: of the run. shares: {problem: share of the joint run}.
      timings: {structure: the result of `measure.timings`, with "seconds" {"start": …}}; "" is the unchanged set.
      sizes: {problem: (dev examples evaluated at a point, test examples)}.
    """
    timed = timings.get(kind.structure) or timings[""]
    full = timings[""]["problems"]  # evaluations are timed for this structure only; others differ little
    points = min(plan.evaluations(kind, shares), steps)
    seconds = timed["seconds"]["start"] + timings[""]["save"] * (points / 2 + 1)
    seconds += steps * update_seconds(kind, shares, timings)
    traced = {}
    for name in kind.problems:
        parts = timed["problems"][name]
        dev, test = sizes[name]
        seconds += (points * dev + test) * full[name]["example"] + full[name]["first_evaluation"]
        # Problems with the same graph share its trace, measured with the first of them.
        traced[parts["graph"]] = max(p["trace"] for p in timed["problems"].values() if p["graph"] == parts["graph"])
        if kind.probed:
            seconds += PROBES * PROBE_BATCHES * parts["step"]
    first = {}
    for name in kind.problems:
        graph = full[name]["graph"]
        first[graph] = max(p["first_evaluation"] for p in full.values() if p["graph"] == graph)
        seconds -= full[name]["first_evaluation"]
    return seconds + sum(first.values()) + sum(traced.values()) * (2 if kind.probed else 1)


def suite_seconds(kinds, seeds, joint_steps, shares, timings, sizes, workers):
    """(expected seconds of the whole suite, {kind's name: expected seconds of a run}).

    Kinds with `tried` run once each, before the others start.
    """
    runs, seconds = {}, REPORT_SECONDS
    for times, group in ((1, [k for k in kinds if k.tried]), (seeds, [k for k in kinds if not k.tried])):
        lengths = sorted(((plan.steps_of(kind, shares, joint_steps), kind) for kind in group), key=lambda x: -x[0])
        for steps, kind in lengths:
            runs[kind.name] = run_seconds(kind, steps, shares, timings, sizes)
        seconds += makespan([runs[kind.name] for _, kind in lengths] * times, workers)
    return seconds, runs


def steps_for(budget, kinds, seeds, shares, timings, sizes, workers, spent=0.0):
    """The most steps of the joint run for which the suite fits into `budget` seconds, with a reserve.

    `spent` seconds of the budget were used for the timing.

    Raises:
      UserError: the budget is too small for one step of every run.
    """

    def fits(steps):
        return suite_seconds(kinds, seeds, steps, shares, timings, sizes, workers)[0] * RESERVE + spent <= budget

    least = plan.fewest_steps(shares)
    if not fits(least):
        needed = suite_seconds(kinds, seeds, least, shares, timings, sizes, workers)[0] * RESERVE + spent
        runs = sum(1 if kind.tried else seeds for kind in kinds)
        raise UserError(
            f"--budget={format_seconds(budget)} is too small: one update of every problem in each of the "
            f"{runs} runs takes about {format_seconds(needed)} (minutes:seconds), "
            f"most of it start-up; give more time, fewer --seeds or fewer problems"
        )
    low, high = least, 2 * least
    while fits(high) and high < 10**9:
        low, high = high, 2 * high
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
