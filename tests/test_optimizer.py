"""Optimizers and learning-rate schedules by name: shipped ones, and a user's own from a folder."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from models import HPARAMS, TRANSLATION, make_batch, make_model, to_numpy

from t2t_multimodel import hyperparameters, registry
from t2t_multimodel.cli.user_code import load_user_code
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import Resolved
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.optimizer import learning_rate, make_optimizer

OWN = """
import keras

from t2t_multimodel.registry import register_grammar, register_metric, register_modality, register_optimizer
from t2t_multimodel.registry import register_schedule


@register_optimizer
def plain_descent(hparams, variables):
    '''Stochastic gradient descent.'''
    return keras.optimizers.SGD(hparams.learning_rate, name="plain_descent")


@register_optimizer
def without_a_name(hparams, variables):
    '''Forgets its name.'''
    return keras.optimizers.SGD(hparams.learning_rate)


@register_optimizer
def with_a_schedule(hparams, variables):
    '''Sets its own learning rate.'''
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    return keras.optimizers.SGD(rate, name="with_a_schedule")


@register_optimizer
def nothing_at_all(hparams, variables):
    '''Returns nothing.'''


@register_schedule(aliases=("straight",))
def to_zero(hparams, step, train_steps):
    '''To zero in a straight line.'''
    return hparams.learning_rate * (1 - step / train_steps)


@register_grammar
class Digits:
    '''Digits only.'''


@register_modality(aliases=("tree_in",))
class BranchedThing:
    '''Something with branches.'''
"""


@pytest.fixture
def own(user_folder):
    return load_user_code(user_folder({"own.py": OWN}))


def test_what_a_folder_registers_is_reported(own):
    assert own.added == (
        "modality branched_thing",
        "optimizer nothing_at_all",
        "optimizer plain_descent",
        "optimizer with_a_schedule",
        "optimizer without_a_name",
        "learning rate schedule to_zero",
        "grammar digits",
    )
    assert registry.modalities.get("tree_in") is registry.modalities.get("branched_thing")
    assert {"digits", "tree", "punctuated_tree"} <= set(registry.grammars.names())


@pytest.mark.slow
def test_a_model_trains_with_an_optimizer_and_a_schedule_of_ones_own(own):
    hparams = replace(HPARAMS, optimizer="plain_descent", learning_rate_schedule="straight", clip_norm=0.0)
    hyperparameters.validate(hparams)
    assert learning_rate(hparams, 25, 100) == pytest.approx(0.75 * hparams.learning_rate)
    model = make_model(hparams, [TRANSLATION])
    step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    assert all(v.path.startswith("plain_descent/") for v in step.optimizer.variables)
    batch = make_batch(TRANSLATION)
    gradients = step.gradients(TRANSLATION, batch)
    before = [to_numpy(v) for v in model.trainable_variables]
    losses = [step.update([(TRANSLATION, batch)], 0.01)[0][0]["cross_entropy"] for _ in range(8)]
    assert losses[-1] < losses[0]
    step.variables()  # have their values from here on
    assert any(np.any(to_numpy(v) != old) for v, old in zip(model.trainable_variables, before)) and gradients


@pytest.mark.parametrize(
    "name, said",
    [
        ("without_a_name", "returns one named '(SGD|sgd).*': make it with name='without_a_name'"),
        ("with_a_schedule", "has a schedule of its own: give it hparams.learning_rate"),
        ("nothing_at_all", "must return a Keras optimizer, not None"),
    ],
)
def test_an_optimizer_that_can_not_be_used_is_named(own, name, said):
    weight = keras.Variable(np.zeros(2, np.float32))
    with pytest.raises(UserError, match=f"optimizer '{name}' of .*own.py:[0-9]+.*{said}") as error:
        make_optimizer(replace(HPARAMS, optimizer=name), [weight])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "field, wrong, nearest", [("optimizer", "lazzy_adam", "lazy_adam"), ("learning_rate_schedule", "cosin", "cosine")]
)
def test_an_unknown_name_shows_the_nearest(field, wrong, nearest):
    with pytest.raises(UserError, match=f"unknown {field} '{wrong}'; did you mean '{nearest}'"):
        hyperparameters.validate(replace(HPARAMS, **{field: wrong}))


def test_the_settings_of_a_run_are_read_without_the_module_of_its_optimizer():
    stored = Resolved(replace(HPARAMS, optimizer="somebody_elses")).to_json()
    hparams = Resolved.from_json(stored).hparams
    assert hparams.optimizer == "somebody_elses"
    with pytest.raises(UserError, match="unknown optimizer 'somebody_elses'"):
        make_optimizer(hparams, [])


def test_adam_is_called_so_in_checkpoints():
    weight = keras.Variable(np.zeros((2, 2), np.float32), name="weight")
    for _ in range(2):
        optimizer = make_optimizer(HPARAMS, [weight])
        assert {v.path.split("/")[0] for v in optimizer.variables} == {"adam"}
