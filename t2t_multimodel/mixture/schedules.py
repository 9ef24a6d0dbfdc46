"""Which problem each training step draws: the schedule of a mixture, a pure function of seed and step."""

import math

import numpy as np

from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.mixture.randomness import permutation, random_words
from t2t_multimodel.mixture.weights import adaptive, by_size, fixed, normalised

DRAW_BLOCK = 100  # steps over which the drawn shares are exact, see `MixtureSchedule.draw`


class MixtureSchedule:
    """Which problems are drawn at which step: a mixture, weighted by the hparams.

    `hparams.mixture` is "fixed", "size", "adaptive" or "schedule" (the numbers of the schedule replace the weights of
    the mixture).
    """

    def __init__(self, mixture, hparams, sizes=None):
        """`sizes`: {problem: training examples}, for "size" only. Raises `UserError` for a malformed schedule."""
        self.problems = mixture.problem_names
        self.hparams, self.kind = hparams, hparams.mixture
        self.gradient_accumulation_steps = hparams.gradient_accumulation_steps
        self._weights = np.array([weight for _, weight in mixture.problems])
        if self.kind == "size":
            if not hparams.mixture_temperature > 0:
                raise UserError(f"mixture_temperature={hparams.mixture_temperature:g} must be above 0")
            examples = [sizes[problem] for problem in self.problems]
            self._by_size = by_size(self._weights, examples, hparams.mixture_temperature)
        elif self.kind == "schedule":
            self._schedule_kind, self._points = parse_schedule(
                hparams.mixture_schedule, self.problems, hparams.train_steps
            )

    @property
    def shares(self):
        """[(problem, its share by the weights of the mixture)] in the order of the mixture."""
        return list(zip(self.problems, fixed(self._weights).tolist()))

    def probabilities(self, step, losses=None):
        """[problems] float64, summing to 1.

        Args:
          step: the global step, from 0.
          losses: [problems], `LossAverages.relative()`, for "adaptive"; None: all equal.
        """
        if self.kind == "size":
            return self._by_size
        if self.kind == "schedule":
            return scheduled(self._points, self._schedule_kind, step)
        if self.kind == "adaptive":
            return adaptive(self._weights, np.ones(len(self.problems)) if losses is None else losses)
        return fixed(self._weights)

    def draw(self, seed, step, draw_index, probabilities, count=None):
        """The name of the problem of one draw; depends on the arguments only.

        This is systematic sampling: the `count` draws of a step (default `gradient_accumulation_steps`) are at equal
        distances on [0, 1), and the `DRAW_BLOCK` steps of a block shift them by all multiples of 1/DRAW_BLOCK of that
        distance, in random order. So the number of draws of a problem with share p differs by less than 1 from
        count · p in every step, and from DRAW_BLOCK · count · p in every block: no small task is drawn too rarely or
        too often by chance.
        """
        count = count or self.gradient_accumulation_steps
        block, place = divmod(step, DRAW_BLOCK)
        order = permutation(DRAW_BLOCK, "mixture order", seed, block)
        shift = int(random_words(1, "mixture shift", seed, block)[0]) / 2**64
        point = (draw_index + (order[place] + shift) / DRAW_BLOCK) / count
        borders = np.cumsum(probabilities)
        chosen = np.searchsorted(borders / borders[-1], point, side="right")
        return self.problems[min(chosen, len(self.problems) - 1)]


def scheduled(points, kind, step):
    """Probabilities at a global step.

    Args:
      points: [(step, probabilities)] with increasing steps, from `parse_schedule`.
      kind: "linear" interpolates between points, "step" keeps each point until the next one. Before the first point
        and after the last one, their probabilities are constant.
      step: the global step.
    """
    after = next((i for i, (at, _) in enumerate(points) if at > step), len(points))
    if after == 0 or after == len(points) or kind == "step":
        return np.array(points[max(after - 1, 0)][1])
    (before_step, before), (after_step, then) = points[after - 1], points[after]
    part = (step - before_step) / (after_step - before_step)
    return normalised((1 - part) * np.asarray(before) + part * np.asarray(then))


def parse_schedule(text, problems, train_steps):
    """ "linear @0 1 0 @1000 0.5 0.5" → ("linear", [(0, [1, 0]), (1000, [0.5, 0.5])]), each point summing to 1.

    A place may also be a share of the run's `train_steps`: "@50%".

    Raises:
      UserError: a first word other than linear and step, a point with a wrong number of weights for the `problems`
        (their names, in order), a negative or malformed number, steps that do not increase.
    """
    even = " ".join("1" * len(problems))
    usage = f'write e.g. "linear @0 {even} @1000 …", one weight for each of {", ".join(problems)}'
    words = text.split()
    if not words:
        raise UserError(f"mixture=schedule needs mixture_schedule; {usage}")
    if words[0] not in ("linear", "step"):
        raise unknown_name("kind of mixture_schedule", words[0], ("linear", "step"), usage)
    groups = []
    for word in words[1:]:
        if word.startswith("@"):
            groups.append([word])
        elif groups:
            groups[-1].append(word)
        else:
            raise UserError(f"mixture_schedule: {word!r} stands before the first @step; {usage}")
    if not groups:
        raise UserError(f"mixture_schedule {text!r} has no @step; {usage}")
    points = [_schedule_point(group, problems, train_steps, usage) for group in groups]
    for (before, _), (after, _) in zip(points, points[1:]):
        if after <= before:
            raise UserError(f"mixture_schedule: @{after} comes after @{before}; the steps must rise")
    return words[0], points


def _schedule_point(words, problems, train_steps, usage):
    at, numbers = words[0], words[1:]
    try:
        step = round(float(at[1:-1]) / 100 * train_steps) if at.endswith("%") else int(at[1:])
        weights = [float(n) for n in numbers]
    except (ValueError, OverflowError):
        raise UserError(f"mixture_schedule: {' '.join(words)!r} holds something that is no number; {usage}") from None
    if step < 0 or len(weights) != len(problems):
        raise UserError(f"mixture_schedule: {at} has {len(weights)} weights for {len(problems)} problems; {usage}")
    if not all(math.isfinite(w) and w >= 0 for w in weights) or not sum(weights) > 0:
        raise UserError(f"mixture_schedule: the weights at {at} must be 0 or more, and not all 0; {usage}")
    return step, normalised(weights)
