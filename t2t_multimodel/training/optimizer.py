"""The optimiser and its learning-rate schedules."""

import math


def learning_rate(hparams, step, train_steps):
    """The learning rate of update number `step` (from 0).

    constant: rises linearly over the warm-up, then stays. noam: after the warm-up ∝ 1/√step (Vaswani et al. 2017, eq.
    3, scaled so that the peak is `learning_rate`). cosine: to zero at `train_steps`. exponential: × decay_rate every
    decay_steps.
    """
    h = hparams
    warm = max(h.learning_rate_warmup_steps, 1)
    rise = min(1.0, (step + 1) / warm)
    if h.learning_rate_schedule == "noam":
        return h.learning_rate * min(rise, math.sqrt(warm / (step + 1)))
    if h.learning_rate_schedule == "cosine":
        done = min(1.0, max(0.0, (step + 1 - warm) / max(1, train_steps - warm)))
        return h.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * done))
    if h.learning_rate_schedule == "exponential":
        return h.learning_rate * rise * h.learning_rate_decay_rate ** (step / h.learning_rate_decay_steps)
    return h.learning_rate * rise


def make_optimizer(hparams, variables):
    """A Keras optimiser of the `variables`; clipping is the training step's, which logs the gradient's norm."""
    import keras

    h = hparams
    if keras.backend.backend() == "tensorflow":
        from t2t_multimodel.training.tensorflow_step import OPTIMIZERS
    else:
        from t2t_multimodel.training.adam import OPTIMIZERS
    # The name is part of the names in a checkpoint; Keras would number it anew for each optimiser of a process.
    betas = {"beta_1": h.adam_beta1, "beta_2": h.adam_beta2}
    settings = {"epsilon": h.adam_epsilon, "weight_decay": h.weight_decay or None, "name": "adam"}
    optimizer = OPTIMIZERS[h.optimizer](h.learning_rate, **betas, **settings)
    if h.weight_decay:  # Loshchilov & Hutter 2019 (arXiv 1711.05101); scales and biases are left alone
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    optimizer.build(variables)
    return optimizer
