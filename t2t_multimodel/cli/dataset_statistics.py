"""What `t2t-inspect` measures and draws: lengths, what is left out, how often each class comes."""

import dataclasses

import numpy as np

from t2t_multimodel.modalities.drawings import entitle, panels_of, save_figure

_MOST_COUNTED = 20_000  # so many examples of a split have their classes counted


@dataclasses.dataclass(frozen=True)
class Lengths:
    """The lengths of one side of one split, in ids or seconds."""

    split: str
    side: str  # or the name of one of several inputs
    unit: str  # e.g. "tokens" or "seconds"
    values: np.ndarray  # [examples]
    most: float  # longer examples are left out of training
    too_long: int

    def cells(self):
        """One row of the table of lengths."""
        v = self.values
        numbers = [v.min(), v.mean(), np.median(v), np.quantile(v, 0.99), v.max()]
        rounded = [round(float(n), 2) for n in numbers]
        return (self.split, self.side, len(v), self.unit, *rounded, self.too_long)


def lengths_of(store, hparams):
    """The `Lengths` of every split's sides that vary in length, in the unit of their modality."""
    found = []
    for name in store.manifest["splits"]:
        split = store.split(name)
        for side, member, modality, stored in _sides(store.spec, split):
            if not len(stored) or not modality.variable_length:
                continue
            too_long = int(modality.lengths(hparams, side).too_long(stored).sum())
            values = np.asarray(stored, np.float64) / modality.length_per_unit
            most = getattr(hparams, modality.limit_hparam(side))
            found.append(Lengths(name, member or side, modality.length_unit, values, most, too_long))
    return found


def left_out(store, hparams, set_name):
    """Lines about the training data that the hparams leave out, and the values that would keep all of it."""
    if "train" not in store.manifest["splits"]:
        return ["warning: there is no split 'train'; nothing can be trained on this data"]
    split = store.split("train")
    too_long = np.zeros(len(split), bool)
    needed = []
    for side, _, modality, lengths in _sides(store.spec, split):
        rule = modality.lengths(hparams, side)
        if rule.too_long(lengths).any():
            too_long |= rule.too_long(lengths)
            name, needs = modality.limit_hparam(side), lengths.max() / modality.length_per_unit
            needs = int(needs) if needs == int(needs) else np.ceil(10 * needs) / 10
            needed.append(f"{name}={needs:g} (it is {getattr(hparams, name):g})")
    count = int(too_long.sum())
    if not count:
        return [f"{set_name} leaves out none of the {len(split):,} training examples"]
    return [
        f"warning: {set_name} leaves out {count:,} of the {len(split):,} training examples "
        f"({count / len(split):.1%}) as too long; all are kept with {', '.join(needed)}"
    ]


def targets_in_words(store):
    """Lines on what the targets of the training split are; [] where their modality has nothing to say."""
    if "train" not in store.manifest["splits"]:
        return []
    split = store.split("train")
    counted = min(len(split), _MOST_COUNTED)
    of = "" if counted == len(split) else f" of the first {counted:,} examples"

    stored = (example["targets"] for example in split.each(np.arange(counted), ("targets",)))
    return store.spec.targets.distribution_in_words(stored, of)


def draw_lengths(lengths, title, path):
    """Draws a histogram for each of `lengths`; a red line marks the maximum length for training, if near."""
    splits, sides = (list(dict.fromkeys(getattr(row, name) for row in lengths)) for name in ("split", "side"))
    figure, panels = panels_of(len(splits), len(sides), width=4.5 * len(sides) + 0.5, height=2.2 * len(splits) + 0.6)
    for panel, row in zip(panels, lengths):
        whole = bool(np.all(row.values == np.round(row.values)))
        low, high = float(row.values.min()), float(row.values.max())
        width = max(1.0, np.ceil((high - low) / 40)) if whole else max((high - low) / 40, 0.01)
        edges = np.arange(low - 0.5 * whole, high + width + 0.5, width)
        panel.hist(row.values, bins=edges if len(edges) > 1 else 1, color="#4477aa")
        if row.most <= 1.5 * high:
            panel.axvline(row.most, color="#cc3311")
        entitle(panel, f"{row.split} {row.side}: {len(row.values):,} examples, {row.too_long:,} too long", 60)
        panel.yaxis.get_major_locator().set_params(integer=True)
        panel.set_xlabel(row.unit, fontsize=8)
        panel.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=9, parse_math=False)
    save_figure(figure, path)


def _sides(spec, split):
    """Yields (side, its member or "", modality, stored lengths) of both sides and of each of several inputs."""
    for side, lengths in (("inputs", split.input_length), ("targets", split.target_length)):
        for member, modality, own in getattr(spec, side).apart(lengths):
            yield side, member, modality, own
