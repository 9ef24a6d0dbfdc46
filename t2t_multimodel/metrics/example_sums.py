"""Metrics taken apart by example: sums that add up over examples, and what a metric makes of their total.

    sums = example_sums(("bleu", "exact_match"), predictions, references)   # {"bleu": [[…], …], "exact_match": …}
    value_of("bleu", np.sum(sums["bleu"], axis=0))                          # the corpus BLEU of metrics.score

What a significance test resamples are these sums, so a metric that is no mean over examples (BLEU, F1, error rates)
is resampled exactly.
"""

import numpy as np

from t2t_multimodel.errors import unknown_name
from t2t_multimodel.metrics import scores as metrics
from t2t_multimodel.metrics.cider import cider_scores
from t2t_multimodel.metrics.evalb import bracket_counts, f1

ORDERS = 4  # of BLEU's n-grams


def example_sums(names, predictions, references):
    """{metric: for each example a list of numbers}; arguments as of `metrics.score`.

    Raises:
      UserError: a metric that can't be taken apart.
    """
    check_names(names)
    texts = [text if isinstance(text, str) else next(iter(text), "") for text in predictions]
    return {name: _SUMS[name](predictions if name.startswith("accuracy_") else texts, references) for name in names}


def teacher_forced_example_sums(sums):
    """{metric: for each example a list of numbers} of `metrics.teacher_forced_sums`' rows."""
    return {
        "teacher_forced_log_perplexity": [[-logarithm, ids] for logarithm, _, ids in sums],
        "teacher_forced_accuracy": [[right, ids] for _, right, ids in sums],
        "teacher_forced_sequence_accuracy": [[int(right == ids), 1] for _, right, ids in sums],
    }


def check_names(names):
    """Raises `UserError`, with the nearest names, where one of `names` can't be taken apart."""
    for name in names:
        if name not in _SUMS:
            raise unknown_name("metric", name, _SUMS, "by example")


def value_of(metric, total):
    """The metric's value for `total`, a sum of its examples' lists; as `metrics.score` gives it."""
    if metric == "bleu":
        from sacrebleu.metrics import BLEU

        # The sentences' counts add up to the corpus's, whose score is then sacrebleu's own.
        counts = [int(x) for x in total]
        correct, possible = counts[:ORDERS], counts[ORDERS : 2 * ORDERS]
        return BLEU.compute_bleu(correct, possible, counts[-2], counts[-1], smooth_method="exp").score
    if metric == "bracket_f1":
        return 100.0 * f1(*total)
    return float(total[0] / total[1]) if total[1] else 0.0


def _bleu(predictions, references):
    from sacrebleu.metrics import BLEU

    metric = BLEU(effective_order=True)  # of a sentence; it changes the score, not the counts
    rows = []
    for text, right in zip(predictions, references):
        score = metric.sentence_score(text, right)
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    return rows


def _hits(predictions, references):
    return [[int(text in right), 1] for text, right in zip(predictions, references)]


def _ranked_hits(most):
    def hits(predictions, references):
        ranked = [[classes] if isinstance(classes, str) else list(classes)[:most] for classes in predictions]
        return [[int(any(name in right for name in names)), 1] for names, right in zip(ranked, references)]

    return hits


def _errors(unit):
    def errors(predictions, references):
        import jiwer

        process = getattr(jiwer, f"process_{unit}")
        rows = []
        for text, right in zip(predictions, references):
            best = min((process(reference, text) for reference in right), key=_rate)
            rows.append([best.substitutions + best.deletions + best.insertions, _length(best)])
        return rows

    return errors


def _length(alignment):
    return alignment.hits + alignment.substitutions + alignment.deletions


def _rate(alignment):
    return (alignment.substitutions + alignment.deletions + alignment.insertions) / max(1, _length(alignment))


_SUMS = {
    "bleu": _bleu,
    "bracket_f1": lambda predictions, references: [list(c[:3]) for c in bracket_counts(predictions, references)],
    "cider": lambda predictions, references: [[score, 1] for score in cider_scores(predictions, references)],
    "exact_match": _hits,
    "wer": _errors("words"),
    "cer": _errors("characters"),
    "accuracy_top1": _ranked_hits(1),
    "accuracy_top5": _ranked_hits(metrics.RANKED),
}


def totals(sums):
    """The sum over examples of their lists, an array."""
    return np.sum(np.asarray(sums, np.float64), axis=0)
