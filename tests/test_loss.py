"""Cross entropy's hand-written gradient is that of the formula: probabilities less the target distribution."""

import numpy as np
import pytest
from keras import ops
from models import gradient

from t2t_multimodel.kernels.cross_entropy import cross_entropy


@pytest.mark.parametrize("shape", [(3, 5), (1, 5), (0, 5), (4,)], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_of_the_loss_and_of_the_log_probability(smoothing, shape):
    classes, random = 7, np.random.default_rng(0)
    logits = (8.0 * random.normal(size=(*shape, classes))).astype("float32")
    targets = random.integers(0, classes, shape).astype("int32")
    weights, others = random.uniform(size=(2, *shape)).astype("float32")

    def function(logits):
        loss, log_probability, _ = cross_entropy(logits, targets, ops.convert_to_tensor(weights), smoothing)
        return loss + ops.sum(log_probability * ops.convert_to_tensor(others))

    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    right = np.eye(classes, dtype="float32")[targets]
    wanted = right * (1.0 - smoothing) + (1.0 - right) * smoothing / (classes - 1)
    expected = weights[..., None] * (probabilities - wanted) + others[..., None] * (right - probabilities)
    np.testing.assert_allclose(gradient(function, logits), expected, atol=1e-5)


def test_far_apart_logits_stay_finite():
    logits, targets, weights = np.array([[1e4, -1e4, 0.0]], "float32"), np.array([1], "int32"), np.ones(1, "float32")
    loss, log_probability, correct = cross_entropy(logits, targets, ops.convert_to_tensor(weights))
    assert (float(loss), float(log_probability[0]), float(correct[0])) == (2e4, -2e4, 0.0)
