"""What a pass through the model shows: what it looks at, whom it asks, and how it moves over an input in order."""

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


def by_kind(found):
    """What `MultiModel.look` found, as numpy arrays, sorted by what it is.

    Returns:
      {"attention": {path: float32 [B, heads, T, S], each row sums to 1}, of text targets;
          "mixer/attention_block/self_attention" over the targets themselves, the others over the encoded inputs:
          "mixer/attention_block/source/attention", "decoder/source0/attention", … one for each decoder block,
       "experts": {"encoder/experts" and, of text targets, "decoder/experts": float32 [B, S or T, E], the gates: 0 for
          experts not chosen; a real position's sum to 1, a padded one's are 0},
       "source_real": float32 [B, S], 1 where an encoded input position is no padding,
       "grid": (height, width) of the encoded positions of a picture, or None}.
    """
    rest = dict(found)
    source_real, grid = rest.pop("source_real"), rest.pop("grid", None)
    experts = {name: rest.pop(name) for name in sorted(rest) if name.endswith("experts")}
    grid = None if grid is None else tuple(int(side) for side in grid)
    return {"attention": rest, "experts": experts, "source_real": source_real, "grid": grid}
