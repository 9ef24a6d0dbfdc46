"""`remat=block`: the loss, the gradients and the random state of plain training, with less memory; JAX alone."""

import os
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import REPOSITORY
from models import BACKEND, HPARAMS, SPECS, TRANSLATION, make_batch, make_model, random_ids, to_numpy

from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import Resolved
from t2t_multimodel.mixture import Mixture
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.optimizer import make_optimizer
from t2t_multimodel.training.run_settings import RunSettings

# Dropout and the experts' noise: without either, gradients would agree whatever became of the seeds.
RANDOM = replace(HPARAMS, dropout=0.3, optimizer="adafactor")
on_jax = pytest.mark.skipif(BACKEND != "jax", reason="remat=block is for JAX")


def made(remat, specs, **changes):
    """A model and its training step; all of one seed."""
    keras.utils.set_random_seed(7)
    hparams = replace(RANDOM, remat=remat, **changes)
    model = make_model(hparams, specs)
    return model, adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)


def random_gradients(model, spec, batch):
    """Loss, gradients of the training loss, and the state of all seeds after it."""
    import jax

    trained, state = model.trainable_variables_for(spec), model.non_trainable_variables
    mine = {id(v) for v in trained}
    rest = [(v, v.value) for v in model.variables if id(v) not in mine]

    def loss_of(weights):
        with keras.StatelessScope(state_mapping=[*zip(trained, weights), *rest]) as scope:
            loss, _ = model.loss(batch, spec, training=True)
            return loss, [scope.get_current_value(v) for v in state]

    (loss, after), gradients = jax.jit(jax.value_and_grad(loss_of, has_aux=True))([v.value for v in trained])
    return float(loss), {v.path: np.asarray(g) for v, g in zip(trained, gradients)}, list(map(np.asarray, after))


@on_jax
@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_to_text", "image_to_label"])
def test_loss_gradients_and_seeds_are_those_of_plain_training(name):
    spec = SPECS[name]
    batch = make_batch(spec)
    plain, remat = (random_gradients(made(kind, [spec])[0], spec, batch) for kind in ("none", "block"))
    assert remat[0] == pytest.approx(plain[0], rel=1e-6)
    assert remat[1].keys() == plain[1].keys()
    for path, gradient in plain[1].items():
        scale = np.abs(gradient).max() + 1e-6
        np.testing.assert_allclose(remat[1][path], gradient, atol=2e-5 * scale, rtol=1e-4, err_msg=path)
    for one, other in zip(remat[2], plain[2]):
        np.testing.assert_array_equal(one, other)


@on_jax
@pytest.mark.slow
def test_every_step_draws_anew():
    """The seeds that come out of the recomputed blocks are those of the next step."""
    model, step = made("block", [TRANSLATION], learning_rate=0.0)
    batch = make_batch(TRANSLATION)
    before = [to_numpy(v) for v in model.non_trainable_variables]
    losses = {float(step.update([(TRANSLATION, batch)], 0.0)[0][0]["loss"]) for _ in range(3)}
    step.variables()  # have their values from here on
    assert len(losses) == 3
    assert all(np.any(to_numpy(v) != old) for v, old in zip(model.non_trainable_variables, before))


@on_jax
@pytest.mark.slow
def test_the_backward_pass_keeps_less():
    batch = make_batch(TRANSLATION, rows=16) | {
        side: random_ids(np.random.default_rng(0), 16, 32) for side in ("inputs", "targets")
    }
    sys.path.append(str(REPOSITORY / "benchmarks"))
    from step_memory import kept_bytes

    kept = {}
    for remat in ("none", "block"):
        model, _ = made(remat, [TRANSLATION], hidden_size=32)
        kept[remat] = kept_bytes(model, TRANSLATION, batch)
    assert 0 < kept["block"] < 0.4 * kept["none"], kept


def test_a_backend_that_can_not_says_so_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "tensorflow")
    asked = {
        "mixture": Mixture("m", "", ("a",)),
        "data_dir": str(tmp_path / "data"),
        "output_dir": str(tmp_path / "run"),
    }
    resolved = Resolved(replace(HPARAMS, remat="block"))
    with pytest.raises(UserError, match="^remat=block needs JAX: give --backend=jax, or --hparams=remat=none$"):
        RunSettings(resolved, **asked)
    RunSettings(resolved, schedule="evaluate", **asked)  # nothing to compute again


@pytest.mark.skipif(BACKEND == "jax", reason="JAX can")
def test_a_model_refuses_too():
    hparams = replace(HPARAMS, remat="block")
    model = make_model(hparams, [TRANSLATION])
    batch = make_batch(TRANSLATION)
    with pytest.raises(UserError, match="remat=block needs JAX"):
        model.loss(batch, TRANSLATION, training=True)
    assert np.isfinite(float(model.loss(batch, TRANSLATION)[0]))
