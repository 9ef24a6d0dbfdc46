"""A problem: two features, samples of them, a command token and metrics. It knows nothing of models."""

import copy

from t2t_multimodel.errors import UserError
from t2t_multimodel.features import Label, Text

# What is computed for every problem with such a target, whatever else the problem asks for.
TEACHER_FORCED = ("teacher_forced_log_perplexity", "teacher_forced_accuracy", "teacher_forced_sequence_accuracy")


class Problem:
    """Base class of all problems; the class's first docstring line is its description.

    A subclass says `inputs`, `targets` and `samples`; the rest has defaults.
    """

    name = None  # set by @register_problem
    inputs = None  # a Feature
    targets = None  # a Feature
    command = None  # name of the command token, e.g. "to_german"; None: "to_" + the problem's name
    metrics = None  # of decoded output, the headline first; None: by the target feature
    splits = ("train", "dev", "test")
    vocabulary_size = None  # asked for when this problem is the first of its data folder

    def samples(self, split):
        """Yields the raw samples of a split, lazily and always in the same order.

        A sample is a dict with "inputs" and "targets" (str, bytes, numpy array, or whatever `prepare`
        turns into such), optionally "references": a list of strings that are all right answers, and
        "key": a string that identifies it. Must be cheap: costly work belongs into `prepare`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define samples(split)")

    def prepare(self, sample):
        """The costly part of making one sample (decode a file, render); runs in the worker processes.

        Returns a sample whose sides satisfy `inputs.check` and `targets.check`.
        """
        return sample

    def source_files(self):
        """Paths of the files the samples come from; their sizes and times enter the store's fingerprint."""
        return []

    def arguments(self):
        """What, besides code and files, decides what the samples are: {name: plain value}; for the fingerprint."""
        names = sorted({n for cls in type(self).__mro__ for n in vars(cls)} | set(vars(self)))
        plain = (str, int, float, bool, tuple, type(None))
        skip = ("name", "command", "metrics", "vocabulary_size", "description")
        return {
            n: repr(getattr(self, n))
            for n in names
            if not n.startswith("_") and n not in skip and isinstance(getattr(type(self), n, None), plain)
        } | {"inputs": repr(self.inputs), "targets": repr(self.targets)}

    def trivial_prediction(self, train_targets):
        """The answer that needs no model, for the baseline: most frequent target (see `training/metrics.py`)."""
        return train_targets.most_common(1)[0][0]

    @property
    def command_name(self):
        return self.command or f"to_{self.name}"

    @property
    def metric_names(self):
        """Names of the metrics on decoded output, the headline first."""
        if self.metrics is not None:
            return tuple(self.metrics)
        if isinstance(self.targets, Label):
            return ("accuracy_top1", "accuracy_top5")
        return ("bleu", "exact_match")

    @property
    def evaluation_split(self):
        """The split that final scores are taken on: "test" where there is one, else "dev"."""
        return "test" if "test" in self.splits else "dev"


def reversed_problem(problem):
    """`problem` with its two sides swapped, named `<name>_rev`; both sides must be text."""
    if not (isinstance(problem.inputs, Text) and isinstance(problem.targets, Text)):
        raise UserError(f"{problem.name}_rev: only problems from text to text can be reversed, {problem.name} is not")
    base = problem

    class Reversed(type(base)):
        def samples(self, split):
            for sample in base.samples(split):
                yield {"inputs": sample["targets"], "targets": sample["inputs"]} | (
                    {"key": sample["key"]} if "key" in sample else {}
                )

        def prepare(self, sample):
            swap = base.prepare({**sample, "inputs": sample["targets"], "targets": sample["inputs"]})
            return {**swap, "inputs": swap["targets"], "targets": swap["inputs"]}

        def __reduce__(self):  # the class is made on demand, so workers get it by this function
            return reversed_problem, (base,)

    new = copy.copy(base)
    new.__class__ = Reversed
    new.name = f"{base.name}_rev"
    new.command = None
    new.metrics = ("bleu", "exact_match")
    new.inputs, new.targets = base.targets, base.inputs
    return new
