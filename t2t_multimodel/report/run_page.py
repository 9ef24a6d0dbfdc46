"""The report of one run, section by section, from plain values: scores, curves, examples, attention, experts, mixing.

Each function adds one section to a `Page`; `cli/report.py` collects their arguments.
"""

import numpy as np

from t2t_multimodel.metrics import get as get_metric
from t2t_multimodel.report import figures, series
from t2t_multimodel.report.figures import COLOURS, FAINT, Line, Panel
from t2t_multimodel.training.reporting import format_score, format_seconds, learning_curves, score_range, smoothed

_MOST_PIECES = 18  # of a sentence, in attention maps over pictures


def add_overview(page, facts, missing=""):
    """Args: facts: [(name, text)] of the whole run. missing: what the page lacks and why, in a sentence or two."""
    section = page.section("Overview")
    section.table([("", ""), *facts])
    if missing:
        section.note(missing, "unsure")


def add_scores(page, scores, trivial, remark):
    """The headline metric of each problem beside its trivial baseline, then all metrics.

    Args:
      scores: {problem: {metric: value, "split", "examples"}}.
      trivial: {problem: {metric: (value or None, name of the baseline)}}, the headline first; {} if unknown.
      remark: a sentence about what was scored.
    """
    section = page.section("Scores")
    if not scores:
        section.note("Nothing has been scored yet.", "unsure")
        return
    section.text(remark)
    rows, all_rows, moods, notes = [], [], {}, {}
    for problem, values in scores.items():
        baselines = trivial.get(problem, {})
        shown_first = (m for m in values if m not in ("examples", "split") and _is_number(values[m]))
        metric = next(iter(baselines), None) or next(shown_first, None)
        if metric is None:  # of a log or a file that holds no number
            continue
        value, baseline = baselines.get(metric, (None, ""))
        beside = None if value is None else format_score(metric, value)
        if value is not None:
            moods[len(rows), 2] = "good" if _better(metric, values[metric], value) else "bad"
        shown = format_score(metric, float(values[metric]))  # "nan" is a string in a log
        rows.append(
            (problem, metric, shown, beside, baseline.replace("_", " "), values.get("split"), values.get("examples"))
        )
        for name in [*baselines, *sorted(set(values) - set(baselines) - {"examples", "split"})]:
            if values[name] is None:
                continue
            if isinstance(values[name], str):
                notes.setdefault(f"{name}: {values[name]}", None)
                continue
            trivially = baselines.get(name, (None,))[0]
            known = None if trivially is None else format_score(name, trivially)
            all_rows.append((problem, name, format_score(name, values[name]), known))
    head = ("problem", "metric", "score", "trivial", "trivial answer", "split", "examples")
    section.table(
        [head, *rows],
        "The headline metric of each problem; green: better than both trivial answers (most frequent training "
        "target, copy of the input)",
        moods,
    )
    details = section.details("All metrics")
    details.table([("problem", "metric", "value", "trivial"), *all_rows])
    details.text(
        "Rates are fractions of 1; the maximum of BLEU and bracket F1 is 100, of CIDEr 10. Teacher-forced metrics "
        "score each id given the right ids before it; they do not measure decoded output.",
        *notes,
    )


def add_curves(page, records, headlines):
    """Loss and headline metric of each problem, then speed, learning rate and gradient norm of the run.

    Args:
      records: of metrics.jsonl. headlines: {problem: metric}, in the order of the page.
    """
    section = page.section("Learning curves")
    losses, scores, names = learning_curves(records, headlines)
    problems = [p for p in headlines if p in losses or p in scores]
    panels = [_curve_panel(p, losses.get(p), scores.get(p), names.get(p, "")) for p in problems]
    if not panels:
        section.note("Nothing has been logged yet.", "unsure")
        return
    said = [f"{p}: {_told(losses[p][1], 'loss')}" for p in problems if p in losses]
    said += [f"{p}: {_told(scores[p][1], names[p])}" for p in problems if p in scores]
    section.figure(
        figures.curves(panels),
        "Learning curves. " + "; ".join(said),
        "Training loss (left, pale: measured, dark: smoothed) and the headline metric of the evaluations on "
        "the dev split (right)",
    )
    _add_monotonicity(section, series.monotonicity(records))
    units = {
        "learning_rate": "learning rate",
        "gradient_norm": "norm of the gradient, before clipping",
        "tokens_per_second": "tokens a second",
    }
    whole = series.run_series(records, list(units))
    if whole:
        panels = [Panel(units[n], [Line(units[n], *whole[n], colour=COLOURS[0])]) for n in units if n in whole]
        said = "; ".join(_told(whole[n][1], units[n]) for n in units if n in whole)
        section.figure(figures.curves(panels, legend=False), f"The run as a whole: {said}", "The run as a whole")


def add_examples(page, cards):
    """Args: cards: {problem: [`Card`]}."""
    section = page.section("Examples")
    if not cards:
        section.text("No example was asked for, or none was scored.")
        return
    section.text(
        "Drawn at random from the scored examples, half of them right and half wrong if possible. Right means equal "
        "to a reference, character for character."
    )
    for problem, of_problem in cards.items():
        section.section(problem).examples(of_problem)


def add_attention(page, maps, without="No example was scored."):
    """The attention of the decoder over the encoded input, with teacher forcing.

    Args:
      without: a sentence that says why there are no maps.
      maps: [{"problem", "title", "weights": {layer: [pieces, positions], mean over heads}, "pieces": [names], and of
        the input "positions": [names], or "picture" with "grid" (rows, columns), or "sound": (samples, rate)}].
    """
    section = page.section("Attention")
    if not maps:
        section.text(without)
        return
    section.text(
        "Attention of the decoder over the encoded input, with teacher forcing: one row per output piece, one column "
        "per input position, mean over the heads and the decoder's blocks. The single layers are in the details below. "
        "Attention suggests what a layer reads, but does not prove it."
    )
    before = None
    for one in maps:
        if one["problem"] != before:
            part, before = section.section(one["problem"]), one["problem"]
        decoder = {name: weights for name, weights in one["weights"].items() if name.startswith("decoder/")}
        whole = np.mean(list((decoder or one["weights"]).values()), axis=0)
        _add_map(part, one, whole, one["title"])
        layers = part.details("Single layers")
        for name, weights in one["weights"].items():
            _add_map(layers, one, weights, name)


def add_experts(page, loads, dropped):
    """How each problem uses the experts.

    Args:
      loads: {problem: {"encoder", "decoder": {"load": [experts], …}}} (see `expert_load`).
      dropped: {problem: share of assignments that found their expert full, last of training}.
    """
    section = page.section("Experts")
    if not loads:
        section.text("This model has no mixture of experts.")
        return
    section.text("Share of the assignments of tokens to experts: one row per problem, one column per expert.")
    for part in ("encoder", "decoder"):
        rows = {problem: load[part]["load"] for problem, load in loads.items() if part in load}
        if not rows:
            continue
        matrix = np.array(list(rows.values()))
        experts = matrix.shape[1]
        figure = figures.heat_map(
            matrix,
            list(rows),
            [str(i) for i in range(experts)],
            "share",
            digits=3,
            limits=(0, max(2 / experts, matrix.max())),
            x_label="expert",
        )
        said = [f"{problem}: most to expert {np.argmax(load)} ({max(load):.0%})" for problem, load in rows.items()]
        section.figure(
            figure, f"Expert load in the {part}: " + "; ".join(said), f"{part}: an even share is {1 / experts:.3g}"
        )
    rows = [("problem", *(f"{part}: effective experts" for part in ("encoder", "decoder")), "dropped in training")]
    for problem, load in loads.items():
        used = [
            round(series.effective_number(load[p]["load"]), 2) if p in load else None for p in ("encoder", "decoder")
        ]
        rows.append((problem, *used, dropped.get(problem)))
    section.table(
        rows,
        "Effective experts: e to the entropy of a row; the number of experts if all are used equally, 1 if only one is "
        "used. Overflow: the share of assignments dropped in training because their expert was full",
    )


def add_mixing(page, records):
    section = page.section("Mixing")
    shares = series.mixing(records)
    if not shares:
        section.text("The log has no shares.")
        return
    last = {problem: (planned[-1], actual[-1]) for problem, (_, planned, actual) in shares.items()}
    said = "; ".join(f"{p} {planned:.0%} planned, {actual:.0%} drawn" for p, (planned, actual) in last.items())
    section.figure(
        figures.shares(shares),
        f"Shares of the draws at the end: {said}",
        "Share of each problem in the draws of training, planned and as drawn",
    )
    total = {r["problem"]: (r["share_planned"], r["share_actual"]) for r in records if series.has_shares(r)}
    rows = [(p, round(planned, 4), round(actual, 4)) for p, (planned, actual) in sorted(total.items())]
    section.table([("problem", "planned", "drawn"), *rows], "Over the whole of training")


def add_configuration(page, resolved, run, files):
    """The hyper-parameters with the source of each, the problems, and the configuration files.

    Args: resolved: `Resolved`. run: [(name, text)]. files: {name: text}.
    """
    section = page.section("Configuration")
    values = resolved.to_json()
    changed = [(name, repr(v["value"]), v["source"]) for name, v in sorted(values.items()) if v["source"] != "default"]
    others = [(name, repr(v["value"])) for name, v in sorted(values.items()) if v["source"] == "default"]
    section.table([("hparam", "value", "from"), *changed], "Hyper-parameters that were chosen")
    section.details(f"{len(others)} more have their defaults").table([("hparam", "value"), *others])
    section.details("The run").table([("", ""), *run])
    for name, text in files.items():
        section.details(name).code(text)


def add_environment(page, trained, now):
    """Args: trained: [{name: text}], one per start of training. now: the same for this report."""
    section = page.section("Environment")
    first = trained[0] if trained else {}
    last = trained[-1] if len(trained) > 1 else {}
    names = list(dict.fromkeys([*first, *last, *now]))
    head = ["", *(["training"] if first else []), *(["training, continued"] if last else []), "this report"]
    rows = [[name, *(facts.get(name) for facts in (first, last) if facts), now.get(name)] for name in names]
    section.table([head, *rows])
    if not trained:
        section.text("The training environment is not known: the run directory has no record of it.")


# ---- Pieces of sections


def _add_monotonicity(section, found):
    """How the attention over inputs in order moves, over the steps; `found`: of `series.monotonicity`."""
    if not found:
        return
    panels = [
        Panel(
            problem,
            [Line("monotonicity", steps, values, colour=COLOURS[1], marks=True)],
            y_range=(min(0.0, *values), 1.03),
        )
        for problem, (steps, values, _) in found.items()
    ]
    said = []
    for problem, (_, values, since) in found.items():
        when = "not monotone at the end" if since is None else f"monotone from step {since:,} on"
        said.append(f"{problem}: {when} ({values[-1]:.2f})")
    section.figure(
        figures.curves(panels, legend=False),
        "Monotonicity of attention. " + "; ".join(said),
        "How the attention of the most monotone head follows an input in order: 1 forward with every id, about 0 at "
        f"random; monotone is {series.MONOTONE} or more. " + "; ".join(said),
    )


def _curve_panel(problem, losses, scores, headline):
    lines = []
    if losses:
        steps, values = losses
        lines += [
            Line("loss, measured", steps, values, colour=FAINT, faint=True),
            Line("loss, smoothed", steps, smoothed(values), colour=COLOURS[0]),
        ]
    remark, label, between = "", headline.replace("_", " "), None
    if scores:
        steps, values = scores
        lines.append(Line("evaluations", steps, values, colour=COLOURS[1], right=True, marks=True))
        remark = f"{label} {format_score(headline, values[-1])}"
        between = score_range(headline, values)
    high = max(losses[1], default=1.0) if losses else 1.0
    return Panel(
        problem,
        lines,
        y_label="loss",
        right_label=label,
        remark=remark,
        y_range=(0, 1.05 * high or 1.0),
        right_range=between,
    )


def _told(values, name):
    return f"{name} from {values[0]:.3g} to {values[-1]:.3g}"


def _is_number(value):
    """Whether it is a number, or text that says it, as "nan" in a log."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _better(metric, value, baseline):
    return (value > baseline) == get_metric(metric).higher_is_better and value != baseline


def _add_map(section, one, weights, title):
    """One attention map, over a picture, a recording or written pieces."""
    pieces = one["pieces"]
    if "picture" in one:
        shown = min(len(pieces), _MOST_PIECES)
        maps = np.reshape(weights, [len(pieces), *one["grid"]])[:shown]
        figure = figures.attention_over_picture(one["picture"], maps, pieces[:shown])
        alt = f"For each written piece ({', '.join(pieces[:shown])}) the picture, bright where its attention lies"
    elif "sound" in one:
        samples, rate = one["sound"]
        figure = figures.attention(weights, [], pieces, seconds=len(samples) / rate)
        seconds = (np.argmax(weights, axis=1) + 0.5) / weights.shape[1] * len(samples) / rate
        alt = "Attention over time: " + ", ".join(f"{p} at {s:.1f} s" for p, s in zip(pieces, seconds))
    else:
        names = one.get("positions") or [str(place) for place in range(weights.shape[-1])]
        figure = figures.attention(weights, names, pieces)
        most = [names[i] for i in np.argmax(weights, axis=1)]
        alt = "Attention of written pieces: " + ", ".join(f"{p} to {q}" for p, q in zip(pieces, most))
    section.figure(figure, alt, title)
    if "sound" in one and title == one["title"]:
        section.audio(*one["sound"], f"the recording: {title}")


def run_time(records):
    """The training time as text; "" if the log does not have it."""
    seconds = series.training_seconds(records)
    return format_seconds(seconds) if seconds else ""
