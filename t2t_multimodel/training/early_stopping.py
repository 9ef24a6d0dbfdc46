"""Early stopping: ends a run whose metric no longer improves; works in every schedule that evaluates."""

import math

from t2t_multimodel.errors import unknown_name
from t2t_multimodel.metrics import get as get_metric


class EarlyStopping:
    """Watches one metric: `problem/metric`, or a metric's mean over all problems that have it."""

    def __init__(self, metric, patience, problems, flag="--early_stopping_metric"):
        """Args:
        metric: as above; empty: never stop. patience: evaluations without improvement before stopping.
        problems: {name: RunProblem}. flag: what gave the metric, for messages.

        Raises:
          UserError: an unknown problem or metric.
        """
        self.metric, self.patience = metric, patience
        self.best, self.best_step, self.waited, self.stopped = None, 0, 0, False
        if not metric:
            return
        self._problem, _, self._name = metric.rpartition("/")
        if self._problem and self._problem not in problems:
            raise unknown_name(f"problem in {flag}", self._problem, problems)
        of = [problems[self._problem]] if self._problem else problems.values()
        valid = {name for p in of for name in (*p.spec.targets.teacher_forced_metrics, *p.metrics)}
        if self._name not in valid:
            raise unknown_name(f"metric in {flag}", self._name, valid)
        self._sign = 1.0 if get_metric(self._name).higher_is_better else -1.0

    @property
    def reason(self):
        return (
            f"{self.metric} has not improved on {self.best:.6g} (step {self.best_step}) for {self.waited} evaluations"
        )

    def record(self, step, scores):
        """Takes in an evaluation, {problem: {metric: value}}."""
        if not self.metric:
            return
        values = [s[self._name] for p, s in scores.items() if self._name in s and self._problem in ("", p)]
        value = sum(values) / len(values)
        if math.isfinite(value) and (self.best is None or self._sign * (value - self.best) > 0):
            self.best, self.best_step, self.waited = value, step, 0
        else:
            self.waited += 1
        self.stopped = self.waited >= self.patience

    def state(self):
        return {"metric": self.metric, "best": self.best, "best_step": self.best_step, "waited": self.waited}

    def restore(self, state):
        """Goes on waiting where `state` was taken, or has stopped already; another metric starts anew."""
        if self.metric and state["metric"] == self.metric:
            self.best, self.best_step, self.waited = state["best"], state["best_step"], state["waited"]
            self.stopped = self.waited >= self.patience
