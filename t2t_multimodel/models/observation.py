"""How the attention of a written text moves over an input that is in order: back and forth, or forward."""

from keras import ops


def monotonicity(attention, target_mask):
    """Kendall's τ of target positions and the encoded positions that get the most attention, of each head.

    It is 1 where the attention moves forward with every id, about 0 where it stays, or jumps at random, and −1 where it
    runs backwards: of all pairs of target positions the share in which the later one looks further on, less the share
    in which it looks further back (τ-a: a tie counts for neither).

    Args:
      attention: [B, heads, T, S] of a cross attention. target_mask: [B, T], 1 where there is an id.

    Returns:
      sum of signs over the pairs [B, heads]; pairs [B].
    """
    place = ops.cast(ops.argmax(attention, axis=-1), "float32")  # [B, heads, T]
    signs = ops.sign(place[:, :, None, :] - place[:, :, :, None])  # [B, heads, earlier, later]
    time = ops.arange(ops.shape(target_mask)[1], dtype="int32")
    later = ops.cast(time[None, :] > time[:, None], "float32")
    pairs = target_mask[:, None, :] * target_mask[:, :, None] * later  # [B, earlier, later]
    return ops.sum(signs * pairs[:, None], axis=(2, 3)), ops.sum(pairs, axis=(1, 2))
