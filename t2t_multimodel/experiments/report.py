"""report.html and report.md of a suite: the paper's tables beside ours, claims, learning curves, transfer, experts."""

import math
from pathlib import Path

from t2t_multimodel.experiments import balancing_page, blocks, claims, efficiency, paper, plan, results, suite_figures
from t2t_multimodel.experiments.quality import averaged
from t2t_multimodel.experiments.statistics import at_seconds, compare, interval, p_text
from t2t_multimodel.metrics import get as get_metric
from t2t_multimodel.report import figures
from t2t_multimodel.report.page import Page
from t2t_multimodel.training.reporting import format_seconds

HTML_FILE, MARKDOWN_FILE = "report.html", "report.md"


def write(output_dir):
    """Collects the results of the runs and writes both reports; returns the paths of the written files.

    Raises:
      UserError: `output_dir` holds no suite, or none of its runs is done.
    """
    output_dir = Path(output_dir)
    results.collect(output_dir)
    measured = results.read(output_dir)
    page = build(measured)
    return [
        output_dir / results.RESULTS_FILE,
        page.write(output_dir / HTML_FILE),
        page.write_markdown(output_dir / MARKDOWN_FILE),
    ]


def build(measured):
    """The `Page` of a suite's `Results`."""
    setup = measured.plan
    done = {(kind, seed) for kind, by in measured.scores.items() for p in by.values() for m in p.values() for seed in m}
    missing = {}
    for run in setup["runs"]:
        if (run["kind"], run["seed"]) not in done:
            missing.setdefault(run["kind"], []).append(str(run["seed"]))
    count = sum(map(len, missing.values()))
    subtitle = (
        f"{', '.join(setup['problems'])}; {setup['joint_steps']:,} updates of the joint run, {setup['seeds']} "
        f"seeds, {len(setup['runs']) - count} of {len(setup['runs'])} runs"
    )
    page = Page(f"Suite {setup['suite']}", subtitle)
    if missing:
        which = "; ".join(f"{kind}: seed {', '.join(seeds)}" for kind, seeds in missing.items())
        page.section("Not complete").note(
            f"{count} of {len(setup['runs'])} runs are missing ({which}). The report is about the others. A run that "
            "diverged has no result, so where one is among them the others may be the lucky ones.",
            "bad",
        )
    PAGES[setup["suite"]](page, measured)
    _runs(page, measured)
    return page


def _joint_and_singles(page, measured):
    """The sections of suites that compare joint with single-task training."""
    _claims(page, measured)
    if measured.plan["suite"] == "paper_tables":
        _paper_tables(page, measured)
    _joint_and_alone(page, measured)
    _blocks(page, measured)
    _choices(page, measured)
    _equal_time(page, measured)
    _curves(page, measured)
    _transfer(page, measured)
    _experts(page, measured)
    _mixing(page, measured)


def _of_blocks(page, measured):
    blocks.add(page, measured)
    page.sections[-1].text(claims.RULE)
    _blocks(page, measured)
    _curves(page, measured)


def _of_balancing(page, measured):
    balancing_page.add(page, measured)
    _curves(page, measured)


PAGES = {
    "paper_tables": _joint_and_singles,
    "transfer": _joint_and_singles,
    "blocks": _of_blocks,
    "efficiency": efficiency.add,
    "balancing": _of_balancing,
}


def _claims(page, measured):
    of_the_paper = measured.plan["suite"] == "paper_tables"
    section = page.section("The paper's claims" if of_the_paper else "Gains from joint training")
    found = claims.paper_claims(measured) if of_the_paper else claims.transfer_claims(measured)
    scaled = averaged(measured)
    drawn = [(v, [(mean, half) for problem, mean, half in v.gains if problem in scaled]) for v in found]
    drawn = [(v, gains) for v, gains in drawn if gains and all(math.isfinite(mean) for mean, _ in gains)]
    if drawn:  # all of them in one screen
        rows = [(v.claim, v.verdict, v.mood, gains) for v, gains in drawn]
        section.figure(
            figures.verdicts(rows, "gain in points of 100, with its 95 % interval over seeds"),
            "; ".join(f"{v.claim}: {v.verdict}" for v, _ in drawn),
            "A claim on every task has a point for each, in the order above."
            if any(len(gains) > 1 for _, gains in drawn)
            else "",
        )
    section = section.details("The verdicts in words, with their numbers, and how they are decided")
    for verdict in found:
        section.note(verdict.sentence, verdict.mood)
    section.text(claims.RULE)


def _paper_tables(page, measured):
    section = page.section("The paper's tables")
    section.text(
        "Ours: mean ± half the width of the 95 % interval over seeds (Student's t), "
        f"{_scored_on(measured)}. The paper's numbers are for larger corpora and a model of a thousand times the size, "
        "so only the differences between columns can be compared."
    )
    roles = measured.plan["roles"]
    for table in paper.tables(roles, measured.plan["problems"]):
        head = ["paper's task and metric", "our problem"]
        for name, kind in table.columns:
            head += [f"paper: {name}"] + ([f"ours: {name}"] if kind else [])
        rows, missing = [], []
        for row in table.rows:
            if row.role not in roles:
                missing.append(row.label)
                continue
            rows.append(_paper_row(measured, table, row, roles[row.role]))
        note = f" Left out, since no problem of this suite has the role: {', '.join(missing)}." if missing else ""
        if rows:
            section.table([head, *rows], caption=table.title + "." + note)


def _paper_row(measured, table, row, problem):
    cells = [row.label, problem]
    for (_, kind), number in zip(table.columns, row.numbers):
        cells.append(number)
        if kind is None:
            continue
        kind = plan.alone(problem) if kind == "alone" else kind
        metric = next((m for m in row.metrics if measured.of(kind, problem, m)), None)
        cells.append("" if metric is None else shown(metric, interval(measured.values(kind, problem, metric))))
    return cells


def _joint_and_alone(page, measured):
    section = page.section("Joint and single-task training, every problem")
    section.text(
        f"Both have the same number of examples of the problem{_nearly(measured)}, in the same order. Scores are "
        f"{_scored_on(measured)}. Gain: positive if joint training is better, with a paired interval over seeds. p: "
        "paired bootstrap over the scored examples, of no difference; for BLEU from sacrebleu's counts."
    )
    section.table(*_comparisons(measured, plan.JOINT, lambda problem: plan.alone(problem), ("together", "alone")))


def _scored_on(measured):
    """The scored split, as text."""
    splits = measured.by_problem("split")
    others = [problem for problem, split in splits.items() if split != "test"]
    if not others:
        return "on the test split"
    dev = "on the dev split, since there is no test split; the learning curves use it too"
    return dev if len(others) == len(splits) else f"on the test split; those of {', '.join(others)} {dev}"


def _nearly(measured):
    """The largest difference in examples of a problem between the joint and the single-task run, as text."""
    most = 0.0
    for problem, metrics in measured.plan["metrics"].items():
        together, apart = (measured.of(kind, problem, metrics[0]) for kind in (plan.JOINT, plan.alone(problem)))
        for seed in together.keys() & apart.keys():
            most = max(most, abs(together[seed].seen / max(1, apart[seed].seen) - 1))
    return f", to within {most:.1%}" if most >= 0.0005 else ""


def _blocks(page, measured):
    for kind in plan.LEFT_OUT:
        if kind in measured.scores:
            name = kind.removeprefix("no ")
            section = page.section(f"With and without {name}, every problem")
            section.table(*_comparisons(measured, plan.JOINT, lambda _, kind=kind: kind, ("with", "without")))


def _comparisons(measured, ours, theirs, names):
    """(rows, caption, moods) of a table that compares two kinds of runs on all problems and metrics."""
    rows, moods = [("problem", "metric", *names, "gain", "p", "examples scored", "seeds")], {}
    for problem in measured.plan["problems"]:
        for metric in measured.scores.get(ours, {}).get(problem, {}):
            c = compare(measured, ours, theirs(problem), problem, metric)
            if c is None:
                continue
            verdict = claims.gains(c)
            if verdict != claims.UNSURE:
                moods[(len(rows) - 1, 4)] = "good" if verdict == claims.HOLDS else "bad"
            sides = (shown(metric, c.ours), shown(metric, c.theirs), shown(metric, c.gain, sign=True))
            rows.append((problem, metric, *sides, p_text(c.p).replace(" ", "\u00a0"), c.examples, c.seeds))
    return rows, "", moods


def _choices(page, measured):
    found = measured.plan.get("choices")
    if not found:
        return
    section = page.section("Hparams of the single-task runs")
    section.text(
        "The set of the joint run may not suit a single task, so each was tried once with the changes of every column, "
        "with a seed that no other run has, for the number of steps of its runs. Its runs above use the changes that "
        "were best on dev. The joint run uses the unchanged set."
    )
    columns = list(dict.fromkeys(words for one in found.values() for words in one["tries"]))
    rows, moods = [("run", "judged by", *columns)], {}
    for number, (kind, one) in enumerate(found.items()):
        cells = [_tried(one, words) for words in columns]
        rows.append((kind, f"{one['problem']}, {one['metric']}", *cells))
        moods[(number, 2 + columns.index(one["best"]))] = "good"
    section.table(rows, moods=moods)
    biased = [kind for kind, one in found.items() if measured.by_problem("split").get(one["problem"]) == one["split"]]
    if biased:
        section.text(f"{', '.join(biased)}: chosen on the scored split, which favours the single-task runs.")


def _tried(one, words):
    """The result of a try, as text."""
    value = one["tries"][words]
    text = "diverged" if value is None else shown(one["metric"], interval([value]))
    return f"{text}, best" if words == one["best"] else text


def _equal_time(page, measured):
    section = page.section("Comparison at equal time")
    section.text(
        "Scores on the dev split after the same number of seconds in training steps, interpolated on the learning "
        "curves, at the end of the shorter run, which is the single-task run. At that time the joint run has trained "
        "all problems and its learning rate is still high; the single-task run is at its end. The seconds exclude "
        "start-up, tracing, evaluations and checkpoints."
    )
    seen_columns = ("examples seen jointly", "examples seen alone")
    rows = [("problem", "metric", "seconds", "seeds", "joint", "alone", "gain", *seen_columns)]
    for problem, metrics in measured.plan["metrics"].items():
        kinds = (plan.JOINT, plan.alone(problem))
        curves = [measured.curve(kind, problem, metrics[0], "train_seconds") for kind in kinds]
        if not all(curves):
            continue
        ends = [min(max(xs) for xs, _ in curve.values()) for curve in curves]
        values = [at_seconds(curve, min(ends)) for curve in curves]
        seen = [at_seconds(_seen(measured, kind, problem), min(ends)) for kind in kinds]
        # Of the seeds that both have at that time, where there are some: every column is of the same ones.
        common = values[0].keys() & values[1].keys()
        values = [{seed: v[seed] for seed in common} if common else v for v in values]
        cells = [shown(metrics[0], _mean(v)) if v else "before the first evaluation" for v in values]
        sign = 1 if get_metric(metrics[0]).higher_is_better else -1
        gain = None
        if common:
            gain = shown(metrics[0], _mean({s: sign * (values[0][s] - values[1][s]) for s in common}), sign=True)
        examples = [round(_mean(s).mean) if s else None for s in seen]
        rows.append((problem, metrics[0], round(min(ends), 1), len(common), *cells, gain, *examples))
    section.table(rows)
    together = _training_seconds(measured, [plan.JOINT])
    apart = _training_seconds(measured, [plan.alone(problem) for problem in measured.plan["problems"]])
    if together and apart:
        section.text(
            f"Seconds in training steps, means over seeds: the joint run {together:.0f}, all single-task runs in total "
            f"{apart:.0f}, for the same examples."
        )


def _mean(by_seed):
    return interval(list(by_seed.values()))


def _seen(measured, kind, problem):
    return measured.curve(kind, problem, "examples_seen", "train_seconds")


def _training_seconds(measured, kinds):
    """The total seconds in training steps of runs of these kinds, mean over seeds; None if one is missing."""
    total = 0.0
    for kind in kinds:
        found = [
            list(metric.values()) for problem in measured.scores.get(kind, {}).values() for metric in problem.values()
        ]
        if not found:
            return None
        total += interval([score.seconds for score in found[0]]).mean
    return total


def _curves(page, measured):
    section = page.section("Learning curves")
    section.text(
        "Scores on the first examples of the dev split during training; line: mean over seeds, band: min to max."
    )
    for problem, metrics in measured.plan["metrics"].items():
        figure, alt = suite_figures.learning_curves(measured, problem, metrics[0])
        if figure is not None:
            section.figure(figure, alt, caption=f"{problem}: {metrics[0].replace('_', ' ')}")


def _transfer(page, measured):
    section = page.section("Transfer between problems")
    suite_figures.add_left_out(section, measured)
    cosines = list(suite_figures.cosines(measured))
    if cosines:
        section.text(
            f"Cosine similarity of task gradients in the shared body, at {len(cosines)} checkpoints of the joint runs, "
            "means over seeds. Above 0, a step for one problem also helps the other. The diagonal compares two halves "
            "of a problem's batches: the highest value that the noise of so few batches allows. If it is near 0, the "
            "problem is learned and its gradient is noise, so its row and column have no meaning."
        )
    _maps(section, cosines)


def _maps(section, maps):
    """Adds heat maps, each with its numbers below."""
    for found in maps:
        section.figure(found.figure, found.alt, found.caption)
        section.details(f"{found.caption}, in numbers").table(found.rows)


def _experts(page, measured):
    uses = list(suite_figures.expert_use(measured))
    if not uses:
        return
    section = page.section("Experts by problem")
    section.text(
        "The share of a problem's tokens at each expert, at the end of the joint run with the first seed, on dev "
        "examples. Experts have no order, so the maps of other seeds differ. The overlap of two problems' experts can "
        "be averaged over seeds: it is the sum over experts of the smaller share, and 1 if both use the same experts."
    )
    _maps(section, uses)


def _mixing(page, measured):
    figure = suite_figures.mixing(measured)
    if figure is not None:
        section = page.section("Mixing")
        section.text("Cumulative shares of the draws in the joint run with the first seed.")
        section.figure(figure, "Planned and actual shares of each problem over updates", "Planned and actual shares")


def _runs(page, measured):
    setup = measured.plan
    section = page.section("Runs")
    rows = [("run", "updates", "seconds in updates", "examples seen", "changes")]
    for kind in measured.kinds:
        runs = [run for run in setup["runs"] if run["kind"] == kind]
        by_problem = measured.scores.get(kind, {})
        seen = [next(iter(next(iter(m.values())).values())).seen for m in by_problem.values()]
        seconds = _training_seconds(measured, [kind])
        changes = ", ".join(f"{name}={value}" for name, value in runs[0]["changes"].items())
        rows.append((kind, runs[0]["steps"], None if seconds is None else round(seconds), sum(seen) or None, changes))
    section.table(rows, caption=f"Each with seeds 0 to {setup['seeds'] - 1}")
    decoding = {problem: how for problem, how in measured.by_problem("decoding").items() if how}
    budget = setup["budget_seconds"]
    length = f"a budget of {format_seconds(budget)} (hours:minutes:seconds)" if budget else "given by --train_steps"
    section.items(
        [
            f"length of the joint run: {length}",
            f"{setup['workers']} parallel runs",
            "flags of t2t-trainer in all runs: " + " ".join(setup["flags"]),
            f"hparams: {setup['hparams'] or 'as the set has them'}",
            "roles: " + ", ".join(f"{role} = {problem}" for role, problem in setup["roles"].items()),
            "shares of the joint run: " + ", ".join(f"{p} {share:.1%}" for p, share in setup["shares"].items()),
            "examples to train on: " + ", ".join(f"{p} {count:,}" for p, count in setup["train_examples"].items()),
            "; ".join(f"{name} {value}" for name, value in setup["identity"].items()),
            *([f"decoding: {'; '.join(f'{p}: {how}' for p, how in decoding.items())}"] if decoding else []),
            *(
                f"runs were made on: {'; '.join(f'{k} {v}' for k, v in machine.items() if k != 'from step')}"
                for machine in measured.machines
            ),
        ]
    )


def shown(metric, value, sign=False):
    """An `Interval` as text: rates in per cent, log-perplexities and scores unchanged."""
    scale, unit, digits = 1.0, "", 3
    metric = get_metric(metric)
    if metric.scale == 1:
        scale, unit, digits = 100.0, " %", 1
    elif metric.scale:
        digits = 1
    mean = f"{scale * value.mean:{'+' if sign else ''}.{digits}f}"
    half = "" if value.half is None else f" ± {scale * value.half:.{digits}f}"
    return f"{mean}{half}{unit}".replace(" ", "\u00a0")  # keeps it on one line
