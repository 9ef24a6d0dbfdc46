"""Cosine similarity of task gradients in the shared body, at given weights."""

import numpy as np

from t2t_multimodel.input.batching import evaluation_batches
from t2t_multimodel.training.backend import adapter

BATCHES = 4  # of each problem; the diagonal compares one half of them with the other


def gradient_cosines(step, hparams, stores, specs, split=None):
    """Cosine similarities between the problems' gradients in the shared body.

    The gradient of a problem is that of its cross entropy, summed over a few batches of a split without training data.
    Two problems are compared on the variables of the body that both use; a problem with class targets uses the encoder
    only.

    Args:
      step: the backend's `Step` of the model.
      hparams: of the model. stores: {problem: ExampleStore}. specs: {problem: ProblemSpec}.
      split: name; None: "dev" if a problem has one.

    Returns:
      {"problems": names, "cosines": [[…]] in the order of the names, None without common variables}. The diagonal is
      the cosine between two halves of a problem's batches: the highest value that the noise of so few batches allows.
    """
    body = {id(v): v.path for v in step.model.body_variables}
    halves = {}
    for name, store in stores.items():
        place = split or store.dev_split
        variables = step.model.trainable_variables_for(specs[name])
        sums = [{}, {}]
        for number, batch in enumerate(_few(store, place, hparams)):
            for variable, gradient in zip(variables, step.gradients(specs[name], batch.arrays)):
                if id(variable) in body:
                    into, path = sums[number % 2], body[id(variable)]
                    into[path] = into.get(path, 0.0) + gradient.astype(np.float64)
        halves[name] = sums
    names = list(stores)
    return {"problems": names, "cosines": [[_between(halves, a, b) for b in names] for a in names]}


def _few(store, split, hparams):
    """Up to `BATCHES` batches of a split."""
    batches = evaluation_batches(
        store, split, hparams, BATCHES * hparams.batch_examples, bucket=adapter().STATIC_SHAPES
    )
    return [batch for _, batch in zip(range(BATCHES), batches)]


def _between(halves, one, other):
    if one == other:
        return _cosine(*halves[one])
    return _cosine(_sum(halves[one]), _sum(halves[other]))


def _sum(pair):
    first, second = pair
    return {path: first.get(path, 0.0) + second.get(path, 0.0) for path in {**first, **second}}


def _cosine(one, other):
    """The cosine of two gradients, {path: array}, over their common variables; None without any."""
    common = one.keys() & other.keys()
    product = sum(float(np.vdot(one[path], other[path])) for path in common)
    norms = [sum(float(np.vdot(x[path], x[path])) for path in common) ** 0.5 for x in (one, other)]
    return product / (norms[0] * norms[1]) if norms[0] * norms[1] > 0 else None
