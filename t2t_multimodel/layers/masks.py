"""Which positions attention may see, as something to add to its logits."""

from keras import ops

MASKED = -3e4  # added to the logits of positions that may not be seen


def padding_bias(padding_mask):
    """padding_mask [B, S] → [B, 1, 1, S], `MASKED` at padding."""
    return (1.0 - ops.cast(padding_mask, "float32"))[:, None, None, :] * MASKED


def causal_bias(length):
    """[1, 1, T, T], `MASKED` after the diagonal."""
    row = ops.arange(length)
    return ops.cast(row[None, :] > row[:, None], "float32")[None, None] * MASKED
