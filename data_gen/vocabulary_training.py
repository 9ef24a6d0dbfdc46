"""Trains the vocabulary of a data folder: byte-pair encoding over all text of the problems, and the command table.

This happens once per data folder. Later problems reuse the vocabulary. Byte fallback makes that safe: unseen text takes
more ids, but nothing is lost. The commands of later problems take the next free control symbols, so the digest stays.
"""

import collections
import io
import pathlib
import random
import re

from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities.base import SIDES
from t2t_multimodel.problem import Problem, both_are_text, missing_side, samples_of
from t2t_multimodel.vocabulary import (
    COMMAND_PIECES,
    COMMAND_SLOTS,
    EOS_ID,
    ESCAPES,
    PAD_ID,
    UNKNOWN_ID,
    Vocabulary,
)
from t2t_multimodel.vocabulary_files import read_table, write_table, write_vocabulary

DEFAULT_SIZE = 8192
MOST_LINES = 1_000_000  # kept in memory and counted …
_MOST_CHARACTERS = 200_000_000  # … and their characters in total
TRAINING = {
    "model_type": "bpe",
    "character_coverage": 0.9995,
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "add_dummy_prefix": False,
    "allow_whitespace_only_pieces": True,
    "pad_id": PAD_ID,
    "eos_id": EOS_ID,
    "unk_id": UNKNOWN_ID,
    "bos_id": -1,
    "user_defined_symbols": ["\n"],  # the trainer reads lines, so it never sees a line break
    # Control symbols, since user-defined symbols are recognised in typed text.
    "control_symbols": list(COMMAND_PIECES),
    "hard_vocab_limit": False,  # a small corpus gives a smaller vocabulary instead of an error
    "num_threads": 2,  # fixed, since the model file depends on it
    # Subwords do not cross words, so counted words are enough for the trainer: they give the same vocabulary as whole
    # lines, in less time and memory.
    "input_format": "tsv",
    "max_sentence_length": 1 << 16,  # bytes; longer words would be ignored, so `_counted_words` splits them
}
MOST_SYMBOLS = 1024  # of all problems of a vocabulary; the Penn Treebank has about 130 brackets and tags
_LONGEST_WORD = 8192  # characters, of at most four bytes each
_WORD = re.compile(" *[^ ]+| +")  # with the spaces before it, which a subword may contain
_SHOWN, _LONGEST_REASON = 3, 300  # bad records in an error, characters of each
_SMALLEST_SIZE = 400  # special ids, commands and bytes take 324
_LARGEST_SIZE = 10_000_000  # a text model of the largest kind has a quarter of a million


class NoText(UserError):
    """There is no text to train a vocabulary on."""


class BadRecords:
    """Counts records that can't be read, and keeps the reasons of the first."""

    def __init__(self):
        self.count, self.reasons = 0, []

    def add(self, reason):
        self.count += 1
        if len(self.reasons) < _SHOWN:
            self.reasons.append(str(reason)[:_LONGEST_REASON])

    def in_words(self):
        """A clause to put behind an error; "" without bad records."""
        if not self.count:
            return ""
        few = len(self.reasons) < self.count
        first = f"{len(self.reasons)} of {self.count:,} bad records" if few else "the bad records"
        return f"; {first}: {'; '.join(self.reasons)}"


def train_vocabulary(folder, texts, *, size=DEFAULT_SIZE, most_lines=MOST_LINES, symbols=()):
    """Trains a vocabulary and writes it to `folder`.

    Args:
      folder: the data folder's `vocabulary/`.
      texts: an iterable of strings, read once.
      size: requested number of ids; the text may support fewer.
      most_lines: of more texts, a random sample of at least half this size is used; it is reproducible.
      symbols: words that are one id each after a space (`symbols_of`).

    Returns:
      The `Vocabulary`.

    Raises:
      UserError: there is no text, or `size` is too small for its alphabet.
    """
    import sentencepiece

    if size < _SMALLEST_SIZE:
        raise UserError(f"a vocabulary needs at least {_SMALLEST_SIZE} ids (324 are commands and bytes), not {size}")
    if size > _LARGEST_SIZE:
        raise UserError(f"a vocabulary has at most {_LARGEST_SIZE:,} ids, not {size:,}")
    words = _counted_words(_sample(texts, most_lines))
    if not words:
        raise NoText("there is no text to train a vocabulary on: the training splits of these problems have none")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{word}\t{count}" for word, count in words.items()),
            model_writer=model,
            vocab_size=size,
            minloglevel=2,
            **TRAINING | {"user_defined_symbols": [*TRAINING["user_defined_symbols"], *map(_as_piece, symbols)]},
        )
    except RuntimeError as error:
        if "smaller than required_chars" not in str(error):
            raise
        raise UserError(
            f"a vocabulary of {size} ids is too small for the alphabet of this text; request more (--vocabulary_size)"
        ) from None
    vocabulary = Vocabulary(model.getvalue(), {})
    options = {name: value for name, value in TRAINING.items() if name != "control_symbols"} | {"symbols": [*symbols]}
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = {"requested_size": size, "most_lines": most_lines, "training": options, **_table_of(vocabulary)}
    write_vocabulary(folder, table, model.getvalue())
    return vocabulary


def train_on_problems(folder, problems, *, size=DEFAULT_SIZE, most_lines=MOST_LINES, progress=lambda texts: texts):
    """`train_vocabulary` on all text of the training splits of `problems`, with their symbols.

    Args:
      progress: wraps the iterable of the texts, to show how many are read.
    """
    symbols = sorted({symbol for problem in problems for symbol in symbols_of(problem)})
    bad = BadRecords()
    texts = progress(text for problem in problems for _, text in texts_of(problem, "train", bad))
    try:
        return train_vocabulary(folder, texts, size=size, most_lines=most_lines, symbols=symbols)
    except NoText as error:
        raise NoText(f"{error}{bad.in_words()}") from None


def symbols_known(folder):
    """The symbols that the vocabulary in `folder` was trained with."""
    return set(read_table(pathlib.Path(folder)).get("training", {}).get("symbols", ()))


def requested_size(folder):
    """The size that was requested when the vocabulary in `folder` was trained."""
    table = read_table(pathlib.Path(folder))
    return table.get("requested_size", table["size"])


def assign_commands(folder, names):
    """Assigns the next free control symbol to every new command in `names`; returns the `Vocabulary`.

    Only one process may call it at a time (`only_one` of data_gen/files.py).

    Raises:
      UserError: all 64 control symbols are taken.
    """
    folder = pathlib.Path(folder)
    vocabulary, table = Vocabulary.load(folder), read_table(folder)
    new = [name for name in dict.fromkeys(names) if name not in vocabulary.commands]
    if not new and "model" in table:  # tables of version 1 get their digests
        return vocabulary
    first_id = UNKNOWN_ID + 1  # sentencepiece numbers control symbols after the special ids
    taken = set(vocabulary.commands.values())
    free = [i for i in range(first_id, first_id + COMMAND_SLOTS) if i not in taken]
    if len(new) > len(free):
        raise UserError(
            f"a data folder has room for {COMMAND_SLOTS} commands; {len(taken)} are taken and {len(new)} more are "
            f"needed ({', '.join(new[:5])}, …): use another --data_dir for these problems, or let some share a command"
        )
    vocabulary.commands.update(zip(new, free))
    write_table(folder, table | _table_of(vocabulary), vocabulary.model)
    return vocabulary


def symbols_of(problem):
    """The words of a problem's training text that must be one id each (`Text.symbols`), sorted.

    Raises:
      UserError: there are more than `MOST_SYMBOLS`; the pattern matches ordinary words.
    """
    found = set()
    declared = [kind for side in SIDES for kind, _ in getattr(problem, side).texts(None)]
    for kind, text in _texts_of(problem, "train") if any(kind.symbols for kind in declared) else ():
        if kind.symbols:
            text = text.encode("utf-8", "ignore").decode("utf-8")  # invalid records are reported at generation
            found.update(word for word in text.split(" ") if word and re.fullmatch(kind.symbols, word))
    if len(found) > MOST_SYMBOLS:
        raise UserError(
            f"problem {problem.name}: {len(found)} different words match its symbols; at most {MOST_SYMBOLS} words can "
            "have their own id: make the pattern match brackets and tags only"
        )
    return sorted(found)


def texts_of(problem, split, bad=None):
    """Yields (side, text) for every text of both sides of a split, after `prepare`.

    If not all of a sample is text and its texts are strings already, `prepare` is not called: it would decode every
    picture or recording. Records that `prepare` rejects are skipped here and counted when records are made;
    `bad`, a `BadRecords`, is told of them.
    """
    return ((side, text) for side, _, text in _texts(problem, split, bad or BadRecords()))


def _texts_of(problem, split):
    """Yields (its `Text`, text) for every text of a split, as `texts_of`."""
    return ((kind, text) for _, kind, text in _texts(problem, split, BadRecords()))


def _texts(problem, split, bad):
    """Yields (side, its `Text`, text); see `texts_of`."""
    sides = [side for side in SIDES if getattr(problem, side).uses_vocabulary]
    if not sides:
        return
    needs_prepare = type(problem).prepare is not Problem.prepare
    all_text = both_are_text(problem)
    for sample in samples_of(problem, split):
        if "bad" in sample:
            bad.add(sample["bad"])
            continue
        raw = [text for side in sides for _, text in getattr(problem, side).texts(sample.get(side))]
        if needs_prepare and (all_text or not all(isinstance(text, str) for text in raw)):
            try:
                sample = problem.prepare(sample)
            except (ValueError, OSError, UserError) as error:
                bad.add(error)
                continue
        if missing := missing_side(problem, sample):
            raise UserError(f"problem {problem.name}, split {split!r}: {missing}")
        for side in sides:
            for kind, text in getattr(problem, side).texts(sample[side]):
                if isinstance(text, str):
                    yield side, kind, text


def _as_piece(symbol):
    """A symbol with a space before it, in sentencepiece's notation."""
    return "\u2581" + _escaped(symbol)


def _escaped(text):
    for plain, escaped in ESCAPES:
        text = text.replace(plain, escaped)
    return text


def _sample(texts, most):
    """At most `most` texts, sampled uniformly from all, in their order."""
    draw, chance, kept, characters = random.Random(0).random, 1.0, [], 0
    for text in texts:
        drawn = draw()
        if drawn >= chance:
            continue
        kept.append((drawn, text))
        characters += len(text)
        while len(kept) > most or (characters > _MOST_CHARACTERS and len(kept) > 1):
            chance /= 2
            kept = [(drawn, text) for drawn, text in kept if drawn < chance]
            characters = sum(len(text) for _, text in kept)
    return [text for _, text in kept]


def _counted_words(texts):
    """{word: count}; words are escaped and include the spaces before them."""
    first_words, later_words, others = collections.Counter(), collections.Counter(), collections.Counter()
    for text in texts:
        text = text.encode("utf-8", "ignore").decode("utf-8")  # invalid records are reported at generation
        for line in _escaped(text).replace("\t", "\n").split("\n"):  # no subword contains these
            first, *words = line.split(" ")
            if not first or "" in words:
                others.update(_WORD.findall(line))
            else:
                first_words[first] += 1
                later_words.update(words)
    others.update(first_words)
    others.update({f" {word}": count for word, count in later_words.items()})
    for word in [word for word in others if len(word) > _LONGEST_WORD]:
        count = others.pop(word)
        for start in range(0, len(word), _LONGEST_WORD):
            others[word[start : start + _LONGEST_WORD]] += count
    return others


def _table_of(vocabulary):
    return {"size": vocabulary.size, "digest": vocabulary.digest, "commands": vocabulary.commands}
