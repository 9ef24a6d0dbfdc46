"""The objective of tuning: one metric of one problem, or the mean of a metric over all problems that have it."""

import math

from t2t_multimodel.errors import unknown_name
from t2t_multimodel.metrics import get as get_metric


class Objective:
    """`teacher_forced_log_perplexity`, or `tiny_ende:bleu`; `problem/metric` is accepted too."""

    def __init__(self, text, metrics):
        """Args: text: as above. metrics: {problem: names of its metrics, also of teacher-forced ones}.

        Raises:
          UserError: an unknown problem or metric.
        """
        self._problem, _, self.metric = text.strip().replace("/", ":").rpartition(":")
        if self._problem and self._problem not in metrics:
            raise unknown_name("problem in --metric", self._problem, metrics)
        of = [metrics[self._problem]] if self._problem else metrics.values()
        valid = {name for names in of for name in names}
        if self.metric not in valid:
            raise unknown_name("metric in --metric", self.metric, valid)

    def __str__(self):
        return f"{self._problem}:{self.metric}" if self._problem else f"mean {self.metric}"

    @property
    def needs_decoding(self):
        return not get_metric(self.metric).teacher_forced

    @property
    def direction(self):
        """ "maximize" or "minimize"."""
        return "maximize" if get_metric(self.metric).higher_is_better else "minimize"

    def value(self, scores):
        """The value of an evaluation, {problem: {metric: value}}; None if it is not finite."""
        found = [s[self.metric] for p, s in scores.items() if self.metric in s and self._problem in ("", p)]
        numbers = [float(value) for value in found]  # in a log "nan" is a string
        mean = sum(numbers) / len(numbers) if numbers else math.nan
        return mean if math.isfinite(mean) else None
