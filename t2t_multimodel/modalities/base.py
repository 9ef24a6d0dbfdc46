"""The base of all modalities: what every part of the framework asks of one kind of data.

Data generation, reading, the model, decoding, evaluation and reports name no modality: they call these methods. A new
modality defines the ones of part 1 (in `samples.py`) to 3 that its data needs, an encoder if it can be an input and a
head if it can be a target; the rest has defaults. `t2t_multimodel.testing.check_modality` tells what is missing.

    @register_modality
    @dataclasses.dataclass(frozen=True)
    class Temperature(Modality):
        \"\"\"A curve of temperatures, one value an hour.\"\"\"
"""

import dataclasses
import hashlib
import math
import numbers
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from t2t_multimodel.errors import MustDefine, UserError
from t2t_multimodel.modalities.arrays import ArraySpec, Ragged, as_ragged, joined_name
from t2t_multimodel.modalities.lengths import Lengths
from t2t_multimodel.modalities.samples import Samples

SIDES = ("inputs", "targets")


@dataclasses.dataclass(frozen=True)
class Modality(Samples):
    """One kind of data. A frozen dataclass: its fields are what a problem declares, e.g. `Image(64, 64, 3)`.

    Fields with `compare=False` are notes for people: weights and stored examples do not depend on them.
    """

    uses_vocabulary: ClassVar[bool] = False  # samples hold strings, stored as ids of the data folder's vocabulary
    is_text: ClassVar[bool] = False  # a sample is one such string and nothing else
    optional: ClassVar[bool] = False  # samples may leave this side out; it is None then
    members: ClassVar[tuple[str, ...]] = ()  # (name, `Modality`) of each that a modality is put together of
    reads_files: ClassVar[bool] = False  # a sample comes from a file: a picture, a recording (`from_media`)
    costly: ClassVar[bool] = False  # preparing a sample takes milliseconds: workers get few at once
    line_is_data: ClassVar[bool] = False  # a line holds the sample itself, never a path: safe to take from a stranger
    ranked: ClassVar[bool] = False  # answers are lists, best first
    # As an input: what is said of it comes in the order of its positions, as the words of a recording do.
    in_order: ClassVar[bool] = False
    file_kind: ClassVar[str] = ""  # what a file or a request holds of it: a name of `exporting/readers.py`; "": arrays
    default_metrics: ClassVar[tuple[str, ...]] = ()  # of decoded output, the headline first
    teacher_forced_metrics: ClassVar[tuple[str, ...]] = (
        "teacher_forced_loss",
    )  # of the head's loss, the headline first

    # Lengths. The stored length of a sample is the length of the first array that varies, else 1.
    variable_length: ClassVar[bool] = False
    end_of_sequence: ClassVar[int] = 0  # entries that a batch adds to the stored length
    length_unit: ClassVar[str] = "steps"  # as people count it

    # ---- 2. On disk

    def bind(self, vocabulary: Any) -> "Modality":
        """The modality that knows its vocabulary (`digest`, `size`); for modalities without one, itself."""
        return self

    def stored(self) -> dict[str, ArraySpec]:
        """The arrays of a stored sample by name; a modality with a single one calls it "values"."""
        raise MustDefine(self, "stored()")

    def encode(self, samples: list[Any], vocabulary: Any = None) -> list[dict[str, Any]]:
        """For each prepared sample its stored arrays, {name: array}; an int for storage "class"."""
        raise MustDefine(self, "encode(samples)")

    def stored_length(self, arrays: dict[str, Any]) -> int:
        """The length of an encoded sample as the index holds it."""
        first = next((name for name, spec in self.stored().items() if spec.varies), None)
        return len(arrays[first]) if first else 1

    def lengths_agree(self, columns: dict[str, Any], lengths: Any) -> bool:
        """Whether columns, as `pad` takes them, are as long as the index says: `lengths` [rows]."""
        first = next((column for column in columns.values() if isinstance(column, Ragged)), None)
        return first is None or np.array_equal(first.lengths, lengths)

    def texts(self, sample: Any) -> list[tuple[Any, ...]]:
        """(`Text`, what stands for it) of each text in a sample, which need not be prepared."""
        return []

    def text_ids(self, lengths: Any) -> int:
        """How many ids of text samples have, given the sum of their stored lengths."""
        return int(lengths) if self.uses_vocabulary else 0

    def text_counts(self, samples: list[Any], lengths: list[Any]) -> tuple[int, int]:
        """(ids, characters) of text in samples, for the report of data generation."""
        return 0, 0

    def stored_bytes(self, sample: Any, vocabulary: Any = None) -> float:
        """About how many bytes a prepared sample takes in the store."""
        return float(getattr(sample, "nbytes", 8))

    def stored_fault(self, arrays: dict[str, Any]) -> str:
        """What is wrong with a stored sample that has arrays of the right sizes; "" where nothing is."""
        return ""

    def to_json(self) -> dict[str, Any]:
        """Plain values: the modality's name, and the fields that differ from their defaults."""
        values: dict[str, Any] = {"modality": self.modality_name}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.compare and (field.default is dataclasses.MISSING or value != field.default):
                values[field.name] = list(value) if isinstance(value, tuple) else value
        return values

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Modality":
        """The modality of `to_json`.

        Raises:
          UserError: there is no such modality. ValueError, TypeError, KeyError: the values are not a modality's.
        """
        from t2t_multimodel import registry

        cls = registry.modalities.get(values["modality"])
        return cls.from_fields({name: value for name, value in values.items() if name != "modality"})

    @classmethod
    def from_fields(cls, values: dict[str, Any]) -> "Modality":
        """The modality with these fields, each held against the type of its default."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(values.keys() - fields.keys())
        if unknown:
            raise ValueError(f"a {cls.modality_name} has no {', '.join(map(repr, unknown))}")
        made = {}
        for name, value in values.items():
            default = fields[name].default
            if isinstance(default, tuple) and isinstance(value, list):
                value = tuple(value)
            if isinstance(default, float) and type(value) is int:
                value = float(value)
            if default is not dataclasses.MISSING and type(value) is not type(default):
                raise ValueError(f"{name} of a {cls.modality_name} is a {type(default).__name__}, not {value!r:.60}")
            made[name] = value
        modality = cls(**made)
        if fault := fault_of(modality):
            raise ValueError(f"a {cls.modality_name} {fault}")
        return modality

    # ---- 3. Batches

    @property
    def weights_name(self) -> str:
        """Problems with modalities of the same name share one set of weights."""
        fields = [value for name, value in self.to_json().items() if name != "modality"]
        return "_".join([self.modality_name, *(digest_of(v) if isinstance(v, list) else str(v) for v in fields)])

    def tensors(self) -> dict[str, tuple[tuple[int | None, ...], str]]:
        """{name: (shape of one sample, dtype)} of the arrays that `pad` makes; `None` for lengths that vary."""
        arrays = {name: (spec.shape, spec.dtype) for name, spec in self.stored().items()}
        return arrays | ({"length": ((), "int32")} if self.variable_length else {})

    def columns(self, samples: list[Any], vocabulary: Any = None) -> tuple[dict[str, Any], list[int]]:
        """Prepared samples as `pad` takes them, and their stored lengths."""
        encoded = self.encode(samples, vocabulary)
        columns = {name: [arrays[name] for arrays in encoded] for name in self.stored()}
        return columns, [self.stored_length(arrays) for arrays in encoded]

    def of_batch(self, batch: dict[str, Any], side: str) -> dict[str, Any]:
        """The arrays of one side of a batch by the names of `tensors`."""
        return {name: batch[joined_name(side, name)] for name in self.tensors()}

    def pad(self, columns: dict[str, Any], rows: int, length: int = 0) -> dict[str, Any]:
        """The arrays of a batch, as `tensors` describes them.

        Args:
          columns: {name: the stored arrays of all samples}, an array or a `Ragged` each.
          rows: rows of the batch; spare ones are zeros. length: what to pad to; the longest sample where that is more.

        Returns:
          {name: array [rows, …]}; "length" int32 [rows] where lengths vary.
        """
        batch = {}
        for name, spec in self.stored().items():
            column = columns[name]
            if spec.varies:
                column = as_ragged(column)
                longest = max(length, int(column.lengths.max(initial=0)))
                batch[name] = column.padded(rows, longest, spec.dtype, spec.row_shape)
                if "length" not in batch:
                    batch["length"] = np.zeros(rows, np.int32)
                    batch["length"][: len(column.lengths)] = column.lengths
            else:
                batch[name] = np.zeros((rows, *spec.shape), spec.dtype)
                if len(column):
                    batch[name][: len(column)] = column
        return batch

    def samples_per_position(self, hparams: Any) -> float:
        """How much length (a batch's, so with the end-of-sequence) counts as one position against `batch_tokens`."""
        return 1.0

    def fixed_positions(self, hparams: Any) -> int:
        """What a sample of fixed length counts against `batch_tokens`."""
        return 1

    @property
    def length_per_unit(self) -> float:
        """How much stored length is one `length_unit`."""
        return 1.0

    def longest_varied(self, lengths: np.ndarray, hparams: Any) -> np.ndarray | None:
        """How long `varied` may make samples of these stored lengths; None: samples are read as they are stored."""
        return None

    def varied(self, columns: dict[str, Any], hparams: Any, words: list[int]) -> dict[str, Any]:
        """What training reads instead of stored samples, as columns again: the same content, said otherwise.

        Args:
          columns: as `pad` takes them. words: a uniform 64-bit number for each sample, of the seed, sample and epoch.
        """
        return columns

    def limit_hparam(self, side: str) -> str:
        """The hparam that says, in `length_unit`, which samples are too long to be trained on."""
        return "max_input_length" if side == "inputs" else "max_target_length"

    def lengths(self, hparams: Any, side: str, bucket: bool = False) -> Lengths:
        """How lengths are padded and counted; see `Lengths`."""
        return Lengths(self, hparams, side, bucket)

    def apart(self, lengths: Any) -> list[tuple[Any, ...]]:
        """(name, modality, stored lengths [rows]) of each member; of a modality without members, of itself."""
        return [("", self, lengths)]

    # ---- 4. The nets. Keras is imported in these methods alone.

    def make_encoder(self, hparams: Any, name: str) -> Any:
        """A layer: ({name: array} of `tensors`, training) → (x [B, T, d], padding_mask [B, T], grid or None).

        The padding mask is 1 at positions that hold something. The grid is (height, width) of a two-dimensional input,
        the positions are its rows one after the other.
        """
        raise UserError(f"{self.modality_name} can't be an input: its class defines no make_encoder")

    def make_head(self, hparams: Any, name: str) -> Any:
        """A `heads.Head`: what the target is made of, its loss and its decoding."""
        raise UserError(f"{self.modality_name} can't be a target: its class defines no make_head")

    def make_nets(self, hparams: Any, reads: bool, writes: bool) -> tuple[Any, Any]:
        """(encoder or None, head or None) of a model that reads, writes or does both; they may share weights.

        Of a modality with members it is called with `parts` too, their encoders, shared with other problems.
        """
        name = self.weights_name
        encoder = self.make_encoder(hparams, name) if reads else None
        return encoder, self.make_head(hparams, f"{name}_head" if reads else name) if writes else None

    @property
    def aligned_name(self) -> str:
        return f"{self.weights_name}_ctc"  # of the net of `make_aligned_net`

    def make_aligned_net(self, hparams: Any, name: str) -> Any:
        """As a target of inputs that are `in_order`: a layer that reads it off the encoded positions one after the
        other, such as `CtcNet`; None: there is none. Called with a `ctc_weight` above 0.
        """
        return None

    def encoder_operations(self, hparams: Any, rows: Any, length: Any) -> tuple[Any, Any, Any]:
        """(operations, positions, grid or None) of the encoder, for rows of this length; see training/arithmetic.py."""
        raise MustDefine(self, "encoder_operations(hparams, rows, length)")

    def head_operations(self, hparams: Any, rows: Any, positions: Any, grid: Any, written: Any) -> Any:
        """Operations of the head, over so many encoded positions or written ids."""
        raise MustDefine(self, "head_operations(hparams, rows, positions, grid, written)")

    def row_names(self, vocabulary: Any = None) -> list[str] | None:
        """What the rows of its nets stand for, such as classes, where `ModalityNet.row_axes` says which axes are rows.

        A run that starts from another one takes rows over by these names. None: its nets have no such rows.
        """
        return None

    def row_parts(self, name: str, vocabulary: Any = None) -> list[int]:
        """The rows that together say what a row called `name` would, which is not among `row_names`; []: none do."""
        return []

    @property
    def can_be_input(self) -> bool:
        return type(self).make_encoder is not Modality.make_encoder or type(self).make_nets is not Modality.make_nets

    @property
    def can_be_target(self) -> bool:
        return type(self).make_head is not Modality.make_head or type(self).make_nets is not Modality.make_nets

    # ---- 5. Answers

    def answers(self, predicted: dict[str, Any]) -> list[Any]:
        """What the head's `predict` gives for a batch, {name: array [rows, …]}, as one answer a row."""
        return list(predicted["values"])

    def reference(self, stored: Any, vocabulary: Any = None) -> Any:
        """The right answer of a stored target, as metrics take it."""
        return stored

    def as_answer(self, sample: Any) -> Any:
        """The answer that says just what a prepared sample says; for tests of metrics."""
        return sample

    def empty_answer(self) -> Any:
        """The answer that says nothing."""
        return ""

    @property
    def value_names(self) -> tuple[str, ...]:
        """The names of the values that a head predicts, in their order; () where they have none."""
        return ()

    def best(self, answer: Any) -> Any:
        """What a person gets of an answer: for ranked answers the first."""
        return answer

    def is_right(self, answer: Any, references: list[Any]) -> bool:
        """Whether an answer, or the best of ranked ones, says just what one of the references says."""
        best = self.best(answer) if len(answer) else answer
        return any(np.array_equal(best, reference) for reference in references)

    def to_line(self, answer: Any) -> str:
        """A person's answer in one line of text, as t2t-decoder writes it."""
        if isinstance(answer, str):
            return answer.replace("\r", " ").replace("\n", " ")
        text = np.array2string(np.asarray(answer), separator=" ", max_line_width=10**9, threshold=10**6)
        return " ".join(text.split()).removeprefix("[").removesuffix("]")

    # ---- 6. For people: t2t-inspect and reports

    def mean_length_in_words(self, mean: float) -> str:
        """The mean stored length of a side, e.g. "1.8 s of sound"."""
        return f"{mean / self.length_per_unit:.1f} {self.length_unit}" if self.variable_length else self.modality_name

    def in_one_line(self, stored: Any, key: str, vocabulary: Any = None) -> str:
        """A stored sample in one line of text; what text can't show is named by its key."""
        return f"({self.modality_name} {key})"

    def lines(self, stored: Any, vocabulary: Any = None) -> list[tuple[str, str]]:
        """A stored sample for t2t-inspect: (what it is, in words) a line, the first called ""."""
        arrays = stored if isinstance(stored, dict) else {"": stored}
        return [("", f"{self.modality_name} {n} {' × '.join(map(str, np.shape(a)))}") for n, a in arrays.items()]

    def write_files(self, stored: list[Any], captions: list[str], stem: Any) -> list[Any]:
        """Draws or writes stored samples to files with names that begin with the path `stem`; returns their paths."""
        return []

    def distribution_in_words(self, stored: Any, of: str = "") -> list[str]:
        """Lines on how often what is the target; `stored` is an iterator, `of` says which, e.g. " of the first 10"."""
        return []

    def media(self, stored: Any) -> tuple[str, Any] | None:
        """What a report can show of a stored sample: ("picture", pixels), ("sound", (samples, rate)), or None: text."""
        return None

    def attention_axis(self, stored: Any, grid: Any, vocabulary: Any = None) -> dict[str, Any]:
        """How attention over a stored sample is drawn: {"positions": labels}, {"picture", "grid"}, {"sound"}, or {}: by
        the numbers of the encoded positions.
        """
        return {}


_KINDS = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a string", tuple: "a tuple"}


def fault_of(modality: Modality) -> str:
    """What is wrong with the fields of a modality, a clause such as "must have …"; "" where nothing is."""
    for field in dataclasses.fields(modality):
        kind, value = type(field.default), getattr(modality, field.name)
        if kind in _KINDS and not _is_of(value, kind):
            return f"must have a {field.name} that is {_KINDS[kind]}, not {' '.join(repr(value).split()):.60}"
    return modality.declaration_fault()


def _is_of(value: Any, kind: type) -> bool:
    if isinstance(value, bool):  # a whole number to Python
        return kind is bool
    if kind is tuple:  # not a set: its order is another one in every process
        return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    if kind in (int, float):
        return isinstance(value, numbers.Integral if kind is int else numbers.Real) and math.isfinite(value)
    return isinstance(value, kind)


def digest_of(names: Any) -> str:
    """Eight hexadecimal digits that stand for a list of names in the name of weights."""
    return hashlib.sha256("\0".join(map(str, names)).encode()).hexdigest()[:8]


def counts_in_words(head: str, names: Any, counts: Any, noun: str, what: str, of: str) -> list[str]:
    """Lines on how often each of `names` is `what`, e.g. "the target": the most frequent, the rarest, the absent."""
    order = np.argsort(-counts, kind="stable")
    often, seldom = (f"{names[i]!r} {counts[i]:,}" for i in (order[0], order[-1]))
    lines = [f"{head}; the most frequent is {often} times {what}, the rarest {seldom}"]
    absent = [names[i] for i in np.flatnonzero(counts == 0)]
    if absent:
        named = ", ".join(map(repr, absent[:8])) + (", …" if len(absent) > 8 else "")
        lines.append(f"warning: {len(absent):,} {noun} are never {what}{of}: {named}")
    return lines
