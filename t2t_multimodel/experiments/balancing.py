"""Ways to learn several problems together, beside the joint run at equal time: the kinds of runs of suite balancing."""

import dataclasses

import numpy as np

from t2t_multimodel.hyperparameter_limits import frozen_parts
from t2t_multimodel.mixture import MixtureSchedule

SURGERY, SURGERY_DRAWS = "gradient surgery", 2  # draws of an update: the fewest that can conflict
TEMPERATURE = 5.0  # of the sizes: mT5 has 1/0.3, Arivazhagan et al. 2019 have 5
_PLACES = 201  # at which the shares of a schedule are averaged

# Name of a kind → what it is, for the report.
WORDS = {
    "uncertainty": "losses weighed by a log-variance learnt for each problem (Kendall et al. 2018)",
    "loss ratio": "losses weighed by how slowly they fall: dynamic weight average (Liu et al. 2019)",
    "temperature": f"problems drawn by their size, evened out by temperature {TEMPERATURE:g} (Arivazhagan et al. 2019)",
    SURGERY: f"{SURGERY_DRAWS} draws an update, conflicting gradients projected: PCGrad (Yu et al. 2020)",
    "staged": "shares go from those of the mixture to even ones: annealed sampling (Stickland and Murray 2019)",
}


def kinds(joint, mixture, hparams, sizes):
    """The `Kind`s besides the joint run; where the body is frozen, no surgery, which is of its gradients.

    Args:
      joint: the `Kind` of the joint run. mixture, hparams: of the command line. sizes: {problem: training examples}.
    """
    names = [name for name in WORDS if name != SURGERY or "body" not in frozen_parts(hparams)]
    return [_kind(joint, mixture, hparams, sizes, name) for name in names]


def _kind(joint, mixture, hparams, sizes, name):
    changes = _changes(mixture, hparams, sizes, name)
    structure = name if "gradient_surgery" in changes else ""
    draws = _draws(mixture, dataclasses.replace(hparams, **changes), sizes) if "mixture" in changes else ()
    return dataclasses.replace(joint, name=name, changes=tuple(changes.items()), structure=structure, draws=draws)


def _changes(mixture, hparams, sizes, name):
    """{hparam: value} of a kind."""
    if name == "uncertainty":
        return {"loss_balance": "uncertainty"}
    if name == "loss ratio":
        return {"loss_balance": "ratio"}
    if name == "temperature":
        return {"mixture": "size", "mixture_temperature": TEMPERATURE}
    if name == SURGERY:
        return {"gradient_surgery": True, "gradient_accumulation_steps": SURGERY_DRAWS}
    shares = MixtureSchedule(mixture, hparams, sizes).probabilities(0)
    numbers = " ".join(f"{share:.6g}" for share in shares)
    return {"mixture": "schedule", "mixture_schedule": f"linear @0% {numbers} @100% {' '.join('1' * len(shares))}"}


def _draws(mixture, hparams, sizes):
    """((problem, share of the draws), …), a mean over the run."""
    schedule = MixtureSchedule(mixture, hparams, sizes)
    steps = np.linspace(0, max(0, hparams.train_steps - 1), _PLACES).round().astype(int)
    mean = np.mean([schedule.probabilities(int(step)) for step in steps], axis=0)
    return tuple(zip(mixture.problem_names, mean.tolist()))
