"""Muon, on both backends: matrices move as far in every direction, unused experts stay, all else is Nadam's."""

from dataclasses import replace

import numpy as np
import pytest
from keras import ops
from models import HPARAMS, TRANSLATION, make_batch, make_model, to_numpy

from t2t_multimodel.layers.layer import Layer, is_matrix
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.muon import MOMENTUM, RATIO, orthogonal
from t2t_multimodel.training.optimizer import make_optimizer

RATE = 0.1
RANDOM = np.random.default_rng(3)
GOALS = {name: RANDOM.normal(size=shape).astype(np.float32) for name, shape in (("one", (3, 5)), ("two", (3, 5)))}
GOALS |= {"experts": RANDOM.normal(size=(3, 4, 2)).astype(np.float32), "bias": np.float32([1.0, -2.0])}


class Goals(Layer):
    """Weights whose gradients are `GOALS`; an expert's is weighed by the batch."""

    def __init__(self):
        super().__init__(name="goals")
        self.kept = {}
        for name in ("one", "two", "experts"):
            self.kept[name] = self.add_matrix(shape=GOALS[name].shape, initializer="ones", name=name)
        self.kept["experts"].by_expert = True
        self.kept["bias"] = self.add_weight(shape=(2,), initializer="ones", name="bias")

    def loss(self, batch, spec, training=False):
        of = lambda name: self.kept[name] * GOALS[name]
        loss = ops.sum(of("one")) + ops.sum(of("two")) + ops.sum(of("bias"))
        loss = loss + ops.sum(of("experts") * batch["example_weights"][:, None, None])
        return loss, {
            name: ops.zeros(()) for name in ("cross_entropy", "weight", "load_balance_loss", "dropped_token_fraction")
        }

    def trainable_variables_for(self, spec):
        return list(self.kept.values())


def trained(optimizer, of_experts, decay=0.0):
    """{name: weights} after an update for each row of `of_experts`, and the optimizer's variables."""
    model = Goals()
    hparams = replace(HPARAMS, optimizer=optimizer, clip_norm=0.0, weight_decay=decay)
    step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    for weights in of_experts:
        batch = make_batch(TRANSLATION) | {"example_weights": np.array(weights, np.float32)}
        step.update([(TRANSLATION, batch)], RATE)
    step.variables()  # have their values from here on
    return {name: to_numpy(v) for name, v in model.kept.items()}, step.optimizer.variables


def singular_values(x):
    return np.linalg.svd(x, compute_uv=False)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (2, 5, 7, 3)])
def test_all_directions_are_made_alike(shape):
    x = RANDOM.normal(size=shape).astype(np.float32)
    found = to_numpy(orthogonal(ops.convert_to_tensor(x)))
    u, s, v = np.linalg.svd(x, full_matrices=False)
    large = s > 0.05 * np.sqrt(np.sum(s**2, axis=-1, keepdims=True))
    # The singular vectors stay: only their values change.
    new = np.swapaxes(u, -1, -2) @ found @ np.swapaxes(v, -1, -2)
    values = np.diagonal(new, axis1=-2, axis2=-1)
    assert np.all((values > 0.6) & (values < 1.3) | ~large)
    np.testing.assert_allclose(new, values[..., None] * np.eye(new.shape[-1]), atol=2e-5)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_matrix_moves_along_its_average_by_a_size_that_its_gradient_does_not_change(decay):
    found, _ = trained("muon", [[1, 1, 1]] * 2, decay)
    for name in ("one", "two"):
        momentum, weights = np.zeros((3, 5)), np.ones((3, 5))
        for _ in range(2):
            momentum = MOMENTUM * momentum + GOALS[name]
            move = to_numpy(orthogonal(ops.convert_to_tensor((GOALS[name] + MOMENTUM * momentum).astype(np.float32))))
            weights = weights * (1 - decay * RATE) - RATE * RATIO * 5**0.5 * move
        np.testing.assert_allclose(found[name], weights, atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_expert_without_a_gradient_stays_as_it_is(decay):
    once, _ = trained("muon", [[1, 0, 2]], decay)
    twice, variables = trained("muon", [[1, 0, 2], [0, 0, 3]], decay)
    move = to_numpy(orthogonal(ops.convert_to_tensor((1 + MOMENTUM) * GOALS["experts"][0])))
    np.testing.assert_allclose(once["experts"][0], 1 - decay * RATE - RATE * RATIO * 4**0.5 * move, atol=1e-5)
    assert np.all(once["experts"][1] == 1) and np.all(twice["experts"][1] == 1)
    assert np.array_equal(twice["experts"][0], once["experts"][0])
    assert np.all(twice["experts"][2] != once["experts"][2])
    (momentum,) = (to_numpy(v) for v in variables if "experts" in v.path)
    np.testing.assert_allclose(momentum[:2], [GOALS["experts"][0], np.zeros((4, 2))], rtol=1e-6)


def test_what_is_no_matrix_is_nadams_and_matrices_have_one_average():
    (muon, kept), (nadam, more) = (trained(name, [[1, 1, 1]] * 3, decay=0.1) for name in ("muon", "nadam"))
    np.testing.assert_allclose(muon["bias"], nadam["bias"], rtol=1e-6)
    assert len(more) - len(kept) == 3


@pytest.mark.slow
def test_a_model_trains_with_it():
    hparams = replace(HPARAMS, optimizer="muon")
    model = make_model(hparams, [TRANSLATION])
    names = {v.path.rsplit("/", 1)[-1] for v in model.trainable_variables if is_matrix(v)}
    assert {"query", "output", "pointwise", "first", "second"} <= names
    assert not names & {"embedding", "softmax", "bias", "scale", "depthwise", "gate", "noise"}
    step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    losses = [step.update([(TRANSLATION, make_batch(TRANSLATION))], 1e-3)[0][0]["loss"] for _ in range(5)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
