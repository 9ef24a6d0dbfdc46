"""Adafactor: the paper's formula, each expert by itself, small averages, exact resume; on either backend."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops
from models import HPARAMS, TRANSLATION, make_batch, make_model, to_numpy

from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.training import checkpoints
from t2t_multimodel.training.adafactor import Adafactor
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.optimizer import make_optimizer
from t2t_multimodel.training.run import load_variables

RATE, STEPS, CLIP = 0.01, 3, 1.0
SHAPES = {"matrix": (5, 4), "stacked": (2, 5, 4), "vector": (6,), "narrow": (1, 6)}


def variable(name, value):
    return keras.Variable(np.asarray(value, np.float32), name=name)


def numbers(shape, seed, size=1.0):
    return (size * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def gradients_of(shape):
    """Of a few steps; the second is large, so that its update is clipped."""
    return [numbers(shape, step, 100.0 if step == 1 else 1.0) for step in range(STEPS)]


def updated(variables, gradients, **settings):
    """The values of `variables` after a step for each of `gradients`, a list of lists of arrays."""
    optimizer = Adafactor(RATE, name="adafactor", **{"least_factored": 2} | settings)
    optimizer.build(variables)
    for of_step in gradients:
        optimizer.apply([ops.convert_to_tensor(g) for g in of_step], variables)
    return [to_numpy(v) for v in variables], optimizer


def by_hand(value, gradients, factored):
    """Algorithms 4 and 5 of the paper for one variable, in float64."""
    value, average = value.astype(np.float64), 0.0
    row = column = 0.0
    for time, gradient in enumerate(gradients, 1):
        square = gradient.astype(np.float64) ** 2 + 1e-30
        decay = 1 - time**-0.8
        if factored:
            row = decay * row + (1 - decay) * square.sum(-1)
            column = decay * column + (1 - decay) * square.sum(-2)
            average = row[..., :, None] * column[..., None, :] / row.sum(-1)[..., None, None]
        else:
            average = decay * average + (1 - decay) * square
        update = gradient / np.sqrt(average)
        update /= max(1.0, np.sqrt((update**2).mean()) / CLIP)
        value = value - RATE * max(1e-3, np.sqrt((value**2).mean())) * update
    return value


@pytest.mark.parametrize("name", SHAPES)
def test_it_is_the_papers_formula(name):
    shape, gradients = SHAPES[name], gradients_of(SHAPES[name])
    start = numbers(shape, 7)
    (found,), _ = updated([variable(name, start)], [[g] for g in gradients])
    expected = by_hand(start, gradients, factored=name in ("matrix", "stacked"))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def test_an_expert_is_a_variable_of_its_own():
    """Of three experts in one variable each moves as it would alone: its size and its gradients differ from others."""
    start = numbers((3, 4, 5), 7) * np.array([1.0, 0.01, 10.0], np.float32)[:, None, None]
    gradients = [g * np.array([1.0, 300.0, 0.001], np.float32)[:, None, None] for g in gradients_of((3, 4, 5))]
    stacked = variable("stacked", start)
    stacked.by_expert = True
    (together,), optimizer = updated([stacked], [[g] for g in gradients])
    assert all(getattr(v, "by_expert", False) for v in optimizer.variables if "square" in v.path)
    for expert in range(3):
        (alone,), _ = updated([variable("one", start[expert])], [[g[expert]] for g in gradients])
        np.testing.assert_allclose(together[expert], alone, rtol=1e-6)


def test_an_expert_without_a_gradient_keeps_its_weights():
    stacked = variable("stacked", numbers((2, 4, 5), 7))
    stacked.by_expert = True
    only_first = [g * np.array([1.0, 0.0], np.float32)[:, None, None] for g in gradients_of((2, 4, 5))]
    (found,), _ = updated([stacked], [[g] for g in only_first])
    np.testing.assert_array_equal(found[1], numbers((2, 4, 5), 7)[1])
    assert np.any(found[0] != numbers((2, 4, 5), 7)[0])


def test_an_expert_without_a_gradient_is_not_decayed():
    values = numbers((2, 4, 5), 7)
    experts, alone = variable("experts", values), variable("alone", values[0])
    experts.by_expert = True
    gradient = numbers((4, 5), 1)
    (found, one), _ = updated(
        [experts, alone], [[np.stack([gradient, np.zeros_like(gradient)]), gradient]], weight_decay=0.5
    )
    np.testing.assert_array_equal(found[1], values[1])
    decayed = np.abs(found[0]).sum() < np.abs(updated([variable("none", values[0])], [[gradient]])[0][0]).sum()
    assert decayed
    np.testing.assert_allclose(found[0], one, rtol=0.05)  # Keras decays the others before it moves them


def test_weight_decay_leaves_vectors_alone():
    variables = [variable("matrix", np.ones((4, 5))), variable("scale", np.ones(5))]
    optimizer = make_optimizer(replace(HPARAMS, optimizer="adafactor", learning_rate=0.5, weight_decay=0.2), variables)
    optimizer.apply([ops.zeros(v.shape) for v in variables], variables)
    matrix, scale = (to_numpy(v) for v in variables)
    np.testing.assert_allclose(matrix, 0.9, rtol=1e-6)
    np.testing.assert_array_equal(scale, 1.0)


def test_its_state_is_a_small_share_of_the_weights():
    """Counted: a row and a column of each wide matrix, the whole of what is narrow; nothing else."""
    shapes = {"embedding": (400, 128), "experts": (6, 128, 256), "narrow": (3, 128), "vector": (128,)}
    variables = [variable(name, np.zeros(shape)) for name, shape in shapes.items()]
    optimizer = make_optimizer(replace(HPARAMS, optimizer="adafactor"), variables)
    numbers_kept = sum(int(np.prod(v.shape)) for v in optimizer.variables)
    assert numbers_kept == (400 + 128) + 6 * (128 + 256) + 3 * 128 + 128 + 2  # and the step, and the learning rate
    assert numbers_kept < 0.02 * sum(int(np.prod(shape)) for shape in shapes.values())
    assert len({v.path for v in optimizer.variables}) == len(optimizer.variables)  # names in a checkpoint


@pytest.mark.slow
def test_a_model_learns_with_it():
    hparams = replace(HPARAMS, optimizer="adafactor")
    model = make_model(hparams, [TRANSLATION])
    step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    losses = [step.update([(TRANSLATION, make_batch(TRANSLATION))], 0.02)[0][0]["loss"] for _ in range(8)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0] - 0.1


class Wide(Layer):
    """Two experts and a matrix, wide enough for factors; the gradient is what the batch says."""

    def __init__(self):
        super().__init__(name="wide")
        self.rows = self.add_weight(shape=(2, 128, 130), initializer="ones", name="rows")
        self.rows.by_expert = True
        self.shared = self.add_weight(shape=(128, 129), initializer="ones", name="shared")

    def loss(self, batch, spec, training=False):
        loss = ops.sum(ops.sin(self.rows * batch["example_weights"][:2, None, None])) + ops.sum(ops.sin(self.shared))
        return loss, {
            name: ops.zeros(()) for name in ("cross_entropy", "weight", "load_balance_loss", "dropped_token_fraction")
        }

    def trainable_variables_for(self, spec):
        return [self.rows, self.shared]


def test_after_a_checkpoint_it_goes_on_to_the_same_bits(tmp_path):
    def begun():
        model = Wide()
        hparams = replace(HPARAMS, optimizer="adafactor", weight_decay=0.1)
        return adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)

    def steps(step, numbers_of_steps):
        for number in numbers_of_steps:
            weights = np.array([1.0, 0.5, 0.0], np.float32) + number
            step.update([(TRANSLATION, make_batch(TRANSLATION) | {"example_weights": weights})], RATE)
        return {v.path: to_numpy(v) for v in step.variables()}

    whole = steps(begun(), range(5))
    checkpoints.save(tmp_path, 3, steps(begun(), range(3)), {"step": 3})
    resumed = begun()
    load_variables(resumed.variables(), checkpoints.load(tmp_path, 3).arrays, tmp_path)
    after = steps(resumed, range(3, 5))
    assert sum("square_row" in path for path in whole) == 2
    assert {path: array.tobytes() for path, array in after.items()} == {p: a.tobytes() for p, a in whole.items()}
