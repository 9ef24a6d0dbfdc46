"""What was trained, on what; and its model, made and given its weights. `run_directory.py` keeps it on disk."""

import contextlib
import dataclasses
import sys
from typing import Any

from t2t_multimodel import registry
from t2t_multimodel.decode_hparams import check_ctc, decode_settings
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.json_files import ANY, Whole, check
from t2t_multimodel.modalities import ProblemSpec
from t2t_multimodel.training.weight_limit import TooManyWeights, weights_in_memory, weights_limited, weights_to_come

_SCHEMA = {  # of run.json; `ProblemSpec.from_json` checks the specs
    "model": str,
    "seed": Whole(),
    "backend": str,
    "vocabulary?": (None, {"digest": str, "size": Whole(1)}),
    "problems": {
        str: {
            "spec": {str: ANY},
            "digest": str,
            "metrics": [str],
            "longest_target": Whole(0, 2**31 - 1),
            "decode_hparams?": {str: ANY},
        }
    },
}
GRAMMAR_EXAMPLES = 50  # looked at, whether the targets have the form that they are declared to have


@dataclasses.dataclass(frozen=True)
class RunProblem:
    """What a run remembers of a problem, so that decoding needs no data folder."""

    spec: ProblemSpec
    digest: str  # of the example store it was trained on
    metrics: tuple
    longest_target: int  # ids, with end-of-sequence, of the longest training target
    decode_hparams: dict = dataclasses.field(default_factory=dict)  # where they differ from the defaults

    @property
    def decoding(self):
        """How its answers are decoded, where that differs from the defaults."""
        return self.decode_hparams | ({"grammar": self.spec.grammar} if self.spec.grammar else {})

    def to_json(self):
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return values | {"spec": self.spec.to_json()}

    @classmethod
    def from_json(cls, name, values):
        return cls(
            ProblemSpec.from_json(name, values["spec"]),
            values["digest"],
            tuple(values["metrics"]),
            values["longest_target"],
            values.get("decode_hparams", {}),
        )


@dataclasses.dataclass(frozen=True)
class Run:
    """The contents of `run.json`."""

    model: str
    seed: int
    backend: str
    problems: dict  # name → RunProblem
    vocabulary: dict | None = None  # {"digest", "size"} of that of its texts

    @classmethod
    def of(cls, model, seed, backend, stores, hparams):
        problems, vocabulary = {}, None
        for name, store in stores.items():
            found = store.vocabulary()  # raises, where the data folder holds another one
            if found is not None:
                vocabulary = {"digest": found.digest, "size": found.size}
            longest = int(store.split("train").target_length.max()) + store.spec.targets.end_of_sequence
            check_ctc(decode_settings(store.decode_hparams, where=name), store.spec, hparams.ctc_weight > 0)  # raises
            problems[name] = RunProblem(
                _with_grammar(store), store.digest, store.metrics, longest, store.decode_hparams
            )
        _check_commands(problems)
        return cls(model, seed, backend, problems, vocabulary)

    def problem(self, name):
        if not isinstance(name, str) or name not in self.problems:
            raise unknown_name("problem of this run", name, self.problems)
        return self.problems[name]

    @property
    def specs(self):
        return [problem.spec for problem in self.problems.values()]

    def to_json(self):
        problems = {name: problem.to_json() for name, problem in self.problems.items()}
        about = {"model": self.model, "seed": self.seed, "backend": self.backend, "vocabulary": self.vocabulary}
        return about | {"problems": problems}

    @classmethod
    def from_json(cls, values):
        """Raises what `ProblemSpec.from_json` does where `values` are not those of a run."""
        check(values, _SCHEMA)
        problems = {name: RunProblem.from_json(name, p) for name, p in values["problems"].items()}
        for name, problem in problems.items():
            if not problem.metrics:
                raise ValueError(f"problems.{name}: it has no metric")
        known = _vocabulary_of([problem.spec for problem in problems.values()])
        vocabulary = values.get("vocabulary", known)  # run.json of an older version lacks it
        if known and vocabulary != known:
            raise ValueError("vocabulary: it is not the one of the texts of its problems")
        return cls(values["model"], values["seed"], values["backend"], problems, vocabulary)

    def changes_since(self, old):
        """What differs from the run `old` so that it can't be continued: a list of clauses, old → new."""
        changes = [
            f"{name}: {getattr(old, name)!r} → {getattr(self, name)!r}"
            for name in ("model", "seed", "backend")
            if getattr(old, name) != getattr(self, name)
        ]
        if set(old.problems) != set(self.problems):
            changes.append(f"problems: {', '.join(sorted(old.problems))} → {', '.join(sorted(self.problems))}")
        for name, before, now in self._in_both(old):
            sides = [side for side in ("inputs", "targets") if getattr(before.spec, side) != getattr(now.spec, side)]
            for side in sides:
                old_side, new_side = (getattr(each.spec, side).weights_name for each in (before, now))
                changed = f"{old_side} → {new_side}" if old_side != new_side else "another vocabulary, shape or classes"
                changes.append(f"{name}: its {side}: {changed}")
            if not sides and before.digest != now.digest:
                changes.append(f"{name}: its data was made anew with other content")
        return changes

    def decoding_changes_since(self, old):
        """[(problem, decoding of `old`, decoding now)] where that differs; a run may go on with it."""
        return [
            (name, before.decoding, now.decoding)
            for name, before, now in self._in_both(old)
            if before.decoding != now.decoding
        ]

    def _in_both(self, old):
        return [(name, old.problems[name], self.problems[name]) for name in sorted({*old.problems} & {*self.problems})]


def _vocabulary_of(specs):
    """{"digest", "size"} of the vocabulary that the texts of `specs` are bound to; None where there is none."""
    for spec in specs:
        for side in (spec.inputs, spec.targets):
            for modality in (side, *(member for _, member in side.members)):
                if getattr(modality, "vocabulary_digest", ""):
                    return {"digest": modality.vocabulary_digest, "size": modality.vocabulary_size}
    return None


def build_model(run, hparams, within_memory=True, quantize="none"):
    """The registered model for a run's problems, with fresh weights.

    Args:
      within_memory: False: of any size, for one with weights that have shapes only. quantize: "int8": its matrices are.

    Raises:
      UserError: it has more weights than fit into memory.
    """
    import keras

    from t2t_multimodel.models.int8 import making_int8

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(hparams.precision)
    try:
        with weights_in_memory() if within_memory else contextlib.nullcontext(), making_int8(quantize == "int8"):
            return registry.models.get(run.model)(hparams, run.specs)
    finally:
        keras.config.set_dtype_policy(before)


@dataclasses.dataclass(frozen=True)
class Stored:
    """A run at a step as it was read; no model is made of it yet."""

    run: Run
    hparams: Any
    vocabulary: Any  # None where there is no text
    step: int
    arrays: dict  # {path: array}, of at least the model's variables
    source: tuple[str, str, str]  # where, hparams_file and advice of `model_of_stored`
    as_value: Any = None  # of `model_of_stored`
    quantize: str = "none"  # of `decode_hparams.py`: how its model holds matrices

    def model(self):
        """The model with these weights; raises as `model_of_stored`."""
        given = {"as_value": self.as_value, "quantize": self.quantize}
        return model_of_stored(self.run, self.hparams, self.arrays, *self.source, **given)

    def quantized(self, how):
        """The same with matrices as `how` says; those that are int8 already stay so."""
        return self if how == "none" else dataclasses.replace(self, quantize=how)


def model_of_stored(run, hparams, arrays, where, hparams_file, advice, as_value=None, quantize="none"):
    """The model of a run with stored weights; they may be a stranger's.

    Args:
      arrays: {path: array}, of at least the model's variables. where: what holds them, as messages call it.
      hparams_file: where the hyper-parameters are from. advice: what to do about a damaged file.
      as_value: of `load_variables`. quantize: "int8": its matrices become int8, or are so in `arrays`.

    Raises:
      UserError: no model can be made of the hyper-parameters, or it has other weights than there are.
    """
    from t2t_multimodel.training.backend import adapter

    # Of int8 weights the scales come on top, at most as many.
    times = 1 if quantize == "none" else 2
    most, most_arrays = times * sum(array.size for array in arrays.values()), times * len(arrays)
    try:
        with weights_to_come(adapter().in_place), weights_limited(most, most_arrays):
            model = build_model(run, hparams, quantize=quantize)
    except UserError:
        raise
    except TooManyWeights as error:
        raise UserError(
            f"{where} is of another model: that of {hparams_file} has more weights ({error}); {advice}"
        ) from None
    except Exception as error:  # of hyper-parameters that no run was trained with: too large, contradicting
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"no model can be made of {hparams_file} ({said}); {advice}") from error
    load_weights(model, arrays, where, as_value)
    return model


def load_weights(model, arrays, where, as_value=None):
    """Assigns `arrays` to the variables of a model, as int8 where they are that. Args, Raises: of `load_variables`."""
    from t2t_multimodel.models.int8 import int8_arrays

    load_variables(model.variables, int8_arrays(model, arrays), where, as_value)


def load_variables(variables, arrays, where, as_value=None):
    """Assigns `arrays` ({path: array}) to the variables; raises `UserError` where names or shapes don't fit.

    Args:
      as_value: function that makes what a variable takes of an array, such as the backend's `in_place`; None: a copy.
    """
    missing = [v.path for v in variables if v.path not in arrays]
    if missing:
        raise UserError(
            f"{where}: the checkpoint is of another model: it has no {missing[0]} (and {len(missing) - 1} more)"
        )
    for variable in variables:
        array = arrays[variable.path]
        if tuple(array.shape) != tuple(variable.shape):
            shapes = f"{tuple(array.shape)}, not {tuple(variable.shape)}"
            raise UserError(f"{where}: the checkpoint is of another model: {variable.path} has shape {shapes}")
        variable.assign(as_value(array) if as_value else array)


def _with_grammar(store):
    """The spec of a store; without the form of its targets where its training examples do not keep to it."""
    from t2t_multimodel.decoding.grammars import grammar_of, misfit

    spec = store.spec
    if not spec.grammar:
        return spec
    form = grammar_of(spec, store.vocabulary())
    split = store.split("train")
    examples = split.examples(range(min(len(split), GRAMMAR_EXAMPLES)))
    wrong = misfit(form, examples) if form else 0
    if wrong is None:
        return spec
    reason = f"training example {examples[wrong]['key']} lacks" if form else "can't be told in this vocabulary"
    print(
        f"{spec.name}: its answers are decoded freely: the grammar {spec.grammar!r}, declared for them, {reason}",
        file=sys.stderr,
    )
    return dataclasses.replace(spec, grammar="")


def _check_commands(problems):
    """A command token without a place in the vocabulary would be some other word."""
    for name, problem in problems.items():
        spec = problem.spec
        if spec.targets.uses_vocabulary and not 0 < spec.command_id < spec.targets.vocabulary_size:
            raise UserError(
                f"{name}: its command token has id {spec.command_id}, which its vocabulary lacks; make its data again"
            )
