"""Mixtures: several problems with weights, and which of them a training step draws.

    mixture = parse("tiny8,my_birds:2")                 # what --problem= says
    schedule = MixtureSchedule(mixture, hparams, sizes)
    probabilities = schedule.probabilities(step, losses)
    problem = schedule.draw(seed, step, draw_index, probabilities)

Everything here is a function of its arguments and of nothing else, so that a resumed run draws what the
undisturbed one would have drawn.
"""

import hashlib
import math
import sys
from dataclasses import dataclass, field

import numpy as np

from t2t_multimodel import registry
from t2t_multimodel.errors import UserError, nearest, unknown_name

DRAW_BLOCK = 100  # steps over which the shares drawn are exact, see `MixtureSchedule.draw`
ADAPTIVE_FLOOR = 0.25  # adaptive: no problem falls under this part of its fixed share
LOSS_DECAY = 0.95  # adaptive: of the moving average, for each loss recorded


@dataclass(frozen=True)
class Mixture:
    """Problems (or other mixtures) by name, each with a weight; weights are relative and need no sum.

    `problems` may be written as names, or as (name, weight) pairs; it is kept as pairs.
    """

    name: str
    description: str
    problems: tuple
    source: str = field(default="", compare=False)  # "file:line" of where it was written

    def __post_init__(self):
        pairs = tuple((item, 1.0) if isinstance(item, str) else (item[0], float(item[1])) for item in self.problems)
        if not pairs:
            raise UserError(f"mixture {self.name!r} has no problems; name at least one")
        for problem, weight in pairs:
            if not (weight > 0 and math.isfinite(weight)):
                raise UserError(f"mixture {self.name!r}: {problem!r} has weight {weight:g}; weights must be above 0")
        object.__setattr__(self, "problems", pairs)
        if not self.source:
            caller = sys._getframe(2)  # 0 is this function, 1 the dataclass's __init__
            object.__setattr__(self, "source", f"{caller.f_code.co_filename}:{caller.f_lineno}")

    @property
    def problem_names(self):
        return tuple(name for name, _ in self.problems)


def parse(text):
    """What `--problem=` says, as a `Mixture` of problems only, in the order in which they are named.

    "tiny8" (a problem or a mixture), "a,b:2" (weights), "a_rev" (the two sides of `a` swapped), "a-b-c" (the
    dash list of old; not understood where a registered name contains a dash itself). A mixture's weight is
    shared over its members in proportion to theirs; a problem that comes twice has the sum of its weights.

    Raises:
      UserError: an unknown name (with the nearest problems and mixtures), a weight that is not above 0.
    """
    weights = {}
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise UserError("--problem is empty; name a problem or a mixture (t2t-trainer --registry_help lists them)")
    for item in items:
        for name, weight in _named(item):
            for problem, share in _flattened(name, weight, ()):
                weights[problem] = weights.get(problem, 0.0) + share
    name = items[0] if len(items) == 1 else text
    description = registry.mixtures.entry(name).description if name in registry.mixtures else f"the problems {text}"
    return Mixture(name, description, tuple(weights.items()), source="--problem")


def _named(item):
    """One part of the command line between commas → [(name, weight)]."""
    if _is_known(item):
        return [(item, 1.0)]
    name, colon, number = item.rpartition(":")
    if colon:
        return [(name.strip(), _weight(item, number))]
    parts = item.split("-")
    dashed = [n for n in (*registry.problems.names(), *registry.mixtures.names()) if "-" in n and n in item]
    if len(parts) > 1 and any(map(_is_known, parts)) and not dashed:
        return [(part, 1.0) for part in parts]
    return [(item, 1.0)]


def _weight(item, number):
    try:
        weight = float(number)
    except ValueError:
        raise UserError(f"{item!r}: {number!r} is not a number; a weight is written name:2 or name:0.5") from None
    if not (weight > 0 and math.isfinite(weight)):
        raise UserError(f"{item!r}: a weight must be above 0; leave the problem out instead")
    return weight


def _is_known(name):
    reversed_of = name.removesuffix("_rev")
    return name in registry.problems or name in registry.mixtures or reversed_of in registry.problems


def _flattened(name, weight, inside):
    """Yields (problem, weight) for a problem or, level by level, for what a mixture holds."""
    if name in inside:
        raise UserError(f"mixture {name!r} contains itself: {' → '.join((*inside, name))}")
    if name in registry.mixtures and name in registry.problems:
        raise UserError(f"{name!r} is the name of a problem and of a mixture; rename one of them")
    if name in registry.mixtures:
        mixture = registry.mixtures.get(name)
        total = sum(w for _, w in mixture.problems)
        for member, share in mixture.problems:
            yield from _flattened(member, weight * share / total, (*inside, name))
    elif name in registry.problems:
        yield registry.problems.resolve(name), weight
    elif name.endswith("_rev") and name.removesuffix("_rev") in registry.problems:
        yield registry.problem(name).name, weight  # made, so that a problem that has no reverse says so now
    else:
        raise _unknown(name)


def _unknown(name):
    mixtures = registry.mixtures.names()
    if nearest(name, mixtures):
        return unknown_name("problem or mixture", name, [*registry.problems.names(), *mixtures])
    try:
        registry.problems.resolve(name)
    except UserError as error:
        return error  # it knows the aliases of old too


# ---- The weight engines: each gives the problems' probabilities, an array that sums to 1.


def fixed(weights):
    """The weights as they are."""
    return _normalised(weights)


def by_size(weights, sizes, temperature):
    """∝ weight · examples^(1/temperature): 1 draws every example as often as any other, larger evens out."""
    return _normalised(np.asarray(weights, float) * np.asarray(sizes, float) ** (1.0 / temperature))


def scheduled(points, kind, step):
    """Probabilities at a global step.

    Args:
      points: [(step, probabilities)] with rising steps, from `parse_schedule`.
      kind: "linear" goes straight from point to point, "step" holds each point until the next one. Before
        the first point its probabilities hold, after the last one that one's.
      step: the global step.
    """
    after = next((i for i, (at, _) in enumerate(points) if at > step), len(points))
    if after == 0 or after == len(points) or kind == "step":
        return np.array(points[max(after - 1, 0)][1])
    (before_step, before), (after_step, then) = points[after - 1], points[after]
    part = (step - before_step) / (after_step - before_step)
    return _normalised((1 - part) * np.asarray(before) + part * np.asarray(then))


def adaptive(weights, relative_losses):
    """∝ weight · relative loss, but never under `ADAPTIVE_FLOOR` of the fixed share.

    A problem's relative loss is the moving average of its loss as a part of its first loss (`LossAverages`):
    1 when nothing is learnt yet, near 0 when all is. Who learns slowly is drawn more, whatever the unit of
    his loss; it is cut at 1, so that a problem that diverges can't draw the others' share to itself.
    """
    share = fixed(weights)
    relative = np.clip(np.asarray(relative_losses, float), 1e-3, 1.0)
    return ADAPTIVE_FLOOR * share + (1 - ADAPTIVE_FLOOR) * _normalised(share * relative)


class LossAverages:
    """Each problem's moving average of its training loss, relative to the first one seen."""

    def __init__(self, problems):
        self._first = {}
        self._average = {}
        self.problems = tuple(problems)

    def record(self, problem, loss):
        """Takes in one step's loss; what is not finite is left out (the trainer stops on it anyway)."""
        loss = float(loss)
        if math.isfinite(loss):
            self._first.setdefault(problem, loss)
            self._average[problem] = LOSS_DECAY * self._average.get(problem, loss) + (1 - LOSS_DECAY) * loss

    def relative(self):
        """[problems] float64, in their order: average over first loss; 1 for who has no loss yet."""
        first, average = self._first, self._average
        return np.array([average[p] / first[p] if first.get(p, 0.0) > 0 else 1.0 for p in self.problems])

    def state(self):
        return {"first": dict(self._first), "average": dict(self._average)}

    def restore(self, state):
        self._first, self._average = dict(state["first"]), dict(state["average"])


def parse_schedule(text, problems):
    """ "linear @0 1 0 @1000 0.5 0.5" → ("linear", [(0, [1, 0]), (1000, [0.5, 0.5])]), each point summing to 1.

    Raises:
      UserError: a first word besides linear and step, a point with too few or too many numbers for the
        `problems` (their names, in order), a negative or unreadable number, steps that don't rise.
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
    points = [_schedule_point(group, problems, usage) for group in groups]
    for (before, _), (after, _) in zip(points, points[1:]):
        if after <= before:
            raise UserError(f"mixture_schedule: @{after} comes after @{before}; the steps must rise")
    return words[0], points


def _schedule_point(words, problems, usage):
    at, numbers = words[0], words[1:]
    try:
        step, weights = int(at[1:]), [float(n) for n in numbers]
    except ValueError:
        raise UserError(f"mixture_schedule: {' '.join(words)!r} holds something that is no number; {usage}") from None
    if step < 0 or len(weights) != len(problems):
        raise UserError(f"mixture_schedule: {at} has {len(weights)} weights for {len(problems)} problems; {usage}")
    if not all(math.isfinite(w) and w >= 0 for w in weights) or not sum(weights) > 0:
        raise UserError(f"mixture_schedule: the weights at {at} must be 0 or more, and not all 0; {usage}")
    return step, _normalised(weights)


class MixtureSchedule:
    """Which problems are drawn at which step: a mixture together with the hparams that weigh it.

    `hparams.mixture` is "fixed", "size", "adaptive" or "schedule" (where the schedule's own numbers replace
    the mixture's weights).
    """

    def __init__(self, mixture, hparams, sizes=None):
        """`sizes`: {problem: training examples}, needed for "size" only. Raises `UserError` for a bad schedule."""
        self.problems = mixture.problem_names
        self.kind = hparams.mixture
        self.gradient_accumulation_steps = hparams.gradient_accumulation_steps
        self._weights = np.array([weight for _, weight in mixture.problems])
        if self.kind == "size":
            if not hparams.mixture_temperature > 0:
                raise UserError(f"mixture_temperature={hparams.mixture_temperature:g} must be above 0")
            examples = [sizes[problem] for problem in self.problems]
            self._by_size = by_size(self._weights, examples, hparams.mixture_temperature)
        elif self.kind == "schedule":
            self._schedule_kind, self._points = parse_schedule(hparams.mixture_schedule, self.problems)

    def probabilities(self, step, losses=None):
        """[problems] float64, summing to 1.

        Args:
          step: the global step, from 0.
          losses: [problems], `LossAverages.relative()`; for "adaptive", where None stands for all alike.
        """
        if self.kind == "size":
            return self._by_size
        if self.kind == "schedule":
            return scheduled(self._points, self._schedule_kind, step)
        if self.kind == "adaptive":
            return adaptive(self._weights, np.ones(len(self.problems)) if losses is None else losses)
        return fixed(self._weights)

    def draw(self, seed, step, draw_index, probabilities, count=None):
        """The name of the problem of one draw: a function of its arguments alone.

        The draws are systematic, not independent: the `count` draws of a step (`gradient_accumulation_steps` unless
        told) stand at even distances on [0, 1), and the `DRAW_BLOCK` steps of a block shift them by all
        multiples of 1/DRAW_BLOCK of that distance, in random order. So the number of times that a problem
        of share p is drawn is off by less than 1 in every step (from count · p) and in every block (from
        DRAW_BLOCK · count · p): small tasks neither starve nor pile up by chance.
        """
        count = count or self.gradient_accumulation_steps
        block, place = divmod(step, DRAW_BLOCK)
        order = permutation(DRAW_BLOCK, "mixture order", seed, block)
        shift = int(random_words(1, "mixture shift", seed, block)[0]) / 2**64
        point = (draw_index + (order[place] + shift) / DRAW_BLOCK) / count
        borders = np.cumsum(probabilities)
        chosen = np.searchsorted(borders / borders[-1], point, side="right")
        return self.problems[min(chosen, len(self.problems) - 1)]


# ---- Randomness by name: any part of any sequence can be had without what comes before it.


def random_words(count, *key):
    """`count` uniform uint64, a function of the `key` (plain values) alone.

    From Philox, a counter-based generator; its raw words are the part that NumPy promises never to change,
    which it does not of `permutation` or `random`.
    """
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(count)


def permutation(count, *key):
    """The numbers 0 … count-1 in random order (int64), a function of the `key` alone."""
    return np.argsort(random_words(count, *key), kind="stable")


def _normalised(weights):
    weights = np.asarray(weights, float)
    return weights / weights.sum()
