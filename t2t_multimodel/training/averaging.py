"""The mean of several checkpoints of a run, as a run of its own that decodes and can't be trained on.

Weights are added in float64. Random state, which has no mean, is that of the newest checkpoint; the state of the
optimizer is left out.
"""

import os
import secrets
import shutil

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.metrics import get as get_metric
from t2t_multimodel.training import checkpoints
from t2t_multimodel.training.evaluation import Evaluator, open_stores
from t2t_multimodel.training.metrics_log import read_metrics
from t2t_multimodel.training.run import load_variables
from t2t_multimodel.training.run_directory import RunDirectory


def choose_steps(directory, count, metric=""):
    """The steps of the checkpoints to average, ascending.

    Args:
      directory: the `RunDirectory`. count: how many.
      metric: METRIC (its mean over the problems) or PROBLEM/METRIC, by which the best on dev are taken; "": the newest.

    Raises:
      UserError: there are fewer, or fewer that were scored by that metric.
    """
    there = checkpoints.steps(directory.checkpoints)
    if metric:
        scores = _scores_by_step(directory, metric)
        sign = -1 if get_metric(metric.rpartition("/")[2]).higher_is_better else 1
        there = sorted((step for step in there if step in scores), key=lambda step: (sign * scores[step], -step))
        chosen = there[:count]
    else:
        chosen = there[-count:]
    if len(chosen) < count or count < 2:
        scored = f" that was scored by {metric}" if metric else ""
        raise UserError(
            f"{count} checkpoints can't be averaged: {directory.path} has {len(there)}{scored}; give another --n, from "
            "2 on, or train with more --keep_checkpoints"
        )
    return sorted(chosen)


def average(directory, steps, variables):
    """{path: array} of the model's `variables`: the mean over the checkpoints of `steps`, ascending.

    Raises:
      UserError: a checkpoint is damaged, or of another model.
    """
    sums = {}
    for step in steps:
        arrays = checkpoints.load(directory.checkpoints, step).arrays
        load_variables(variables, arrays, directory.checkpoints)  # raises where one does not fit
        for variable in variables:
            array = arrays[variable.path]
            if np.issubdtype(array.dtype, np.integer):
                sums[variable.path] = array
            else:
                sums[variable.path] = sums.get(variable.path, 0.0) + array.astype(np.float64)
    return {
        v.path: total if np.issubdtype(total.dtype, np.integer) else (total / len(steps)).astype(v.dtype)
        for v in variables
        for total in [sums[v.path]]
    }


def average_run(directory, steps, target, data_dir=None, eval_batches=0):
    """Writes the mean of checkpoints of a run to a run directory of its own, and scores it.

    Args:
      directory: the `RunDirectory` of the trained run. steps: which checkpoints, ascending.
      target: the `RunDirectory` to write, which is not there yet, or empty.
      data_dir: the folder of its data, whose dev splits are scored; None: nothing is.

    Returns:
      [(problem, metric, score of the newest of `steps`, score of the mean)].

    Raises:
      UserError: as `average`; or something is in `target`, or it can't be written.
    """
    if os.path.lexists(target.path) and (target.path.is_symlink() or any(target.path.iterdir())):
        raise UserError(f"{target.path} is there already; give another --output_dir")
    model, run, hparams, _ = directory.load_model(steps[-1])
    stores = open_stores(data_dir, run, sorted(run.problems)) if data_dir else {}
    evaluator = Evaluator(model, run, hparams)

    def scored():
        return {name: evaluator.evaluate(store, store.dev_split, eval_batches) for name, store in stores.items()}

    before = scored()
    arrays = average(directory, steps, model.variables)
    load_variables(model.variables, arrays, directory.checkpoints)
    _write(directory, steps, arrays, target.path)
    after = scored()
    rows = []
    for name in before:
        metric = run.problem(name).metrics[0]
        rows.append((name, metric, before[name][metric], after[name][metric]))
    return rows


def _write(directory, steps, arrays, folder):
    """Writes the averaged run beside its place, then renames it: it is whole or not there."""
    temporary = folder.with_name(f".unfinished-{folder.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        made = RunDirectory(temporary)
        made.write_copy_of(directory)
        checkpoints.save(made.checkpoints, steps[-1], arrays, {"step": steps[-1], "average_of": list(steps)})
        if folder.is_dir():
            folder.rmdir()  # an empty one
        os.rename(temporary, folder)
    except OSError as error:
        raise UserError(f"can't write {folder}: {error.strerror or error}; name another --output_dir") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _scores_by_step(directory, metric):
    """{step: the value on dev, the mean over the problems}; only of steps where all of them have it."""
    problem, _, name = metric.rpartition("/")
    get_metric(name)  # raises
    problems = [directory.run().problem(problem).spec.name] if problem else list(directory.run().problems)
    found = {}
    for record in read_metrics(directory.path):
        if record.get("problem") in problems and isinstance(record.get(name), (int, float)):
            found.setdefault(record["step"], {})[record["problem"]] = record[name]
    most = max(map(len, found.values()), default=0)  # a metric may be of some problems only
    return {step: sum(values.values()) / most for step, values in found.items() if len(values) == most}
