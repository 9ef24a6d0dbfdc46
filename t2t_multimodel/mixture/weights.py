"""The weights of a mixture as probabilities: fixed, by size, or adaptive by training loss."""

import math

import numpy as np

ADAPTIVE_FLOOR = 0.25  # adaptive: the probability of a problem is at least this part of its fixed probability
LOSS_DECAY = 0.95  # adaptive: decay of the moving average of the loss


def fixed(weights):
    """Proportional to the weights."""
    return normalised(weights)


def by_size(weights, sizes, temperature):
    """∝ weight · examples^(1/temperature): at 1 every example is equally likely; larger values even out the sizes."""
    return normalised(np.asarray(weights, float) * np.asarray(sizes, float) ** (1.0 / temperature))


def adaptive(weights, relative_losses):
    """∝ weight · relative loss, but at least `ADAPTIVE_FLOOR` of the fixed probability.

    The relative loss of a problem is the moving average of its loss divided by its first loss (`LossAverages`): 1
    before learning, near 0 when the problem is learned. Slowly learned problems are drawn more often, whatever the unit
    of their loss. The relative loss is clipped at 1, so that a diverging problem can't take the share of the others.
    """
    share = fixed(weights)
    relative = np.clip(np.asarray(relative_losses, float), 1e-3, 1.0)
    return ADAPTIVE_FLOOR * share + (1 - ADAPTIVE_FLOOR) * normalised(share * relative)


class LossAverages:
    """The moving average of each problem's training loss, relative to its first loss."""

    def __init__(self, problems):
        self._first = {}
        self._average = {}
        self.problems = tuple(problems)

    def record(self, problem, loss):
        """Adds the loss of one step; ignores one that is not finite: of targets that are unknown."""
        loss = float(loss)
        if math.isfinite(loss):
            self._first.setdefault(problem, loss)
            self._average[problem] = LOSS_DECAY * self._average.get(problem, loss) + (1 - LOSS_DECAY) * loss

    def relative(self):
        """[problems] float64: average loss / first loss; 1 for a problem without a loss."""
        first, average = self._first, self._average
        return np.array([average[p] / first[p] if first.get(p, 0.0) > 0 else 1.0 for p in self.problems])

    def state(self):
        return {"first": dict(self._first), "average": dict(self._average)}

    def restore(self, state):
        self._first, self._average = dict(state["first"]), dict(state["average"])


def normalised(weights):
    weights = np.asarray(weights, float)
    return weights / weights.sum()
