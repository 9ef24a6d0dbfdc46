"""Grammars for constrained decoding: which ids may come next at every position (`Problem.target_grammar`).

A grammar is a small automaton over ids with one state per row. It uses `keras.ops`, so it is part of the compiled loop:

    name                    its name in `Problem.target_grammar`
    of(vocabulary, size)    class method: the grammar over `size` ids, or None if the vocabulary lacks the ids it needs
    rows(inputs)            what the grammar needs to know about each input (ids): int32 [rows, …]; runs on the host
    start(wanted)           the state before the first id, {name: tensor [rows, …]}; `wanted` is the result of `rows`
    mask(state, left)       float32 [rows, vocabulary]: 0 if an id may come next, else `FORBIDDEN`; `left`, a scalar, is
                            the number of ids that can still be written
    after(state, ids)       the state after `ids` [rows] are written

To add a grammar, write a class with these members and `@register_grammar` of `t2t_multimodel.registry`.
"""

import functools
import re

import numpy as np

from t2t_multimodel import registry
from t2t_multimodel.errors import unknown_name
from t2t_multimodel.lazy import ops
from t2t_multimodel.registry import register_grammar
from t2t_multimodel.vocabulary import EOS_ID

FORBIDDEN = -1e7  # added to the logits of ids that may not come next
DEEPEST = 64  # brackets open at a time
TAG_BYTES = 24  # of a leaf, in addition to its word twice: a tag, or what an alphabet's spelling adds
_COLUMNS_STEP = 64  # columns of what is wanted are multiples of this, so that few programs serve all lengths
_SPACE = "\u2581"  # as the vocabulary spells it
_BLANKS = " \t\r\n"  # what separates words; a no-break space is part of a word, as in data_gen/readers/trees.py
# Kinds of ids. A single space starts a leaf without any of its text; a _BRACKET may only be part of the first bracket.
_NEVER, _OPENS, _CLOSES, _LEAF, _SPACE_ALONE, _GOES_ON, _BRACKET, _ENDS = range(8)


def grammar_of(spec, vocabulary):
    """The grammar of the targets of `spec` (a `ProblemSpec`); None: any text.

    Also None if the vocabulary, trained on other problems, lacks ids that the grammar needs, or if the inputs are not
    text.

    Raises:
      UserError: an unknown grammar.
    """
    name = spec.grammar
    if not name or not spec.inputs.is_text:
        return None
    if name not in registry.grammars:
        raise unknown_name(f"problem {spec.name}: target_grammar", name, registry.grammars.names())
    return _grammar(name, vocabulary, spec.targets.vocabulary_size)


def misfit(grammar, examples):
    """The index of the first of `examples` ({"inputs", "targets"}, ids) with a target outside the grammar, or None."""
    longest = max(len(example["targets"]) for example in examples) + 1  # with the end-of-sequence
    ids = np.zeros((len(examples), longest), np.int32)
    for row, example in zip(ids, examples):
        row[: len(example["targets"]) + 1] = [*example["targets"], EOS_ID]
    state = grammar.start(ops.convert_to_tensor(grammar.rows([example["inputs"] for example in examples])))
    fits = np.ones(len(examples), bool)
    for column in ids.T:
        allowed = ops.convert_to_numpy(grammar.mask(state, ops.convert_to_tensor(np.int32(2 * longest)))) == 0
        fits &= allowed[np.arange(len(column)), column] | (column == 0)
        state = grammar.after(state, ops.convert_to_tensor(column))
    return None if fits.all() else int(fits.argmin())


@functools.lru_cache(maxsize=8)
def _grammar(name, vocabulary, size):
    return registry.grammars.get(name).of(vocabulary, size)


@register_grammar
class Tree:
    """A bracketed tree as `data_gen/readers/trees.py` writes it, with one leaf per word of the input.

    Each bracket but the first is one id with its label ("(NP", ")NP"); a closing bracket closes the bracket that was
    opened last. The first bracket has no space before it, so it is spelt in several pieces; the state holds the labels
    that it may still become. A single word may also have a tree without brackets: its tag. A leaf is the word, its tag
    or both, so the length of its word limits its own.
    """

    name = "tree"

    @classmethod
    def of(cls, vocabulary, size):
        """None if the vocabulary has no label with both brackets."""
        pieces = vocabulary.pieces(range(vocabulary.size))
        known = set(pieces)
        labels = [p[2:] for p in pieces if p.startswith(f"{_SPACE}(") and len(p) > 2 and f"{_SPACE}){p[2:]}" in known]
        return cls(vocabulary, size, pieces, labels) if labels else None

    def __init__(self, vocabulary, size, pieces, labels):
        self._vocabulary = vocabulary
        ids = {piece: i for i, piece in enumerate(pieces)}
        kinds = np.full(size, _NEVER, np.int32)
        kinds[: len(pieces)] = [_kind(piece) if vocabulary.is_text(i) else _NEVER for i, piece in enumerate(pieces)]
        opens, closes = ([ids[f"{_SPACE}{sign}{label}"] for label in labels] for sign in "()")
        kinds[opens], kinds[closes], kinds[EOS_ID] = _OPENS, _CLOSES, _ENDS
        closer = np.zeros(size, np.int32)  # of an opening bracket
        closer[opens] = closes
        spelt = [vocabulary.encode(f"({label}") for label in labels]
        spellings = np.zeros((len(labels), max(map(len, spelt)) + 1), np.int32)  # padded with a 0
        for row, pieces_of_label in zip(spellings, spelt):
            row[: len(pieces_of_label)] = pieces_of_label
        self._kinds, self._closer, self._spellings = kinds, closer, spellings
        self._bytes = np.zeros(size, np.int32)
        self._bytes[: len(pieces)] = [_bytes(piece) for piece in pieces]
        self._first_closer = np.array(closes, np.int32)

    @staticmethod
    def words(text):
        """The leaves of an input's tree: its words, separated by spaces."""
        return re.findall(rf"[^{_BLANKS}]+", text)

    @classmethod
    def leaves(cls, text):
        """The number of leaves of an input's tree."""
        return len(cls.words(text))

    def rows(self, inputs):
        """int32 [rows, 1 + columns]: the number of words of each input, at least 1; the most bytes of each leaf.

        Leaves beyond the last column have the limit that stands there.
        """
        columns = -(-max(1, *map(len, inputs)) // _COLUMNS_STEP) * _COLUMNS_STEP
        rows = np.full((len(inputs), 1 + columns), TAG_BYTES, np.int32)
        for row, ids in zip(rows, inputs):
            words = self.words(self._vocabulary.decode(ids))
            row[0] = max(1, len(words))
            most = [TAG_BYTES + 2 * len(word.encode()) for word in words]
            kept = most[: len(row) - 1]
            row[1 : 1 + len(kept)] = kept
            row[-1] = max([row[-1], *most[len(kept) :]])
        return rows

    def start(self, wanted):
        wanted, most = wanted[:, 0], wanted[:, 1:]
        none = ops.zeros_like(wanted)
        return {
            "most": most,  # bytes of each leaf
            "bytes": none,  # of the leaf that is being written
            "wanted": wanted,  # leaves to write
            "written": none,  # leaves written
            "depth": none,  # open brackets, without one that is still being spelt
            "last": none + _NEVER,  # kind of the last id
            "spelt": none,  # ids of the first bracket so far
            "labels": none[:, None] + ops.ones((1, len(self._spellings)), dtype="int32"),  # 1: it may become this label
            "open": none[:, None] + ops.zeros((1, DEEPEST), dtype="int32"),  # ids that close them, outermost first
        }

    def mask(self, state, left):
        kinds = ops.convert_to_tensor(self._kinds)[None]
        wanted, written, depth, last, spelt = (
            state[name][:, None] for name in ("wanted", "written", "depth", "last", "spelt")
        )
        more, complete = written < wanted, last != _SPACE_ALONE
        spelling = self._spelling(state)[:, None]
        expected = self._expected(state)
        is_whole = ops.any(_all(state["labels"] > 0, spelt > 0, expected == 0), axis=1, keepdims=True)
        no_label = ops.all(state["labels"] == 0, axis=1, keepdims=True)
        bare = _all(spelling, wanted == 1, ops.logical_or(spelt == 0, no_label))
        inside = _all(complete, ops.where(spelling, is_whole, depth > 0))
        in_leaf = _any(last == _LEAF, last == _GOES_ON, last == _SPACE_ALONE)
        spells = ops.cond(ops.any(spelling), lambda: self._next_of_labels(state, expected), lambda: kinds + wanted < 0)
        # Ids that are needed to end in time: leaves, closing brackets, end-of-sequence.
        spare = left - 1 - (depth + wanted - written + 1)
        goes_on = ops.logical_or(spare >= 0, last == _SPACE_ALONE)
        here = ops.arange(state["most"].shape[1], dtype="int32")[None] == ops.minimum(
            ops.maximum(written - 1, 0), state["most"].shape[1] - 1
        )
        room = ops.sum(ops.where(here, state["most"], 0), axis=1, keepdims=True) - state["bytes"][:, None]
        goes_on = ops.logical_and(goes_on, ops.convert_to_tensor(self._bytes)[None] <= room)
        top = self._top(state)[:, None]
        may_close = _all(inside, last != _OPENS, ops.logical_not(spelling))
        may_close = ops.logical_and(may_close, ops.logical_or(depth > 1, written == wanted))
        allowed = (
            _all(kinds == _OPENS, inside, more, depth < DEEPEST, spare > 0),
            _all(kinds == _LEAF, inside, more),
            _all(kinds == _SPACE_ALONE, inside, more, spare >= 0),
            _all(kinds == _GOES_ON, ops.where(spelling, bare, ops.logical_and(in_leaf, depth > 0)), goes_on),
            _all(spelling, spells, kinds != _NEVER),
            ops.logical_and(ops.arange(kinds.shape[1], dtype="int32")[None] == top, may_close),
            _all(kinds == _ENDS, ops.where(spelling, ops.logical_and(bare, spelt > 0), depth == 0)),
        )
        return ops.where(_any(*allowed), 0.0, FORBIDDEN)

    def after(self, state, ids):
        kind = ops.take(ops.convert_to_tensor(self._kinds), ids, axis=0)
        spelling = self._spelling(state)
        behind = _any(kind == _LEAF, kind == _SPACE_ALONE, kind == _OPENS)  # a space: the first bracket is complete
        first = ops.logical_and(spelling, behind)
        spells = ops.logical_and(spelling, ops.logical_not(behind))
        expected = self._expected(state)
        labels = ops.where(ops.logical_and(spells[:, None], expected != ids[:, None]), 0, state["labels"])
        closers = ops.convert_to_tensor(self._first_closer)[None]
        whole = ops.where(ops.logical_and(labels > 0, expected == 0), closers, 0)
        open_ids = _put(state["open"], ops.zeros_like(ids), ops.max(whole, axis=1), first)
        depth = state["depth"] + ops.cast(first, "int32")
        opens = kind == _OPENS
        closer = ops.take(ops.convert_to_tensor(self._closer), ids, axis=0)
        size = ops.take(ops.convert_to_tensor(self._bytes), ids, axis=0)
        return {
            "most": state["most"],
            "bytes": size + ops.where(kind == _GOES_ON, state["bytes"], 0),
            "wanted": state["wanted"],
            "written": state["written"] + ops.cast(_any(kind == _LEAF, kind == _SPACE_ALONE), "int32"),
            "depth": ops.maximum(depth + ops.cast(opens, "int32") - ops.cast(kind == _CLOSES, "int32"), 0),
            "last": kind,
            "spelt": state["spelt"] + ops.cast(spells, "int32"),
            "labels": labels,
            "open": _put(open_ids, depth, closer, opens),
        }

    def _next_of_labels(self, state, expected):
        """[rows, vocabulary]: whether an id continues the spelling of a label that the first bracket may become."""
        ids = ops.one_hot(expected[0], len(self._kinds), dtype="float32")
        return ops.matmul(ops.cast(state["labels"], "float32"), ids) > 0.5

    def _spelling(self, state):
        """[rows]: whether the first bracket is still being spelt, or nothing is written."""
        return ops.logical_and(state["depth"] == 0, state["written"] == 0)

    def _expected(self, state):
        """[1, labels]: the next id of each label's first bracket, 0 after it. All rows spell at the same position."""
        place = ops.minimum(ops.max(state["spelt"]), self._spellings.shape[1] - 1)
        return ops.take(ops.convert_to_tensor(self._spellings), place, axis=1)[None]

    def _top(self, state):
        """[rows]: the id that closes the bracket opened last."""
        here = ops.arange(DEEPEST, dtype="int32")[None] == state["depth"][:, None] - 1
        return ops.sum(ops.where(here, state["open"], 0), axis=1)


@register_grammar
class PunctuatedTree(Tree):
    """A tree of punctuated text: a mark at the end of a word is a separate leaf; "it spins, then" has four leaves."""

    name = "punctuated_tree"

    @staticmethod
    def words(text):
        end = rf"[,;:.!?]*(?:[{_BLANKS}]|$)"
        return re.findall(rf"[,;:.!?](?={end})|[^{_BLANKS}]+?(?={end})", text)


def _bytes(piece):
    """How many bytes of UTF-8 a piece adds to a leaf."""
    return 1 if re.fullmatch("<0x..>", piece) else len(piece.removeprefix(_SPACE).encode())


def _kind(piece):
    """The kind of a subword piece that is not a label's bracket."""
    text = piece[1:] if piece.startswith(_SPACE) else piece
    if re.fullmatch("<0x..>", text):
        text = chr(int(text[3:5], 16))
        if not text.isascii():  # part of a character
            return _GOES_ON
    if _SPACE in text or re.search(rf"[{_BLANKS}()]", text):
        return _BRACKET if piece[0] != _SPACE and "(" in text else _NEVER
    if piece[0] != _SPACE:
        return _GOES_ON
    return _LEAF if text else _SPACE_ALONE


def _all(*conditions):
    return functools.reduce(lambda x, y: ops.logical_and(x, y), conditions)


def _any(*conditions):
    return functools.reduce(lambda x, y: ops.logical_or(x, y), conditions)


def _put(array, place, value, when):
    """array [rows, n] with `value` [rows] at column `place` [rows], in the rows where `when` [rows] is true."""
    here = ops.arange(array.shape[1], dtype="int32")[None] == place[:, None]
    return ops.where(ops.logical_and(here, when[:, None]), value[:, None], array)
