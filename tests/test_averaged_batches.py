"""Promise: an update from several batches makes the step of their mean gradient."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from models import NO_EXPERTS, SPECS, make_batch, randomise, to_numpy

from t2t_multimodel.models.multimodel import MultiModel
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.optimizer import make_optimizer

TEXT, CLASS = SPECS["text_to_text"], SPECS["text_to_label"]


def updated(microbatches, rate=0.1):
    """({path: weight}, {path: weight before}, losses, norm) of a model after one update."""
    keras.backend.clear_session()
    hparams = replace(NO_EXPERTS, clip_norm=0.0, weight_decay=0.0)
    model = randomise(MultiModel(hparams, [TEXT, CLASS]))
    before = {v.path: to_numpy(v) for v in model.trainable_variables}
    step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    reports, norm = step.update(microbatches, rate)
    step.variables()
    after = {v.path: to_numpy(v) for v in model.trainable_variables}
    return after, before, [float(report["loss"]) for report in reports], float(norm)


@pytest.mark.slow
def test_a_batch_twice_makes_the_step_of_it_once():
    batch = make_batch(TEXT)
    once, before, (loss,), norm = updated([(TEXT, batch)])
    twice, _, losses, norm_of_two = updated([(TEXT, batch), (TEXT, batch)])
    np.testing.assert_allclose(losses, [loss, loss], rtol=1e-6)
    np.testing.assert_allclose(norm_of_two, norm, rtol=1e-5)
    moved = 0
    for path, weight in once.items():
        np.testing.assert_allclose(twice[path], weight, atol=2e-3, err_msg=path)  # Adam divides by tiny gradients
        moved += np.abs(weight - before[path]).max() > 0.05
    assert moved > 10


@pytest.mark.slow
def test_of_two_problems_all_that_either_trains_moves():
    """And the norm is that of the mean of their gradients, which is at most the mean of the norms."""
    microbatches = [(TEXT, make_batch(TEXT)), (CLASS, make_batch(CLASS))]
    both, before, losses, norm = updated(microbatches)
    ones = [updated([each]) for each in microbatches]
    np.testing.assert_allclose(losses, [loss for _, _, (loss,), _ in ones], rtol=1e-5)
    assert 0 < norm <= 1.001 * np.mean([of_one for *_, of_one in ones])
    moves = lambda after: {path for path, weight in after.items() if not np.array_equal(weight, before[path])}
    assert moves(both) == moves(ones[0][0]) | moves(ones[1][0]) > moves(ones[1][0])
