"""Which net of a trained run each modality net of a new model begins from, and which of its rows are which.

Rows are what `ModalityNet.row_axes` names: the ids of a vocabulary, the classes of a label. They are found by name.
"""

import dataclasses

import numpy as np

from t2t_multimodel.vocabulary import COMMAND_PIECES


@dataclasses.dataclass(frozen=True)
class Pair:
    """A net of the new model and the net of the trained run that it begins from."""

    modality: object  # of the old net
    prefix: str  # of the paths of the old net's variables
    why: str  # why this one, a clause; "" where it is the same net
    axes: dict  # {path of a variable inside the net: axis of its rows}
    rows: "Rows | None"  # None: its nets have no rows


@dataclasses.dataclass(frozen=True)
class Rows:
    """For each row of the new net the rows of the old one whose mean it begins as; none: it begins anew."""

    sources: list  # of lists of int
    old_size: int

    @property
    def same(self):
        """Whether every row is the old net's row of the same number, and there are no others."""
        return len(self.sources) == self.old_size and all(rows == [i] for i, rows in enumerate(self.sources))

    def fits(self, shape, old, axis):
        """Whether the array `old` has the rows that this counts, and is but for their number of the new `shape`."""
        sizes = list(old.shape)
        return (
            len(sizes) == len(shape)
            and sizes.pop(axis) == self.old_size
            and sizes == [*shape[:axis], *shape[axis + 1 :]]
        )

    def taken(self, new, old, axis):
        """The array `new` with the rows that the array `old` has something for; `new` and `old` stay as they are."""
        new, old = np.moveaxis(np.array(new), axis, 0), np.moveaxis(old, axis, 0)  # np.array: a copy
        single = [(i, rows[0]) for i, rows in enumerate(self.sources) if len(rows) == 1]
        if single:
            to, source = np.array(single).T
            new[to] = old[source]
        for i, rows in enumerate(self.sources):
            if len(rows) > 1:
                new[i] = old[rows].mean(axis=0, dtype=np.float64)
        return np.moveaxis(new, 0, axis)

    def __str__(self):
        counts = [min(len(rows), 2) for rows in self.sources]
        said = [
            f"{counts.count(1):,} of {len(counts):,} rows by name",
            f"{counts.count(2):,} as the mean of their parts" if counts.count(2) else "",
            f"{counts.count(0):,} new" if counts.count(0) else "",
        ]
        return ", ".join(filter(None, said))


def pair_nets(model, specs, source, vocabulary, names):
    """{name of a net of `model`: its `Pair`}; nets that nothing of the trained run fits are left out.

    A net begins, in this order, from the net of the same weights; from that of the problem that `names` gives; from
    that of the problem of the same name; and one that reads or writes a vocabulary from the one of the trained run.

    Args:
      model: the new model. specs: of its problems. vocabulary: of its texts, or None.
      source: the trained run, a `warm_start.Source`.
      names: {new problem: the trained problem that it begins from}.
    """
    pairs, uses = {}, {}
    for spec in specs:
        for side, modality, net in _nets_of(model, spec):
            uses.setdefault(net.name, (net, modality, []))[2].append((spec, side))
    for name, (net, modality, of) in uses.items():
        found = _old_net(modality, of, source, names, name == modality.aligned_name)
        if found:
            old, prefix, why = found
            pairs[name] = Pair(old, prefix, why, net.row_axes, _rows(modality, old, of, source, vocabulary, names))
    return pairs


def _nets_of(model, spec):
    """(side, modality, net) of each net of a problem; the side of a member is "inputs/<its name>"."""
    encoder = model.input_encoder(spec)
    for (name, member), part in zip(spec.inputs.members, getattr(encoder, "parts", ())):
        yield f"inputs/{name}", member, part
    yield "inputs", spec.inputs, encoder
    yield "targets", spec.targets, model.head(spec)
    if (aligned := model.aligned_net(spec)) is not None:
        yield "targets", spec.targets, aligned


def _side(spec, side):
    """The modality of a side of a spec; None where there is no such member."""
    whole, _, member = side.partition("/")
    return dict(spec.inputs.members).get(member) if member else getattr(spec, whole)


def _old_net(modality, of, source, names, aligned):
    """(the modality, the prefix of its net's variables, why this one) in the trained run, or None.

    Args: aligned: whether it is the net of `MultiModel.aligned_net`.
    """
    prefix_of = source.aligned_prefix if aligned else source.prefix
    target = any(side == "targets" for _, side in of)
    if prefix := prefix_of(modality, target):
        return modality, prefix, ""
    problems = source.run.problems
    named = [(spec, side, names[spec.name]) for spec, side in of if spec.name in names]
    named += [(spec, side, spec.name) for spec, side in of if spec.name in problems]
    for _, side, name in named:
        old = _side(problems[name].spec, side)
        if type(old) is type(modality) and (prefix := prefix_of(old, side == "targets")):
            return old, prefix, f"from that of {name}"
    if modality.uses_vocabulary and not modality.members:
        for problem in problems.values():
            for side in ("inputs", "targets", *(f"inputs/{name}" for name, _ in problem.spec.inputs.members)):
                old = _side(problem.spec, side)
                if type(old) is type(modality) and (prefix := prefix_of(old, side == "targets")):
                    return old, prefix, "from that of its vocabulary"
    return None


def _rows(modality, old, of, source, vocabulary, names):
    if old.uses_vocabulary and source.vocabulary is None:  # a stranger's run: texts of no vocabulary
        return None
    now, before = modality.row_names(vocabulary), old.row_names(source.vocabulary)
    if now is None or before is None:
        return None
    place = {name: i for i, name in enumerate(before)}
    sources = [[place[n]] if n in place else list(old.row_parts(n, source.vocabulary)) for n in now]
    if len(now) == len(before):  # control symbols that got a name since, of problems that are not these
        own = {spec.command_id for spec, _ in of}
        free = [i for i, name in enumerate(before) if name in COMMAND_PIECES and i not in own and now[i] not in place]
        sources = [[i] if i in free else source for i, source in enumerate(sources)]
    for spec, side in of:
        origin = source.run.problems.get(names.get(spec.name, ""))
        if side == "targets" and origin and spec.command_id and 0 < origin.spec.command_id < len(before):
            sources[spec.command_id] = [origin.spec.command_id]  # the command token of the old problem
    return Rows(sources, len(before))
