"""What an update makes of several problems: the weight of a problem's loss, and surgery on gradients that conflict.

Surgery is PCGrad (Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", arXiv 2001.06782). It needs gradients of
several draws at once, so `gradient_accumulation_steps` of 2 or more.
"""

import math

from keras import ops

_TINY = 1e-20


def weighed(loss, report, weight):
    """The objective of a batch: its problem's loss times `weight`, and the experts' balancing loss as it is.

    Args: loss, report: of `MultiModel.loss`. weight: a scalar; None: 1.
    """
    if weight is None:
        return loss
    balancing = report["load_balance_loss"]
    return weight * (loss - balancing) + balancing


def objective_of(report, ctc_weight):
    """What an update descended for its problem, unweighed and without the balancing loss.

    Args: report: of `Step.update`.

    Returns: NaN where no target of the batch is known.
    """
    if not report["weight"]:
        return math.nan
    if "ctc_loss" not in report:
        return report["cross_entropy"]
    return (1.0 - ctc_weight) * float(report["cross_entropy"]) + ctc_weight * float(report["ctc_loss"])


def by_variable(model, specs):
    """Where the gradients of several microbatches meet.

    Returns:
      [for each variable {microbatch: place among the variables of its spec}], the variables that any of them updates,
      in the order of `trainable_variables`.
    """
    places = [{id(v): i for i, v in enumerate(model.trainable_variables_for(spec))} for spec in specs]
    trained = [v for v in model.trainable_variables if any(id(v) in place for place in places)]
    return [{i: place[id(v)] for i, place in enumerate(places) if id(v) in place} for v in trained], trained


def shared(model, variables):
    """[variables] bools: whether each is of the body, which all problems share."""
    body = {id(v) for v in model.body_variables}
    return [id(v) in body for v in variables]


def surgery(gradients, owners, shared):
    """The mean of the microbatches' gradients, after surgery where they are shared.

    From each gradient g_i the part is taken that points against another one: where g_i · g_j < 0,
    g_i ← g_i − (g_i · g_j / |g_j|²) g_j, for one j after the other, from the microbatch behind i on, with the g_j as
    they were. (The paper's order is random; of two microbatches there is one.) A microbatch that does not touch a
    variable has the gradient 0 there. All of it is a sum of the given gradients, with coefficients that follow from
    their products g_i · g_j alone, so no projected gradient is ever made.

    Args:
      gradients: for each microbatch its list. owners: of `by_variable`. shared: [variables] bools.

    Returns:
      a list of gradients, in the order of `owners`.
    """
    count = len(gradients)
    products = [[ops.zeros(()) for _ in range(count)] for _ in range(count)]
    for places, is_shared in zip(owners, shared):
        for i in places if is_shared else ():
            for j in places:
                if j >= i:
                    product = ops.sum(_float(gradients[i][places[i]]) * _float(gradients[j][places[j]]))
                    products[i][j] = products[i][j] + product
    products = [[products[min(i, j)][max(i, j)] for j in range(count)] for i in range(count)]
    totals = [0.0] * count  # of each gradient in the mean
    for i in range(count):
        own = [ops.ones(()) if j == i else ops.zeros(()) for j in range(count)]
        for j in ((i + distance) % count for distance in range(1, count)):
            against = sum(own[k] * products[k][j] for k in range(count))
            own[j] = own[j] - ops.minimum(against, 0.0) / ops.maximum(products[j][j], _TINY)
        totals = [total + one / count for total, one in zip(totals, own)]
    return [
        sum(gradients[i][place] * (ops.cast(totals[i], gradients[i][place].dtype) if is_shared else 1.0 / count)
            for i, place in places.items())
        for places, is_shared in zip(owners, shared)
    ]  # fmt: skip


def _float(gradient):
    return ops.cast(gradient, "float32")
