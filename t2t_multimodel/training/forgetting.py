"""Scores of a run that started from another one, before its first update and now: what was learnt, what forgotten."""

from t2t_multimodel.metrics import get as get_metric
from t2t_multimodel.training.metrics_log import read_metrics
from t2t_multimodel.training.reporting import format_score, format_table


def scores_before_and_after(start, run, output_dir):
    """A table by problem: its headline metric at the first and at the newest evaluation, from the log.

    Args:
      start: the `warm_start.WarmStart` of the run. run: its `Run`. output_dir: the run directory.

    Returns:
      A text of several lines; old problems that are worse than before are named below the table.
    """
    before, now = {}, {}  # problem → (step, values)
    for record in read_metrics(output_dir):
        name = record.get("problem")
        if name in run.problems and record.get("split") != "train":
            if record["step"] == start.first_step:
                before[name] = record
            now[name] = record
    rows, forgotten = [("problem", "trained before", "metric", "before", "now")], []
    for name, problem in run.problems.items():
        if name not in before or name not in now:
            continue
        metrics = (*problem.metrics, *problem.spec.targets.teacher_forced_metrics)
        metric = next((m for m in metrics if _is_number(before[name].get(m)) and _is_number(now[name].get(m))), None)
        if metric is None:
            continue
        old, new = before[name][metric], now[name][metric]
        known = name in start.problems
        rows.append((name, "yes" if known else "no", metric, format_score(metric, old), format_score(metric, new)))
        if known and (new < old if get_metric(metric).higher_is_better else new > old):
            forgotten.append(name)
    if len(rows) == 1:
        return "no scores before and after: the log has none"
    worse = f"\nworse than before: {', '.join(forgotten)}" if forgotten else ""
    absent = sorted(set(start.problems) - set(run.problems))
    others = f"\nnot scored, since this run does not have them: {', '.join(absent)}" if absent else ""
    return f"scores before the first update and now\n{format_table(rows)}{worse}{others}"


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)
