"""Several inputs, each of a modality of its own: a picture and a question, a recording and its title."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from t2t_multimodel.modalities.arrays import joined_name, stored_name
from t2t_multimodel.modalities.base import Modality, fault_of
from t2t_multimodel.modalities.lengths import LengthsOfSeveral
from t2t_multimodel.modalities.no_input import NoInput
from t2t_multimodel.registry import register_modality


@register_modality
@dataclasses.dataclass(frozen=True)
class Inputs(Modality):
    """Several inputs by name; a problem says `inputs = {"picture": Image(64, 64, 3), "question": Text()}`.

    A sample is a dict with just these names. The model reads the members' encoded sequences one after the other,
    without the padding between them; each position also gets a learned vector that says which member it is of.
    """

    modality_name: ClassVar[str] = "inputs"

    members: tuple = ()  # (name, `Modality`) of each, in the order of reading

    # ---- Put together of what the members say

    @property
    def uses_vocabulary(self):
        return any(member.uses_vocabulary for _, member in self.members)

    @property
    def costly(self):
        return any(member.costly for _, member in self.members)

    @property
    def variable_length(self):
        return any(member.variable_length for _, member in self.members)

    @property
    def can_be_input(self):
        return all(member.can_be_input for _, member in self.members)

    can_be_target = False

    def declaration_fault(self):
        if not self.members:
            return 'must have a member, e.g. {"picture": Image(64, 64, 3), "question": Text()}'
        for name, member in self.members:
            if not isinstance(name, str) or not name.isidentifier() or name == "values":
                return f"must be called by names of letters, digits and underscores, not {name!r}"
            if not isinstance(member, Modality) or member.members or member.optional:
                return f"must be modalities such as Text() or Image(); {name!r} is {member!r:.80}"
            if not member.can_be_input:
                return f"can't have {name!r}: there is no net that reads {member.modality_name}"
            if fault := fault_of(member):
                return f"{name!r} {fault}"
        if len(set(self.tensors())) < sum(len(member.tensors()) for _, member in self.members):
            return f"have two arrays of one name; rename one of {', '.join(self._names)}"
        return ""

    # ---- A sample

    def check(self, value):
        for (name, member), each in zip(self.members, self._values(value)):
            _of_member(name, member.check, each)

    def from_line(self, line):
        if isinstance(line, str):
            columns = line.split("\t")
            if len(columns) != len(self.members):
                wanted = f"{len(self.members)} columns with a tab between them ({', '.join(self._names)})"
                raise ValueError(f"it must have {wanted}, it has {len(columns)}")
            line = dict(zip(self._names, columns))
        values = zip(self.members, self._values(line))
        return {name: _of_member(name, member.from_line, each) for (name, member), each in values}

    def parts(self, sample):
        given = sample if isinstance(sample, Mapping) else {}
        return [(member, given.get(name)) for name, member in self.members]

    def limited(self, hparams):
        return Inputs(tuple((name, member.limited(hparams)) for name, member in self.members))

    # ---- On disk

    def bind(self, vocabulary):
        return Inputs(tuple((name, member.bind(vocabulary)) for name, member in self.members))

    def stored(self):
        return self._joined(stored_name, [member.stored() for _, member in self.members])

    def encode(self, samples, vocabulary=None):
        encoded = [m.encode([sample[name] for sample in samples], vocabulary) for name, m in self.members]
        return [self._joined(stored_name, arrays) for arrays in zip(*encoded)]

    def stored_length(self, arrays):
        return tuple(m.stored_length(each) for m, each in self._each(arrays))

    def lengths_agree(self, columns, lengths):
        each = zip(self._each(columns), np.moveaxis(lengths, -1, 0))
        return all(m.lengths_agree(own, own_lengths) for (m, own), own_lengths in each)

    def texts(self, sample):
        given = sample if isinstance(sample, Mapping) else {}
        return [text for name, member in self.members for text in member.texts(given.get(name))]

    def text_ids(self, lengths):
        return sum(m.text_ids(each) for (_, m), each in zip(self.members, lengths))

    def text_counts(self, samples, lengths):
        each = zip(self.members, zip(*lengths))
        counts = [m.text_counts([sample[name] for sample in samples], list(own)) for (name, m), own in each]
        return sum(ids for ids, _ in counts), sum(characters for _, characters in counts)

    def stored_bytes(self, sample, vocabulary=None):
        return sum(member.stored_bytes(sample[name], vocabulary) for name, member in self.members)

    def stored_fault(self, arrays):
        faults = zip(self._names, (m.stored_fault(each) for m, each in self._each(arrays)))
        return next((f"{name}: {fault}" for name, fault in faults if fault), "")

    def to_json(self):
        members = [{"name": name, **member.to_json()} for name, member in self.members]
        return {"modality": self.modality_name, "members": members}

    @classmethod
    def from_fields(cls, values):
        made = []
        for each in values["members"]:
            made.append((each["name"], Modality.from_json({n: v for n, v in each.items() if n != "name"})))
        modality = cls(tuple(made))
        if fault := fault_of(modality):
            raise ValueError(f"its {cls.modality_name} {fault}")
        return modality

    # ---- Batches

    @property
    def weights_name(self):
        return "_".join(["inputs", *(f"{name}_{member.weights_name}" for name, member in self.members)])

    def tensors(self):
        return self._joined(joined_name, [member.tensors() for _, member in self.members])

    def columns(self, samples, vocabulary=None):
        each = [m.columns([sample[name] for sample in samples], vocabulary) for name, m in self.members]
        columns = self._joined(stored_name, [columns for columns, _ in each])
        return columns, list(zip(*(lengths for _, lengths in each)))

    def pad(self, columns, rows, length=0):
        lengths = np.broadcast_to(length, len(self.members)).tolist()
        padded = [m.pad(own, rows, to) for (m, own), to in zip(self._each(columns), lengths)]
        return self._joined(joined_name, padded)

    def lengths(self, hparams, side, bucket=False):
        return LengthsOfSeveral([member.lengths(hparams, side, bucket) for _, member in self.members])

    def apart(self, lengths):
        return [(name, member, own) for (name, member), own in zip(self.members, np.moveaxis(lengths, -1, 0))]

    # ---- The nets

    def make_nets(self, hparams, reads, writes, parts=None):
        return self.make_encoder(hparams, self.weights_name, parts), None

    def row_names(self, vocabulary=None):
        return [name for name, _ in self.members]

    def make_encoder(self, hparams, name, parts=None):
        from t2t_multimodel.modalities.several_nets import InputsEncoder

        parts = parts or [member.make_nets(hparams, True, False)[0] for _, member in self.members]
        return InputsEncoder(self, hparams, parts, name=name)

    # ---- For people

    def mean_length_in_words(self, mean):
        return " + ".join(m.mean_length_in_words(each) for (_, m), each in zip(self.members, mean))

    def in_one_line(self, stored, key, vocabulary=None):
        return " | ".join(member.in_one_line(each, key, vocabulary) for _, member, each in self._stored(stored))

    def lines(self, stored, vocabulary=None):
        lines = [("", ", ".join(self._names))]
        for name, member, each in self._stored(stored):
            lines += [(called or name, line) for called, line in member.lines(each, vocabulary)]
        return lines

    def write_files(self, stored, captions, stem):
        paths = []
        for i, (name, member) in enumerate(self.members):
            own = [self._stored(each)[i][2] for each in stored]
            paths += member.write_files(own, captions, stem.with_name(f"{stem.name}-{name}"))
        return paths

    def media(self, stored):
        return next((found for _, member, each in self._stored(stored) if (found := member.media(each))), None)

    def attention_axis(self, stored, grid, vocabulary=None):
        """The labels of all positions where every member has some; else {}: their numbers."""
        axes = [member.attention_axis(each, None, vocabulary) for _, member, each in self._stored(stored)]
        if not all(axis.keys() == {"positions"} for axis in axes):
            return {}
        return {"positions": [label for axis in axes for label in axis["positions"]]}

    # ---- Names

    @property
    def _names(self):
        return [name for name, _ in self.members]

    def _values(self, value):
        """The members' values in a sample, in their order."""
        if not isinstance(value, Mapping):
            raise ValueError(f"a dict with {', '.join(map(repr, self._names))} expected, got {type(value).__name__}")
        if sorted(map(str, value)) != sorted(self._names):
            has = ", ".join(map(repr, value)) or "nothing"
            raise ValueError(f"a dict with {', '.join(map(repr, self._names))} expected, it has {has}")
        return [value[name] for name in self._names]

    def _joined(self, join, each):
        """{array name: …} of each member as one dict; the names say the member too."""
        pairs = zip(self._names, each)
        return {join(n, name): value for n, own in pairs for name, value in own.items()}

    def _each(self, arrays):
        """(member, {its own array name: …}) of a dict by stored names."""
        for name, member in self.members:
            yield member, {own: arrays[stored_name(name, own)] for own in member.stored()}

    def _stored(self, arrays):
        """[(name, member, stored sample of it)] of a stored sample."""
        each = zip(self._names, self._each(arrays))
        return [(name, m, own["values"] if own.keys() == {"values"} else own) for name, (m, own) in each]


def as_modality(inputs: Any) -> Any:
    """What a problem's `inputs` stand for: of a dict its `Inputs`, of None `NoInput()`, else what they are."""
    if inputs is None:
        return NoInput()
    return Inputs(tuple(inputs.items())) if isinstance(inputs, Mapping) else inputs


def _of_member(name, function, value):
    try:
        return function(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    except OSError as error:
        raise OSError(f"{name}: {error}") from None
