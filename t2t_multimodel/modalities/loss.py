"""Cross entropy with label smoothing, for every modality that ends in a softmax."""

import math

from keras import ops


def cross_entropy(logits, targets, weights, label_smoothing=0.0):
    """Sum of weighted cross entropies in nats, and what evaluation needs of each position.

    With smoothing s the target distribution is 1 − s on the right id and s / (classes − 1) on every other; the entropy
    of that distribution is subtracted, so a perfect prediction costs 0.

    Args:
      logits: [..., classes] float32. targets: [...] ids. weights: [...], 0 = does not count.

    Returns:
      loss (sum), log_probability [...] of the right id, correct [...] (1.0 where the right id is the likeliest).
    """
    classes = logits.shape[-1]
    # The fused operation: picking the right id out of a log-softmax costs a scatter over all ids in the gradient.
    nats = ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
    loss = nats
    if label_smoothing:
        high, low = 1.0 - label_smoothing, label_smoothing / (classes - 1)
        entropy = -(high * math.log(high) + (classes - 1) * low * math.log(low))
        total = ops.sum(logits, axis=-1) - classes * ops.logsumexp(logits, axis=-1)  # of all log-probabilities
        loss = (high - low) * nats - low * total - entropy
    correct = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), targets.dtype), targets), "float32")
    return ops.sum(loss * weights), -nats, correct
