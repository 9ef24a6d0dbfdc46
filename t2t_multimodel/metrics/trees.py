"""The metric of bracketed trees: labelled brackets after the rules of EVALB."""

from t2t_multimodel.metrics.answers import texts
from t2t_multimodel.metrics.base import Metric
from t2t_multimodel.metrics.evalb import bracket_counts, bracket_scores, f1
from t2t_multimodel.registry import register_metric


@register_metric
class BracketF1(Metric):
    """F1 of labelled brackets of trees, 0 to 100, with precision, recall and how many answers are no trees."""

    name = "bracket_f1"
    perfect, scale, digits = 100.0, 100.0, 1

    def score(self, predictions, references):
        return bracket_scores(texts(predictions), references)

    def example_sums(self, predictions, references):
        return [list(counts[:3]) for counts in bracket_counts(texts(predictions), references)]

    def value_of(self, total):
        return 100.0 * f1(*total)
