"""Optimizers and learning-rate schedules by name: `HParams.optimizer` and `HParams.learning_rate_schedule`.

One of your own is a function in a `--t2t_usr_dir` folder or an installed package:

    @register_optimizer
    def momentum(hparams, variables):
        \"\"\"Stochastic gradient descent with momentum.\"\"\"
        return keras.optimizers.SGD(hparams.learning_rate, momentum=0.9, name="momentum")

    @register_schedule
    def linear(hparams, step, train_steps):
        \"\"\"To zero in a straight line.\"\"\"
        return hparams.learning_rate * (1 - step / train_steps)
"""

import math

from t2t_multimodel import registry
from t2t_multimodel.errors import UserError
from t2t_multimodel.registry import register_optimizer, register_schedule


def learning_rate(hparams, step, train_steps):
    """The learning rate of update number `step` (from 0), by the schedule that `hparams` name."""
    return registry.schedules.get(hparams.learning_rate_schedule)(hparams, step, train_steps)


def make_optimizer(hparams, variables):
    """The Keras optimizer of the `variables` that `hparams` name, built.

    The training step clips gradients, since it logs their norm, and sets the learning rate.

    Raises:
      UserError: an unknown optimizer, or its function gives something else than such an optimizer.
    """
    import keras

    entry = registry.optimizers.entry(hparams.optimizer)
    optimizer = entry.value(hparams, variables)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise UserError(f"optimizer {entry.name!r} of {entry.source} must return a Keras optimizer, not {optimizer!r}")
    if optimizer.name != entry.name:
        # It is part of the names in a checkpoint; Keras's own would be numbered by optimizers made in the process.
        raise UserError(
            f"optimizer {entry.name!r} of {entry.source} returns one named {optimizer.name!r}: make it with "
            f"name={entry.name!r}, which is part of the names in a checkpoint"
        )
    if not isinstance(optimizer.learning_rate, keras.Variable):
        raise UserError(
            f"optimizer {entry.name!r} of {entry.source} has a schedule of its own: give it hparams.learning_rate, and "
            "register the schedule with @register_schedule"
        )
    if not optimizer.built:
        optimizer.build(variables)
    return optimizer


@register_optimizer
def adam(hparams, variables):
    """Adam; with weight_decay AdamW."""
    return _adam("adam", hparams, variables)


@register_optimizer
def nadam(hparams, variables):
    """Adam with Nesterov's momentum."""
    return _adam("nadam", hparams, variables)


@register_optimizer
def lazy_adam(hparams, variables):
    """Adam that leaves experts without a gradient in a step as they are."""
    return _adam("lazy_adam", hparams, variables)


@register_optimizer
def muon(hparams, variables):
    """Matrices move as far in every direction, all else as by Nadam (docs/learning.md)."""
    return _adam("muon", hparams, variables)


@register_optimizer
def adafactor(hparams, variables):
    """Adafactor: its state is small beside the weights; the learning_rate is relative to their size."""
    from t2t_multimodel.training.adafactor import Adafactor

    optimizer = Adafactor(hparams.learning_rate, weight_decay=hparams.weight_decay or None, name="adafactor")
    return _no_decay_of_vectors(optimizer, variables)


@register_schedule
def constant(hparams, step, train_steps):
    """Rises linearly over the warm-up, then stays."""
    return hparams.learning_rate * _warm_up(hparams, step)


@register_schedule
def noam(hparams, step, train_steps):
    """∝ 1/√step after the warm-up."""  # Vaswani et al. 2017, eq. 3, scaled so that the peak is `learning_rate`
    warm = max(hparams.learning_rate_warmup_steps, 1)
    return hparams.learning_rate * min(_warm_up(hparams, step), math.sqrt(warm / (step + 1)))


@register_schedule
def cosine(hparams, step, train_steps):
    """To zero at train_steps in half a cosine, after the warm-up."""
    warm = max(hparams.learning_rate_warmup_steps, 1)
    done = min(1.0, max(0.0, (step + 1 - warm) / max(1, train_steps - warm)))
    return hparams.learning_rate * _warm_up(hparams, step) * 0.5 * (1.0 + math.cos(math.pi * done))


@register_schedule
def exponential(hparams, step, train_steps):
    """× learning_rate_decay_rate every learning_rate_decay_steps, from the first update on: the warm-up ends below the
    peak by what has decayed until then.
    """
    decay = hparams.learning_rate_decay_rate ** (step / hparams.learning_rate_decay_steps)
    return hparams.learning_rate * _warm_up(hparams, step) * decay


def _warm_up(hparams, step):
    """The share of the peak that update number `step` has reached."""
    return min(1.0, (step + 1) / max(hparams.learning_rate_warmup_steps, 1))


def _adam(name, hparams, variables):
    import keras

    h = hparams
    if keras.backend.backend() == "tensorflow":
        from t2t_multimodel.training.tensorflow_adam import OPTIMIZERS
    else:
        from t2t_multimodel.training.adam import LazyAdam, Nadam
        from t2t_multimodel.training.muon import Muon

        OPTIMIZERS = {"adam": keras.optimizers.Adam, "nadam": Nadam, "lazy_adam": LazyAdam, "muon": Muon}
    betas = {"beta_1": h.adam_beta1, "beta_2": h.adam_beta2}
    decay = h.weight_decay or None
    optimizer = OPTIMIZERS[name](h.learning_rate, **betas, epsilon=h.adam_epsilon, weight_decay=decay, name=name)
    return _no_decay_of_vectors(optimizer, variables)


def _no_decay_of_vectors(optimizer, variables):
    """The optimizer; its weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101) leaves scales and biases alone."""
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    return optimizer
