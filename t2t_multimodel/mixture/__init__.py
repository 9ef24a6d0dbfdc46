"""Mixtures: several problems with weights, and which of them a training step draws.

    mixture = parse("tiny8,my_birds:2")                 # the value of --problem=
    schedule = MixtureSchedule(mixture, hparams, sizes)
    probabilities = schedule.probabilities(step, losses)
    problem = schedule.draw(seed, step, draw_index, probabilities)

Every function here depends on its arguments only, so a resumed run draws the same problems as an uninterrupted one.
"""

from t2t_multimodel.mixture.balance import LossBalance
from t2t_multimodel.mixture.parser import Mixture, parse
from t2t_multimodel.mixture.randomness import permutation, random_words
from t2t_multimodel.mixture.schedules import DRAW_BLOCK, MixtureSchedule, parse_schedule, scheduled
from t2t_multimodel.mixture.weights import ADAPTIVE_FLOOR, LOSS_DECAY, LossAverages, adaptive, by_size, fixed

__all__ = [
    "ADAPTIVE_FLOOR",
    "DRAW_BLOCK",
    "LOSS_DECAY",
    "LossAverages",
    "LossBalance",
    "Mixture",
    "MixtureSchedule",
    "adaptive",
    "by_size",
    "fixed",
    "parse",
    "parse_schedule",
    "permutation",
    "random_words",
    "scheduled",
]
