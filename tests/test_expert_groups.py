"""Promise: each group of rows has its own share of an expert's capacity; where none is full, groups change nothing."""

import numpy as np
import pytest
from keras import ops
from models import HPARAMS, differentiate, program, randomise, to_numpy

from t2t_multimodel.layers.experts import MixtureOfExperts, dispatch, groups

TOKENS, GROUPS = 60, 4


@pytest.fixture(scope="module")
def layer():
    return randomise(MixtureOfExperts(HPARAMS, name="experts"))


def inputs():
    rng = np.random.default_rng(5)
    tokens = rng.normal(size=(TOKENS, HPARAMS.hidden_size)).astype(np.float32)
    return tokens, (rng.uniform(size=(TOKENS, 1)) < 0.8).astype(np.float32)


def test_an_expert_takes_the_first_tokens_of_each_group(layer):
    """The formula, token after token."""
    tokens, padding_mask = inputs()
    factor = 0.8

    def run(tokens, padding_mask):
        routing, _, _ = layer.router(tokens, padding_mask, training=False)
        y, fraction = groups.grouped_dispatch(tokens, routing, padding_mask, layer.experts, factor, GROUPS)
        return y, fraction, routing.gates, routing.ids

    y, fraction, gates, ids = map(to_numpy, program(layer, run)(tokens, padding_mask))
    first, second = to_numpy(layer.first), to_numpy(layer.second)
    capacity = -(-max(4, int(np.ceil(TOKENS * 2 * factor / 10))) // GROUPS)
    expected, taken, dropped = np.zeros_like(tokens), np.zeros((GROUPS, 10), int), 0
    for word in np.flatnonzero(padding_mask):
        for gate, expert in zip(gates[word], ids[word]):
            group = word * GROUPS // TOKENS
            taken[group, expert] += 1
            if taken[group, expert] > capacity:
                dropped += 1
            else:
                expected[word] += gate * (np.maximum(tokens[word] @ first[expert], 0) @ second[expert])
    assert 0 < dropped < padding_mask.sum()
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(fraction, dropped / (2 * padding_mask.sum()), rtol=1e-5)


def test_where_no_group_fills_an_expert_values_and_gradients_are_those_of_one_group(layer):
    tokens, padding_mask = inputs()
    weights = np.random.default_rng(6).normal(size=tokens.shape).astype(np.float32)

    def gradients_of(function, *more):
        class Weighed:
            trainable_variables = [layer.gate_weight, layer.first, layer.second]

            def loss(self, batch, spec, training):
                mask = ops.convert_to_tensor(padding_mask)
                routing, _, _ = layer.router(ops.convert_to_tensor(tokens), mask, training=False)
                y, dropped = function(ops.convert_to_tensor(tokens), routing, mask, layer.experts, 10.0, *more)
                return ops.sum(y * weights), {"logits": (y, dropped)}

        _, (y, dropped), gradients = to_numpy(differentiate(Weighed(), None, {}))
        assert dropped == pytest.approx(0, abs=1e-6)
        return [y, *gradients]

    whole = gradients_of(dispatch.capacity_dispatch)
    for found, expected in zip(gradients_of(groups.grouped_dispatch, GROUPS), whole):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
