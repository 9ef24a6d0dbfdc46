"""Text: strings, stored as subword ids of the data folder's vocabulary; in and out."""

import dataclasses
import re
from typing import ClassVar

import numpy as np

from t2t_multimodel.modalities import operations
from t2t_multimodel.modalities.arrays import ArraySpec, as_ragged
from t2t_multimodel.modalities.base import Modality
from t2t_multimodel.registry import register_modality
from t2t_multimodel.vocabulary import COMMAND_PIECES, EOS_ID, ESCAPES, PAD_ID, UNKNOWN_ID

_NOT_LAST = bytes(range(128, 256))  # bytes of variable-length integers that more of the same number follow
_BYTES_PER_TOKEN, _CHARACTERS_PER_TOKEN = 2, 3  # about, before there is a vocabulary
_UNITS = ("subwords", "characters")
_MOST_IDS = 60  # shown of one sample
_END = "⟨end⟩"


@register_modality
@dataclasses.dataclass(frozen=True)
class Text(Modality):
    """A string, stored as ids of subwords, or of its characters, without the end-of-sequence."""

    modality_name: ClassVar[str] = "text"
    uses_vocabulary: ClassVar[bool] = True
    is_text: ClassVar[bool] = True
    line_is_data: ClassVar[bool] = True
    file_kind: ClassVar[str] = "text"
    default_metrics: ClassVar[tuple] = ("bleu", "exact_match")
    teacher_forced_metrics: ClassVar[tuple] = (
        "teacher_forced_log_perplexity",
        "teacher_forced_accuracy",
        "teacher_forced_sequence_accuracy",
    )
    variable_length: ClassVar[bool] = True
    end_of_sequence: ClassVar[int] = 1
    length_unit: ClassVar[str] = "tokens"

    language: str = dataclasses.field(default="", compare=False)  # for reports only, e.g. "German"
    # "subwords", or "characters": an id each, as speech recognition writes where recordings are few. The ids are those
    # of the data folder's vocabulary either way, so that problems with both have one embedding.
    units: str = "subwords"
    # A regular expression: words of this feature that match it as a whole are one id each where they follow a space,
    # such as the brackets and tags of trees. For a closed set of words. Takes effect where this feature's text trains
    # the vocabulary, and then in all text: a longer word that begins with one is cut behind it.
    symbols: str = dataclasses.field(default="", compare=False)
    # Of the vocabulary that the text is stored in; `bind` sets them.
    vocabulary_size: int = 0
    vocabulary_digest: str = ""

    def __post_init__(self):
        try:
            re.compile(self.symbols)
        except re.error as error:
            raise ValueError(f"Text(symbols={self.symbols!r}) is no regular expression: {error}") from None
        if self.units not in _UNITS:
            raise ValueError(f"Text(units={self.units!r}) must be one of {', '.join(map(repr, _UNITS))}")
        if self.symbols and self.units != "subwords":
            raise ValueError(f"Text(symbols={self.symbols!r}) are subwords, so its units can't be {self.units}")

    # ---- A sample

    def check(self, value):
        if not isinstance(value, str):
            raise ValueError(f"text expected, got {type(value).__name__}")
        if not value.strip():
            raise ValueError("the text is empty")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"the text is not valid Unicode: {error.reason} at character {error.start}") from None

    def from_line(self, line):
        if not isinstance(line, str):
            raise ValueError(f"it must be a string, not {type(line).__name__}")
        return line

    def from_cell(self, value):
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"text expected, got {'nothing' if value is None else type(value).__name__}")
        return value if isinstance(value, str) else str(value)

    # ---- On disk

    def bind(self, vocabulary):
        return dataclasses.replace(self, vocabulary_size=vocabulary.size, vocabulary_digest=vocabulary.digest)

    def stored(self):
        return {"values": ArraySpec("int64", (None,), "int64_list")}

    def encode(self, samples, vocabulary=None):
        """The ids of each text as packed variable-length integers (bytes)."""
        return [{"values": packed} for packed in vocabulary.encode_packed(samples, self.units)]

    def stored_length(self, arrays):
        values = arrays["values"]
        return len(values.translate(None, _NOT_LAST)) if isinstance(values, bytes) else len(values)

    def texts(self, sample):
        return [(self, sample)]

    def text_counts(self, samples, lengths):
        return sum(lengths), sum(map(len, samples))

    def stored_bytes(self, sample, vocabulary=None):
        if self.units == "characters":
            return len(sample)  # most of them have ids below 128
        tokens = len(vocabulary.encode(sample)) if vocabulary else len(sample) / _CHARACTERS_PER_TOKEN
        return tokens * _BYTES_PER_TOKEN

    def stored_fault(self, arrays):
        ids = arrays["values"]
        if not len(ids) or ids.min() <= max(PAD_ID, EOS_ID) or ids.max() >= self.vocabulary_size:
            return f"ids outside of the vocabulary of {self.vocabulary_size}"
        return ""

    # ---- Batches

    @property
    def weights_name(self):
        return f"text_{self.vocabulary_digest[:8]}"

    def tensors(self):
        return {"values": ((None,), "int32")}

    def columns(self, samples, vocabulary=None):
        ids = [np.asarray(ids, np.int64) for ids in vocabulary.encode_batch(samples, self.units)]
        return {"values": ids}, [len(row) for row in ids]

    def pad(self, columns, rows, length=0):
        """ "values" int32 [rows, length]: ids, end-of-sequence (1), zeros; spare rows all zeros."""
        ids = as_ragged(columns["values"])
        padded = ids.padded(rows, max(length, int(ids.lengths.max(initial=0)) + 1), np.int32)
        padded[np.arange(len(ids.lengths)), ids.lengths] = EOS_ID
        return {"values": padded}

    # ---- The nets

    def make_nets(self, hparams, reads, writes):
        """One layer for both sides: they share the embedding, which has the command tokens too."""
        from t2t_multimodel.modalities.text_nets import TextNet

        net = TextNet(self, hparams, name=self.weights_name)
        return (net if reads else None), (net if writes else None)

    def make_aligned_net(self, hparams, name):
        from t2t_multimodel.modalities.text_nets import CtcNet

        return CtcNet(self, hparams, name=name)

    def encoder_operations(self, hparams, rows, length):
        return 0, length, None

    def head_operations(self, hparams, rows, positions, grid, written):
        return operations.product(rows * written, hparams.hidden_size, self.vocabulary_size)

    def row_names(self, vocabulary=None):
        """The pieces of the vocabulary; the control symbols of commands by the commands' names."""
        names = vocabulary.pieces(range(vocabulary.size))
        for command, i in vocabulary.commands.items():
            names[i] = f"command {command}"  # no piece has such a space
        return names

    def row_parts(self, name, vocabulary=None):
        if name in COMMAND_PIECES:  # one that no command has: whatever is at its place
            return [UNKNOWN_ID + 1 + COMMAND_PIECES.index(name)]
        if name.startswith("command "):
            return []
        text = name.replace("\u2581", " ")
        for plain, escaped in reversed(ESCAPES):
            text = text.replace(escaped, plain)
        return vocabulary.encode(text)

    # ---- Answers

    def reference(self, stored, vocabulary=None):
        return vocabulary.decode(np.asarray(stored).tolist())

    # ---- For people

    def in_one_line(self, stored, key, vocabulary=None):
        return self.reference(stored, vocabulary)

    def lines(self, stored, vocabulary=None):
        text, ids = vocabulary.decode(stored), stored[:_MOST_IDS].tolist()
        more = f" … ({len(stored)})" if len(stored) > _MOST_IDS else f" ({len(stored)})"
        pieces = " ".join(piece if piece.isprintable() else repr(piece) for piece in vocabulary.pieces(ids))
        lines = [("", repr(text)), ("ids", " ".join(map(str, ids)) + more), ("pieces", pieces)]
        if vocabulary.encode(text, self.units) != stored.tolist():  # possible, and no loss: two ways to cut one text
            lines.append(("warning", "the text would be cut into other ids today"))
        return lines

    def attention_axis(self, stored, grid, vocabulary=None):
        return {"positions": [*readable_pieces(vocabulary, stored), _END]}


def readable_pieces(vocabulary, ids):
    """Pieces as people read them: the sign for a space in front is left out where something follows."""
    return [piece.replace("▁", " ").strip() or "␣" for piece in vocabulary.pieces(np.asarray(ids).tolist())]
