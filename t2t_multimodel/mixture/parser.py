"""The parser of `--problem=`: names of problems and mixtures, with weights, as one `Mixture` of problems."""

import math
import sys
from dataclasses import dataclass, field

from t2t_multimodel import registry
from t2t_multimodel.errors import UserError, nearest, unknown_name


@dataclass(frozen=True)
class Mixture:
    """Problems (or other mixtures) by name, each with a relative weight.

    `problems` holds names or (name, weight) pairs; it is stored as pairs.
    """

    name: str
    description: str
    problems: tuple
    source: str = field(default="", compare=False)  # "file:line" of its definition

    def __post_init__(self):
        try:
            if isinstance(self.problems, str):
                raise TypeError
            pairs = tuple((item, 1.0) if isinstance(item, str) else (item[0], float(item[1])) for item in self.problems)
        except (TypeError, ValueError, IndexError, KeyError):
            said = f"names or (name, weight) pairs, not {self.problems!r:.80}"
            raise UserError(f"mixture {self.name!r}: its problems must be a tuple of {said}") from None
        if not pairs:
            raise UserError(f"mixture {self.name!r} has no problems; name at least one")
        for problem, weight in pairs:
            if not (weight > 0 and math.isfinite(weight)):
                raise UserError(f"mixture {self.name!r}: {problem!r} has weight {weight:g}; weights must be above 0")
        object.__setattr__(self, "problems", pairs)
        if not self.source:
            caller = sys._getframe(2)  # 0 is this function, 1 is the dataclass's __init__
            object.__setattr__(self, "source", f"{caller.f_code.co_filename}:{caller.f_lineno}")

    @property
    def problem_names(self):
        return tuple(name for name, _ in self.problems)


def parse(text):
    """The value of `--problem=` as a `Mixture` that contains problems only, in the order given.

    "tiny8" (a problem or a mixture), "a,b:2" (weights), "a_rev" (the two sides of `a` swapped), "a-b-c"
    (Tensor2Tensor's dash list; not allowed if a registered name contains a dash). The weight of a mixture is divided
    among its members in proportion to their weights; the weights of a repeated problem are added.

    Raises:
      UserError: an unknown name (with the nearest problems and mixtures), or a weight that is not above 0.
    """
    if not isinstance(text, str):
        raise UserError(f'problems are named in a text, such as "tiny8" or "a,b:2", not {text!r:.60}')
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
    """One item of the comma-separated list → [(name, weight)]."""
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
    """Yields (problem, weight) for a problem, or for all problems of a mixture, recursively."""
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
        yield registry.problem(name).name, weight  # created now, to raise if the problem has no reverse
    else:
        raise _unknown(name)


def _unknown(name):
    mixtures = registry.mixtures.names()
    if nearest(name, mixtures):
        return unknown_name("problem or mixture", name, [*registry.problems.names(), *mixtures])
    try:
        registry.problems.resolve(name)
    except UserError as error:
        return error  # it considers the aliases too
