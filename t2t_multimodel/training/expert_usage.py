"""Expert usage: how much each expert of a trained model is used by a problem."""

import numpy as np

from t2t_multimodel.input.batching import evaluation_batches
from t2t_multimodel.training.backend import adapter


def expert_load(model, hparams, store, split, most_examples=64):
    """The expert load of a problem, over the first examples of a split (with teacher forcing).

    Args:
      model: a `MultiModel`. hparams: its `HParams`. store: the problem's `ExampleStore`. split: name.
      most_examples: the most examples to use; 0 = all.

    Returns:
      {"encoder" and, for text targets, "decoder": {"load": float64 [experts], each expert's share of the token
      assignments, "importance": float64 [experts], its share of the sum of gates}}; each array sums to 1. {} for a
      model without experts.
    """
    sums = {}
    for batch in evaluation_batches(store, split, hparams, most_examples, bucket=adapter().STATIC_SHAPES):
        for name, gates in model.capture(batch.arrays, store.spec)["experts"].items():
            gates = gates.reshape(-1, gates.shape[-1]).astype(np.float64)
            part = sums.setdefault(name.split("/")[0], {"load": 0.0, "importance": 0.0})
            part["load"] = part["load"] + (gates > 0).sum(axis=0)
            part["importance"] = part["importance"] + gates.sum(axis=0)
    return {
        part: {kind: values / max(values.sum(), 1e-12) for kind, values in kinds.items()}
        for part, kinds in sums.items()
    }
