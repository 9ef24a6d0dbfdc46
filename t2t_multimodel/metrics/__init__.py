"""Metrics by name: how decoded and teacher-forced output is scored, and the trivial answers beside it.

    score(("bleu", "exact_match"), ["a cat"], [["a cat", "one cat"]])  # → {"bleu": 100.0, …, "bleu_signature": "…"}

Metrics are registered by `@register_metric`, in a file for each kind of answers; `base.py` says how to write one.
Rates are fractions of 1; BLEU and bracket F1 run to 100, CIDEr to 10. For significance tests they are sums over
examples:

    sums = example_sums(("bleu", "exact_match"), predictions, references)   # {"bleu": [[…], …], "exact_match": …}
    value_of("bleu", totals(sums["bleu"]))                                  # the corpus BLEU of `score`
"""

from t2t_multimodel import registry
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.metrics import classes, labels, numbers, text, trees  # noqa: F401, they register what ships
from t2t_multimodel.metrics.answers import check
from t2t_multimodel.metrics.base import Metric, totals
from t2t_multimodel.metrics.teacher_forced import TeacherForced, teacher_forced_example_sums, teacher_forced_sums

__all__ = (
    "Metric",
    "TeacherForced",
    "best_trivial",
    "check_names",
    "comparable",
    "decoded",
    "example_sums",
    "get",
    "score",
    "teacher_forced_example_sums",
    "teacher_forced_sums",
    "totals",
    "trivial_baselines",
    "value_of",
)


def get(name):
    """The `Metric` registered as `name`; raises `UserError` with the nearest names."""
    return registry.metrics.get(name)


def score(names, predictions, references):
    """The metrics `names` of decoded output.

    Args:
      names: of metrics on decoded output.
      predictions: one an example, of the kind that the metrics take, see answers.py: a decoded string; class names,
        best first (of which a metric of text takes the best); an array of numbers; {label: probability}.
      references: for each example a list of the answers that are right.

    Returns:
      {metric: value}, with "examples", and what else a metric has to say: "bleu_signature" (of sacrebleu),
      "bracket_f1_unparsed", "bracket_f1_wrong_length", …

    Raises:
      UserError: an unknown metric, nothing to score, or predictions and references that don't fit.
    """
    metrics = _decoded_metrics(names)
    check(predictions, references)
    for answers in dict.fromkeys(metric.answers for metric in metrics):
        answers.check(predictions, references)
    values = {"examples": len(predictions)}
    for metric in metrics:
        values |= metric.score(predictions, references)
    return values


def check_names(names, targets):
    """Raises `UserError` where one of `names` is no metric (with the nearest names), or does not fit the targets."""
    for name in names:
        if not get(name).fits(targets):
            raise UserError(f"metric {name} can't be of targets that are {targets.modality_name}")


def decoded(names):
    """Those of the metrics `names` that are of decoded output; the others are teacher-forced."""
    return tuple(name for name in names if not get(name).teacher_forced)


def comparable(names):
    """Those of the metrics `names` that can be taken apart by example, and so be compared between runs."""
    return tuple(name for name in names if get(name).adds_up or get(name).teacher_forced)


def example_sums(names, predictions, references):
    """{metric: for each example a list of numbers that add up}; arguments as of `score`.

    Raises:
      UserError: a metric that can't be taken apart.
    """
    metrics = _decoded_metrics(names)
    for metric in metrics:
        if not metric.adds_up:
            raise UserError(f"metric {metric.name} is no sum over examples, so it can't be compared by example")
    return {metric.name: metric.example_sums(predictions, references) for metric in metrics}


def value_of(name, total):
    """The metric's value for `total`, a sum of its examples' lists; as `score` gives it."""
    return get(name).value_of(total)


def trivial_baselines(names, train_targets, inputs, references):
    """The scores that need no model, by what each kind of answers knows of such, see answers.py.

    Text and classes: always the most frequent training target ("most_frequent"), the input itself ("copy", where inputs
    are text), nothing at all ("empty", only with error rates: where all targets differ, saying nothing makes fewer
    errors than saying one of them). Numbers: "mean" and "median". Label sets: "most_frequent" and "frequencies".

    Args:
      names: as in `score`; teacher-forced ones are passed over.
      train_targets: the targets of all training examples; or a `Counter` of them where they are hashable.
      inputs: the inputs of the evaluation examples, strings; None where inputs are not text.
      references: as in `score`.

    Returns:
      {name of the trivial answer: {metric: value, …}}.
    """
    if not len(train_targets):
        raise UserError("no training target, so there is no most frequent one; the train split is empty")
    metrics = [metric for metric in map(get, names) if not metric.teacher_forced]
    error_rate = any(not metric.higher_is_better for metric in metrics)
    baselines = {}
    for kind in dict.fromkeys(metric.answers for metric in metrics):
        mine = [metric.name for metric in metrics if metric.answers is kind]
        for trivial, predictions in kind.trivial(train_targets, inputs, references, error_rate).items():
            baselines.setdefault(trivial, {}).update(score(mine, predictions, references))
    return baselines


def best_trivial(names, baselines):
    """For each of the metrics `names` the better of `trivial_baselines`: {metric: (value, name of the baseline)}.

    A metric without a trivial answer is left out.
    """
    best = {}
    for name in names:
        sign = -1.0 if get(name).higher_is_better else 1.0
        values = [(scores[name], trivial) for trivial, scores in baselines.items() if name in scores]
        if values:
            best[name] = min(values, key=lambda pair: sign * pair[0])
    return best


def _decoded_metrics(names):
    for name in names:
        if name not in registry.metrics or get(name).teacher_forced:
            valid = [metric.name for metric in registry.metrics.entries() if not metric.value.teacher_forced]
            raise unknown_name("metric", name, valid, "of decoded output")
    return [get(name) for name in names]
