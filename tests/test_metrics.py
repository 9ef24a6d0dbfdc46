"""Metrics: right on known answers, equal to their oracles, honest where an example can't be scored."""

from collections import Counter

import numpy as np
import pytest
from conftest import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st

from t2t_multimodel import registry
from t2t_multimodel.cli.user_code import load_user_code
from t2t_multimodel.errors import UserError
from t2t_multimodel.metrics import (
    TeacherForced,
    best_trivial,
    check_names,
    comparable,
    decoded,
    example_sums,
    get,
    score,
    teacher_forced_example_sums,
    teacher_forced_sums,
    totals,
    trivial_baselines,
    value_of,
)
from t2t_multimodel.metrics.answers import LABELS, NUMBERS
from t2t_multimodel.metrics.teacher_forced import TEACHER_FORCED
from t2t_multimodel.modalities import Audio, Label, Text

TEXT_METRICS = ("bleu", "exact_match", "wer", "cer", "cider")


# ---- score: names and shapes


def test_a_perfect_prediction_has_the_perfect_value_of_every_metric():
    texts = [f"(S (NP (DT the) (NN {noun})) (VP (VBZ {verb})))" for noun, verb in (("dog", "barks"), ("cat", "sits"))]
    names = [name for name in decoded(registry.metrics.names()) if get(name).answers not in (NUMBERS, LABELS)]
    references = [[text] for text in texts]
    values = score(names, texts, references)
    assert {name: values[name] for name in names} == pytest.approx({name: get(name).perfect for name in names})
    assert values["examples"] == 2
    worst = score(names, ["("] * 2, references)
    for name in names:
        assert (worst[name] < values[name]) == get(name).higher_is_better, name


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


def test_bleu_is_that_of_tensor2tensor_where_both_mean_the_same():
    """On blank-separated tokens both are Papineni's, smoothed alike, as long as every order has n-grams to count.

    Not compared: a two-word hypothesis scored alone ("short one"). It has no 3-grams; Tensor2Tensor leaves such orders
    out of the mean (0.707), sacrebleu says 0. Nor default BLEU: sacrebleu splits off punctuation as mteval-v13a does.
    """
    from sacrebleu.metrics import BLEU

    golden = np.load(GOLDEN / "bleu.npz")
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


CAPTIONS = [
    ["a dog runs on the grass", "a brown dog running on grass", "the dog runs"],
    ["two cats sit on a red sofa", "cats on a sofa"],
    ["a man rides a bike down the street", "a man on a bike"],
]


def test_cider_is_that_of_pycocoevalcap():
    """The values of its `Cider`, release 1.2, on the same tokens."""
    decoded = ["a dog runs on grass grass", "two cats sleep on a sofa", "a bike"]
    assert score(("cider",), decoded, CAPTIONS)["cider"] == pytest.approx(2.5940171346679937, abs=1e-12)
    written = ["A dog runs on grass, grass.", "Two cats sleep on a sofa!", 'a "bike"']
    assert score(("cider",), written, CAPTIONS)["cider"] == pytest.approx(2.5940171346679937, abs=1e-12)
    each = [2.92102542, 2.83700495, 2.02402103]
    for i, value in enumerate(each):  # an empty caption scores 0, so the mean is a third of the one that is left
        alone = [text if i == j else "" for j, text in enumerate(decoded)]
        assert 3 * score(("cider",), alone, CAPTIONS)["cider"] == pytest.approx(value, abs=1e-7)


def test_cider_by_hand():
    """Two examples: a word of one weighs log 2, of both nothing, so only "dog" counts among the words of "a dog".

    cos = 1 for 1-grams and 2-grams ("a dog" is in one only); no 3-grams and 4-grams: 10 · (1 + 1) / 4. With a word too
    many: 1-grams are (dog, barks), cos = 1 / √2; of the 2-grams (a dog, dog barks) too; one 2-gram longer: e^(−1/72).
    """
    references = [["a dog"], ["a cat"]]
    assert score(("cider",), ["a dog", ""], references)["cider"] == pytest.approx(5 / 2)
    longer = 10 * (2**-0.5 + 2**-0.5) / 4 * np.exp(-1 / 72)
    assert score(("cider",), ["a dog barks", ""], references)["cider"] == pytest.approx(longer / 2)
    assert score(("cider",), ["a cat", "a dog"], references)["cider"] == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(min_size=1, max_size=8).filter(str.strip)), min_size=1))
def test_any_text_can_be_scored(pairs):
    predictions, references = [p for p, _ in pairs], [[r] for _, r in pairs]
    values = score(TEXT_METRICS, predictions, references)
    assert 0 <= values["bleu"] <= 100 + 1e-6 and 0 <= values["exact_match"] <= 1
    assert values["wer"] >= 0 and values["cer"] >= 0 and 0 <= values["cider"] <= 10 + 1e-6
    if predictions == [r for (r,) in references]:
        assert values["exact_match"] == 1 and values["cer"] == 0


# ---- Classes


def test_accuracies_of_ranked_classes():
    predictions = [["a", "b"], ["b", "a"], ["c", "d", "e", "f", "g", "a"]]
    values = score(("accuracy_top1", "accuracy_top5"), predictions, [["a"], ["a"], ["a"]])
    assert values["accuracy_top1"] == pytest.approx(1 / 3)
    assert values["accuracy_top5"] == pytest.approx(2 / 3)  # the sixth does not count


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


def test_of_ids_given_those_before_nothing_is_trivial():
    names = ("perplexity", "exact_match")
    baselines = trivial_baselines(names, ["a"], None, [["a"]])
    assert best_trivial(names, baselines) == {"exact_match": (1.0, "most_frequent")}
    assert decoded(names) == ("exact_match",)
    check_names(names, Text())
    for name, targets in (("bits_per_character", Label(("a", "b"))), ("perplexity", Audio(8000))):
        with pytest.raises(UserError, match=f"metric {name} can't be of targets that are"):
            check_names([name], targets)
    with pytest.raises(UserError, match="unknown metric 'perplexity'.*of decoded output"):
        score(("perplexity",), ["a"], [["a"]])


def test_no_training_targets_is_an_error():
    with pytest.raises(UserError, match="no training target"):
        trivial_baselines(("bleu",), [], None, [["a"]])


# ---- Teacher-forced


def statistics(log_probability, correct, weights):
    """What a head reports of each target."""
    return {name: np.asarray(value) for name, value in locals().items()}


def test_teacher_forced_by_hand():
    sums = TeacherForced()
    sums.add(
        statistics(
            np.log([[0.5, 0.25, 1e-30], [0.5, np.nan, np.nan], [np.nan] * 3]),
            [[True, False, True], [True, False, False], [False] * 3],
            [[1, 1, 0], [1, 0, 0], [0, 0, 0]],
        )
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
    sums.add(statistics(np.log([0.5, 0.5]), [True, False], [1.0, 1.0]))
    assert sums.result()["teacher_forced_sequence_accuracy"] == 0.5


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 7), length=st.integers(1, 5), cut=st.integers(0, 7), seed=st.integers(0, 999))
def test_teacher_forced_does_not_depend_on_batches(rows, length, cut, seed):
    draw = np.random.default_rng(seed)
    mask = draw.random((rows, length)) < 0.7
    mask[0, 0] = True
    arrays = (-draw.exponential(size=(rows, length)), draw.random((rows, length)) < 0.8, mask)
    whole, parts = TeacherForced(), TeacherForced()
    whole.add(statistics(*arrays))
    parts.add(statistics(*(a[:cut] for a in arrays)))
    parts.add(statistics(*(a[cut:] for a in arrays)))
    assert parts.result() == pytest.approx(whole.result())


def test_teacher_forced_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="one shape"):
        TeacherForced().add(statistics(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 2))))


def test_batches_without_targets_do_not_go_unnoticed():
    sums = TeacherForced()
    sums.add(statistics(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3))))
    with pytest.raises(UserError, match="no target was counted"):
        sums.result()


def test_a_language_model_is_measured_by_perplexity_and_bits_per_character():
    """Two texts of 3 and 1 characters: ids with probabilities ½ and ¼, and of the second ⅛; the last row fills up."""
    arrays = (
        np.log([[0.5, 0.25], [0.125, np.nan], [np.nan, np.nan]]),
        [[True, False], [True, False], [False] * 2],
        [[1, 1], [1, 0], [0, 0]],
    )
    characters = [3, 1, 7]
    names = ("perplexity", "bits_per_character")
    forced = TeacherForced()
    forced.add(statistics(*arrays), characters)
    values = forced.result(names)
    assert values["perplexity"] == pytest.approx(64 ** (1 / 3))
    assert values["bits_per_character"] == pytest.approx(6 / 4)
    rows = [list(row) for row in teacher_forced_sums(statistics(*arrays), characters)]
    sums = teacher_forced_example_sums(rows[:2], names)
    assert {name: value_of(name, totals(sums[name])) for name in names} == pytest.approx({n: values[n] for n in names})
    without = TeacherForced()
    without.add(statistics(*arrays))
    with pytest.raises(UserError, match="bits_per_character: .* their number was not told"):
        without.result(names)


# ---- Of one's own


def test_a_metric_of_ones_own(user_folder):
    source = """
from t2t_multimodel.metrics import Metric
from t2t_multimodel.registry import register_metric

@register_metric(aliases=("too_long",))
class LengthError(Metric):
    '''Characters too many or too few.'''
    higher_is_better, perfect, scale = False, 0.0, None

    def per_example(self, predictions, references):
        return [abs(len(text) - len(right[0])) for text, right in zip(predictions, references)]

class Longest(Metric):
    '''The longest answer.'''

    def score(self, predictions, references):
        return {self.name: max(map(len, predictions)), "who": "me"}

register_metric(Longest())
"""
    added = load_user_code(user_folder({"my_metrics.py": source})).added
    assert added == ("metric length_error", "metric longest")
    arguments = ["four", "to"], [["seven"], ["one"]]
    assert score(("length_error", "longest"), *arguments) == {
        "examples": 2,
        "length_error": 1.0,
        "longest": 4,
        "who": "me",
    }
    assert get("too_long") is get("length_error") and get("length_error").format(12345.6) == "1.23e+04"
    assert example_sums(("length_error",), *arguments) == {"length_error": [[1, 1], [1, 1]]}
    assert comparable(("length_error", "longest")) == ("length_error",)
    best = best_trivial(("length_error",), trivial_baselines(("length_error",), ["abc"], None, arguments[1]))
    assert best == {"length_error": (1.0, "most_frequent")}
    with pytest.raises(UserError, match="did you mean 'length_error'"):
        get("lenght_error")
    with pytest.raises(UserError, match="metric 'bleu' is registered twice"):
        registry.register_metric(type("Bleu", (type(get("longest")),), {}))


def test_what_is_no_metric_is_refused():
    with pytest.raises(UserError, match="@register_metric stands before .* no Metric"):
        registry.register_metric(lambda predictions, references: 1.0)
