"""Selects the hparams of single-task runs: each is tried with several changes to the set, and the best on dev is used.

An hparams set that is tuned for joint training may be bad for a single task; then a gain from joint training would only
be a gain from tuning. A try has its own seed, which no other run has, and is scored on the dev split.
"""

import dataclasses
import math

from t2t_multimodel import hyperparameters
from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import stored
from t2t_multimodel.input.batching import HPARAMS_OF_BATCHES, HPARAMS_OF_VARIATION
from t2t_multimodel.metrics import get as get_metric

SEED = 1_000_000  # of all tries
AS_GIVEN = "no change"  # besides the changes for all single-task runs
# The hparams that decide which examples a run sees, and its length: equal in all compared runs.
HELD_EQUAL = (
    "train_steps",
    *HPARAMS_OF_BATCHES,
    *HPARAMS_OF_VARIATION,
    "gradient_accumulation_steps",
    "mixture",
    "mixture_temperature",
    "mixture_schedule",
)


@dataclasses.dataclass(frozen=True)
class Try:
    """One candidate: the kind of run to improve, the changes as text, and the kind that is tried."""

    kind: object  # plan.Kind
    words: str
    tried: object  # plan.Kind


def changes_alone(text, hparams, where="--single_hparams"):
    """ "learning_rate=0.002,dropout=0.1" → {name: value}, changes to `hparams` for single-task runs.

    Raises:
      UserError: an unknown hparam, a wrong value, or a change of an hparam in `HELD_EQUAL`.
    """
    changes = hyperparameters.check(hyperparameters.parse(text, where), where)
    for name in changes:
        if name in HELD_EQUAL:
            raise UserError(
                f"{where}: {name} is equal in all compared runs; change it for all of them with --hparams, and their "
                "length with --train_steps or --budget"
            )
    hyperparameters.override(hparams, changes, where)
    return changes


def parse(text, hparams, where="--single_choices"):
    """ "learning_rate=0.002; learning_rate=0.002,dropout=0.1" → a tuple of {name: value}; the first one is empty.

    Raises:
      UserError: as `changes_alone`, or a repeated choice.
    """
    choices = [{}]
    for part in filter(None, (part.strip() for part in text.split(";"))):
        changes = changes_alone(part, hparams, where)
        if changes in choices:
            raise UserError(f"{where}: {part!r} is given twice")
        choices.append(changes)
    return tuple(choices)


def tries(kinds, choices):
    """The `Try`s of a suite: every choice for each kind with `suits_itself`; none if there is only one choice."""
    if len(choices) < 2:
        return []
    return [
        Try(
            kind,
            words(choice),
            dataclasses.replace(
                kind,
                name=f"{kind.name}, {words(choice)}",
                changes=tuple((dict(kind.changes) | choice).items()),
                tried=True,
            ),
        )
        for kind in kinds
        if kind.suits_itself
        for choice in choices
    ]


def words(choice):
    return ", ".join(f"{name}={value}" for name, value in choice.items()) or AS_GIVEN


def outcome(tries, jobs, metrics):
    """The results of the tries, for plan.json and the report.

    Args:
      tries: a list of `Try`. jobs: the `Job` of each, all done. metrics: {problem: names, the headline metric first}.

    Returns:
      {name of the kind: {"problem": the scored problem, "metric", "split", "tries": {words: value, or None if the
      training diverged}, "best": words}}.
    """
    found = {}
    for one, job in zip(tries, jobs):
        problem = one.kind.problems[0]
        advice = "remove it: the same command tries again"
        scores = stored.opened(job.result, stored.DEV_RESULT, advice)["dev_scores"].get(problem, {})
        metric = metrics[problem][0]
        entry = found.setdefault(one.kind.name, {"problem": problem, "metric": metric, "split": None, "tries": {}})
        entry["split"] = entry["split"] or scores.get("split")
        value = scores.get(metric)
        finite = isinstance(value, (int, float)) and math.isfinite(value)
        entry["tries"][one.words] = value if finite else None
    for entry in found.values():
        sign = 1 if get_metric(entry["metric"]).higher_is_better else -1
        ended = {words: sign * value for words, value in entry["tries"].items() if value is not None}
        entry["best"] = max(ended, key=ended.get, default=AS_GIVEN)  # the first of equal values
    return found


def chosen(kinds, tries, found):
    """`kinds` with the best changes for each kind that was tried."""
    best = {one.kind.name: one.tried.changes for one in tries if found[one.kind.name]["best"] == one.words}
    return [dataclasses.replace(kind, changes=best.get(kind.name, kind.changes)) for kind in kinds]
