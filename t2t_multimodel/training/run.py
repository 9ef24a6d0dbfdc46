"""What was trained, on what; and its model, made and given its weights. `run_directory.py` keeps it on disk."""

import dataclasses
import sys

from t2t_multimodel import registry
from t2t_multimodel.decode_hparams import decode_settings
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.modalities import ProblemSpec

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

    @classmethod
    def of(cls, model, seed, backend, stores):
        problems = {}
        for name, store in stores.items():
            store.vocabulary()  # raises, where the data folder holds another one
            longest = int(store.split("train").target_length.max()) + store.spec.targets.end_of_sequence
            decode_settings(store.decode_hparams, where=name)  # raises
            problems[name] = RunProblem(
                _with_grammar(store), store.digest, store.metrics, longest, store.decode_hparams
            )
        _check_commands(problems)
        return cls(model, seed, backend, problems)

    def problem(self, name):
        if name not in self.problems:
            raise unknown_name("problem of this run", name, self.problems)
        return self.problems[name]

    @property
    def specs(self):
        return [problem.spec for problem in self.problems.values()]

    def to_json(self):
        problems = {name: problem.to_json() for name, problem in self.problems.items()}
        return {"model": self.model, "seed": self.seed, "backend": self.backend, "problems": problems}

    @classmethod
    def from_json(cls, values):
        problems = {name: RunProblem.from_json(name, p) for name, p in values["problems"].items()}
        return cls(values["model"], values["seed"], values["backend"], problems)

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
            if (before.spec.inputs, before.spec.targets) != (now.spec.inputs, now.spec.targets):
                changes.append(f"{name}: its vocabulary, shape or classes changed")
            elif before.digest != now.digest:
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


def build_model(run, hparams):
    """The registered model for a run's problems, with fresh weights."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(hparams.precision)
    try:
        return registry.models.get(run.model)(hparams, run.specs)
    finally:
        keras.config.set_dtype_policy(before)


def load_variables(variables, arrays, where):
    """Assigns `arrays` ({path: array}) to the variables; raises `UserError` where names or shapes don't fit."""
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
        variable.assign(array)


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
