"""A grid of hparams: every combination of some values, each a kind of joint run, for suite efficiency.

num_experts=0|8|60,experts_per_token=1|4      2 · 2 + 1 kinds: without experts there is nothing to choose for a token
"""

import dataclasses
import itertools

from t2t_multimodel import hyperparameters
from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import plan
from t2t_multimodel.experiments.choices import HELD_EQUAL
from t2t_multimodel.hyperparameter_effects import NUMBERS_OF_EXPERTS, SILENCED

DEFAULT = "num_experts=0|4|8|16|32|60,experts_per_token=1|2|4,num_heads=1|2|4|8"
_FLAG = "--grid"
# What decides nothing where no problem has text targets: there is no mixer and no decoder.
OF_WRITING = (
    *("use_attention", "num_heads", "attention_blocks", "mixer_blocks", "decoder_blocks", "decoder_attentions"),
    "decoder_experts",
)
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


def kinds(grid, base, joint, writes=True):
    """The kinds of joint runs of a grid.

    Args:
      grid: of `parse`. base: the `HParams` of the joint run. joint: its `Kind`, which is a point too, with values of
        its own. writes: whether a problem has text targets.

    Returns:
      {name of a kind: {hparam of the grid: its value, or None where it decides nothing}}, of the joint run too; and the
      `Kind`s besides the joint run, no two of equal models. Runs with the same first value have the same structure; the
      first kind of each structure, which is timed for all, has the last values of the others.

    Raises:
      UserError: too many points, or none that is possible.
    """
    first, *others = grid
    if (count := _count(grid)) > _MOST:
        raise UserError(f"{_FLAG} has {count:,} points; {_MOST:,} are the most")
    points = {joint.name: _values(grid, base, writes)}
    found, seen, refused = [], {_model(base, writes)}, None
    for value in grid[first]:
        for rest in itertools.product(*(reversed(grid[name]) for name in others)):
            changes = _effective({first: value, **dict(zip(others, rest))}, base, writes)
            try:
                hparams = hyperparameters.override(base, changes, _FLAG)
            except UserError as error:  # more experts a token than there are, heads that do not divide, …
                refused = refused or error
                continue
            if _model(hparams, writes) in seen:
                continue
            seen.add(_model(hparams, writes))
            point = _values(grid, hparams, writes)
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


def _effective(changes, base, writes):
    """The changes that decide anything: 0 experts are `use_experts=False`, and other numbers switch them on, unless the
    grid has the switch.
    """
    if changes.get("num_experts") == 0:
        changes = {n: value for n, value in changes.items() if n != "num_experts"} | {"use_experts": False}
    elif "num_experts" in changes and not base.use_experts and "use_experts" not in changes:
        changes = changes | {"use_experts": True}
    hparams = dataclasses.replace(base, **changes)
    stays = NUMBERS_OF_EXPERTS if hparams.use_experts else ()  # two zeros are the switch
    return {name: value for name, value in changes.items() if name in stays or name not in _silenced(hparams, writes)}


def _has_experts(hparams, writes):
    return hparams.use_experts and any(getattr(hparams, name) for name in _numbers_of_experts(writes))


def _numbers_of_experts(writes):
    return NUMBERS_OF_EXPERTS if writes else ("encoder_experts",)


def _silenced(hparams, writes):
    """The hparams that decide nothing, since what they are of is switched off, or is not in the model."""
    on = {switch: getattr(hparams, switch) for switch in SILENCED} | {"use_experts": _has_experts(hparams, writes)}
    names = {name for switch in SILENCED if not on[switch] for name in SILENCED[switch]}
    if not writes:
        names.update(OF_WRITING)
    if not hparams.use_convolutions and hparams.decoder_attentions:  # else there are as many attentions
        names.add("decoder_blocks")
    return names


def _model(hparams, writes):
    """The `HParams` with the defaults of what decides nothing: equal for equal models."""
    default, silenced = type(hparams)(), _silenced(hparams, writes)
    hparams = dataclasses.replace(hparams, decoder_attentions=hparams.decoder_attentions or hparams.decoder_blocks)
    if not _has_experts(hparams, writes):
        hparams = dataclasses.replace(hparams, use_experts=False)
    return dataclasses.replace(hparams, **{name: getattr(default, name) for name in silenced})


def _values(grid, hparams, writes):
    """{hparam of the grid: its value, or None where it decides nothing}.

    That there are no experts is the value of one hparam which can say so, or 0 in both parts of the body.
    """
    values = {name: getattr(hparams, name) for name in grid}
    values |= {name: None for name in _silenced(hparams, writes) if name in grid}
    if not _has_experts(hparams, writes):
        if "use_experts" in grid:
            values["use_experts"] = False
        elif "num_experts" in grid and (0 in grid["num_experts"] or not hparams.use_experts):
            values["num_experts"] = 0
        else:
            values |= {name: 0 for name in _numbers_of_experts(writes) if name in grid}
    return values
