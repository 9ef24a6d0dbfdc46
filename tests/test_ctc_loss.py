"""CTC: loss and gradient are those of the sum over all paths, written out and by Keras; what does not fit is told."""

import itertools

import numpy as np
import pytest
from keras import ops
from models import gradient

from t2t_multimodel.kernels import ctc

FRAMES, LONGEST, IDS = 7, 3, 5
LABELS = np.array([[3, 3, 1], [2, 0, 0], [4, 1, 4], [0, 0, 0], [2, 2, 2], [1, 2, 0]], "int32")
LENGTHS = np.array([3, 1, 3, 0, 3, 2], "int32")
COUNTS = np.array([7, 4, 3, 5, 4, 0], "int32")  # the last but one needs 5 frames, the last has none
FITS = np.array([True, True, True, True, False, False])


def logits():
    return np.random.default_rng(1).normal(size=(len(LABELS), FRAMES, IDS)).astype("float32") * 2.0


def collapsed(path):
    return tuple(i for i, _ in itertools.groupby(path) if i)


def over_all_paths(scores, label):
    """The negative log-probability of a label, from the sum over every path of the frames."""
    scores = scores.astype("float64")
    scores -= np.log(np.exp(scores).sum(-1, keepdims=True))
    total = 0.0
    for path in itertools.product(range(IDS), repeat=len(scores)):
        if collapsed(path) == tuple(label):
            total += np.exp(sum(scores[t, i] for t, i in enumerate(path)))
    return -np.log(total)


def nats(x):
    return ctc.ctc_nats(x, *map(ops.convert_to_tensor, (LABELS, LENGTHS, COUNTS)))


@pytest.fixture(params=["fast", "reference"])
def variant(request, monkeypatch):
    monkeypatch.setenv("T2T_KERNELS", request.param)
    return request.param


def test_it_is_the_sum_over_all_paths(variant):
    found = ops.convert_to_numpy(nats(ops.convert_to_tensor(logits())))
    for row in np.flatnonzero(FITS):
        expected = over_all_paths(logits()[row, : COUNTS[row]], LABELS[row, : LENGTHS[row]])
        assert found[row] == pytest.approx(expected, abs=1e-4), row
    assert (found[~FITS] == np.float32(ctc.IMPOSSIBLE)).all()


def test_the_gradient_is_that_of_a_small_change(variant):
    weights = np.linspace(0.5, 1.5, len(LABELS)).astype("float32")

    def total(x):
        found = nats(x)
        return ops.sum(ops.where(ops.convert_to_tensor(FITS), found, 0.0) * ops.convert_to_tensor(weights))

    found, epsilon = gradient(total, logits(), any_length=variant == "fast"), 1e-4
    random = np.random.default_rng(2)
    for row in np.flatnonzero(FITS):
        t, i = random.integers(COUNTS[row]), random.integers(IDS)
        moved = [logits()[row, : COUNTS[row]].astype("float64") for _ in range(2)]
        moved[0][t, i] -= epsilon
        moved[1][t, i] += epsilon
        low, high = (over_all_paths(x, LABELS[row, : LENGTHS[row]]) for x in moved)
        assert found[row, t, i] == pytest.approx(weights[row] * (high - low) / (2 * epsilon), abs=2e-3), row
    assert np.isfinite(found).all()
    beyond = np.arange(FRAMES)[None] >= np.where(FITS, COUNTS, 0)[:, None]
    assert not found[beyond].any()  # neither padding nor what does not fit


def test_frames_of_certainty_stay_finite():
    """All frames say "blank" with all but certainty, as early in training."""
    sure = np.zeros((1, 40, IDS), "float32")
    sure[:, :, 0] = 60.0
    label = np.array([[1, 2, 3, 4, 1, 2]], "int32")
    given = [ops.convert_to_tensor(x) for x in (label, np.array([6], "int32"), np.array([40], "int32"))]
    found = gradient(lambda x: ops.sum(ctc.ctc_nats(x, *given)), sure)
    value = float(ctc.ctc_nats(ops.convert_to_tensor(sure), *given)[0])
    assert 300 < value < 360 and np.isfinite(found).all()
    assert found[0, :, 1:5].min() < -0.05  # and says where to go


def test_the_best_path_is_read_without_blanks_and_repetitions():
    path = [0, 2, 2, 0, 2, 3, 3, 0]
    scores = np.eye(IDS, dtype="float32")[path][None]
    found = ops.convert_to_numpy(ctc.best_path(ops.convert_to_tensor(scores)))[0]
    assert [i for i in found if i] == [2, 2, 3] == list(collapsed(path))
