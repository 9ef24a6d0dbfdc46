"""Multi-head attention one position at a time: keys and values of what was before, and of the source, are cached."""

from keras import ops

from t2t_multimodel.kernels.write_slice import write_slice
from t2t_multimodel.layers.masks import MASKED


class CachedAttention:
    """What `MultiHeadAttention` does in decoding. B counts all rows: every hypothesis of every example."""

    def cross_attention_cache(self, source, bias):
        """Computed once from the source [examples, S, d]: "keys" [examples, h, c, S], "values" [examples, h, S, c] and
        "bias" [examples, 1, 1, S].
        """
        keys, values = self.keys_and_values(source)
        return {"keys": ops.swapaxes(keys, -1, -2), "values": values, "bias": bias}

    def cross_attend_step(self, x, cross_attention_cache, position):
        """One position of each row attends to the source: x [B, d] → the same.

        The rows are the examples, or a fixed number of rows an example next to each other.
        """
        query_weight, _ = position.constants_of(self)
        keys, values = cross_attention_cache["keys"], cross_attention_cache["values"]
        queries = ops.reshape(ops.matmul(x, query_weight), [ops.shape(keys)[0], -1, self.heads, self.size])
        logits = ops.matmul(ops.transpose(queries, [0, 2, 1, 3]), keys) + cross_attention_cache["bias"]
        heads = ops.transpose(ops.matmul(ops.softmax(logits), values), [0, 2, 1, 3])
        return ops.matmul(ops.reshape(heads, [-1, self.heads * self.size]), self.output_weight)

    def self_attention_cache(self, examples, length, beam):
        """Empty, for up to `length` positions, each with `beam` rows an example.

        Returns: {"keys": [h, examples, c, length · beam], "values": [h, examples, length · beam, c]}.
        """
        return {
            "keys": ops.zeros((self.heads, examples, self.size, length * beam), dtype="float32"),
            "values": ops.zeros((self.heads, examples, length * beam, self.size), dtype="float32"),
        }

    def self_attend_step(self, x, self_attention_cache, position):
        """One position of each row attends to its own positions so far: x [B, d] → (the same, the new cache).

        The rows of one example see each other's keys; `Beams` says which of them are a row's own past.
        """
        _, weights = position.constants_of(self)
        keys, values = self_attention_cache["keys"], self_attention_cache["values"]
        examples, beam = ops.shape(keys)[1], position.beams.size if position.beams else 1
        together = ops.reshape(ops.matmul(x, weights), [examples, beam, 3, self.heads, self.size])
        query, key, value = ops.unstack(ops.transpose(together, [2, 3, 0, 1, 4]), 3)  # [h, examples, beam, c]
        place = position.time * beam
        keys = write_slice(keys, place, ops.swapaxes(key, -1, -2), axis=3)
        values = write_slice(values, place, value, axis=2)
        hidden = _not_its_past(position, keys.shape[-1] // beam, beam)
        heads = ops.matmul(ops.softmax(ops.matmul(query, keys) + hidden), values)
        joined = ops.reshape(ops.transpose(heads, [1, 2, 0, 3]), [examples * beam, self.heads * self.size])
        return ops.matmul(joined, self.output_weight), {"keys": keys, "values": values}

    def constants(self):
        """Computed once for decoding: scaled query weights, and with them those of key and value."""
        scaled = self.query_weight * self.size**-0.5
        return [scaled, ops.concatenate([scaled, self.key_weight, self.value_weight], axis=1)]


def _not_its_past(position, length, beam):
    """`MASKED` where a row of an example holds, at a time, what is not the past of another one; broadcastable to
    [examples, beam (queries), length · beam (keys)].
    """
    hidden = ops.arange(length) > position.time
    if beam > 1:
        own = ops.reshape(ops.transpose(position.beams.rows) % beam, [-1, beam, length, 1])
        hidden = ops.logical_or(hidden[:, None], own != ops.arange(beam, dtype=own.dtype))
        hidden = ops.reshape(hidden, [-1, beam, length * beam])
    return ops.cast(hidden, "float32") * MASKED
