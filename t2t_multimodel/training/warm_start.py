"""Starting a run from a trained one: which weights it takes over, and the table that says so.

    t2t-trainer --warm_start_from=OTHER_RUN[@step] --output_dir=NEW …

Weights of the same path and shape are copied. The rows of vocabularies and classes are found by name (`net_pairs.py`).
With `keep_optimizer` everything else goes on as well: step, moments, random state, position in the data.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
from pathlib import Path

import keras
import numpy as np

from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.files import user_path, write_file
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.json_files import ANY, MissingFile, Whole, read_json
from t2t_multimodel.training import checkpoints, published
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.net_pairs import pair_nets
from t2t_multimodel.training.parts import part_of
from t2t_multimodel.training.processes import ALONE
from t2t_multimodel.training.run import Run, load_variables
from t2t_multimodel.training.run_directory import RunDirectory
from t2t_multimodel.vocabulary import Vocabulary

NOTE_FILE = "warm_start.json"
COPIED, RESIZED, NEW, LEFT_OUT = "copied", "resized", "new", "left out"
_NOTE = {
    "from": str,
    "step": Whole(0),
    "map": str,
    "keep_optimizer": bool,
    "first_step": Whole(0),
    "problems": [str],
    "table": [[ANY]],
}
# Hyper-parameters that say what the weights are for: with other values they would not fit, or mean something else.
_OF_THE_BODY = (
    "hidden_size encoder_blocks attention_blocks mixer_blocks decoder_blocks decoder_attentions encoder_experts "
    "decoder_experts small_kernel large_kernel large_dilation num_heads use_attention use_experts use_convolutions "
    "num_experts expert_filter_size class_filter_ratios image_norm"
).split()
_OF_NETS = (  # each begins with the name of the modality that it is of
    "image_stem_filters image_residual_filters image_stem_stride audio_frame_milliseconds audio_hop_milliseconds "
    "audio_mel_bins audio_blocks audio_filter_multiplier audio_filters_most audio_strides audio_bin_strides "
    "audio_stack audio_normalize audio_preemphasis"
).split()
_LONGEST_STEP = 15  # digits
_RANDOM_STATE = "seed_generator_state"


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained run at a step, or a published folder."""

    path: Path
    run: Run
    hparams: HParams
    vocabulary: Vocabulary | None
    checkpoint: checkpoints.Checkpoint
    root: str = ""  # what the paths of the model's variables begin with

    @classmethod
    def open(cls, text):
        """What `text`, "RUN" or "RUN@step", names; raises `UserError` where there is none that is whole."""
        path, step = _path_and_step(text)
        directory = RunDirectory(path)
        if published.is_published(path):
            found = published.read(path, step)
            if found.quantize != "none":
                raise UserError(
                    f"{path} has {found.quantize} weights, too coarse to train on; start from a run of floats"
                )
            checkpoint = checkpoints.Checkpoint(found.step, directory.path, found.arrays, {})
            return cls(directory.path, found.run, found.hparams, found.vocabulary, checkpoint)
        run = directory.run()
        vocabulary = directory.vocabulary(run)
        if step is not None:
            checkpoint = checkpoints.load(directory.checkpoints, step)
        else:
            checkpoint = checkpoints.load_latest(directory.checkpoints)
        if checkpoint is None:
            raise UserError(f"{directory.path} holds no checkpoint to start from; train it first")
        return cls(directory.path, run, directory.resolved().hparams, vocabulary, checkpoint)

    @functools.cached_property
    def nets(self):
        """{the first two names of a path}: model and part of every array."""
        return {"/".join(path.split("/")[:2]) for path in self.checkpoint.arrays}

    def digest(self):
        """sha256 of the step and of all arrays."""
        found = hashlib.sha256(str(self.checkpoint.step).encode())
        for path, array in sorted(self.checkpoint.arrays.items()):
            found.update(f"{path} {array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def prefix(self, modality, target):
        """What the paths of the variables of a modality's net begin with; "" where there is no such net."""
        for name in ([f"{modality.weights_name}_head"] if target else []) + [modality.weights_name]:
            if f"{self.root}/{name}" in self.nets:
                return f"{self.root}/{name}/"
        return ""

    def aligned_prefix(self, modality, target=True):
        """The same of the net that reads a target off its input's positions."""
        name = f"{self.root}/{modality.aligned_name}"
        return f"{name}/" if name in self.nets else ""


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """What a run took over: the note in its run directory."""

    source: str  # as the user named it
    step: int  # of the source
    names: str  # the --warm_start_map
    keeps_optimizer: bool
    first_step: int  # of this run: 0, or that of the source
    problems: list  # of the source
    table: list  # of rows: part, weights, what, why

    def lines(self):
        """The table in words."""
        from t2t_multimodel.training.reporting import format_table

        head = f"starts from {self.source}, step {self.step}" + (", with its optimizer" if self.keeps_optimizer else "")
        rows = [(part, f"{weights:,}", what, why) for part, weights, what, why in self.table]
        return f"{head}\n{format_table([('part', 'weights', 'what', 'why'), *rows])}"

    def write(self, output_dir):
        """Writes the note to a run directory."""
        values = {"from": self.source, "step": self.step, "map": self.names, "keep_optimizer": self.keeps_optimizer}
        values |= {"first_step": self.first_step, "problems": self.problems, "table": self.table}
        write_file(Path(output_dir) / NOTE_FILE, json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, output_dir):
        """The note of a run directory; None where that run started from nothing."""
        try:
            values = read_json(Path(output_dir) / NOTE_FILE, _NOTE, "copy the run again")
        except MissingFile:
            return None
        rows = [row for row in values["table"] if len(row) == 4 and isinstance(row[1], int)]
        start = values["from"], values["step"], values["map"], values["keep_optimizer"]
        return cls(*start, values["first_step"], values["problems"], rows)

    def check_same(self, settings):
        """Raises `UserError` where `settings` ask for another start than this one; none asked for is the same."""
        if not settings.warm_start_from:
            return
        path, step = _path_and_step(settings.warm_start_from)
        same_place = os.path.realpath(path) == os.path.realpath(_path_and_step(self.source)[0])
        if not same_place or step not in (None, self.step):
            said = f"from {self.source}, step {self.step}, not from {settings.warm_start_from}"
        elif settings.warm_start_map != self.names:
            said = f"with --warm_start_map={self.names!r}, not {settings.warm_start_map!r}"
        elif settings.keep_optimizer != self.keeps_optimizer:
            said = f"{'with' if self.keeps_optimizer else 'without'} --keep_optimizer"
        else:
            return
        raise UserError(
            f"{settings.output_dir} holds a run that was started {said}; leave --warm_start_from and what goes with it "
            "out to go on with that run, or give another --output_dir"
        )


def open_source(settings, run, processes=ALONE):
    """The `Source` that `settings.warm_start_from` names, checked as far as that takes no model.

    Args:
      settings: the `RunSettings`. run: the new `Run`.
      processes: `Alone` or `Group`; the first one finds the newest step, and all must find the same weights.

    Raises:
      UserError: there is no such run, or the new one can't start from it.
    """
    if os.path.realpath(_path_and_step(settings.warm_start_from)[0]) == os.path.realpath(settings.output_dir):
        raise UserError(
            f"--warm_start_from={settings.warm_start_from} is the run itself; to go on with it leave that out, to "
            "start from it give another --output_dir"
        )
    source = Source.open(settings.warm_start_from) if processes.first else None
    step = processes.told("looking for the trained run", source and source.checkpoint.step)
    source = source or Source.open(f"{_path_and_step(settings.warm_start_from)[0]}@{step}")
    if processes.several:
        processes.same("comparing the trained run", {"trained run to start from": source.digest()})
    if source.run.model != run.model:
        raise UserError(
            f"{source.path} is of model {source.run.model}, this run of {run.model}; give --model={source.run.model}"
        )
    _problem_names(settings.warm_start_map, run, source.run)  # raises
    _check_hparams(source, settings.resolved.hparams, _OF_THE_BODY, _of_nets(_kinds(run) & _kinds(source.run)))
    if settings.keep_optimizer:
        _check_optimizer(source, settings.resolved.hparams)
    return source


def warm_start(source, settings, model, optimizer, run, vocabulary):
    """Gives the variables of a new run the values of a trained one.

    Args:
      source: of `open_source`.
      settings: the `RunSettings`. model, optimizer: of the new run; the optimizer changes with keep_optimizer only.
      run: the new `Run`. vocabulary: that of its texts, or None.

    Returns:
      The `WarmStart`.

    Raises:
      UserError: hyper-parameters do not agree, weights are not finite, or with keep_optimizer something would be new.
    """
    source = dataclasses.replace(source, root=model.name)
    pairs = pair_nets(model, run.specs, source, vocabulary, _problem_names(settings.warm_start_map, run, source.run))
    _check_hparams(source, settings.resolved.hparams, _of_nets({p.modality.modality_name for p in pairs.values()}))
    taken, rows = _take_over(model, pairs, source.checkpoint.arrays, source.path)
    left = [path for path in source.checkpoint.arrays if path.startswith(f"{model.name}/") and path not in taken]
    rows += [
        (part_of(path), source.checkpoint.arrays[path].shape, LEFT_OUT, "this model has no such part")
        for path in left
        if not path.endswith(_RANDOM_STATE)
    ]
    first_step = 0
    if settings.keep_optimizer:
        _keep_optimizer(source, model, optimizer, rows)
        first_step = source.checkpoint.step
    table = _by_part(rows)
    names = sorted(source.run.problems)
    start = settings.warm_start_from, source.checkpoint.step, settings.warm_start_map, settings.keep_optimizer
    return WarmStart(*start, first_step, names, table)


def go_on_with_data(stream, window, source):
    """Has the data go on where the trained run was, where it is the same; says of which problems it is not."""
    with source.checkpoint.state_used():
        state = source.checkpoint.state
        try:
            stream.restore(state["stream"], same_mixture=False)
            window.restore(state["window"])
            return
        except UserError:  # other problems, other data or another seed
            anew = []
        for problem, own in stream.streams.items():
            try:
                own.restore(state["stream"]["streams"][problem])
            except (KeyError, UserError):
                anew.append(problem)
        stream.restore_counts(state["stream"])
    if anew:
        print(f"the data of {', '.join(anew)} begins anew: it is not that of the trained run, or in another order")


def _path_and_step(text):
    """("run", 2000) of "run@2000"; ("run", None) of "run"."""
    text = user_path(text, "warm_start_from")
    path, at, step = text.rpartition("@")
    if not at or not step.isdecimal() or len(step) > _LONGEST_STEP or Path(text).is_dir():
        return text, None
    return path, int(step)


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


def _kinds(run):
    """The names of the modalities of a run."""
    sides = [side for spec in run.specs for side in (spec.inputs, spec.targets)]
    return {m.modality_name for side in sides for m in (side, *(member for _, member in side.members))}


def _of_nets(kinds):
    return [name for name in _OF_NETS if name.partition("_")[0] in kinds]


def _check_hparams(source, hparams, names, more=()):
    """Raises `UserError` where hyper-parameters of these `names` differ; it names those of `more` that do, too."""
    before = source.hparams
    differ = lambda names: [name for name in names if getattr(before, name) != getattr(hparams, name)]
    other = differ(names)
    if other:
        other += differ(more)
        said = "; ".join(f"{name}: {getattr(before, name)!r} → {getattr(hparams, name)!r}" for name in other)
        asked = ",".join(f"{name}={getattr(before, name)!r}".replace(" ", "") for name in other)
        raise UserError(
            f"{source.path} was trained with other hyper-parameters that its weights depend on ({said}); "
            f'give --hparams="{asked}"'
        )


def _take_over(model, pairs, arrays, where):
    """Assigns what there is; returns (the old paths that were used, rows: part, shape, what, why).

    The arrays may be a stranger's: of any shape and type, and not numbers.
    """
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
        by_name = pair and pair.rows and inside in pair.axes and not pair.rows.same
        if old is None:
            what, why = NEW, "the trained run has no such part"
        elif by_name and pair.rows.fits(shape, old, pair.axes[inside]):
            (own,) = adapter().to_host((variable.value,))  # of several processes each has a part
            old = pair.rows.taken(own, old, pair.axes[inside])
            what, why = RESIZED, "; ".join(filter(None, (str(pair.rows), pair.why)))
        elif by_name or tuple(old.shape) != shape:
            what, why = NEW, f"{_sizes(old.shape)} there, {_sizes(shape)} here"
        if what != NEW:
            if not np.isfinite(old.astype(np.float32)).all():
                raise UserError(f"{where}: the weights {old_path} are not finite; start from another step or run")
            variable.assign(old)
            taken.add(old_path)
        rows.append((part_of(path), shape, what, why))
    return taken, rows


def _check_optimizer(source, hparams):
    where, step = source.path, source.checkpoint.step
    if source.hparams.optimizer != hparams.optimizer:
        raise UserError(
            f"--keep_optimizer: {where} was trained with optimizer={source.hparams.optimizer}, not "
            f"{hparams.optimizer}; give that one"
        )
    if "stream" not in source.checkpoint.state:
        raise UserError(
            f"--keep_optimizer: {where} has no state of the optimizer at step {step}; averaged weights and published "
            "folders have none; leave --keep_optimizer out"
        )
    if step >= hparams.train_steps:
        raise UserError(
            f"--keep_optimizer goes on from step {step}, and train_steps is {hparams.train_steps}; give more "
            "--train_steps"
        )


def _keep_optimizer(source, model, optimizer, rows):
    where = source.path
    other = sorted({part for part, _, what, _ in rows if what not in (COPIED, LEFT_OUT)})
    if other:
        raise UserError(
            f"--keep_optimizer goes on with the same weights, and {', '.join(other)} is not the same in {where}; "
            "leave --keep_optimizer out, or give the problems and data that it was trained on"
        )
    arrays = source.checkpoint.arrays
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
