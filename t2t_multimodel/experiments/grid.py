"""A grid of hparams: every combination of some values, each a kind of joint run, for suite efficiency.

num_experts=0|8|60,experts_per_token=1|4      2 · 2 + 1 kinds: without experts there is nothing to choose for a token
"""

import dataclasses
import itertools

from t2t_multimodel import hyperparameters
from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import plan
from t2t_multimodel.experiments.choices import HELD_EQUAL

DEFAULT = "num_experts=0|4|8|16|32|60,experts_per_token=1|2|4,num_heads=1|2|4|8"
_FLAG = "--grid"
_OF_EXPERTS = "num_experts experts_per_token expert_filter_size expert_capacity_factor expert_balance_weight".split()
_MOST = 2000  # points


def parse(text):
    """ "num_experts=0|4,num_heads=1|2" → {"num_experts": (0, 4), "num_heads": (1, 2)}.

    Raises:
      UserError: an unknown hparam, a wrong value, a value or an hparam given twice, one that all runs must share.
    """
    grid = {}
    for part in hyperparameters.split(text or DEFAULT):
        name, equals, said = (piece.strip() for piece in part.partition("="))
        if not equals or not all(said.split("|")):
            raise UserError(f"{_FLAG}: {part.strip()!r} is not name=value|value|…, such as num_heads=1|2|4")
        if name in HELD_EQUAL:
            raise UserError(f"{_FLAG}: {name} is equal in all compared runs; change it for all of them with --hparams")
        if name in grid:
            raise UserError(f"{_FLAG}: {name} is given twice")
        values = [hyperparameters.parse(f"{name}={value}", _FLAG) for value in said.split("|")]
        grid[name] = tuple(hyperparameters.check(value, _FLAG)[name] for value in values)
        if len(set(grid[name])) < len(grid[name]):
            raise UserError(f"{_FLAG}: {part.strip()!r} names a value twice")
    if not grid:
        raise UserError(f"{_FLAG} is empty; the default is {DEFAULT}")
    return grid


def kinds(grid, base, joint):
    """The kinds of joint runs of a grid.

    Args:
      grid: of `parse`. base: the `HParams` of the joint run. joint: its `Kind`, which is a point too if its values are
        of the grid.

    Returns:
      {name of a kind: {hparam of the grid: its value, or None where it decides nothing}}, of the joint run too; and the
      `Kind`s besides the joint run. Runs with the same first value have the same structure; the first kind of each
      structure, which is timed for all, has the last values of the others.

    Raises:
      UserError: too many points, or none that is possible.
    """
    first, *others = grid
    if (count := _count(grid)) > _MOST:
        raise UserError(f"{_FLAG} has {count:,} points; {_MOST:,} are the most")
    points = {joint.name: _values(grid, base)}
    found, seen, refused = [], {base}, None
    for value in grid[first]:
        for rest in itertools.product(*(reversed(grid[name]) for name in others)):
            changes = _effective({first: value, **dict(zip(others, rest))})
            if changes.get("num_experts") and not base.use_experts:
                changes["use_experts"] = True
            try:
                hparams = hyperparameters.override(base, changes, _FLAG)
            except UserError as error:  # more experts a token than there are, heads that do not divide, …
                refused = refused or error
                continue
            if hparams in seen:
                continue
            seen.add(hparams)
            point = _values(grid, hparams)
            name = ", ".join(f"{name}={value}" for name, value in point.items() if value is not None)
            points[name] = point
            structure = f"{plan.GRID}{first}={value}"
            found.append(dataclasses.replace(joint, name=name, changes=tuple(changes.items()), structure=structure))
    if not found:
        raise UserError(f"{_FLAG}: no point is another than the joint run" if refused is None else str(refused))
    return points, found


def _count(grid):
    count = 1
    for values in grid.values():
        count *= len(values)
    return count


def _effective(changes):
    """The changes that decide anything: no experts are `use_experts=False`, whatever they would be like."""
    if changes.get("num_experts") != 0:
        return changes
    return {name: value for name, value in changes.items() if name not in _OF_EXPERTS} | {"use_experts": False}


def _values(grid, hparams):
    """{hparam of the grid: its value}; 0 experts where there are none, and None for what they would be like."""
    if hparams.use_experts:
        return {name: getattr(hparams, name) for name in grid}
    without = {name: None for name in _OF_EXPERTS} | {"num_experts": 0}
    return {name: without.get(name, getattr(hparams, name)) for name in grid}
