"""Labelled brackets after the rules of EVALB with its file COLLINS.prm, for trees with words or with tags as leaves.

A bracket is (label, first word, end) of a node above the tags. Not counted are the labels TOP, ROOT, S1 and none at
all; punctuation (tags , : `` '' .) and traces (-NONE-) are taken out before words are numbered, and brackets that are
then empty; ADVP equals PRT, "NP-SBJ" and "NP=2" equal NP. A bracket that occurs twice counts twice.

Two things differ from EVALB, which skips a sentence that it can't score. Here a tree that doesn't parse, or has another
number of leaves than the reference, misses every bracket of the reference. And punctuation is what the *reference*
tags so: else one wrong tag would shift all spans behind it.
"""

import itertools
import re
from collections import Counter
from typing import NamedTuple

from t2t_multimodel.errors import UserError

PUNCTUATION = frozenset((",", ":", "``", "''", "."))
UNCOUNTED = frozenset(("", "TOP", "ROOT", "S1"))
TRACE = "-NONE-"
EQUAL = {"PRT": "ADVP"}
_TOKEN = re.compile(r"\)[^ \t\r\n()]*|\(|[^ \t\r\n()]+")  # a no-break space is part of a word


class Node(NamedTuple):
    label: str
    start: int  # its first leaf
    end: int  # the leaf after its last
    holds_one_leaf: bool  # and nothing else: in a tree with words, a tag


class Tree(NamedTuple):
    leaves: list  # str
    nodes: list  # Node


def bracket_scores(predictions, references):
    """Corpus scores of labelled brackets.

    Whether leaves are words, each in a bracket with its tag, or tags is told from the references: with words no leaf
    has a sibling. Of several references the one with the best F1 counts.

    Args:
      predictions: trees as text, one an example.
      references: for each example a list of trees that are right.

    Returns:
      "bracket_f1", "bracket_precision", "bracket_recall": 0 to 100; "bracket_f1_unparsed", "bracket_f1_wrong_length":
      how many predictions did not parse, or have another number of leaves than every reference.

    Raises:
      UserError: a reference is not a tree.
    """
    counts = bracket_counts(predictions, references)
    matched, predicted, wanted, unparsed, wrong_length = map(sum, zip(*counts))
    return {
        "bracket_f1": 100.0 * f1(matched, predicted, wanted),
        "bracket_precision": 100.0 * (matched / predicted if predicted else float(not wanted)),
        "bracket_recall": 100.0 * (matched / wanted if wanted else 1.0),
        "bracket_f1_unparsed": unparsed,
        "bracket_f1_wrong_length": wrong_length,
    }


def bracket_counts(predictions, references):
    """What `bracket_scores` sums up: for each example (brackets matched, predicted, wanted; 1 if the prediction did not
    parse; 1 if it has another number of leaves).
    """
    right = [[_reference(text, number) for text in texts] for number, texts in enumerate(references)]
    leaves_are_tags = any(_has_leaf_with_sibling(tree) for trees in right for tree in trees)
    examples = []
    for text, trees in zip(predictions, right):
        try:
            tree = parse(text)
        except ValueError:
            tree = None
        counts = [_counts(tree, reference, leaves_are_tags) for reference in trees]
        scored = [count for count in counts if count is not None]
        best = max(scored, key=lambda count: f1(*count)) if scored else (0, 0, _wanted(trees[0], leaves_are_tags))
        examples.append((*best, int(tree is None), int(tree is not None and not scored)))
    return examples


def parse(text):
    """The `Tree` of a bracketed tree; a single leaf is one too. Closing brackets may carry their label: "(NP DT NN
    )NP".

    Raises:
      ValueError: `text` is not one whole tree; with the reason.
    """
    tree = Tree([], [])
    open_nodes = []  # [label, first leaf, leaves directly below, nodes directly below]
    outermost = [None, 0, 0, 0]
    tokens = _TOKEN.findall(text)
    for before, token in zip(["", *tokens], tokens):
        above = open_nodes[-1] if open_nodes else outermost
        if above is outermost and any(outermost[2:]):
            raise ValueError(f"{token!r} after the end of the tree")
        if token == "(":
            open_nodes.append(["", len(tree.leaves), 0, 0])
        elif token[0] == ")":
            if not open_nodes:
                raise ValueError("a closing bracket too many")
            label, start, leaves, nodes = open_nodes.pop()
            if token[1:] not in ("", label):
                raise ValueError(f"({label} is closed by {token}")
            if not leaves + nodes:
                raise ValueError("a bracket with nothing in it")
            tree.nodes.append(Node(label, start, len(tree.leaves), (leaves, nodes) == (1, 0)))
            (open_nodes[-1] if open_nodes else outermost)[3] += 1
        elif before == "(":
            above[0] = token
        else:
            tree.leaves.append(token)
            above[2] += 1
    if open_nodes or not tree.leaves:
        raise ValueError("a bracket is left open" if open_nodes else "there is no tree")
    return tree


def _reference(text, number):
    try:
        return parse(text)
    except ValueError as error:
        raise UserError(f"bracket_f1: reference {number + 1} is no bracketed tree ({error}): {text[:80]!r}") from None


def _has_leaf_with_sibling(tree):
    return sum(node.holds_one_leaf for node in tree.nodes) < len(tree.leaves)


def _counts(tree, reference, leaves_are_tags):
    """(matched, predicted, wanted) brackets; None where the two can't be compared."""
    if tree is None:
        return None
    counted = _counted_words(reference, leaves_are_tags)
    if len(counted) != len(_counted_words(tree, leaves_are_tags)):
        return None
    ours = _brackets(tree, counted, leaves_are_tags)
    theirs = _brackets(reference, counted, leaves_are_tags)
    return (ours & theirs).total(), ours.total(), theirs.total()


def _wanted(reference, leaves_are_tags):
    return _brackets(reference, _counted_words(reference, leaves_are_tags), leaves_are_tags).total()


def _tags(tree, leaves_are_tags):
    """The tag of each leaf; "" where a word has none."""
    if leaves_are_tags:
        return tree.leaves
    tags = [""] * len(tree.leaves)
    for node in tree.nodes:
        if node.holds_one_leaf:
            tags[node.start] = node.label
    return tags


def _counted_words(tree, leaves_are_tags):
    """For each word (leaf that is no trace) whether it is numbered, which punctuation is not."""
    return [tag not in PUNCTUATION for tag in _tags(tree, leaves_are_tags) if tag != TRACE]


def _brackets(tree, counted, leaves_are_tags):
    """Counter of (label, first word, end), words numbered as `counted` says."""
    counted = iter(counted)
    steps = [0 if tag == TRACE else int(next(counted)) for tag in _tags(tree, leaves_are_tags)]
    word = [0, *itertools.accumulate(steps)]  # leaf → number of the first counted word from there on
    return Counter(
        (_label(node.label), word[node.start], word[node.end])
        for node in tree.nodes
        if (leaves_are_tags or not node.holds_one_leaf)
        and word[node.start] < word[node.end]
        and _label(node.label) not in UNCOUNTED
    )


def _label(label):
    label = re.split("[-=]", label, maxsplit=1)[0]
    return EQUAL.get(label, label)


def f1(matched, predicted, wanted):
    """F1 of counted brackets, 0 to 1; of nothing at all 1."""
    return 2 * matched / (predicted + wanted) if predicted + wanted else 1.0
