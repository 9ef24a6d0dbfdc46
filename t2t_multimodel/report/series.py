"""The data of a run's figures: records of metrics.jsonl as series over steps."""

import numpy as np

_BINS = 40  # of the steps of a run: shares in smaller bins would be mostly noise
MONOTONE = 0.8  # monotonicity of attention from which it is said to follow its input


def run_series(records, names):
    """{name: ([step], [value])} of values of the whole run, such as tokens_per_second."""
    series = {}
    for record in records:
        if "problem" not in record and record["split"] == "train":
            for name in names:
                if isinstance(record.get(name), int | float):
                    steps, values = series.setdefault(name, ([], []))
                    steps.append(record["step"])
                    values.append(record[name])
    return series


def monotonicity(records):
    """{problem: ([step], [monotonicity of its attention], from which step on it was monotone at every evaluation)}.

    Of problems whose inputs are in order, such as speech; the step is None where it is not monotone at the end.
    """
    found = {}
    for record in records:
        value = record.get("attention_monotonicity")
        if record.get("problem") and record["split"] != "train" and isinstance(value, int | float):
            found.setdefault(record["problem"], {})[record["step"]] = value
    series = {}
    for problem, by_step in found.items():
        steps = sorted(by_step)
        since = None
        for step in reversed(steps):
            if by_step[step] < MONOTONE:
                break
            since = step
        series[problem] = (steps, [by_step[step] for step in steps], since)
    return series


def training_seconds(records):
    """The estimated training time including evaluations, from the steps per second in each line of the log."""
    total, before = 0.0, 0
    steps, speeds = run_series(records, ["steps_per_second"]).get("steps_per_second", ([], []))
    for step, speed in zip(steps, speeds):
        total += (step - before) / speed if speed > 0 else 0.0
        before = step
    return total


def has_shares(record):
    """Whether a record has the planned and the actual share of a problem in training."""
    shares = "share_planned" in record and "share_actual" in record
    return bool(record.get("problem")) and record["split"] == "train" and shares


def mixing(records):
    """Shares of the draws over time, from the numbers of draws in the log.

    Returns:
      {problem: ([step], [planned share], [actual share])}; each share is of the draws since the previous step (at most
      40 steps).
    """
    drawn, planned, totals = {}, {}, {}
    for record in records:
        if has_shares(record):
            step = record["step"]
            planned.setdefault(record["problem"], {})[step] = record["share_planned"]
            drawn.setdefault(record["problem"], {})[step] = record.get("microbatches", 0)
    for by_step in drawn.values():
        for step, draws in by_step.items():
            totals[step] = totals.get(step, 0) + draws
    steps = np.array(sorted(totals), np.float64)
    if not len(steps):
        return {}
    so_far = np.cumsum([totals[step] for step in steps])  # draws up to each line of the log
    ends = np.unique(np.linspace(0, len(steps), min(_BINS, len(steps)) + 1).round().astype(int))[1:] - 1
    window = lambda total: np.diff(total[ends], prepend=0.0) / np.maximum(np.diff(so_far[ends], prepend=0), 1)
    shares = {}
    for problem in sorted(drawn):
        known = sorted(planned[problem])
        share = np.interp(
            steps, known, [planned[problem][step] for step in known]
        )  # a step without a draw has no line in the log
        actual = np.cumsum([drawn[problem].get(step, 0) for step in steps])
        shares[problem] = (steps[ends].tolist(), window(share * so_far).tolist(), window(actual).tolist())
    return shares


def effective_number(shares):
    """The effective number of experts: e to the entropy of the shares; n if n experts are used evenly."""
    shares = np.asarray(shares, np.float64)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
