"""Cross entropy with label smoothing, for every modality that ends in a softmax."""

import functools
import math

from keras import ops

from t2t_multimodel.kernels.custom_vjp import custom_vjp
from t2t_multimodel.kernels.select import Kernel
from t2t_multimodel.kernels.split_batch import halved

LEAST = 1e-30  # the logarithm of this probability is still exact in float32


def cross_entropy(logits, targets, weights, label_smoothing=0.0):
    """Sum of weighted cross entropies in nats, and what evaluation needs of each position.

    With smoothing s the target distribution is 1 − s on the right id and s / (classes − 1) on every other; the entropy
    of that distribution is subtracted, so a perfect prediction costs 0.

    Args:
      logits: [..., classes] float32. targets: [...] ids. weights: [...], 0 = does not count.

    Returns:
      loss (sum), log_probability [...] of the right id, correct [...] (1.0 where the right id is the likeliest).
    """
    loss, nats = ops.unstack(entropies(logits, targets, label_smoothing))
    correct = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), targets.dtype), targets), "float32")
    return ops.sum(loss * weights), -nats, correct


def _cross_entropy_of(logits_of, outputs, targets, weights, label_smoothing=0.0):
    """`cross_entropy` of `logits_of(outputs)`, and the logits. Rows are independent until their losses are summed."""
    logits = logits_of(outputs)
    return *cross_entropy(logits, targets, weights, label_smoothing), logits


def _cross_entropy_of_halves(logits_of, outputs, targets, weights, label_smoothing=0.0):
    """For each half of the batch by itself: TensorFlow on a CPU runs both at once.

    They are the largest operations of a small model. The logits are put together only where they are used.
    """
    half = ops.shape(outputs)[0] // 2
    parts = [
        _cross_entropy_of(logits_of, part, targets[rows], weights[rows], label_smoothing)
        for part, rows in zip(halved(outputs, half), (slice(None, half), slice(half, None)))
    ]
    (first, *arrays), (second, *others) = parts
    return first + second, *(ops.concatenate(pair, axis=0) for pair in zip(arrays, others))


cross_entropy_split = Kernel(_cross_entropy_of, tensorflow_cpu=_cross_entropy_of_halves)


def _entropies(logits, targets, smoothing):
    """Cross entropies [2, ...], with smoothing and without: logits [..., classes], targets [...]."""
    log_probabilities = ops.log_softmax(logits)
    nats = -_at(log_probabilities, ops.cast(targets, "int32")[..., None])
    if not smoothing:
        return ops.stack([nats, nats])
    classes = logits.shape[-1]
    high, low, entropy = _target_distribution(smoothing, classes)
    loss = (high - low) * nats - low * ops.sum(log_probabilities, axis=-1) - entropy
    return ops.stack([loss, nats])


def _entropies_with_gradient(logits, targets, smoothing):
    """The gradient is the probabilities less the target distribution, so one softmax is all that is computed.

    The backends' own operation takes several times as long on a CPU, and smoothing would need two more passes.
    """
    return _written_entropies(smoothing)(logits, targets)


entropies = Kernel(_entropies, everywhere=_entropies_with_gradient)


@functools.cache
def _written_entropies(smoothing):
    """(logits, targets) → [2, ...] for one value of the smoothing."""

    def forward(logits, targets):
        high, low, entropy = _target_distribution(smoothing, logits.shape[-1])
        here = ops.cast(targets, "int32")[..., None]
        probabilities = ops.softmax(logits)
        logit, probability = (_at(x, here) for x in (logits, probabilities))
        # log Σ exp, from the right id; where that one is all but impossible, from the likeliest, which takes two passes
        # over all logits.
        likely = probability > LEAST
        from_right = logit - ops.log(ops.maximum(probability, LEAST))
        log_sum = ops.cond(
            ops.all(likely),
            lambda: from_right,
            lambda: ops.where(likely, from_right, ops.max(logits, axis=-1) - ops.log(ops.max(probabilities, axis=-1))),
        )
        nats = loss = log_sum - logit
        if smoothing:
            loss = (high - low) * nats - low * (ops.sum(logits, axis=-1) - logits.shape[-1] * log_sum) - entropy
        return ops.stack([loss, nats]), (here, probabilities, probability)

    def backward(residuals, upstream):
        here, probabilities, probability = residuals
        high, low, _ = _target_distribution(smoothing, probabilities.shape[-1])
        of_loss, of_nats = ops.unstack(upstream)
        both = (of_loss + of_nats)[..., None]
        right = probability[..., None] * both - (high * of_loss + of_nats)[..., None]
        everywhere = probabilities * both
        if smoothing:
            everywhere = everywhere - low * of_loss[..., None]
        return put_along_last_axis(everywhere, here, right), None

    return custom_vjp(forward, backward)


def _target_distribution(smoothing, classes):
    """Its probability of the right id, that of every other id, and its entropy."""
    high, low = 1.0 - smoothing, smoothing / max(classes - 1, 1)
    if not smoothing:
        return high, low, 0.0
    return high, low, -(high * math.log(high) + (classes - 1) * low * math.log(low))


def _at(x, index):
    """x [..., n], index [..., 1] → [...]."""
    return ops.take_along_axis(x, index, axis=-1)[..., 0]


def _put_along_last_axis(array, index, values):
    """`array` [..., n] with `values` [..., 1] at `index` [..., 1].

    A variant may write into `array`: a caller has just made it and reads it no more.
    """
    size = array.shape[-1]
    rows = ops.reshape(array, [-1, size])
    places = ops.reshape(index, [-1])
    places = ops.stack([ops.arange(ops.shape(rows)[0], dtype="int32"), places], axis=1)
    return ops.reshape(ops.scatter_update(rows, places, ops.reshape(values, [-1])), ops.shape(array))


put_along_last_axis = Kernel(_put_along_last_axis)  # training/tensorflow_kernels.py has a variant
