"""Metrics: right on known answers, equal to their oracles, honest where an example can't be scored."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2t_multimodel.errors import UserError
from t2t_multimodel.problem import TEACHER_FORCED
from t2t_multimodel.training.bracket_scores import parse
from t2t_multimodel.training.metrics import METRICS, TeacherForced, best_trivial, score, trivial_baselines

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden" / "bleu.npz"
TEXT_METRICS = ("bleu", "exact_match", "wer", "cer")


# ---- score: names and shapes


def test_a_perfect_prediction_has_the_perfect_value_of_every_metric():
    text = "(S (NP (DT the) (NN dog)) (VP (VBZ barks)))"
    names = [name for name in METRICS if name not in TEACHER_FORCED]
    values = score(names, [text] * 3, [[text]] * 3)
    assert {name: values[name] for name in names} == pytest.approx({name: METRICS[name].perfect for name in names})
    assert values["examples"] == 3
    worst = score(names, ["("] * 3, [[text]] * 3)
    for name in names:
        assert (worst[name] < values[name]) == METRICS[name].higher_is_better, name


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(UserError, match="unknown metric 'blue'; did you mean 'bleu'"):
        score(("blue",), ["a"], [["a"]])


def test_unequal_lengths_name_both():
    with pytest.raises(UserError, match="2 predictions for 3 examples"):
        score(("bleu",), ["a", "b"], [["a"], ["b"], ["c"]])


def test_nothing_to_score_is_an_error():
    with pytest.raises(UserError, match="nothing to score"):
        score(("bleu",), [], [])


@pytest.mark.parametrize("references", [["a cat"], [[]]])
def test_references_are_lists_with_something_in_them(references):
    with pytest.raises(UserError, match="references of example 1 must be a list"):
        score(("exact_match",), ["a cat"], references)


# ---- Text


@pytest.mark.skipif(not GOLDEN.exists(), reason=f"the golden numbers are not beside the checkout: {GOLDEN}")
def test_bleu_is_that_of_tensor2tensor_where_both_mean_the_same():
    """On blank-separated tokens both are Papineni's, smoothed alike, as long as every order has n-grams to count.

    Not compared: a two-word hypothesis scored alone ("short one"). It has no 3-grams; Tensor2Tensor leaves such orders
    out of the mean (0.707), sacrebleu says 0. Nor default BLEU: sacrebleu splits off punctuation as mteval-v13a does.
    """
    from sacrebleu.metrics import BLEU

    golden = np.load(GOLDEN)
    right, decoded = [str(s) for s in golden["refs"]], [str(s) for s in golden["hyps"]]
    assert score(("bleu",), decoded, [[r] for r in right])["bleu"] / 100 == pytest.approx(float(golden["corpus_bleu"]))
    for i in range(5):
        if len(decoded[i].split()) >= 4:
            ours = score(("bleu",), [decoded[i]], [[right[i]]])["bleu"] / 100
            assert ours == pytest.approx(float(golden["sentence_bleu"][i]), abs=1e-6), decoded[i]
    cut = " ".join(right[2].split()[:7])
    assert score(("bleu",), [cut], [[right[2]]])["bleu"] / 100 == pytest.approx(float(golden["short_hyp_bleu"]))
    two = BLEU(tokenize="none", max_ngram_order=2).corpus_score(decoded, [right]).score / 100
    assert two == pytest.approx(float(golden["corpus_bleu_order2"]))


def test_bleu_keeps_sacrebleus_signature_and_takes_any_number_of_references():
    values = score(("bleu",), ["the cat sat on a mat", "a b c d"], [["the cat sat on the mat"], ["x y z", "a b c d"]])
    one = score(("bleu",), ["the cat sat on a mat", "a b c d"], [["the cat sat on the mat"], ["x y z"]])
    assert values["bleu"] > one["bleu"]
    assert values["bleu_signature"].startswith("nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|version:2.")
    assert one["bleu_signature"].startswith("nrefs:1|")


def test_exact_match_takes_any_reference_and_nothing_but_equality():
    assert score(("exact_match",), ["a", "b", "C", " d"], [["x", "a"], ["b"], ["c"], ["d"]])["exact_match"] == 0.5


def test_error_rates_by_hand():
    values = score(("wer", "cer"), ["the cat sat"], [["the cat sat down"]])
    assert values["wer"] == 1 / 4
    assert values["cer"] == 5 / 16
    values = score(("wer", "cer"), ["a b c d"], [["x"]])
    assert values["wer"] == 4.0  # above 1: more was said than there was to say


def test_error_rates_sum_over_the_corpus_and_take_the_nearest_reference():
    values = score(("wer",), ["one two three", ""], [["one", "one two three four"], ["five"]])
    assert values["wer"] == 2 / 5  # (1 + 1) errors in (4 + 1) words


def test_error_rates_of_empty_output_are_one():
    values = score(("wer", "cer"), ["", "  "], [["a b"], ["c"]])
    assert (values["wer"], values["cer"]) == (1.0, 1.0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(min_size=1, max_size=8).filter(str.strip)), min_size=1))
def test_any_text_can_be_scored(pairs):
    predictions, references = [p for p, _ in pairs], [[r] for _, r in pairs]
    values = score(TEXT_METRICS, predictions, references)
    assert 0 <= values["bleu"] <= 100 + 1e-6 and 0 <= values["exact_match"] <= 1
    assert values["wer"] >= 0 and values["cer"] >= 0
    if predictions == [r for (r,) in references]:
        assert values["exact_match"] == 1 and values["cer"] == 0


# ---- Classes


def test_accuracies_of_ranked_classes():
    predictions = [["a", "b"], ["b", "a"], ["c", "d", "e", "f", "g", "a"]]
    values = score(("accuracy_top1", "accuracy_top5"), predictions, [["a"], ["a"], ["a"]])
    assert values["accuracy_top1"] == pytest.approx(1 / 3)
    assert values["accuracy_top5"] == pytest.approx(2 / 3)  # the sixth does not count


# ---- Brackets


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
        spans = [[(node.label(), tuple(node.leaves())) for node in tree.subtrees() if not isinstance(node[0], str)]
                 for (tree,) in cleaned]  # fmt: skip
        if any(len(set(found)) < len(found) for found in spans):
            continue  # PYEVALB counts a bracket once however often it is there; EVALB and we each time
        trees += [tree for (tree,) in cleaned]
        raw_gold, raw_test, gold, test = (tree.pformat(margin=10**6) for tree in trees)
        assert brackets(raw_test, raw_gold) == pyevalb(test, gold), (raw_gold, raw_test)
        compared += 1
    assert compared > 150


# ---- Trivial baselines


def test_trivial_baselines_are_computed():
    targets = ["b", "a", "a", "c"]
    baselines = trivial_baselines(("exact_match",), targets, ["a", "x", "x"], [["a"], ["a"], ["x"]])
    assert baselines["most_frequent"]["exact_match"] == pytest.approx(2 / 3)  # "a"
    assert baselines["copy"]["exact_match"] == pytest.approx(2 / 3)
    assert trivial_baselines(("exact_match",), Counter(targets), None, [["a"]]).keys() == {"most_frequent"}


def test_the_better_baseline_of_an_error_rate_is_the_lower():
    names = ("wer", "exact_match")
    baselines = trivial_baselines(names, ["x y"], ["a b", "a b"], [["a b"], ["a c"]])
    assert best_trivial(names, baselines) == {"wer": (0.25, "copy"), "exact_match": (0.5, "copy")}


def test_saying_nothing_beats_saying_something_long():
    baselines = trivial_baselines(("cer",), ["a long sentence that fits nothing"], None, [["z"]])
    assert best_trivial(("cer",), baselines) == {"cer": (1.0, "empty")}


def test_the_baseline_of_classes_is_ranked_by_frequency():
    targets = ["a"] * 3 + ["b"] * 2 + ["c"]
    names = ("accuracy_top1", "accuracy_top5")
    scores = trivial_baselines(names, targets, None, [["b"], ["a"], ["z"]])["most_frequent"]
    assert (scores["accuracy_top1"], scores["accuracy_top5"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_no_training_targets_is_an_error():
    with pytest.raises(UserError, match="no training target"):
        trivial_baselines(("bleu",), [], None, [["a"]])


# ---- Teacher-forced


def test_teacher_forced_by_hand():
    sums = TeacherForced()
    sums.add(
        np.log([[0.5, 0.25, 1e-30], [0.5, np.nan, np.nan], [np.nan] * 3]),
        [[True, False, True], [True, False, False], [False] * 3],
        [[1, 1, 0], [1, 0, 0], [0, 0, 0]],
    )
    assert sums.result() == {
        "teacher_forced_log_perplexity": pytest.approx((np.log(2) + np.log(4) + np.log(2)) / 3),
        "teacher_forced_accuracy": pytest.approx(2 / 3),
        "teacher_forced_sequence_accuracy": 0.5,
        "tokens": 3,
        "sequences": 2,
    }
    assert set(TEACHER_FORCED) <= set(sums.result())


def test_teacher_forced_of_labels():
    sums = TeacherForced()
    sums.add(np.log([0.5, 0.5]), [True, False], [1.0, 1.0])
    assert sums.result()["teacher_forced_sequence_accuracy"] == 0.5


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 7), length=st.integers(1, 5), cut=st.integers(0, 7), seed=st.integers(0, 999))
def test_teacher_forced_does_not_depend_on_batches(rows, length, cut, seed):
    draw = np.random.default_rng(seed)
    mask = draw.random((rows, length)) < 0.7
    mask[0, 0] = True
    arrays = (-draw.exponential(size=(rows, length)), draw.random((rows, length)) < 0.8, mask)
    whole, parts = TeacherForced(), TeacherForced()
    whole.add(*arrays)
    parts.add(*(a[:cut] for a in arrays))
    parts.add(*(a[cut:] for a in arrays))
    assert parts.result() == pytest.approx(whole.result())


def test_teacher_forced_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="one shape"):
        TeacherForced().add(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 2)))


def test_batches_without_targets_do_not_go_unnoticed():
    sums = TeacherForced()
    sums.add(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(UserError, match="no token was counted"):
        sums.result()
