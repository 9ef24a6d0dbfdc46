"""Cross entropy with label smoothing, for every modality that ends in a softmax."""

import functools
import math

from keras import ops

from t2t_multimodel.kernels.split_batch import halved

LEAST = 1e-30  # a probability whose logarithm float32 still has in full


def cross_entropy(logits, targets, weights, label_smoothing=0.0):
    """Sum of weighted cross entropies in nats, and what evaluation needs of each position.

    With smoothing s the target distribution is 1 − s on the right id and s / (classes − 1) on every other; the entropy
    of that distribution is subtracted, so a perfect prediction costs 0.

    Args:
      logits: [..., classes] float32. targets: [...] ids. weights: [...], 0 = does not count.

    Returns:
      loss (sum), log_probability [...] of the right id, correct [...] (1.0 where the right id is the likeliest).
    """
    loss, nats = ops.unstack(_entropies(label_smoothing)(logits, targets))
    correct = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), targets.dtype), targets), "float32")
    return ops.sum(loss * weights), -nats, correct


def cross_entropy_in_halves(logits_of, outputs, targets, weights, label_smoothing=0.0):
    """`cross_entropy` of `logits_of(outputs)`, which is computed for each half of the batch by itself.

    The halves have nothing to do with each other until their losses are summed: a backend that runs operations side by
    side has two of this size at a time, the largest of a small model.

    Returns:
      those of `cross_entropy`, and the logits, put together where somebody asks for them.
    """
    half = ops.shape(outputs)[0] // 2
    parts = []
    for part, rows in zip(halved(outputs, half), (slice(None, half), slice(half, None))):
        logits = logits_of(part)
        parts.append((*cross_entropy(logits, targets[rows], weights[rows], label_smoothing), logits))
    (first, *arrays), (second, *others) = parts
    return first + second, *(ops.concatenate(pair, axis=0) for pair in zip(arrays, others))


@functools.cache
def _entropies(smoothing):
    """The function (logits, targets) → [2, ...]: cross entropies with smoothing, and without.

    Its gradient is written out, probabilities less the target distribution, so one softmax is all that is computed:
    the backends' own operation takes several times as long on a CPU, and smoothing would need two more passes.
    """

    @ops.custom_gradient
    def entropies(logits, targets):
        classes = logits.shape[-1]
        high, low = 1.0 - smoothing, smoothing / max(classes - 1, 1)
        here = ops.cast(targets, "int32")[..., None]
        probabilities = ops.softmax(logits)
        logit, probability = (ops.take_along_axis(x, here, axis=-1)[..., 0] for x in (logits, probabilities))
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
            entropy = -(high * math.log(high) + (classes - 1) * low * math.log(low))
            loss = (high - low) * nats - low * (ops.sum(logits, axis=-1) - classes * log_sum) - entropy

        def gradient(*arguments, upstream=None):
            of_loss, of_nats = ops.unstack(upstream if upstream is not None else arguments[0])
            both = (of_loss + of_nats)[..., None]
            right = probability[..., None] * both - (high * of_loss + of_nats)[..., None]
            everywhere = probabilities * both
            if smoothing:
                everywhere = everywhere - low * of_loss[..., None]
            return _put_along_last_axis(everywhere, here, right), None

        return ops.stack([loss, nats]), gradient

    return entropies


def _put_along_last_axis(array, index, values):
    """`array` [..., n] with `values` [..., 1] at `index` [..., 1]."""
    size = array.shape[-1]
    rows = ops.reshape(array, [-1, size])
    places = ops.reshape(index, [-1])
    places = ops.stack([ops.arange(ops.shape(rows)[0], dtype="int32"), places], axis=1)
    return ops.reshape(ops.scatter_update(rows, places, ops.reshape(values, [-1])), ops.shape(array))
