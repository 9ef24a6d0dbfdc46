"""How much the loss of each problem weighs in its updates: all alike, by learnt uncertainty, or by its rate of descent.

The weights are numbers of the host, as the learning rate is, and follow from the losses of the updates before: a
continued run has the same. Their mean over the problems is 1, so that they say how much a problem counts beside the
others and leave the size of the steps to the learning rate: with updates of one problem each, clipping the gradient's
norm would undo a common factor anyway.
"""

import math

import numpy as np

_FARTHEST = 10.0  # of a logarithm of a variance from 0


class LossBalance:
    """The weights of the problems' losses; `hparams.loss_balance` names the rule."""

    def __init__(self, problems, hparams):
        self.kind = hparams.loss_balance
        self.problems = tuple(problems)
        self._rule = {"none": _Even, "uncertainty": _Uncertainty, "ratio": _Ratio}[self.kind](self.problems, hparams)

    def weight(self, problem):
        """The weight of a problem's loss in the next update, > 0; 1 on the mean over problems."""
        return self.weights()[problem]

    def weights(self):
        """{problem: weight}."""
        weights = np.array(self._rule.weights(), np.float64)
        return dict(zip(self.problems, (weights / weights.mean()).tolist()))

    def record(self, problem, loss):
        """Tells the training loss of one draw; ignores one that is not finite: of targets that are unknown."""
        if math.isfinite(loss):
            self._rule.record(problem, float(loss))

    def state(self):
        """Plain values for JSON."""
        return {"kind": self.kind} | {name: dict(values) for name, values in self._values()}

    def restore(self, state):
        """Goes on where `state()` was taken; begins anew where that was another rule."""
        for name, values in self._values() if state.get("kind") == self.kind else ():
            values.update({problem: type(values.get(problem, 0.0))(value) for problem, value in state[name].items()})

    def _values(self):
        return [(name, values) for name, values in vars(self._rule).items() if isinstance(values, dict)]


class _Even:
    def __init__(self, problems, hparams):
        self._ones = [1.0] * len(problems)

    def weights(self):
        return self._ones

    def record(self, problem, loss):
        pass


class _Uncertainty:
    """Weight e^−s with s = log σ² learnt for each problem (Kendall, Gal and Cipolla 2018, arXiv 1705.07115).

    Their loss Σ e^−s·L + s/2 is descended in s too: s ← s + rate · (e^−s·L − ½) at each draw of the problem. It stands
    still where a problem's weighted loss is ½, so a problem weighs the more the smaller its loss is. (s is no variable
    of the optimizer: its gradient is a hundred times that of a weight, and would be most of the norm that is clipped.)
    """

    def __init__(self, problems, hparams):
        self._rate = hparams.loss_balance_rate
        self.log_variances = dict.fromkeys(problems, 0.0)

    def weights(self):
        return [math.exp(-s) for s in self.log_variances.values()]

    def record(self, problem, loss):
        s = self.log_variances[problem]
        s += self._rate * (math.exp(-s) * loss - 0.5)
        self.log_variances[problem] = min(max(s, -_FARTHEST), _FARTHEST)


class _Ratio:
    """Dynamic weight average (Liu, Johns and Davison 2019, arXiv 1803.10704): softmax(r / temperature).

    r is a problem's mean loss in the last window of draws over that in the window before, in which it was drawn: what
    falls slowly, r near 1, weighs more than what falls fast. Their windows are epochs.
    """

    def __init__(self, problems, hparams):
        self._temperature, self._window = hparams.loss_balance_temperature, hparams.loss_balance_window
        self.sums, self.counts = dict.fromkeys(problems, 0.0), dict.fromkeys(problems, 0)
        self.last, self.ratios = {}, dict.fromkeys(problems, 1.0)

    def weights(self):
        # (A ratio is large where a loss was nearly 0 before.)
        ratios = np.minimum(np.array(list(self.ratios.values())), 100.0) / self._temperature
        return np.exp(ratios - ratios.max())

    def record(self, problem, loss):
        self.sums[problem] += loss
        self.counts[problem] += 1
        if sum(self.counts.values()) < self._window:
            return
        for name, count in self.counts.items():
            if not count:
                continue
            mean = self.sums[name] / count
            if self.last.get(name, 0.0) > 0.0:
                self.ratios[name] = mean / self.last[name]
            self.last[name] = mean
            self.sums[name], self.counts[name] = 0.0, 0
