"""Mixtures: what the command line may say, what the weight engines promise, and that draws repeat exactly."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2t_multimodel import registry
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.mixture import (
    ADAPTIVE_FLOOR,
    DRAW_BLOCK,
    LossAverages,
    Mixture,
    MixtureSchedule,
    adaptive,
    by_size,
    parse,
    parse_schedule,
)
from t2t_multimodel.modalities import Image, Label, Text
from t2t_multimodel.problem import Problem


@pytest.fixture(autouse=True)
def small_registry(monkeypatch):
    """Problems a, b, c (text), shapes (picture → class); mixtures pair = a:1, b:3, and nested = pair:2, c."""
    problems, mixtures = (registry.Registry(kind, f"{kind}s") for kind in ("problem", "mixture"))
    for name in ("a", "b", "c"):
        problems.add(name, type(name, (Problem,), {"name": name, "inputs": Text(), "targets": Text()}))
    problems.add("shapes", type("s", (Problem,), {"name": "shapes", "inputs": Image(), "targets": Label(("x",))}))
    problems.alias("old_a", "a")
    mixtures.add("pair", Mixture("pair", "Two of them.", ("a", ("b", 3))))
    mixtures.add("nested", Mixture("nested", "A mixture in a mixture.", (("pair", 2), "c")))
    monkeypatch.setattr(registry, "problems", problems)
    monkeypatch.setattr(registry, "mixtures", mixtures)
    monkeypatch.setattr(registry, "_loaded", True)


@pytest.mark.parametrize(
    "text, problems",
    [
        ("a", (("a", 1.0),)),
        ("a,b:2", (("a", 1.0), ("b", 2.0))),
        (" a , b : 0.5,", (("a", 1.0), ("b", 0.5))),
        ("a:1e-3", (("a", 0.001),)),
        ("a_rev,a", (("a_rev", 1.0), ("a", 1.0))),
        ("old_a", (("a", 1.0),)),
        ("a-b-c", (("a", 1.0), ("b", 1.0), ("c", 1.0))),
        ("a-b_rev", (("a", 1.0), ("b_rev", 1.0))),
        ("pair", (("a", 0.25), ("b", 0.75))),
        ("nested", (("a", 0.25 * 2 / 3), ("b", 0.75 * 2 / 3), ("c", 1 / 3))),
        ("pair:4,c", (("a", 1.0), ("b", 3.0), ("c", 1.0))),
        ("pair:4,a", (("a", 2.0), ("b", 3.0))),
    ],
)
def test_command_line_forms(text, problems):
    parsed = parse(text).problems
    assert [name for name, _ in parsed] == [name for name, _ in problems]
    np.testing.assert_allclose([weight for _, weight in parsed], [weight for _, weight in problems])


@pytest.mark.parametrize(
    "text, words",
    [
        ("", ["empty"]),
        (",", ["empty"]),
        ("pairs", ["problem or mixture 'pairs'", "'pair'"]),
        ("shape", ["problem 'shape'", "'shapes'"]),
        ("a,bb_rev", ["bb_rev"]),
        ("a-b-shape", ["'shape'", "'shapes'"]),
        ("a:0", ["above 0"]),
        ("a:-1", ["above 0"]),
        ("a:nan", ["above 0"]),
        ("a:two", ["'two' is not a number"]),
        ("shapes_rev", ["only problems from text to text"]),
    ],
)
def test_command_line_mistakes_are_one_clear_line(text, words):
    with pytest.raises(UserError) as error:
        parse(text)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_dash_list_is_off_where_a_name_has_a_dash():
    registry.problems.add("a-b", type("ab", (Problem,), {"name": "a-b", "inputs": Text(), "targets": Text()}))
    assert parse("a-b").problem_names == ("a-b",)
    with pytest.raises(UserError, match="unknown problem 'a-b-c'"):
        parse("a-b-c")


def test_mixture_in_itself_is_an_error():
    registry.mixtures.add("loop", Mixture("loop", "", ("a", "ring")))
    registry.mixtures.add("ring", Mixture("ring", "", ("loop",)))
    with pytest.raises(UserError, match="loop → ring → loop"):
        parse("loop")


def test_mixture_knows_where_it_was_written():
    assert Mixture("m", "", ("a",)).source.split(":")[0] == __file__


@pytest.mark.parametrize("problems", [(), (("a", 0),), (("a", float("inf")),)])
def test_mixture_with_bad_weights_is_refused(problems):
    with pytest.raises(UserError):
        Mixture("m", "", problems)


def schedule_of(problems, sizes=None, **hparams):
    return MixtureSchedule(Mixture("m", "", problems), replace(HParams(), **hparams), sizes)


def test_size_and_temperature():
    np.testing.assert_allclose(by_size([1, 1], [100, 900], 1.0), [0.1, 0.9])
    np.testing.assert_allclose(by_size([1, 1], [100, 900], 2.0), [0.25, 0.75])
    np.testing.assert_allclose(by_size([3, 1], [100, 900], 2.0), [0.5, 0.5])
    np.testing.assert_allclose(by_size([1, 1], [100, 900], 1e9), [0.5, 0.5])
    schedule = schedule_of(("a", "b"), {"a": 100, "b": 900}, mixture="size", mixture_temperature=2.0)
    np.testing.assert_allclose(schedule.probabilities(5), [0.25, 0.75])


def test_schedule_linear_and_step():
    linear = schedule_of(("a", "b"), mixture="schedule", mixture_schedule="linear @10 1 0 @20 0 1 @30 1 1")
    at = {0: [1, 0], 10: [1, 0], 15: [0.5, 0.5], 20: [0, 1], 25: [0.25, 0.75], 30: [0.5, 0.5], 999: [0.5, 0.5]}
    for step, wanted in at.items():
        np.testing.assert_allclose(linear.probabilities(step), wanted, err_msg=str(step))
    shares = schedule_of(("a", "b"), mixture="schedule", mixture_schedule="linear @0% 1 0 @50% 0 1", train_steps=40)
    for step, wanted in {0: [1, 0], 10: [0.5, 0.5], 20: [0, 1], 40: [0, 1]}.items():
        np.testing.assert_allclose(shares.probabilities(step), wanted, err_msg=str(step))
    steps = schedule_of(("a", "b"), mixture="schedule", mixture_schedule="step @0 1 0 @20 2 2")
    for step, wanted in {0: [1, 0], 19: [1, 0], 20: [0.5, 0.5], 21: [0.5, 0.5]}.items():
        np.testing.assert_allclose(steps.probabilities(step), wanted, err_msg=str(step))


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "mixture_schedule"),
        ("liner @0 1 1", "'linear'"),
        ("linear", "no @step"),
        ("linear 1 1", "before the first"),
        ("linear @0 1", "1 weights for 2 problems"),
        ("linear @0 1 1 1", "3 weights for 2 problems"),
        ("linear @0 1 x", "no number"),
        ("linear @zero 1 1", "no number"),
        ("linear @x% 1 1", "no number"),
        ("linear @inf% 1 1", "no number"),
        ("linear @0 1 -1", "0 or more"),
        ("linear @0 0 0", "not all 0"),
        ("linear @0 1 nan", "0 or more"),
        ("linear @10 1 1 @10 1 1", "must rise"),
        ("linear @10 1 1 @0 1 1", "must rise"),
    ],
)
def test_malformed_schedules(text, words):
    with pytest.raises(UserError, match=words):
        parse_schedule(text, ("a", "b"), 100)


@given(st.text(alphabet="linearstp @0123.-e%", max_size=40))
def test_no_schedule_text_gives_anything_but_a_schedule_or_a_user_error(text):
    try:
        _, points = parse_schedule(text, ("a", "b"), 100)
    except UserError:
        return
    for _, probabilities in points:
        assert len(probabilities) == 2
        assert sum(probabilities) == pytest.approx(1)


def test_adaptive_draws_slow_learners_more_and_starves_no_one():
    losses = LossAverages(("a", "b", "c"))
    np.testing.assert_array_equal(losses.relative(), [1, 1, 1])
    for step in range(200):
        losses.record("a", 8.0)  # learns nothing
        losses.record("b", 8.0 * 0.97**step)  # learns fast
        losses.record("c", 0.01 * 0.995**step)  # small numbers, learns slowly
    shares = adaptive([1, 1, 1], losses.relative())
    assert shares.sum() == pytest.approx(1)
    assert shares[0] > shares[2] > shares[1] >= ADAPTIVE_FLOOR / 3


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(allow_nan=False)), min_size=1, max_size=8),
)
def test_adaptive_floor_and_sum_hold_for_any_losses(pairs):
    weights, relative = map(np.array, zip(*pairs))
    shares = adaptive(weights, relative)
    assert shares.sum() == pytest.approx(1)
    assert (shares >= ADAPTIVE_FLOOR * weights / weights.sum() * (1 - 1e-9)).all()


def test_loss_averages_ignore_what_is_not_finite_and_survive_json():
    import json

    losses = LossAverages(("a", "b"))
    for loss in (3.0, float("nan"), 2.0, float("inf"), 0.1):
        losses.record("a", loss)
    copy = LossAverages(("a", "b"))
    copy.restore(json.loads(json.dumps(losses.state())))
    assert copy.relative().tolist() == losses.relative().tolist()
    assert np.isfinite(losses.relative()).all()


@settings(max_examples=30, deadline=None)
@given(
    weights=st.lists(st.floats(0.01, 10), min_size=1, max_size=9),
    seed=st.integers(-5, 2**40),
    count=st.integers(1, 9),
    block=st.integers(0, 10**6),
)
def test_shares_are_kept_in_every_step_and_every_block(weights, seed, count, block):
    names = [f"p{i}" for i in range(len(weights))]
    schedule = schedule_of(tuple(zip(names, weights)), gradient_accumulation_steps=count)
    probabilities = schedule.probabilities(0)
    total = Counter()
    for step in range(block * DRAW_BLOCK, (block + 1) * DRAW_BLOCK):
        drawn = Counter(schedule.draw(seed, step, i, probabilities) for i in range(count))
        for name, share in zip(names, probabilities):
            assert abs(drawn[name] - count * share) < 1 + 1e-6
        total += drawn
    for name, share in zip(names, probabilities):
        assert abs(total[name] - DRAW_BLOCK * count * share) < 1 + 1e-6


def test_eight_even_problems_eight_draws_each_step_has_each_once():
    names = [f"p{i}" for i in range(8)]
    schedule = schedule_of(tuple(names), gradient_accumulation_steps=8)
    probabilities = schedule.probabilities(0)
    for step in range(20):
        assert sorted(schedule.draw(1, step, i, probabilities) for i in range(8)) == names


def test_order_of_draws_depends_on_the_seed_and_has_no_fixed_pattern():
    schedule = schedule_of(("a", "b", "c", "d"))
    probabilities = schedule.probabilities(0)
    drawn = {s: [schedule.draw(s, step, 0, probabilities) for step in range(400)] for s in (1, 2)}
    assert drawn[1] != drawn[2]
    followers = Counter(zip(drawn[1], drawn[1][1:]))
    assert len(followers) == 16  # anyone may follow anyone


def test_a_problem_of_probability_zero_is_never_drawn():
    schedule = schedule_of(("a", "b", "c"), gradient_accumulation_steps=4)
    probabilities = np.array([0.0, 1.0, 0.0])
    assert {schedule.draw(0, step, i, probabilities) for step in range(200) for i in range(4)} == {"b"}


def test_draws_are_the_same_in_a_new_process():
    code = (
        "from t2t_multimodel.mixture import *; from t2t_multimodel.hyperparameters import HParams;"
        "s = MixtureSchedule(Mixture('m', '', (('a', 1), ('b', 2), ('c', 4))), HParams());"
        "print(''.join(s.draw(7, step, 0, s.probabilities(step)) for step in range(150, 300)))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    schedule = schedule_of((("a", 1), ("b", 2), ("c", 4)))
    assert there == "".join(schedule.draw(7, step, 0, schedule.probabilities(step)) for step in range(150, 300))
