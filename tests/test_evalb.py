"""Labelled brackets: right by hand and equal to PYEVALB, honest where a tree can't be scored."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2t_multimodel.errors import UserError
from t2t_multimodel.metrics import score
from t2t_multimodel.metrics.evalb import parse


def brackets(prediction, *references):
    """Precision and recall of one tree, in percent."""
    values = score(("bracket_f1",), [prediction], [list(references)])
    return round(values["bracket_precision"], 4), round(values["bracket_recall"], 4)


def test_brackets_by_hand():
    gold = "(S (NP (DT the) (NN dog)) (VP (VBD saw) (NP (DT a) (NN cat)) (PP (IN in) (NP (NN town)))))"
    flat = "(S (NP (DT the) (NN dog)) (VP (VBD saw) (NP (DT a) (NN cat) (PP (IN in) (NP (NN town))))))"
    values = score(("bracket_f1",), [flat], [[gold]])  # 5 of 6 brackets agree: all but the object
    assert values["bracket_precision"] == values["bracket_recall"] == values["bracket_f1"] == pytest.approx(500 / 6)


@pytest.mark.parametrize(
    "prediction, gold",
    [
        ("(TOP (S (NP (NN a)) (VP (V b))))", "(S (NP (NN a)) (VP (V b)))"),  # roots do not count
        ("( (S (NP (NN a)) (VP (V b))))", "(ROOT (S (NP (NN a)) (VP (V b))))"),
        ("(S (NP (NN a) (, ,)) (VP (V b)) (. .))", "(S (NP (NN a)) (, ,) (VP (V b) (. .)))"),  # nor where commas hang
        ("(S (PRT (RP up)) (VP (V b)))", "(S (ADVP (RP up)) (VP (V b)))"),
        ("(S (NP-SBJ (NN a)) (VP (V b)))", "(S (NP=2 (NN a)) (VP (V b)))"),
        ("(S (NP (NN a)) (VP (V b)))", "(S (NP (NN a)) (VP (V b) (SBAR (-NONE- 0) (S (-NONE- *T*-1)))))"),
        ("(S (NP (XX a)) (VP (YY b)))", "(S (NP (NN a)) (VP (V b)))"),  # tags are no brackets
        ("(S (NP NN ,) (VP V) .)", "(S (NP NN) , (VP V .))"),  # tags as leaves
    ],
)
def test_what_evalb_does_not_count(prediction, gold):
    assert brackets(prediction, gold) == (100.0, 100.0)


def test_a_bracket_that_occurs_twice_counts_twice():
    once, twice = "(S (NP (NN a)) (VP (V b)))", "(S (NP (NP (NN a))) (VP (V b)))"
    assert brackets(twice, once) == (75.0, 100.0)  # EVALB's README, 7.5: precision n/m, recall 100 %
    assert brackets(once, twice) == (100.0, 75.0)


def test_a_wrong_tag_at_punctuation_shifts_nothing():
    assert brackets("(S (NP (NN a)) (NN ,) (VP (V b)))", "(S (NP (NN a)) (, ,) (VP (V b)))") == (100.0, 100.0)


def test_trees_that_cannot_be_compared_miss_every_bracket_and_are_counted():
    gold = "(S (NP DT NN) (VP V))"
    hopeless = ["(S (NP DT NN) (VP V)", "(S (NP DT NN)) (VP V))", "", "()", "(S (NP) DT NN V)", "S", "(S DT NN)"]
    values = score(("bracket_f1",), [gold, *hopeless], [[gold]] * 8)
    assert values["bracket_f1_unparsed"] == 5
    assert values["bracket_f1_wrong_length"] == 2
    assert values["bracket_precision"] == 100.0
    assert values["bracket_recall"] == pytest.approx(100 / 8)
    assert values["bracket_f1"] == pytest.approx(100 * 2 * 3 / (3 + 8 * 3))


def test_the_best_reference_counts():
    assert brackets("(S (NP A) (VP B C))", "(S (NP A B) (VP C))", "(S (NP A) (VP B C))") == (100.0, 100.0)


def test_a_reference_that_is_no_tree_is_an_error():
    with pytest.raises(UserError, match="reference 2 is no bracketed tree"):
        score(("bracket_f1",), ["(S A)", "(S A)"], [["(S A)"], ["(S A"]])


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="() AB.", max_size=30))
def test_whatever_is_decoded_is_a_tree_or_is_not(text):
    try:
        tree = parse(text)
    except ValueError:
        tree = None
    else:
        assert all(0 <= node.start < node.end <= len(tree.leaves) for node in tree.nodes)
        assert text.count("(") == text.count(")") == len(tree.nodes)
    assert score(("bracket_f1",), [text], [["(S A (NP B))"]])["bracket_f1_unparsed"] == (tree is None)


def test_a_thousandfold_nested_tree_is_scored():
    deep = "(X " * 5000 + "a" + ")" * 5000
    assert score(("bracket_f1",), [deep], [["(S A B)"]])["bracket_f1_wrong_length"] == 1


def random_tree(words, draw):
    """A random tree over `words` in which no bracket has the span of another."""

    def grow(words):
        if len(words) == 1:
            leaf = f"(T {words[0]})"
            return f"({draw.choice('ABC')} {leaf})" if draw.random() < 0.3 else leaf
        cut = draw.randrange(1, len(words))
        return f"({draw.choice('ABC')} {grow(words[:cut])} {grow(words[cut:])})"

    return grow(words)


def test_brackets_equal_those_of_pyevalb():
    draw = random.Random(1)
    for _ in range(100):
        words = [f"w{i}" for i in range(draw.randrange(2, 12))]
        gold, test = random_tree(words, draw), random_tree(words, draw)
        assert brackets(test, gold) == pyevalb(test, gold), (gold, test)


def pyevalb(test, gold):
    """(precision, recall) in percent after PYEVALB, which counts every bracket above the tags."""
    from PYEVALB.parser import create_from_bracket_string
    from PYEVALB.scorer import Scorer

    oracle = Scorer().score_trees(create_from_bracket_string(gold), create_from_bracket_string(test))
    return round(100 * oracle.prec, 4), round(100 * oracle.recall, 4)


# EVALB's parameter file COLLINS.prm, the lines that say what is counted.
COLLINS = """
DELETE_LABEL TOP
DELETE_LABEL -NONE-
DELETE_LABEL ,
DELETE_LABEL :
DELETE_LABEL ``
DELETE_LABEL ''
DELETE_LABEL .
EQ_LABEL ADVP PRT
"""
DELETED = {line.split()[1] for line in COLLINS.splitlines() if line.startswith("DELETE_LABEL")}
EQUAL = {line.split()[2]: line.split()[1] for line in COLLINS.splitlines() if line.startswith("EQ_LABEL")}


def after_collins(tree):
    """The trees that EVALB counts of `tree`: without deleted words, and brackets that are empty then; relabelled."""
    if isinstance(tree[0], str):
        return [] if tree.label() in DELETED else [tree]
    below = [kept for child in tree for kept in after_collins(child)]
    label = tree.label().split("-")[0].split("=")[0]
    if not below or label in DELETED:
        return below
    return [type(tree)(EQUAL.get(label, label), below)]


def test_brackets_equal_those_of_pyevalb_on_trees_cleaned_after_collins_prm():
    from nltk.tree import Tree

    draw = random.Random(2)
    tags = ["NN", "VB", "JJ", "-LRB-"] * 3 + sorted(DELETED - {"TOP"})

    def grow(leaves):
        if len(leaves) == 1 and draw.random() < 0.7:
            return leaves[0]
        label = draw.choice(["NP", "NP-SBJ", "VP=2", "PP", "ADJP", "SBAR-1", "ADVP", "PRT", "ADVP-TMP-1"])
        if len(leaves) == 1:
            return Tree(label, leaves)
        cut = draw.randrange(1, len(leaves))
        return Tree(label, [grow(leaves[:cut]), grow(leaves[cut:])])

    compared = 0
    for _ in range(400):
        leaves = [Tree(draw.choice(tags), [f"w{i}"]) for i in range(draw.randrange(3, 12))]
        trees = [Tree("TOP", [Tree("S", [grow(leaves)])]) for _ in range(2)]
        cleaned = [after_collins(tree) for tree in trees]
        if not cleaned[0]:  # nothing but punctuation
            continue
        spans = [
            [(node.label(), tuple(node.leaves())) for node in tree.subtrees() if not isinstance(node[0], str)]
            for (tree,) in cleaned
        ]
        if any(len(set(found)) < len(found) for found in spans):
            continue  # PYEVALB counts a bracket once however often it is there; EVALB and we each time
        trees += [tree for (tree,) in cleaned]
        raw_gold, raw_test, gold, test = (tree.pformat(margin=10**6) for tree in trees)
        assert brackets(raw_test, raw_gold) == pyevalb(test, gold), (raw_gold, raw_test)
        compared += 1
    assert compared > 150
