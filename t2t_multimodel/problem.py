"""A problem: two modalities, samples of them, a command token and metrics. It knows nothing of models."""

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from t2t_multimodel.decode_hparams import decode_settings, refuse_of_process
from t2t_multimodel.errors import MustDefine, UserError
from t2t_multimodel.modalities import Modality, as_modality
from t2t_multimodel.modalities.base import fault_of

Sample = dict[str, Any]  # "inputs", "targets"; may have "references", "key"; see `Problem.samples`


class Problem:
    """Base class of all problems; the class's first docstring line is its description.

    A subclass says `inputs`, `targets` and `samples`; the rest has defaults. `inputs` may also be a dict of several
    modalities; its samples are dicts with the same names; or None: a language model; its samples have "targets"
    only. Both become one modality here, so that `problem.inputs` always is one.
    """

    name: str = ""  # set by @register_problem
    inputs: Any = None  # a `Modality` once a subclass says it
    targets: Any = None
    command: str | None = None  # name of the command token, e.g. "to_german"; None: "to_" + the problem's name
    metrics: Sequence[str] | None = None  # the headline first; None: by the target's modality
    # What decoding keeps its answers to: "tree", well-formed brackets with a leaf for each word of the input. They must
    # be one id each (`Text.symbols`); see docs/own_problem.md.
    target_grammar: str = ""
    decode_hparams: Mapping[str, Any] = {}  # how its answers are decoded unless asked otherwise, e.g. {"beam_size": 4}
    splits: Sequence[str] = ("train", "dev", "test")
    vocabulary_size: int | None = None  # asked for when this problem is the first of its data folder

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "inputs" in vars(cls):
            cls.inputs = as_modality(vars(cls)["inputs"])

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, as_modality(value) if name == "inputs" else value)

    def samples(self, split: str) -> Iterable[Sample]:
        """Yields the raw samples of a split, lazily and always in the same order.

        A sample is a dict with "inputs" and "targets" (str, bytes, numpy array, or whatever `prepare`
        turns into such), optionally "references": a list of strings that are all right answers, and
        "key": a string that identifies it. Must be cheap: costly work belongs into `prepare`.

        Where one can't be read but the next one can, {"key": …, "bad": "file:line: the reason"} is yielded in its
        place; such and what `prepare` refuses is an error, or left out and counted (`--max_bad_records`).
        """
        raise MustDefine(self, "samples(split)")

    def prepare(self, sample: Sample) -> Sample:
        """The costly part of making one sample (decode a file, render); runs in the worker processes.

        Returns a sample with sides that satisfy `inputs.check` and `targets.check`.
        """
        return sample

    def source_files(self) -> Iterable[str | os.PathLike[str]]:
        """Paths of the files the samples come from; their sizes and times enter the store's fingerprint."""
        return []

    def arguments(self) -> dict[str, str]:
        """What, besides code and files, decides what the samples are: {name: plain value}; for the fingerprint."""
        names = sorted({n for cls in type(self).__mro__ for n in vars(cls)} | set(vars(self)))
        plain = (str, int, float, bool, tuple, type(None))
        skip = ("name", "command", "metrics", "target_grammar", "vocabulary_size", "description")
        return {
            n: repr(getattr(self, n))
            for n in names
            if not n.startswith("_") and n not in skip and isinstance(getattr(type(self), n, None), plain)
        } | {"inputs": repr(self.inputs), "targets": repr(self.targets)}

    @property
    def command_name(self) -> str:
        return self.command or f"to_{self.name}"

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics, the headline first."""
        if self.metrics is not None:
            return tuple(self.metrics)
        return tuple(self.targets.default_metrics) if self.targets is not None else ()

    @property
    def evaluation_split(self) -> str:
        """The split that final scores are taken on: "test" where there is one, else "dev"."""
        return "test" if "test" in self.splits else "dev"


def declaration_faults(problem: Problem) -> list[str]:
    """What is wrong with what `problem` declares: a list of clauses, [] where nothing is.

    Does not look at its samples; may read its files, where its features or splits depend on them.
    """
    faults = []
    if type(problem).samples is Problem.samples:
        faults.append("it must define samples(self, split)")
    for side in ("inputs", "targets"):
        modality = getattr(problem, side)
        if modality is None:
            faults.append(f"it must say its {side}, e.g. {side} = Text()")
        elif isinstance(modality, type) and issubclass(modality, Modality):
            faults.append(f"its {side} are the class {modality.__name__}, no modality: write {modality.__name__}()")
        elif not isinstance(modality, Modality):
            faults.append(f"its {side} must be a modality such as Text() or Image(), not {modality!r}")
        elif fault := fault_of(modality):
            faults.append(f"its {side} {fault}")
        elif not (modality.can_be_input if side == "inputs" else modality.can_be_target):
            faults.append(
                f"its {side} can't be {modality.modality_name}, for which there is no net that "
                + ("reads it" if side == "inputs" else "writes it")
            )
    for name, example in (("splits", '("train", "dev", "test")'), ("metrics", '("bleu", "exact_match")')):
        value = getattr(problem, name)
        if value is None and name == "metrics":
            continue
        if isinstance(value, str) or not all(isinstance(item, str) and item.isidentifier() for item in value or [0]):
            faults.append(f"its {name} must be a tuple of names, such as {example}, not {value!r}")
        elif len(set(value)) < len(value):
            faults.append(f"its {name} name something twice: {value!r}")
    if not isinstance(problem.decode_hparams, dict):
        faults.append(f'its decode_hparams must be a dict, such as {{"beam_size": 4}}, not {problem.decode_hparams!r}')
    else:
        try:
            decode_settings(problem.decode_hparams)
            refuse_of_process(problem.decode_hparams)
        except UserError as error:
            faults.append(f"its decode_hparams: {error}")
    if problem.target_grammar and not faults and not both_are_text(problem):
        faults.append(f"its target_grammar {problem.target_grammar!r} is for problems from text to text")
    if problem.command is not None and (not isinstance(problem.command, str) or not problem.command.strip()):
        faults.append(f'its command must be a name, such as "to_german", not {problem.command!r}')
    return faults


def samples_of(problem: Problem, split: str) -> Iterator[Sample]:
    """Yields `problem.samples(split)`; what is no sample at all raises `UserError` with its number."""
    samples = problem.samples(split)
    if not hasattr(samples, "__iter__"):
        raise UserError(f"problem {problem.name}: samples({split!r}) must yield samples, it returns {samples!r}")
    for number, sample in enumerate(samples):
        if not isinstance(sample, dict):
            raise UserError(
                f'problem {problem.name}: samples({split!r}) must yield dicts with "inputs" and "targets"; number '
                f"{number} is of type {type(sample).__name__}"
            )
        yield sample


def missing_side(problem: Problem, sample: object) -> str:
    """Why `sample`, as `prepare` left it, is none; "" where it has both sides, or all that are not optional."""
    if not isinstance(sample, dict):
        return f"a prepared sample must be a dict with 'inputs' and 'targets', not of type {type(sample).__name__}"
    if "inputs" in sample and "targets" in sample:
        return ""
    absent = [s for s in ("inputs", "targets") if s not in sample and not getattr(problem, s).optional]
    has = ", ".join(map(repr, sample)) or "nothing"
    return f"the sample has no {' and no '.join(map(repr, absent))}; it has {has}" if absent else ""


def both_are_text(problem: Problem) -> bool:
    """Whether both sides of a problem are strings written in a vocabulary."""
    return all(side is not None and side.is_text for side in (problem.inputs, problem.targets))


def reversed_problem(problem: Problem) -> Problem:
    """`problem` with its two sides swapped, named `<name>_rev`; both sides must be text."""
    if not both_are_text(problem):
        raise UserError(f"{problem.name}_rev: only problems from text to text can be reversed, {problem.name} is not")
    base = problem

    class Reversed(type(base)):  # type: ignore[misc]  # a class made on demand, of whichever class is reversed
        target_grammar: str = ""
        decode_hparams: Mapping[str, Any] = {}

        def samples(self, split: str) -> Iterator[Sample]:
            for sample in base.samples(split):
                if "bad" in sample:
                    yield sample
                    continue
                yield {"inputs": sample["targets"], "targets": sample["inputs"]} | (
                    {"key": sample["key"]} if "key" in sample else {}
                )

        def prepare(self, sample: Sample) -> Sample:
            swap = base.prepare({**sample, "inputs": sample["targets"], "targets": sample["inputs"]})
            return {**swap, "inputs": swap["targets"], "targets": swap["inputs"]}

        def __reduce__(self) -> tuple[Any, ...]:  # the class is made on demand, so workers get it by this function
            return reversed_problem, (base,)

    new = copy.copy(base)
    new.__class__ = Reversed
    new.name = f"{base.name}_rev"
    new.command = None
    new.metrics = ("bleu", "exact_match")
    new.inputs, new.targets = base.targets, base.inputs
    return new
