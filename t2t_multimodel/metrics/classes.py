"""Metrics of classes, the likeliest first: accuracy among the first one or five."""

from t2t_multimodel.metrics.answers import CLASSES
from t2t_multimodel.metrics.base import Metric
from t2t_multimodel.registry import register_metric


class Accuracy(Metric):
    """The share of examples with a right class among the first `most`."""

    answers = CLASSES
    most = 1

    def per_example(self, predictions, references):
        named = [[classes] if isinstance(classes, str) else list(classes)[: self.most] for classes in predictions]
        return [int(any(name in right for name in names)) for names, right in zip(named, references)]


@register_metric
class AccuracyTop1(Accuracy):
    """The share of examples whose first class is right."""

    name = "accuracy_top1"


@register_metric
class AccuracyTop5(Accuracy):
    """The share of examples with a right class among the first five."""

    name, most = "accuracy_top5", 5
