"""Metrics by name: of decoded output, of the trivial baselines beside it, and teacher-forced ones.

    score(("bleu", "exact_match"), ["a cat"], [["a cat", "one cat"]])  # → {"bleu": 100.0, …, "bleu_signature": "…"}

Rates are fractions of 1; BLEU and bracket F1 run to 100, CIDEr to 10.
"""

import dataclasses
from collections import Counter

import numpy as np

from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.metrics.cider import cider
from t2t_multimodel.metrics.evalb import bracket_scores

TEACHER_FORCED = ("teacher_forced_log_perplexity", "teacher_forced_accuracy", "teacher_forced_sequence_accuracy")
RANKED = 5  # classes that a label problem's prediction names, best first


@dataclasses.dataclass(frozen=True)
class Metric:
    """How to read a metric: which way is better, and what its perfect value is."""

    higher_is_better: bool
    perfect: float


METRICS = {
    "bleu": Metric(True, 100.0),
    "bracket_f1": Metric(True, 100.0),
    "cider": Metric(True, 10.0),
    "exact_match": Metric(True, 1.0),
    "accuracy_top1": Metric(True, 1.0),
    "accuracy_top5": Metric(True, 1.0),
    "wer": Metric(False, 0.0),
    "cer": Metric(False, 0.0),
    "teacher_forced_log_perplexity": Metric(False, 0.0),
    "teacher_forced_accuracy": Metric(True, 1.0),
    "teacher_forced_sequence_accuracy": Metric(True, 1.0),
    "teacher_forced_loss": Metric(False, 0.0),
}


def score(names, predictions, references):
    """The metrics `names` of decoded output.

    Args:
      names: of metrics on decoded output.
      predictions: for each example the decoded string; for label problems a list of class names, best first
        (of which a metric of text takes the best).
      references: for each example a list of the strings that are right.

    Returns:
      {metric: value}, with "examples", and what else a metric has to say: "bleu_signature" (of sacrebleu),
      "bracket_f1_unparsed", "bracket_f1_wrong_length", …

    Raises:
      UserError: an unknown metric, nothing to score, or predictions and references that don't fit.
    """
    functions = [_function(name) for name in names]
    _check(predictions, references)
    values = {"examples": len(predictions)}
    for function in functions:
        values |= function(predictions, references)
    return values


def check_names(names):
    """Raises `UserError`, with the nearest names, where one of `names` is no metric of decoded output."""
    for name in names:
        _function(name)


def trivial_baselines(names, train_targets, inputs, references):
    """The scores that need no model: always the most frequent training target, the input itself, nothing at all.

    Args:
      names: as in `score`.
      train_targets: the targets of all training examples, strings; or a `Counter` of them.
      inputs: the inputs of the evaluation examples, strings; None where inputs are not text.
      references: as in `score`.

    Returns:
      {"most_frequent": {metric: value, …}, "copy": {…}, "empty": {…}}; "copy" only where inputs are text, "empty" only
      with error rates: where all targets differ, saying nothing makes fewer errors than saying one of them.
    """
    counts = train_targets if isinstance(train_targets, Counter) else Counter(train_targets)
    if not counts:
        raise UserError("no training target, so there is no most frequent one; the train split is empty")
    ranked = sorted(counts, key=lambda target: (-counts[target], target))[:RANKED]  # ties: by name, not by chance
    constant = ranked if any(name.startswith("accuracy_") for name in names) else ranked[0]
    baselines = {"most_frequent": score(names, [constant] * len(references), references)}
    if inputs is not None:
        baselines["copy"] = score(names, list(inputs), references)
    if {"wer", "cer"} & set(names):
        baselines["empty"] = score(names, [""] * len(references), references)
    return baselines


def best_trivial(names, baselines):
    """For each of the metrics `names` the better of `trivial_baselines`: {metric: (value, name of the baseline)}."""
    best = {}
    for name in names:
        sign = -1.0 if METRICS[name].higher_is_better else 1.0
        value, baseline = min(((values[name], b) for b, values in baselines.items()), key=lambda pair: sign * pair[0])
        best[name] = (value, baseline)
    return best


def bleu(predictions, references):
    """Corpus BLEU of sacrebleu, 0 to 100, with its signature; examples may differ in their number of references."""
    from sacrebleu.metrics import BLEU

    most = max(len(texts) for texts in references)
    streams = [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
    metric = BLEU(force=True)  # force: no warning about texts that look tokenised; the score is the same
    value = metric.corpus_score(_texts(predictions), streams).score
    return {"bleu": value, "bleu_signature": str(metric.get_signature())}


def exact_match(predictions, references):
    """The share of predictions that equal one of their references, character for character."""
    return {"exact_match": float(np.mean([text in right for text, right in zip(_texts(predictions), references)]))}


def wer(predictions, references):
    """Word error rate: substituted, left out and added words as a share of the reference's; can exceed 1."""
    from jiwer import process_words

    return {"wer": _error_rate(process_words, "wer", predictions, references)}


def cer(predictions, references):
    """Character error rate, as `wer`, of characters."""
    from jiwer import process_characters

    return {"cer": _error_rate(process_characters, "cer", predictions, references)}


def accuracy_top1(predictions, references):
    """The share of examples whose first class is right."""
    return {"accuracy_top1": _accuracy(predictions, references, 1)}


def accuracy_top5(predictions, references):
    """The share of examples with a right class among the first five."""
    return {"accuracy_top5": _accuracy(predictions, references, RANKED)}


_FUNCTIONS = {
    "bleu": bleu,
    "bracket_f1": lambda predictions, references: bracket_scores(_texts(predictions), references),
    "cider": lambda predictions, references: cider(_texts(predictions), references),
    "exact_match": exact_match,
    "wer": wer,
    "cer": cer,
    "accuracy_top1": accuracy_top1,
    "accuracy_top5": accuracy_top5,
}


class TeacherForced:
    """The teacher-forced metrics, summed over batches: the model's word on each target, the ones before given.

    They need no decoding and are no measure of decoded text: a model that ignores its source can look good in them.
    """

    def __init__(self, names=TEACHER_FORCED):
        """Args: names: those to report, of a modality's `teacher_forced_metrics`."""
        self._names = tuple(names)
        self._loss = self._log_probability = 0.0  # sums over targets
        self._right = self._targets = self._right_sequences = self._sequences = 0

    def add(self, statistics):
        """Adds a batch.

        Args:
          statistics: {"weights": nonzero where a target counts; rows without one are no sequences; and of each target
            "log_probability" (natural logarithm, of the right id) and "correct" (whether the likeliest id is right), or
            "loss"}; arrays of one shape, [rows, …].
        """
        shapes = {name: np.shape(value) for name, value in statistics.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"the statistics of a batch must have one shape, got {shapes}")
        rows, *inner = shapes["weights"]
        flat = {name: np.asarray(value).reshape(rows, int(np.prod(inner))) for name, value in statistics.items()}
        mask = flat["weights"].astype(bool)
        counted = mask.any(axis=1)
        self._targets += int(mask.sum())
        self._sequences += int(counted.sum())
        if "loss" in flat:
            self._loss += float(flat["loss"].astype(np.float64)[mask].sum())
        if "log_probability" in flat:  # selects: what is masked may be NaN
            self._log_probability += float(flat["log_probability"].astype(np.float64)[mask].sum())
        if "correct" in flat:
            correct = flat["correct"].astype(bool)
            self._right += int(correct[mask].sum())
            self._right_sequences += int((correct | ~mask).all(axis=1)[counted].sum())

    def result(self):
        """The metrics asked for, and over how many "tokens" (targets) and "sequences".

        Raises:
          UserError: nothing was counted.
        """
        if not self._targets:
            raise UserError("teacher-forced metrics: no target was counted; the evaluation data has no targets")
        values = {
            "teacher_forced_log_perplexity": -self._log_probability / self._targets,
            "teacher_forced_accuracy": self._right / self._targets,
            "teacher_forced_sequence_accuracy": self._right_sequences / self._sequences,
            "teacher_forced_loss": self._loss / self._targets,
        }
        named = {name: values[name] for name in self._names}
        return named | {"tokens": self._targets, "sequences": self._sequences}


def teacher_forced_sums(statistics):
    """For each row of a batch sums over its targets, a list: of log-probability and ids right, or of the loss; and how
    many targets. `statistics` as of `TeacherForced.add`."""
    rows = len(statistics["weights"])
    mask = np.asarray(statistics["weights"], bool).reshape(rows, -1)
    sums = [
        np.where(mask, np.asarray(statistics[name], np.float64).reshape(mask.shape), 0.0).sum(axis=1).tolist()
        for name in ("log_probability", "correct", "loss")
        if name in statistics
    ]
    return [list(row) for row in zip(*sums, mask.sum(axis=1).tolist())]


def _function(name):
    if name not in _FUNCTIONS:
        raise unknown_name("metric", name, _FUNCTIONS, "of decoded output")
    return _FUNCTIONS[name]


def _check(predictions, references):
    if len(predictions) != len(references):
        raise UserError(f"{len(predictions)} predictions for {len(references)} examples; there must be one for each")
    if not len(predictions):
        raise UserError("nothing to score: there are no predictions")
    for number, texts in enumerate(references, 1):
        if isinstance(texts, str) or not len(texts):
            raise UserError(f"the references of example {number} must be a list of at least one string, got {texts!r}")


def _texts(predictions):
    """The decoded strings; of ranked classes the best, "" where there is none."""
    return [text if isinstance(text, str) else next(iter(text), "") for text in predictions]


def _accuracy(predictions, references, most):
    ranked = [[classes] if isinstance(classes, str) else list(classes)[:most] for classes in predictions]
    return float(np.mean([any(name in right for name in names) for names, right in zip(ranked, references)]))


def _error_rate(process, rate, predictions, references):
    """Of several references the one with the lowest rate counts; then errors and lengths are summed over the corpus."""
    predictions = _texts(predictions)
    best = [
        right[0] if len(right) == 1 else min(right, key=lambda reference: getattr(process(reference, text), rate))
        for text, right in zip(predictions, references)
    ]
    return float(getattr(process(best, predictions), rate))
