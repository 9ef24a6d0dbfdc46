"""What training must not pass over: losses, scores and weights that are not finite, batches with nothing to learn."""

import math

import numpy as np

from t2t_multimodel.errors import DIVERGED, DivergedError, UserError

_EARLY = 100  # batches of a problem


def check_update(step, batches, reports):
    """Raises `UserError` where an update learnt nothing, or from nothing; `DivergedError` of a loss that is not finite.

    Args:
      batches: the `Batch`es of the update that made this step. reports: {name: number} of each.
    """
    for batch, report in zip(batches, reports):
        place = f"problem {batch.problem}, step {step}, epoch {batch.epoch}, batch {batch.position}"
        if not math.isfinite(report["loss"]):
            raise DivergedError(f"the loss is {report['loss']} ({place}); {DIVERGED}, or look at that batch")
        if report["weight"] == 0:
            if _unknown(batch):
                continue
            raise UserError(f"a batch without targets ({place}); look at the data: t2t-datagen --verify")
        if report["loss"] == 0.0 and batch.position < _EARLY:  # later an easy problem may be learnt to the last bit
            raise UserError(f"the loss is exactly 0 ({place}): nothing is left to learn, or the targets are wrong")


def _unknown(batch):
    """Whether targets of the batch are NaN, which are not counted: it may be that none of them is known."""
    targets = (array for name, array in batch.arrays.items() if name.startswith("targets"))
    return any(array.dtype.kind == "f" and np.isnan(array).any() for array in map(np.asarray, targets))


def check_scores(step, problem, scores):
    """The losses of updates were finite, but not what the last one made of the weights; raises `DivergedError`."""
    for name, value in scores.items():
        if name.startswith("teacher_forced") and not math.isfinite(value):
            raise DivergedError(f"the {name} of {problem} is {value} after step {step}; {DIVERGED}")


def check_weights(step, path, array):
    """Raises `DivergedError` where a weight, or a part of it, is not finite."""
    if not np.isfinite(array).all():
        raise DivergedError(f"the weights {path} are not finite after step {step}; {DIVERGED}")
