"""What a run directory holds, in words: problems, parts and sizes, vocabulary, hparams, checkpoints, scores."""

import json
import math
import os

from t2t_multimodel.cli.settings import settings_table
from t2t_multimodel.errors import UserError
from t2t_multimodel.json_files import read_bytes

_MOST_COMMANDS = 20  # shown


def describe(output_dir):
    """Yields the sections of the text; no model is made, and of a checkpoint only the head is read.

    Raises:
      UserError: there is no run, or it is damaged.
    """
    from t2t_multimodel.training.reporting import format_table
    from t2t_multimodel.training.run_directory import RunDirectory
    from t2t_multimodel.training.warm_start import WarmStart

    directory = RunDirectory(output_dir)
    run, resolved, vocabulary = directory.run(), directory.resolved(), directory.vocabulary()
    yield f"{directory.path}: model {run.model}, backend {run.backend}, seed {run.seed}"
    start = WarmStart.read(directory.path)
    if start:
        yield start.lines()
    rows = [("problem", "inputs", "targets", "command", "metrics", "decoding")]
    for name, problem in run.problems.items():
        rows.append((name, *_sides(problem.spec), _command(problem.spec, vocabulary), ", ".join(problem.metrics)))
        rows[-1] += (", ".join(f"{key} {value}" for key, value in problem.decoding.items()) or None,)
    yield format_table(rows)
    if vocabulary is not None:
        names = sorted(vocabulary.commands, key=vocabulary.commands.get)
        more = f", … ({len(names)})" if len(names) > _MOST_COMMANDS else ""
        yield (
            f"vocabulary: {vocabulary.size:,} ids, digest {vocabulary.digest[:16]}…; commands "
            f"{', '.join(names[:_MOST_COMMANDS]) or '(none)'}{more}"
        )
    yield settings_table(resolved)
    yield from _checkpoints(directory)
    yield _scores(directory, run)


def _sides(spec):
    """The modalities of inputs and targets, with the names of the weights that they use."""
    return [side.weights_name for side in (spec.inputs, spec.targets)]


def _command(spec, vocabulary):
    """The name of a problem's command token; None where its target has none."""
    if vocabulary is None or not spec.targets.uses_vocabulary:
        return None
    return next((name for name, i in vocabulary.commands.items() if i == spec.command_id), f"id {spec.command_id}")


def _checkpoints(directory):
    """A table of the checkpoints, and one of the parts of the newest whole one."""
    from t2t_multimodel.training import checkpoints
    from t2t_multimodel.training.reporting import format_table

    rows, whole = [("checkpoint", "megabytes", "state")], None
    for step in checkpoints.steps(directory.checkpoints):
        damage = checkpoints.damage(directory.checkpoints, step)
        whole = whole if damage else step
        folder = checkpoints.folder_of(directory.checkpoints, step)
        megabytes = sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(folder)) / 1e6
        state = f"damaged: {damage}" if damage else _what_it_is(directory, step)
        rows.append((f"step {step}", f"{megabytes:,.1f}", state))
    if len(rows) == 1:
        yield "no checkpoint yet"
        return
    yield format_table(rows)
    if whole is not None:
        yield _parts(directory, whole)


def _what_it_is(directory, step):
    """ "whole", or of which checkpoints it is the mean."""
    from t2t_multimodel.training import checkpoints

    path = checkpoints.folder_of(directory.checkpoints, step) / checkpoints.STATE_FILE
    try:
        steps = json.loads(read_bytes(path, links=False)).get("average_of")
    except (ValueError, AttributeError, RecursionError):
        return "damaged: its state is no JSON object"
    return f"whole; the mean of steps {', '.join(map(str, steps))}" if isinstance(steps, list) else "whole"


def _parts(directory, step):
    from safetensors import SafetensorError, safe_open

    from t2t_multimodel.training import checkpoints
    from t2t_multimodel.training.parts import part_of
    from t2t_multimodel.training.reporting import format_table
    from t2t_multimodel.training.shards import path_of

    folder = checkpoints.folder_of(directory.checkpoints, step)
    numbers, sizes, state = {}, {}, 0
    try:
        for path in checkpoints.array_files(folder):
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():
                    size = math.prod(file.get_slice(name).get_shape())
                    numbers[path_of(name)] = numbers.get(path_of(name), 0) + size
        model = next(name for name in numbers if name.count("/") > 1).split("/")[0]  # an optimizer's have no parts
        for name, size in numbers.items():
            if not name.startswith(f"{model}/"):
                state += size
            elif not name.endswith("seed_generator_state"):
                sizes[part_of(name)] = sizes.get(part_of(name), 0) + size
    except (SafetensorError, OSError, ValueError, StopIteration) as error:
        raise UserError(f"the arrays of {folder} can't be read ({error}); copy the run again") from None
    rows = [("part", "weights", "share")]
    total = sum(sizes.values())
    rows += [(part, f"{size:,}", f"{size / max(total, 1):.1%}") for part, size in sizes.items()]
    return f"{format_table(rows)}\n{total:,} weights; {state:,} numbers of the optimizer's state"


def _scores(directory, run):
    """The newest evaluation of each problem in the log."""
    from t2t_multimodel.training.metrics_log import is_number, read_metrics
    from t2t_multimodel.training.reporting import format_score, format_table

    newest = {}
    for record in read_metrics(directory.path):
        if record.get("problem") in run.problems and record["split"] != "train":
            newest[record["problem"], record["split"]] = record
    rows = [("problem", "split", "step", "scores")]
    for (name, split), record in newest.items():
        metrics = (*run.problem(name).metrics, *run.problem(name).spec.targets.teacher_forced_metrics)
        there = [metric for metric in dict.fromkeys(metrics) if is_number(record.get(metric))]
        rows.append((name, split, record["step"], ", ".join(f"{m} {format_score(m, record[m])}" for m in there)))
    return format_table(rows) if len(rows) > 1 else "no scores in the log"
