"""Forms of text that a decoder keeps to: at every position, which ids may come next (`Problem.target_grammar`).

A form is a small automaton over ids, one state a row, made of `keras.ops` so that it is part of the compiled loop:

    name                    what a problem calls it
    of(vocabulary, size)    class method: the form over `size` ids, or None where the vocabulary lacks what it needs
    rows(inputs)            what each input, a sequence of ids, asks for: int32 [rows, …]; on the host
    start(asked)            the state before the first id, {name: tensor [rows, …]}
    mask(state, left)       float32 [rows, vocabulary]: 0 where an id may come next, `FORBIDDEN` elsewhere; at most
                            `left` ids, a scalar, are still to be written
    after(state, ids)       the state once `ids` [rows] are written

One of your own is a class with these and `@register_grammar` of `t2t_multimodel.registry`.
"""

import functools
import re

import numpy as np
from keras import ops

from t2t_multimodel import registry
from t2t_multimodel.decoding.search import EMPTY
from t2t_multimodel.errors import unknown_name
from t2t_multimodel.features import EOS_ID
from t2t_multimodel.registry import register_grammar

FORBIDDEN = EMPTY  # added to the logits of ids that may not come next
DEEPEST = 64  # brackets open at a time
_SPACE = "\u2581"  # as the vocabulary spells it
# Kinds of ids. A space alone begins a leaf and stands for none of it; a _BRACKET may be part of the first one only.
_NEVER, _OPENS, _CLOSES, _LEAF, _SPACE_ALONE, _GOES_ON, _BRACKET, _ENDS = range(8)


def grammar_of(spec, vocabulary):
    """The form that the targets of `spec` (a `ProblemSpec`) are written in; None: any text.

    None too where the vocabulary lacks what the form needs, being trained on other problems, or the inputs are no text.

    Raises:
      UserError: there is no form of that name.
    """
    name = spec.targets.form
    if not name or spec.inputs.modality != "text":
        return None
    if name not in registry.grammars:
        raise unknown_name(f"problem {spec.name}: target_grammar", name, registry.grammars.names())
    return _form(name, vocabulary, spec.targets.vocabulary_size)


def misfit(form, examples):
    """The number of the first of `examples`, {"inputs", "targets"} as ids, whose target has not the form; else None."""
    longest = max(len(example["targets"]) for example in examples) + 1  # with the end-of-sequence
    ids = np.zeros((len(examples), longest), np.int32)
    for row, example in zip(ids, examples):
        row[: len(example["targets"]) + 1] = [*example["targets"], EOS_ID]
    state = form.start(ops.convert_to_tensor(form.rows([example["inputs"] for example in examples])))
    fits = np.ones(len(examples), bool)
    for column in ids.T:
        allowed = ops.convert_to_numpy(form.mask(state, ops.convert_to_tensor(np.int32(2 * longest)))) == 0
        fits &= allowed[np.arange(len(column)), column] | (column == 0)
        state = form.after(state, ops.convert_to_tensor(column))
    return None if fits.all() else int(fits.argmin())


@functools.lru_cache(maxsize=8)
def _form(name, vocabulary, size):
    return registry.grammars.get(name).of(vocabulary, size)


@register_grammar
class Tree:
    """A bracketed tree as `data_gen/readers/trees.py` writes it, with as many leaves as the input has words.

    Each bracket but the first is one id that carries its label ("(NP", ")NP"); it closes what was opened last, and
    never nothing. The first stands behind no space, so it is spelt in pieces; which label it may still become is part
    of the state. A single word may also have a tree without brackets, its tag.
    """

    name = "tree"

    @classmethod
    def of(cls, vocabulary, size):
        """None where no label has both of its brackets in the vocabulary."""
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
        spellings = np.zeros((len(labels), max(map(len, spelt)) + 1), np.int32)  # with a 0 behind
        for row, pieces_of_label in zip(spellings, spelt):
            row[: len(pieces_of_label)] = pieces_of_label
        self._kinds, self._closer, self._spellings = kinds, closer, spellings
        self._first_closer = np.array(closes, np.int32)

    @staticmethod
    def leaves(text):
        """How many leaves the tree of an input has: its words, between blanks."""
        return len(text.split())

    def rows(self, inputs):
        """int32 [rows]: how many words each input has, at least 1."""
        words = [self.leaves(self._vocabulary.decode(ids)) for ids in inputs]
        return np.maximum(np.array(words, np.int32), 1)

    def start(self, asked):
        none = ops.zeros_like(asked)
        return {
            "wanted": asked,  # leaves to be written
            "written": none,  # leaves
            "depth": none,  # brackets open, not counting one that is still being spelt
            "last": none + _NEVER,  # kind of the last id
            "spelt": none,  # ids of the first bracket so far
            "labels": none[:, None] + ops.ones((1, len(self._spellings)), dtype="int32"),  # that it may become: 1
            "open": none[:, None] + ops.zeros((1, DEEPEST), dtype="int32"),  # what closes them, outermost first
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
        # What is needed to end in time: leaves, what closes the brackets, the end-of-sequence.
        spare = left - 1 - (depth + wanted - written + 1)
        goes_on = ops.logical_or(spare >= 0, last == _SPACE_ALONE)
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
        behind = _any(kind == _LEAF, kind == _SPACE_ALONE, kind == _OPENS)  # a space: the first bracket is whole
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
        return {
            "wanted": state["wanted"],
            "written": state["written"] + ops.cast(_any(kind == _LEAF, kind == _SPACE_ALONE), "int32"),
            "depth": ops.maximum(depth + ops.cast(opens, "int32") - ops.cast(kind == _CLOSES, "int32"), 0),
            "last": kind,
            "spelt": state["spelt"] + ops.cast(spells, "int32"),
            "labels": labels,
            "open": _put(open_ids, depth, closer, opens),
        }

    def _next_of_labels(self, state, expected):
        """[rows, vocabulary]: whether an id spells on any of the labels that the first bracket may become."""
        ids = ops.one_hot(expected[0], len(self._kinds), dtype="float32")
        return ops.matmul(ops.cast(state["labels"], "float32"), ids) > 0.5

    def _spelling(self, state):
        """[rows]: whether the first bracket is still being spelt, or nothing is written yet."""
        return ops.logical_and(state["depth"] == 0, state["written"] == 0)

    def _expected(self, state):
        """[1, labels]: the next id of each label's first bracket, 0 behind it. Rows that spell it do so in step."""
        place = ops.minimum(ops.max(state["spelt"]), self._spellings.shape[1] - 1)
        return ops.take(ops.convert_to_tensor(self._spellings), place, axis=1)[None]

    def _top(self, state):
        """[rows]: what closes the bracket that was opened last."""
        here = ops.arange(DEEPEST, dtype="int32")[None] == state["depth"][:, None] - 1
        return ops.sum(ops.where(here, state["open"], 0), axis=1)


@register_grammar
class PunctuatedTree(Tree):
    """A tree of text as usual: a mark at the end of a word is a leaf of its own, "it spins, then" has four."""

    name = "punctuated_tree"

    @staticmethod
    def leaves(text):
        return len(re.findall(r"[,;:.!?](?=[,;:.!?]*(?:\s|$))|[^\s]+?(?=[,;:.!?]*(?:\s|$))", text))


def _kind(piece):
    """The kind of a piece of text that is no label's bracket."""
    text = piece[1:] if piece.startswith(_SPACE) else piece
    if re.fullmatch("<0x..>", text):
        text = chr(int(text[3:5], 16))
        if not text.isascii():  # part of a character
            return _GOES_ON
    if _SPACE in text or re.search(r"[\s()]", text):
        return _BRACKET if piece[0] != _SPACE and "(" in text else _NEVER
    if piece[0] != _SPACE:
        return _GOES_ON
    return _LEAF if text else _SPACE_ALONE


def _all(*conditions):
    return functools.reduce(ops.logical_and, conditions)


def _any(*conditions):
    return functools.reduce(ops.logical_or, conditions)


def _put(array, place, value, when):
    """array [rows, n] with `value` [rows] at `place` [rows] of the rows where `when` [rows]."""
    here = ops.arange(array.shape[1], dtype="int32")[None] == place[:, None]
    return ops.where(ops.logical_and(here, when[:, None]), value[:, None], array)
