"""The arithmetic of a benchmark's batches, without padding; counted by t2t_multimodel/training/arithmetic.py."""

import numpy as np

from t2t_multimodel.modalities.operations import conv_step, product
from t2t_multimodel.training import arithmetic
from t2t_multimodel.training.arithmetic import attention, experts

__all__ = ["attention", "conv_step", "decoding", "experts", "forward", "parts", "product", "training"]


def forward(hparams, spec, batch, training=False):
    """Operations of a forward pass over a batch of `common.text_batch`'s or `picture_batch`'s form."""
    return sum(parts(hparams, spec, batch, training).values())


def training(hparams, spec, batch):
    """Operations of a training step."""
    return arithmetic.STEP * forward(hparams, spec, batch, training=True)


def parts(hparams, spec, batch, training=False):
    """{part: operations} of a forward pass."""
    inputs, targets = (batch[side].shape[1] if batch[side].ndim > 1 else 1 for side in ("inputs", "targets"))
    return arithmetic.parts(hparams, spec, len(batch["command"]), inputs, targets, training)


def decoding(hparams, spec, rows, length, written, beam=1):
    """Operations of decoding `written` ids for each of `rows` inputs of `length` ids: every position once, for each of
    `beam` hypotheses; the encoder once.
    """
    batch = {"command": np.zeros(rows), "inputs": np.zeros((rows, length)), "targets": np.zeros((rows, written))}
    counted = parts(hparams, spec, batch)
    return counted.pop("encoder") + beam * sum(counted.values())
