"""Combine: what the experts made of a token's copies, times their gates, summed for each token."""

from keras import ops


def combine_choices(y, gates, kept):
    """y [N·K, d] in the order of the assignments → [N, d]. gates: [N, K]; kept: [N·K], False counts nothing."""
    weights = ops.reshape(gates, [-1]) * ops.cast(kept, gates.dtype)
    return ops.sum(ops.reshape(y * weights[:, None], [-1, gates.shape[1], y.shape[-1]]), axis=1)


def combine_blocks(y, gates, assignment, used, token, tokens):
    """y [blocks, size, d] → [N, d] of the number of `tokens` N.

    Args: gates [N, K]; assignment, token [blocks, size]: of each row; used [blocks, size]: whether it holds one.
    """
    weights = ops.take(ops.reshape(gates, [-1]), assignment, axis=0) * ops.cast(used, gates.dtype)
    y = ops.reshape(y * weights[..., None], [-1, y.shape[-1]])
    return ops.segment_sum(y, ops.reshape(token, [-1]), num_segments=tokens)
