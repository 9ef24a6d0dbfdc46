"""Starting a run from a trained one: which weights it takes over, and the table that says so.

    t2t-trainer --warm_start_from=OTHER_RUN[@step] --output_dir=NEW …

Weights of the same path and shape are copied. The rows of vocabularies and classes are found by name (`net_pairs.py`).
With `keep_optimizer` everything else goes on as well: step, moments, random state, position in the data.
"""

import dataclasses
import functools
import json
import math
from pathlib import Path

import keras

from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.files import write_file
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.json_files import ANY, MissingFile, Whole, read_json
from t2t_multimodel.training import checkpoints
from t2t_multimodel.training.net_pairs import pair_nets
from t2t_multimodel.training.parts import part_of
from t2t_multimodel.training.run import Run, load_variables
from t2t_multimodel.training.run_directory import RunDirectory
from t2t_multimodel.vocabulary import Vocabulary

NOTE_FILE = "warm_start.json"
COPIED, RESIZED, NEW, LEFT_OUT = "copied", "resized", "new", "left out"
_NOTE = {"from": str, "step": Whole(0), "first_step": Whole(0), "problems": [str], "table": [[ANY]]}
# Hyper-parameters that say what the weights are for: with other values they would not fit, or mean something else.
_OF_THE_BODY = (
    "hidden_size encoder_blocks attention_blocks mixer_blocks decoder_blocks small_kernel large_kernel large_dilation "
    "num_heads use_attention use_experts num_experts expert_filter_size class_filter_ratios image_norm"
).split()
_OF_NETS = (  # each begins with the name of the modality that it is of
    "image_stem_filters image_residual_filters image_stem_stride audio_frame_milliseconds audio_hop_milliseconds "
    "audio_mel_bins audio_blocks audio_filter_multiplier audio_filters_most"
).split()
_RANDOM_STATE = "seed_generator_state"


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained run at a step."""

    directory: RunDirectory
    run: Run
    hparams: HParams
    vocabulary: Vocabulary | None
    checkpoint: checkpoints.Checkpoint
    root: str  # what the paths of the model's variables begin with

    @classmethod
    def open(cls, text, root):
        """The run that `text`, "RUN" or "RUN@step", names; raises `UserError` where there is none that is whole."""
        path, at, step = text.rpartition("@")
        if not at or not step.isdecimal() or Path(text).is_dir():
            path, step = text, ""
        directory = RunDirectory(path)
        run = directory.run()
        vocabulary = directory.vocabulary(run)
        if step:
            checkpoint = checkpoints.load(directory.checkpoints, int(step))
        else:
            checkpoint = checkpoints.load_latest(directory.checkpoints)
        if checkpoint is None:
            raise UserError(f"{directory.path} holds no checkpoint to start from; train it first")
        return cls(directory, run, directory.resolved().hparams, vocabulary, checkpoint, root)

    @functools.cached_property
    def nets(self):
        """{the first two names of a path}: model and part of every array."""
        return {"/".join(path.split("/")[:2]) for path in self.checkpoint.arrays}

    def prefix(self, modality, target):
        """What the paths of the variables of a modality's net begin with; "" where there is no such net."""
        for name in ([f"{modality.weights_name}_head"] if target else []) + [modality.weights_name]:
            if f"{self.root}/{name}" in self.nets:
                return f"{self.root}/{name}/"
        return ""


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """What a run took over: the note in its run directory."""

    source: str  # as the user named it
    step: int  # of the source
    first_step: int  # of this run: 0, or that of the source
    problems: list  # of the source
    table: list  # of rows: part, weights, what, why

    def lines(self):
        """The table in words."""
        from t2t_multimodel.training.reporting import format_table

        head = f"starts from {self.source}, step {self.step}" + (", with its optimizer" if self.first_step else "")
        rows = [(part, f"{weights:,}", what, why) for part, weights, what, why in self.table]
        return f"{head}\n{format_table([('part', 'weights', 'what', 'why'), *rows])}"

    def write(self, output_dir):
        """Writes the note to a run directory."""
        values = {"from": self.source, "step": self.step, "first_step": self.first_step}
        values |= {"problems": self.problems, "table": self.table}
        write_file(Path(output_dir) / NOTE_FILE, json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, output_dir):
        """The note of a run directory; None where that run started from nothing."""
        try:
            values = read_json(Path(output_dir) / NOTE_FILE, _NOTE, "copy the run again")
        except MissingFile:
            return None
        rows = [row for row in values["table"] if len(row) == 4 and isinstance(row[1], int)]
        return cls(values["from"], values["step"], values["first_step"], values["problems"], rows)


def warm_start(settings, model, optimizer, run, vocabulary):
    """Gives the variables of a new run the values of the one that `settings.warm_start_from` names.

    Args:
      settings: the `RunSettings`. model, optimizer: of the new run; the optimizer changes with keep_optimizer only.
      run: the new `Run`. vocabulary: that of its texts, or None.

    Returns:
      (the `WarmStart`, the `Source`).

    Raises:
      UserError: there is no such run, hyper-parameters do not agree, or with keep_optimizer something would be new.
    """
    source = Source.open(settings.warm_start_from, model.name)
    if source.directory.path.resolve() == Path(settings.output_dir).resolve():
        raise UserError(
            f"--warm_start_from={settings.warm_start_from} is the run itself; to go on with it leave that out, to "
            "start from it give another --output_dir"
        )
    if source.run.model != run.model:
        raise UserError(
            f"{source.directory.path} is of model {source.run.model}, this run of {run.model}; give "
            f"--model={source.run.model}"
        )
    pairs = pair_nets(model, run.specs, source, vocabulary, _problem_names(settings.warm_start_map, run, source.run))
    _check_hparams(source, settings.resolved.hparams, [pair.modality for pair in pairs.values()])
    taken, rows = _take_over(model, pairs, source.checkpoint.arrays)
    left = [path for path in source.checkpoint.arrays if path.startswith(f"{model.name}/") and path not in taken]
    rows += [
        (part_of(path), source.checkpoint.arrays[path].shape, LEFT_OUT, "this model has no such part")
        for path in left
        if not path.endswith(_RANDOM_STATE)
    ]
    first_step = 0
    if settings.keep_optimizer:
        _keep_optimizer(source, settings, model, optimizer, rows)
        first_step = source.checkpoint.step
    table = _by_part(rows)
    names = sorted(source.run.problems)
    return WarmStart(settings.warm_start_from, source.checkpoint.step, first_step, names, table), source


def go_on_with_data(stream, window, source):
    """Has the data go on where the trained run was, where it is the same; says of which problems it is not."""
    with source.checkpoint.state_used():
        state = source.checkpoint.state
        try:
            stream.restore(state["stream"])
            window.restore(state["window"])
            return
        except UserError:  # other problems, other data or another seed
            anew = []
        for problem, own in stream.streams.items():
            try:
                own.restore(state["stream"]["streams"][problem])
            except (KeyError, UserError):
                anew.append(problem)
    if anew:
        print(f"the data of {', '.join(anew)} begins anew: it is not that of the trained run, or in another order")


def _problem_names(text, run, old):
    """{new problem: old problem} of "new=old,new=old"."""
    names = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        new, equals, before = (part.strip() for part in item.partition("="))
        if not equals:
            raise UserError(f"--warm_start_map: {item!r} is not new_problem=old_problem")
        if new not in run.problems:
            raise unknown_name("problem of this run in --warm_start_map", new, run.problems)
        if before not in old.problems:
            raise unknown_name("problem of the trained run in --warm_start_map", before, old.problems)
        names[new] = before
    return names


def _check_hparams(source, hparams, modalities):
    wanted = [name for name in _OF_NETS if any(name.startswith(f"{m.modality_name}_") for m in modalities)]
    before = source.hparams
    other = [name for name in (*_OF_THE_BODY, *wanted) if getattr(before, name) != getattr(hparams, name)]
    if other:
        said = "; ".join(f"{name}: {getattr(before, name)!r} → {getattr(hparams, name)!r}" for name in other)
        asked = ",".join(f"{name}={getattr(before, name)!r}".replace(" ", "") for name in other)
        raise UserError(
            f"{source.directory.path} was trained with other hyper-parameters that its weights depend on ({said}); "
            f'give --hparams="{asked}"'
        )


def _take_over(model, pairs, arrays):
    """Assigns what there is; returns (the old paths that were used, rows: part, shape, what, why)."""
    taken, rows = set(), []
    for variable in model.variables:
        path, shape = variable.path, tuple(variable.shape)
        if path.endswith(_RANDOM_STATE):
            continue
        first, _, inside = path.partition("/")
        net, _, inside = inside.partition("/")
        pair, old_path = pairs.get(net), path
        if pair:
            old_path = pair.prefix + inside
        old = arrays.get(old_path)
        what, why = COPIED, pair.why if pair else ""
        if old is None:
            what, why = NEW, "the trained run has no such part"
        elif pair and pair.rows and inside in pair.axes and not pair.rows.same:
            value = pair.rows.taken(keras.ops.convert_to_numpy(variable), old, pair.axes[inside])
            variable.assign(value)
            what, why = RESIZED, "; ".join(filter(None, (str(pair.rows), pair.why)))
        elif tuple(old.shape) != shape:
            what, why = NEW, f"{_sizes(old.shape)} there, {_sizes(shape)} here"
        else:
            variable.assign(old)
        if what != NEW:
            taken.add(old_path)
        rows.append((part_of(path), shape, what, why))
    return taken, rows


def _keep_optimizer(source, settings, model, optimizer, rows):
    where = source.directory.path
    other = sorted({part for part, _, what, _ in rows if what not in (COPIED, LEFT_OUT)})
    if other:
        raise UserError(
            f"--keep_optimizer goes on with the same weights, and {', '.join(other)} is not the same in {where}; "
            "leave --keep_optimizer out, or give the problems and data that it was trained on"
        )
    before, now = source.hparams.optimizer, settings.resolved.hparams.optimizer
    if before != now:
        raise UserError(f"--keep_optimizer: {where} was trained with optimizer={before}, not {now}; give that one")
    arrays = source.checkpoint.arrays
    lacking = [variable.path for variable in optimizer.variables if variable.path not in arrays]
    if lacking:
        raise UserError(
            f"--keep_optimizer: the checkpoint of step {source.checkpoint.step} of {where} has no state of the "
            "optimizer, as one of averaged weights has none; leave --keep_optimizer out"
        )
    if source.checkpoint.step >= settings.resolved.hparams.train_steps:
        raise UserError(
            f"--keep_optimizer goes on from step {source.checkpoint.step}, and train_steps is "
            f"{settings.resolved.hparams.train_steps}; give more --train_steps"
        )
    load_variables(optimizer.variables, arrays, source.checkpoint.folder)
    if source.run.backend == keras.backend.backend():
        seeds = [v for v in model.variables if v.path.endswith(_RANDOM_STATE) and v.path in arrays]
        load_variables(seeds, arrays, source.checkpoint.folder)


def _by_part(rows):
    """[[part, weights, what, why]], the weights of equal rows added."""
    sums = {}
    for part, shape, what, why in rows:
        sums[part, what, why] = sums.get((part, what, why), 0) + math.prod(shape)
    return [[part, weights, what, why] for (part, what, why), weights in sums.items()]


def _sizes(shape):
    return " × ".join(map(str, shape)) or "a number"
