"""The vocabulary of a data folder: text ⇄ subword ids, and the ids of the command tokens.

A folder holds `bpe.model` (a sentencepiece BPE model) and `vocabulary.json` (size, digest, training options,
commands). `data_gen/vocabulary_training.py` makes it; everything else only reads it, through `Vocabulary.load`.

Every string survives the round trip: the model keeps each character (identity normalisation), writes what it does not
know as bytes, and the one character that sentencepiece keeps for itself, U+2581, is escaped before and after.
"""

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.json_files import DamagedFile
from t2t_multimodel.vocabulary_files import MODEL_FILE, TABLE_FILE, read_vocabulary, write_vocabulary

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

PAD_ID, EOS_ID, UNKNOWN_ID = 0, 1, 2  # the same in every vocabulary
_DIGEST_VERSION = 1  # of what `digest_of` covers
COMMAND_SLOTS = 64
COMMAND_PIECES = tuple(f"<command_{i:02d}>" for i in range(COMMAND_SLOTS))
_MOST_WORDS = 1 << 18  # remembered with their ids, and as many again from before: some 100 MB at most
_LONGEST_WORD = 40  # characters of those that are remembered

# Sentencepiece writes a space as U+2581, so a typed U+2581 would come back as a space. In order of application;
# U+E000, of the private use area, is the escape sign and so has to be escaped itself. Undone in the opposite order.
ESCAPES = (("\ue000", "\ue0000"), ("\u2581", "\ue0001"))


class Vocabulary:
    """Text ⇄ ids. Ids: 0 padding, 1 end of sequence, 2 unknown, commands, newline, bytes, subwords."""

    def __init__(self, model: bytes, commands: Mapping[str, int]) -> None:
        """Makes it from the bytes of a sentencepiece `model` and a `commands` table {name: id}; see `load`."""
        import sentencepiece

        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.commands = dict(commands)
        self.size = self._processor.get_piece_size()
        self.digest = digest_of(self._processor)
        # Padding, end of sequence, unknown and commands stand for no text.
        self._is_text = [not (self._processor.is_control(i) or self._processor.is_unknown(i)) for i in range(self.size)]
        pieces = map(self._processor.id_to_piece, range(self.size))
        self._words_stand_alone = not any("\u2581" in piece.lstrip("\u2581") for piece in pieces)
        self._first_words, self._words = _Words(self._processor, ""), _Words(self._processor, " ")
        self._characters = _Characters(self._processor)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Reads the vocabulary in `folder` (a data folder's `vocabulary/`, or a run's copy of it).

        Raises:
          UserError: nothing is there, or the files are damaged or do not belong together.
        """
        folder = pathlib.Path(folder)
        table, model = read_vocabulary(folder)
        try:
            if not model:  # sentencepiece would take it, with a notice of its own on standard error
                raise OSError("it is empty")
            vocabulary = cls(model, table["commands"])
        except (RuntimeError, OSError, ValueError, SystemError) as error:  # ValueError: a piece that is not UTF-8
            raise _damaged(folder / MODEL_FILE, error) from None
        if (table["digest"], table["size"]) != (vocabulary.digest, vocabulary.size):
            raise _damaged(folder / MODEL_FILE, f"it is not the model that {TABLE_FILE} describes")
        if not set(vocabulary.commands.values()) <= set(_command_ids(vocabulary.size)):
            raise _damaged(folder / TABLE_FILE, "a command has an id that commands do not have")
        return vocabulary

    def encode(self, text: str, units: str = "subwords") -> list[int]:
        """The ids of `text`, a list of int, without end-of-sequence; `decode` gives exactly `text` back.

        Args:
          units: "subwords", or "characters": the ids that each character has by itself, one, or those of its bytes.

        Raises:
          UserError: `text` is not valid Unicode (it holds half of a surrogate pair).
        """
        return self.encode_batch([text], units)[0] if units == "characters" else self._processor.encode(_escape(text))

    def encode_batch(self, texts: Iterable[str], units: str = "subwords") -> list[list[int]]:
        """`[encode(t, units) for t in texts]`, faster."""
        escaped = [_escape(text) for text in texts]
        if units == "characters":
            return [[i for character in text for i in self._characters[character]] for text in escaped]
        return self._processor.encode(escaped, num_threads=1)

    def encode_packed(self, texts: Iterable[str], units: str = "subwords") -> list[bytes]:
        """The ids of each of `texts` as bytes, `varints` of what `encode` gives; several times as fast.

        A word that came before is looked up, since no subword reaches from one word into the next.
        """
        if units == "characters":
            return [varints(ids) for ids in self.encode_batch(texts, units)]
        packed = []
        for text in texts:
            text = _escape(text)
            first, *words = text.split(" ")
            if not first or "" in words or not self._words_stand_alone:  # blanks side by side may share a subword
                packed.append(varints(self._processor.encode(text)))
            else:
                packed.append(self._first_words[first] + b"".join(map(self._words.__getitem__, words)))
        return packed

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids` (any iterable of whole numbers) up to the first end-of-sequence.

        Padding, commands, unknown and ids out of range (a model's embedding may have more rows) stand for nothing.
        """
        kept = []
        for i in ids:
            i = int(i)
            if i == EOS_ID:
                break
            if 0 <= i < self.size and self._is_text[i]:
                kept.append(i)
        return _unescape(self._processor.decode(kept))

    def is_text(self, i: int) -> bool:
        """Whether the id `i` stands for text: not padding, end of sequence, unknown or a command."""
        return self._is_text[i]

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """What each of `ids` stands for, as the vocabulary file spells it: U+2581 is a space, "<0xE2>" a byte."""
        return [self._processor.id_to_piece(int(i)) if 0 <= int(i) < self.size else "<out of range>" for i in ids]

    def command_id(self, name: str) -> int:
        """The id of the command token `name`; raises `UserError` with the nearest names."""
        if name not in self.commands:
            raise unknown_name("command", name, self.commands, hint="a command gets its id when its data is generated")
        return self.commands[name]

    def copy_to(self, folder: str | os.PathLike[str]) -> None:
        """Writes this vocabulary into `folder` (made if need be), for a run to keep: `load(folder)` gives it back."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        table = {"size": self.size, "digest": self.digest, "commands": self.commands}
        write_vocabulary(folder, table, self._model)

    @property
    def model(self) -> bytes:
        """The sentencepiece model, as its file has it."""
        return self._model

    def in_graph(self) -> "GraphTokenizer":
        """The same tokenisation as TensorFlow operations; see `GraphTokenizer`."""
        return self._graph

    @functools.cached_property
    def _graph(self) -> "GraphTokenizer":
        return GraphTokenizer(self._model, self._is_text)


class _Words(dict[str, bytes]):
    """{word: `varints` of it with `before` in front}, made when asked for; keeps those that came lately."""

    def __init__(self, processor: "SentencePieceProcessor", before: str) -> None:
        self._processor, self._before = processor, before
        self._earlier: dict[str, bytes] = {}

    def __missing__(self, word: str) -> bytes:
        if len(self) >= _MOST_WORDS:
            self._earlier = dict(self)
            self.clear()
        packed = self._earlier.get(word) or varints(self._processor.encode(self._before + word))
        if len(word) <= _LONGEST_WORD:
            self[word] = packed
        return packed


class _Characters(dict[str, list[int]]):
    """{character: its ids}, made when asked for."""

    def __init__(self, processor: "SentencePieceProcessor") -> None:
        self._processor = processor

    def __missing__(self, character: str) -> list[int]:
        self[character] = ids = self._processor.encode(character)
        return ids


class GraphTokenizer:
    """A vocabulary inside a TensorFlow graph: the same ids as `Vocabulary.encode`, the same text as `decode`.

    Loading a SavedModel that holds one needs `import tensorflow_text` first. Bytes that are not valid UTF-8 are read
    as U+FFFD here, without an error: a graph can not refuse single strings.
    """

    def __init__(self, model: bytes, is_text: Sequence[bool]) -> None:
        import tensorflow as tf
        import tensorflow_text

        # Not FastSentencepieceTokenizer: that one knows no byte fallback and cuts BPE models as if they were unigram.
        self.tokenizer = tensorflow_text.SentencepieceTokenizer(model=model, out_type=tf.int32)
        self._is_text = tuple(is_text)

    def tokenize(self, strings: Any, units: str = "subwords") -> Any:
        """Strings, a tensor [batch] → ids, a ragged int32 tensor [batch, (length)], without end-of-sequence."""
        import tensorflow as tf

        for plain, escaped in ESCAPES:
            strings = tf.strings.regex_replace(strings, plain, escaped)
        if units == "characters":
            return self.tokenizer.tokenize(tf.strings.unicode_split(strings, "UTF-8")).merge_dims(1, 2)
        return self.tokenizer.tokenize(strings)

    def detokenize(self, ids: Any) -> Any:
        """Ids, a ragged (or padded) int32 tensor [batch, (length)] → strings, a tensor [batch]; as `decode`."""
        import tensorflow as tf

        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        padded = tf.cast(ids.to_tensor(PAD_ID), tf.int32)  # [batch, longest]
        before_end = tf.cumsum(tf.cast(padded == EOS_ID, tf.int32), axis=1) == 0
        in_range = (padded >= 0) & (padded < len(self._is_text))
        stands_for_text = tf.gather(tf.constant(self._is_text), tf.where(in_range, padded, PAD_ID))
        text_ids = tf.ragged.boolean_mask(padded, before_end & in_range & stands_for_text)
        strings = self.tokenizer.detokenize(text_ids)
        for plain, escaped in reversed(ESCAPES):
            strings = tf.strings.regex_replace(strings, escaped, plain)
        return strings


def varints(numbers: Iterable[int]) -> bytes:
    """Whole numbers from 0 on as protobuf writes them: seven bits a byte, lowest first, the high bit: more follows."""
    content = bytearray()
    for number in numbers:
        while number > 127:
            content.append(number & 127 | 128)
            number >>= 7
        content.append(number)
    return bytes(content)


def digest_of(processor: "SentencePieceProcessor") -> str:
    """The sha256 that names a vocabulary: of the piece list, which ids stand for, and of the escape rules.

    Not of the model file: the file also holds how many threads trained it, and the commands table grows later.
    """
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    return hashlib.sha256(json.dumps([_DIGEST_VERSION, ESCAPES, pieces]).encode()).hexdigest()


def _escape(text: str) -> str:
    try:
        text.encode("utf-8")  # sentencepiece would stop with a message that names neither the text nor the place
    except UnicodeEncodeError as error:
        raise UserError(
            f"the text is not valid Unicode: half of a surrogate pair at character {error.start} of {text[:40]!r}"
        ) from None
    for plain, escaped in ESCAPES:
        text = text.replace(plain, escaped)
    return text


def _unescape(text: str) -> str:
    for plain, escaped in reversed(ESCAPES):
        text = text.replace(escaped, plain)
    return text


def _damaged(path: pathlib.Path, why: object) -> UserError:
    said = f"the vocabulary file {path} is damaged ({why}); put it back, or make the whole data folder again"
    return DamagedFile(said.replace("\n", " "))


def _command_ids(size: int) -> range:
    """The ids that sentencepiece gives to the control symbols: those after the special ids."""
    return range(UNKNOWN_ID + 1, min(size, UNKNOWN_ID + 1 + COMMAND_SLOTS))
