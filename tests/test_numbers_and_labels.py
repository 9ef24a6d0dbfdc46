"""Metrics of numbers and of sets of labels: right by hand, and beside them what can be answered without a model."""

from collections import Counter

import numpy as np
import pytest

from t2t_multimodel.errors import UserError
from t2t_multimodel.metrics import best_trivial, comparable, example_sums, score, trivial_baselines

# ---- Numbers


def test_numbers_by_hand():
    values = score(("mae", "rmse", "r2"), [2.5, 0.0, 2.0, 8.0], [[3.0], [-0.5], [2.0], [7.0]])
    assert values["mae"] == pytest.approx(0.5)
    assert values["rmse"] == pytest.approx(np.sqrt(1.5 / 4))
    assert values["r2"] == pytest.approx(0.9486081370449679)  # as scikit-learn's r2_score has it


def test_every_element_of_an_array_counts_unless_its_reference_is_unknown():
    predictions = [np.array([[1.0, 9.0], [3.0, 2.0]]), np.array([[5.0, 0.0]])]
    references = [[np.array([[2.0, np.nan], [3.0, 4.0]])], [np.array([[np.nan, np.nan]])]]
    values = score(("mae", "rmse", "r2"), predictions, references)
    assert (values["mae"], values["rmse"]) == (1.0, pytest.approx(np.sqrt(5 / 3)))
    assert values["r2"] == pytest.approx(1 - 5 / 2)
    with pytest.raises(UserError, match="mae: nothing to score, every reference is NaN"):
        score(("mae",), [1.0], [[np.nan]])
    assert np.isnan(score(("mae",), [np.nan], [[1.0]])["mae"])


def test_r2_takes_each_number_of_a_target_from_its_own_mean():
    right = [np.array([1.0, 100.0]), np.array([3.0, np.nan]), np.array([2.0, 104.0])]
    assert score(("r2",), [np.array([2.0, 102.0])] * 3, [[r] for r in right])["r2"] == pytest.approx(0)
    assert score(("r2",), [np.array([1.0, 100.0])] * 3, [[r] for r in right])["r2"] == pytest.approx(1 - 21 / 10)


def test_r2_of_always_the_mean_is_zero_wherever_numbers_are_counted_from():
    right = np.random.default_rng(0).normal(1e6, 1e-2, 50)
    assert score(("r2",), [right.mean()] * 50, [[x] for x in right])["r2"] == pytest.approx(0, abs=1e-6)
    assert score(("r2",), [2.0, 2.0], [[2.0], [2.0]])["r2"] == 1.0
    assert score(("r2",), [2.0, 2.1], [[2.0], [2.0]])["r2"] == 0.0


def test_numbers_that_do_not_fit_are_named():
    with pytest.raises(UserError, match=r"example 2: a prediction of shape \(3,\) for a target of \(2,\)"):
        score(("mae",), [np.zeros(2), np.zeros(3)], [[np.zeros(2)], [np.zeros(2)]])
    with pytest.raises(UserError, match="example 1: .* must be numbers"):
        score(("mae",), ["much"], [[2.0]])
    with pytest.raises(UserError, match="example 1 has 2 references"):
        score(("mae",), [1.0], [[2.0, 3.0]])


# ---- Sets of labels

LABEL_SETS = [{"a", "b"}, {"a"}, {"c"}, set()]
SAID = [
    {"a": 0.9, "b": 0.4, "c": 0.1},
    {"a": 0.8, "b": 0.6, "c": 0.2},
    {"a": 0.5, "b": 0.0, "c": 0.3},
    {"a": 0.1, "b": 0.2, "c": 0.05},
]


def test_f1_of_label_sets_by_hand():
    """a: 2 of 3 said are right, 2 wanted; b: 0 of 1, 1 wanted; c: none said, 1 wanted."""
    values = score(("f1_micro", "f1_macro"), SAID, [[labels] for labels in LABEL_SETS])
    assert values["f1_micro"] == pytest.approx(2 * 2 / (4 + 4))
    assert values["f1_macro"] == pytest.approx((2 * 2 / (3 + 2) + 0 + 0) / 3)
    # A label that is neither right nor said is left out of the mean.
    more = [said | {"d": 0.0} for said in SAID]
    assert score(("f1_macro",), more, [[list(labels)] for labels in LABEL_SETS])["f1_macro"] == values["f1_macro"]


def test_average_precision_by_hand():
    """a: right at ranks 1, 2 → 1; b: right at rank 2 of .6, .4 → 1/2; c: first → 1."""
    value = score(("average_precision",), SAID, [[labels] for labels in LABEL_SETS])["average_precision"]
    assert value == pytest.approx((1 + 1 / 2 + 1) / 3)
    # scikit-learn's own example: 0.83…
    said, right = [{"x": s} for s in (0.1, 0.4, 0.35, 0.8)], [[set()], [set()], [{"x"}], [{"x"}]]
    assert score(("average_precision",), said, right)["average_precision"] == pytest.approx(5 / 6)
    # Equal scores are one threshold: the precision of all.
    tied = [{"x": 0.5}] * 4
    assert score(("average_precision",), tied, right)["average_precision"] == pytest.approx(0.5)


def test_what_orders_all_examples_is_no_sum_over_them():
    assert comparable(("f1_micro", "average_precision", "perplexity")) == ("f1_micro", "perplexity")
    with pytest.raises(UserError, match="metric average_precision is no sum over examples"):
        example_sums(("average_precision",), SAID, [[labels] for labels in LABEL_SETS])


@pytest.mark.parametrize(
    "said, right, words",
    [(["a"], [[{"a"}]], "prediction 1 must be a dict"), ([{"a": 1.0}], [["a"]], "one set of labels")],
)
def test_label_sets_that_are_none_are_named(said, right, words):
    with pytest.raises(UserError, match=words):
        score(("f1_micro",), said, right)


# ---- Trivial answers


def test_numbers_without_a_model_are_mean_and_median():
    names = ("mae", "r2")
    baselines = trivial_baselines(names, [1.0, 2.0, 9.0], None, [[2.0], [6.0]])
    assert baselines["mean"] == {"examples": 2, "mae": 2.0, "r2": 0.0}
    assert baselines["median"]["mae"] == 2.0
    assert best_trivial(names, baselines)["r2"] == (0.0, "mean")


def test_the_mean_of_arrays_is_by_element_or_by_channel():
    same = trivial_baselines(("mae",), [np.array([1.0, 5.0]), np.array([3.0, np.nan])], None, [[np.array([2.0, 5.0])]])
    assert same["mean"]["mae"] == 0
    train = [np.array([[1.0, 10.0]]), np.array([[3.0, 20.0], [np.nan, 30.0]])]
    series = trivial_baselines(("mae",), train, None, [[np.array([[2.0, 20.0]] * 3)]])
    assert series["mean"]["mae"] == 0
    unlike = trivial_baselines(("mae",), [np.array([1.0]), np.array([2.0, 3.0])], None, [[np.array([2.0] * 3)]])
    assert unlike["mean"]["mae"] == 0


def test_label_sets_without_a_model_are_the_most_frequent_and_the_frequencies():
    train = [{"a", "b"}, {"a"}, ["a"], set()]
    names = ("f1_micro", "average_precision")
    references = [[{"a"}], [{"a", "b"}], [set()]]
    baselines = trivial_baselines(names, train, None, references)
    assert baselines["most_frequent"]["f1_micro"] == pytest.approx(2 * 2 / (3 + 3))  # always {a}
    assert baselines["frequencies"]["f1_micro"] == baselines["most_frequent"]["f1_micro"]  # a: 3/4, b: 1/4
    assert baselines["frequencies"]["average_precision"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert trivial_baselines(names, Counter(map(frozenset, train)), None, references) == baselines
