"""LazyAdam leaves experts without a gradient as they are, and is Adam for all others; Nadam; on either backend."""

from dataclasses import replace

import numpy as np
import pytest
from keras import ops
from models import HPARAMS, TRANSLATION, make_batch, make_model, to_numpy

from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.optimizer import make_optimizer

RATE = 0.1
FEW = ([1.0, 0.0, 2.0], [0.5, 0.0, 0.0], [0.0, 0.0, 3.0])  # of three steps: how much each expert's gradient is
ALL = ([1.0, 2.0, 3.0], [0.5, 0.1, 0.2], [4.0, 1.0, 0.1])


class Experts(Layer):
    """Three experts and a matrix of everybody's; the gradient is what the batch says."""

    def __init__(self):
        super().__init__(name="experts")
        self.rows = self.add_weight(shape=(3, 2, 2), initializer="ones", name="rows")
        self.rows.by_expert = True
        self.shared = self.add_weight(shape=(3, 2), initializer="ones", name="shared")

    def loss(self, batch, spec, training=False):
        loss = ops.sum(self.rows * batch["example_weights"][:, None, None])
        loss = loss + ops.sum(self.shared * batch["example_weights"][:, None])
        return loss, {
            name: ops.zeros(()) for name in ("cross_entropy", "weight", "load_balance_loss", "dropped_token_fraction")
        }

    def trainable_variables_for(self, spec):
        return [self.rows, self.shared]


def trained(optimizer, gradients, **changes):
    """{name: array} of weights and averages after a step for each of the `gradients`."""
    model = Experts()
    hparams = replace(HPARAMS, optimizer=optimizer, clip_norm=0.0, **changes)
    step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    for gradient in gradients:
        batch = make_batch(TRANSLATION) | {"example_weights": np.array(gradient, np.float32)}
        step.update([(TRANSLATION, batch)], RATE)
    step.variables()  # have their values from here on
    kept = [*model.trainable_variables, *step.optimizer.variables]
    return {v.path.removeprefix("lazy_"): to_numpy(v) for v in kept if len(v.shape) > 1}


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_where_all_experts_are_used_it_is_adam(decay):
    lazy, adam = (trained(name, ALL, weight_decay=decay) for name in ("lazy_adam", "adam"))
    assert len(lazy) == 6
    for path, array in adam.items():
        np.testing.assert_allclose(lazy[path], array, rtol=1e-6, err_msg=path)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_expert_moves_when_it_is_used_and_only_then(decay):
    before = {}
    for steps in range(1, len(FEW) + 1):
        after = trained("lazy_adam", FEW[:steps], weight_decay=decay)
        for path, array in after.items():
            if "rows" not in path:
                continue
            old = before.get(path, np.zeros_like(array) if "adam" in path else np.ones_like(array))
            moved = np.any(array != old, axis=(1, 2))
            np.testing.assert_array_equal(moved, np.array(FEW[steps - 1]) != 0, err_msg=f"{path}, step {steps}")
        before = after


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_is_adam_of_each_expert_where_some_steps_use_all_and_some_few(decay):
    """By hand: averages and weights of an expert change in the steps that use it; the powers count all steps."""
    gradients = (FEW[0], ALL[0], FEW[1], FEW[2], ALL[1])
    weights, first, second = (np.full(3, start) for start in (1.0, 0.0, 0.0))
    beta1, beta2 = HPARAMS.adam_beta1, HPARAMS.adam_beta2
    for time, gradient in enumerate(gradients, 1):
        gradient = np.array(gradient)
        used = gradient != 0
        new_first, new_second = beta1 * first + (1 - beta1) * gradient, beta2 * second + (1 - beta2) * gradient**2
        rate = RATE * np.sqrt(1 - beta2**time) / (1 - beta1**time)
        moved = weights * (1 - RATE * decay) - rate * new_first / (np.sqrt(new_second) + HPARAMS.adam_epsilon)
        weights, first, second = (
            np.where(used, new, old) for new, old in ((moved, weights), (new_first, first), (new_second, second))
        )
    found = trained("lazy_adam", gradients, weight_decay=decay)
    for name, expected in (("experts/rows", weights), ("rows_momentum", first), ("rows_velocity", second)):
        (array,) = (array for path, array in found.items() if path.endswith(name))
        for value in array.reshape(3, -1).T:
            np.testing.assert_allclose(value, expected, rtol=1e-5, err_msg=name)


def test_an_expert_that_is_used_moves_as_adam_moves_it():
    """Whatever the others do: the first one is used twice in a row. What is not by expert is Adam's throughout."""
    lazy, adam = (trained(name, FEW[:2], weight_decay=0.1) for name in ("lazy_adam", "adam"))
    for path, array in adam.items():
        rows = slice(0, 1) if "rows" in path else slice(None)
        np.testing.assert_allclose(lazy[path][rows], array[rows], rtol=1e-6, err_msg=path)
    path = next(path for path in adam if path.endswith("experts/rows"))
    assert not np.allclose(lazy[path][2], adam[path][2])  # Adam moves it on in the second step, where nobody used it


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_nadam_goes_along_the_next_average(decay):
    """By hand, of Dozat 2016 without a schedule of β₁."""
    weights, first, second = (np.full(3, start) for start in (1.0, 0.0, 0.0))
    beta1, beta2 = HPARAMS.adam_beta1, HPARAMS.adam_beta2
    for time, gradient in enumerate((*FEW, *ALL), 1):
        gradient = np.array(gradient)
        weights = weights * (1 - decay * RATE)
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        ahead = (beta1 * first + (1 - beta1) * gradient) / (1 - beta1**time)
        weights = weights - RATE * ahead / (np.sqrt(second / (1 - beta2**time)) + HPARAMS.adam_epsilon)
    found = trained("nadam", (*FEW, *ALL), weight_decay=decay)
    for name, expected in (("experts/rows", weights), ("rows_momentum", first), ("rows_velocity", second)):
        (array,) = (array for path, array in found.items() if path.endswith(name))
        for value in array.reshape(3, -1).T:
            np.testing.assert_allclose(value, expected, rtol=2e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["lazy_adam", "nadam"])
def test_a_model_trains_with_it(optimizer):
    """As with Adam while every expert is used, and its weights by expert are found."""
    hparams = replace(HPARAMS, optimizer=optimizer)
    model = make_model(hparams, [TRANSLATION])
    assert sum(getattr(v, "by_expert", False) for v in model.trainable_variables) == 4
    step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    losses = [step.update([(TRANSLATION, make_batch(TRANSLATION))], 1e-3)[0][0]["loss"] for _ in range(5)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
