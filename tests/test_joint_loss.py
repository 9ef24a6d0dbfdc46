"""What weighs the problems of a joint run: the papers' rules and formulas; continued runs have the same bits."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from models import NO_EXPERTS, TRANSLATION, make_batch, make_model, to_numpy
from small_world import HPARAMS, log_lines, make_data, make_trainer, weights

from t2t_multimodel import hyperparameters
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.mixture import LossBalance
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.joint_loss import surgery
from t2t_multimodel.training.optimizer import make_optimizer
from t2t_multimodel.training.parts import set_parts

pytestmark = pytest.mark.usefixtures("kept_programs")


def balance(kind, **changes):
    return LossBalance(("a", "b", "c"), replace(HParams(), loss_balance=kind, **changes))


# ---- The rules of the weights


def test_uncertainty_ends_where_every_weighted_loss_is_the_same():
    """The minimum of e^−s·L + s/2 over s is at e^−s = 1/(2L): weights go as 1/L."""
    rule = balance("uncertainty", loss_balance_rate=0.05)
    assert rule.weights() == {"a": 1.0, "b": 1.0, "c": 1.0}
    losses = {"a": 4.0, "b": 1.0, "c": 0.25}
    for _ in range(2000):
        for problem, loss in losses.items():
            rule.record(problem, loss)
    found = rule.weights()
    assert np.mean(list(found.values())) == pytest.approx(1)
    for problem, loss in losses.items():
        assert found[problem] * loss == pytest.approx(found["a"] * 4.0, rel=1e-3)


def test_one_step_of_uncertainty_is_the_gradient():
    rule = balance("uncertainty", loss_balance_rate=0.1)
    rule.record("a", 3.0)
    s = 0.1 * (3.0 - 0.5)
    a, b = np.exp(-s), 1.0
    assert rule.weight("a") == pytest.approx(3 * a / (a + 2 * b))


def test_ratio_is_the_softmax_of_the_descent_of_two_windows():
    rule = balance("ratio", loss_balance_window=6, loss_balance_temperature=2.0)
    for a, b in ((4.0, 2.0), (2.0, 2.0)):  # two windows: a halves, b stands still; c is never drawn
        assert set(rule.weights().values()) == {1.0}
        for _ in range(3):
            rule.record("a", a)
            rule.record("b", b)
    exponents = np.exp(np.array([0.5, 1.0, 1.0]) / 2)
    np.testing.assert_allclose(list(rule.weights().values()), 3 * exponents / exponents.sum())


@pytest.mark.parametrize("kind", ["uncertainty", "ratio"])
def test_rules_outlive_json_and_losses_of_any_size(kind):
    rule, copy = (balance(kind, loss_balance_window=2) for _ in range(2))
    for loss in (1e30, 0.0, float("nan"), 1e-30, float("inf"), 2.0, -3.0, 5.0):
        rule.record("a", loss)
        rule.record("b", 1.0)
    copy.restore(json.loads(json.dumps(rule.state())))
    for each in (rule, copy):
        each.record("a", 1.5)
    assert copy.weights() == rule.weights() and all(0 < w < 3 + 1e-9 for w in rule.weights().values())
    other = balance("ratio" if kind == "uncertainty" else "uncertainty")
    other.restore(rule.state())
    assert set(other.weights().values()) == {1.0}, "of another rule nothing is taken over"


# ---- Surgery


def pcgrad(gradients):
    """Yu et al. 2020, algorithm 1, in the order of `surgery`: [n, size] → the mean [size]."""
    projected = gradients.copy()
    for i in range(len(gradients)):
        for j in [(i + distance) % len(gradients) for distance in range(1, len(gradients))]:
            dot = projected[i] @ gradients[j]
            if dot < 0:
                projected[i] -= dot / (gradients[j] @ gradients[j]) * gradients[j]
    return projected.mean(axis=0)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_surgery_is_the_papers_algorithm(count):
    """Three variables: one of all, one of the body that the first microbatch lacks, one of a net of the first alone."""
    rng = np.random.default_rng(count)
    first, second = rng.normal(size=(count, 4)).astype("float32"), rng.normal(size=(count, 2, 3)).astype("float32")
    second[0] = 0.0
    own = rng.normal(size=5).astype("float32")
    gradients = [[first[0], own], *([first[i], second[i]] for i in range(1, count))]
    owners = [dict.fromkeys(range(count), 0), dict.fromkeys(range(1, count), 1), {0: 1}]
    found = [to_numpy(g) for g in surgery(gradients, owners, [True, True, False])]
    wanted = pcgrad(np.concatenate([first, second.reshape(count, -1)], axis=1))
    assert not np.allclose(wanted[:4], first.mean(axis=0)), "some of them conflict"
    np.testing.assert_allclose(found[0], wanted[:4], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1].ravel(), wanted[4:], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[2], own / count, rtol=1e-6)


def test_gradients_that_agree_or_are_zero_are_averaged():
    gradients = [[np.array([1.0, 0.0], "float32")], [np.array([1.0, 2.0], "float32")], [np.zeros(2, "float32")]]
    (found,) = surgery(gradients, [dict.fromkeys(range(3), 0)], [True])
    np.testing.assert_allclose(to_numpy(found), [2 / 3, 2 / 3], rtol=1e-6)


def test_surgery_of_one_draw_is_refused():
    with pytest.raises(UserError, match="set gradient_accumulation_steps to 2 or more too"):
        hyperparameters.override(HParams(), {"gradient_surgery": True}, "here")


def test_surgery_of_a_frozen_body_is_refused():
    """Nothing else has its gradients projected."""
    changes = {"gradient_surgery": True, "gradient_accumulation_steps": 2}
    with pytest.raises(UserError, match="freeze='text,body' leaves that as it is; set gradient_surgery=False"):
        hyperparameters.override(HParams(), changes | {"freeze": "text,body"}, "here")
    hparams = replace(NO_EXPERTS, **changes, freeze="encoder,mixer,decoder")
    hyperparameters.validate(hparams)  # by names of its pieces it is known with the model
    model = make_model(hparams, [TRANSLATION])
    with pytest.raises(UserError, match="leaves nothing of it to train; set gradient_surgery=False"):
        set_parts(model, make_optimizer(hparams, model.trainable_variables), hparams)
    model = make_model(replace(hparams, freeze="encoder"), [TRANSLATION])
    set_parts(model, make_optimizer(hparams, model.trainable_variables), model.hparams)


# ---- In the trainer's steps, on the backend at hand


def step_of(**changes):
    """A step of a small translator without experts, and its updates' gradient norms; updates leave it as it is."""
    hparams = replace(NO_EXPERTS, **changes)
    model = make_model(hparams, [TRANSLATION])
    step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    count = hparams.gradient_accumulation_steps
    return lambda *weights: float(step.update([(TRANSLATION, make_batch(TRANSLATION))] * count, 0.0, *weights)[1])


@pytest.mark.slow
def test_a_weight_multiplies_the_gradient_and_surgery_leaves_what_agrees():
    plain, weighed = step_of()(), step_of(loss_balance="uncertainty")
    assert weighed([2.5]) == pytest.approx(2.5 * plain, rel=1e-4)
    assert weighed() == pytest.approx(plain, rel=1e-5)
    # Two draws of the same batch agree: their update is that of one.
    operated = step_of(gradient_surgery=True, gradient_accumulation_steps=2, loss_balance="ratio")
    assert operated([1.0, 1.0]) == pytest.approx(plain, rel=1e-4)
    assert operated([3.0, 1.0]) == pytest.approx(2.0 * plain, rel=1e-4)


RULES = {
    "uncertainty": {"loss_balance": "uncertainty"},
    "surgery": {
        "gradient_surgery": True,
        "gradient_accumulation_steps": 2,
        "loss_balance": "ratio",
        "loss_balance_window": 3,
        "mixture": "schedule",
        "mixture_schedule": "linear @0% 3 1 @100% 1 1",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_a_continued_run_has_the_same_bits(rule, data, tmp_path):
    hparams = replace(HPARAMS, train_steps=8, **RULES[rule])
    whole, part = tmp_path / "whole", tmp_path / "part"
    problems = ("tiny_ende", "tiny_image")
    make_trainer(data, whole, hparams, problems).run()
    shutil.copytree(whole, part)
    shutil.rmtree(next(part.glob("checkpoints/*8")))
    make_trainer(data, part, hparams, problems).run()
    assert weights(part, 8) == weights(whole, 8) and log_lines(part) == log_lines(whole)
    state = weights(whole, 8)[1]["stream"]["balance"]
    learnt = LossBalance(problems, hparams)
    learnt.restore(state)
    assert state["kind"] == hparams.loss_balance and learnt.weight("tiny_ende") != learnt.weight("tiny_image")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))
