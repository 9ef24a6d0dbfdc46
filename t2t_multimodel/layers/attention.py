"""Timing signal, multi-head attention, and the attention block of the mixer; paper §2.1."""

import keras
from keras import ops

from t2t_multimodel.kernels.dense import dense, flatten_leading, reshape_known, residual_add
from t2t_multimodel.kernels.split_batch import cached_for_split
from t2t_multimodel.layers import intermediates
from t2t_multimodel.layers.convolution import ConvBlock
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.layers.normalization import LayerNorm

MASKED = -3e4  # added to the logits of positions that may not be seen


def timing_signal(times, depth):
    """sin(t·Δ_j), cos(t·Δ_j) with Δ_j = 10000^(−2j/depth) for channel pair (2j, 2j+1) of `depth` (paper §2.1).

    Args:
      times: [length] positions, or a scalar.
      depth: number of channels, even.

    Returns:
      [length, depth] float32 (or [depth]).
    """
    rates = ops.exp(ops.arange(0, depth, 2, dtype="float32") * (-9.210340371976184 / depth))  # −ln 10000 / depth
    angles = ops.cast(times, "float32")[..., None] * rates
    signal = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.reshape(signal, [*ops.shape(angles)[:-1], depth])


def scaled_dot_product(queries, keys, values, bias):
    """softmax(q·kᵀ + bias)·v for each head; the queries are already scaled by 1/√(features of a head).

    Args:
      queries: [batch, heads, length, size]. keys, values: [batch, heads, positions, size].
      bias: broadcastable to [batch, heads, length, positions]; `MASKED` where a position may not be seen; None: all
      may.
    """
    return ops.matmul(attention_weights(queries, keys, bias), values)


def attention_weights(queries, keys, bias):
    """softmax(q·kᵀ + bias), [batch, heads, length, positions]; see `scaled_dot_product`."""
    logits = ops.matmul(queries, ops.swapaxes(keys, -1, -2))
    if bias is not None:
        logits = logits + ops.cast(bias, logits.dtype)
    return ops.softmax(logits)


class MultiHeadAttention(Layer):
    """Queries from `x`, keys and values from `source` by two pointwise convolutions; no biases; output projection."""

    def __init__(self, features, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.size = heads, features // heads
        for name in ("query", "key", "value", "output"):
            weight = self.add_weight(shape=(features, features), initializer="glorot_uniform", name=name)
            setattr(self, f"{name}_weight", weight)

    def queries(self, x):
        """[batch, length, features] → [batch, heads, length, size], scaled."""
        return self._heads(x, [cached_for_split((self, "query"), lambda: self.query_weight * self.size**-0.5)])[0]

    def memory(self, source):
        """[batch, positions, features] → keys and values, each [batch, heads, positions, size]."""
        return self._heads(source, [self.key_weight, self.value_weight])

    def constants(self):
        """Computed once for decoding: scaled query weights, and with them those of key and value."""
        scaled = self.query_weight * self.size**-0.5
        return [scaled, ops.concatenate([scaled, self.key_weight, self.value_weight], axis=1)]

    def cross_attend_step(self, x, memory, position):
        """One position of each row attends to what the source gave: x [rows, features] → the same.

        Args:
          memory: "keys" [batch, heads, size, positions], "values" [batch, heads, positions, size], "bias" [batch, 1, 1,
            positions]. The rows are the batch's, or a fixed number of rows an example next to each other.
        """
        query_weight, _ = position.constants_of(self)
        keys, values = memory["keys"], memory["values"]
        queries = ops.reshape(ops.matmul(x, query_weight), [ops.shape(keys)[0], -1, self.heads, self.size])
        logits = ops.matmul(ops.transpose(queries, [0, 2, 1, 3]), keys) + memory["bias"]
        heads = ops.transpose(ops.matmul(ops.softmax(logits), values), [0, 2, 1, 3])
        return ops.matmul(ops.reshape(heads, [-1, self.heads * self.size]), self.output_weight)

    def initial_cache(self, batch, length, beam):
        """Of up to `length` positions, each with `beam` rows: keys [heads, batch, size, length · beam], values [heads,
        batch, length · beam, size].
        """
        return {
            "keys": ops.zeros((self.heads, batch, self.size, length * beam), dtype="float32"),
            "values": ops.zeros((self.heads, batch, length * beam, self.size), dtype="float32"),
        }

    def self_attend_step(self, x, past, position):
        """One position of each row attends to its own positions so far: x [rows, features] → (the same, new past).

        The rows of one example see each other's keys; `Beams` says which of them are a row's own past.
        """
        _, weights = position.constants_of(self)
        batch, beam = ops.shape(past["keys"])[1], position.beams.size if position.beams else 1
        together = ops.reshape(ops.matmul(x, weights), [batch, beam, 3, self.heads, self.size])
        query, key, value = ops.unstack(ops.transpose(together, [2, 3, 0, 1, 4]), 3)  # [heads, batch, beam, size]
        place = position.time * beam
        keys = ops.slice_update(past["keys"], [0, 0, 0, place], ops.swapaxes(key, -1, -2))
        values = ops.slice_update(past["values"], [0, 0, place, 0], value)
        hidden = _not_its_past(position, keys.shape[-1] // beam, beam)
        heads = ops.matmul(ops.softmax(ops.matmul(query, keys) + hidden), values)
        joined = ops.reshape(ops.transpose(heads, [1, 2, 0, 3]), [batch * beam, self.heads * self.size])
        return ops.matmul(joined, self.output_weight), {"keys": keys, "values": values}

    def attend(self, queries, memory, bias):
        """→ [batch, length, features]."""
        keys, _ = memory
        intermediates.sow(self.query_weight, lambda: attention_weights(queries, keys, bias))
        heads = ops.transpose(scaled_dot_product(queries, *memory, bias), [0, 2, 1, 3])
        batch, length, features = *ops.shape(heads)[:2], self.heads * self.size
        rows = reshape_known(heads, [-1, features], [batch, length, self.heads, self.size])
        return reshape_known(ops.matmul(rows, self.output_weight), [batch, length, features], [-1, features])

    def call(self, x, source, bias=None):
        return self.attend(self.queries(x), self.memory(source), bias)

    def _heads(self, x, weights):
        """x [batch, length, features] times each of the weights: a list of [batch, heads, length, size]."""
        batch, length, features = ops.shape(x)
        rows = flatten_leading(x, [batch, length, features])
        split = lambda y: reshape_known(y, [batch, length, self.heads, self.size], [-1, features])
        return [ops.transpose(split(ops.matmul(rows, of_kind)), [0, 2, 1, 3]) for of_kind in weights]


def padding_bias(padding_mask):
    """real [batch, positions], 1 = real → [batch, 1, 1, positions], `MASKED` at padding."""
    return (1.0 - ops.cast(padding_mask, "float32"))[:, None, None, :] * MASKED


def causal_bias(length):
    """[1, 1, length, length], `MASKED` after the diagonal."""
    row = ops.arange(length)
    return ops.cast(row[None, :] > row[:, None], "float32")[None, None] * MASKED


def _not_its_past(position, length, beam):
    """`MASKED` where a row of an example holds, at a time, what is not the past of another one; broadcastable to
    [batch, beam (who looks), length · beam (at what)].
    """
    hidden = ops.arange(length) > position.time
    if beam > 1:
        own = ops.reshape(ops.transpose(position.beams.rows) % beam, [-1, beam, length, 1])
        hidden = ops.logical_or(hidden[:, None], own != ops.arange(beam, dtype=own.dtype))
        hidden = ops.reshape(hidden, [-1, beam, length * beam])
    return ops.cast(hidden, "float32") * MASKED


class CrossAttention(Layer):
    """x + Attention(LN(x), source): every target position attends to the encoded inputs."""

    def __init__(self, hparams, **kwargs):
        super().__init__(**kwargs)
        with keras.name_scope(self.name):
            self.norm = LayerNorm(hparams.hidden_size, name="norm")
            self.attention = MultiHeadAttention(hparams.hidden_size, hparams.num_heads, name="attention")

    def call(self, x, source, padding_mask):
        """x [batch, length, features], source [batch, positions, features], real [batch, positions]."""
        return residual_add(x, self.attention(self.norm(x), source, padding_bias(padding_mask)))

    def prepare(self, source, padding_mask):
        """What decoding needs of the source, computed once; see `MultiHeadAttention.read_one`."""
        keys, values = self.attention.memory(source)
        return {"keys": ops.swapaxes(keys, -1, -2), "values": values, "bias": padding_bias(padding_mask)}

    @property
    def attentions(self):
        return [self.attention]

    def step(self, x, memory, position):
        """One position: x [batch, features] → the same."""
        return x + self.attention.cross_attend_step(self.norm.call(x), memory, position)


class CrossWithoutAttention(Layer):
    """The ablation "no attention": target position t gets the source's position t and the source's mean, projected.

    (The paper does not say what replaces attention; without any path from the source nothing could be translated.)
    """

    attentions = ()

    def __init__(self, hparams, **kwargs):
        super().__init__(**kwargs)
        size = hparams.hidden_size
        with keras.name_scope(self.name):
            self.norm = LayerNorm(size, name="norm")
        self.aligned = self.add_weight(shape=(size, size), initializer="glorot_uniform", name="aligned")
        self.mean = self.add_weight(shape=(size, size), initializer="glorot_uniform", name="mean")

    def call(self, x, source, padding_mask):
        length = ops.shape(x)[1]
        memory = self.prepare(source, padding_mask)
        aligned = ops.pad(memory["aligned"], [[0, 0], [0, length], [0, 0]])[:, :length]
        return self.norm(x + aligned + memory["mean"][:, None])

    def prepare(self, source, padding_mask):
        weights = ops.cast(padding_mask, source.dtype)[..., None]
        source = source * weights
        mean = ops.sum(source, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)
        return {"aligned": dense(source, self.aligned), "mean": ops.matmul(mean, self.mean)}

    def step(self, x, memory, position):
        """One position: x [batch, features] → the same."""
        time, positions = position.time, ops.shape(memory["aligned"])[1]
        here = ops.take(memory["aligned"], ops.minimum(time, positions - 1), axis=1)
        given = here * ops.cast(time < positions, here.dtype) + memory["mean"]
        if position.beams:
            given = ops.repeat(given, position.beams.size, axis=0)
        return self.norm.call(x + given)


def cross_attention(hparams, **kwargs):
    """The layer by which the target reads the encoded inputs: attention, or its ablation."""
    return (CrossAttention if hparams.use_attention else CrossWithoutAttention)(hparams, **kwargs)


class AttentionBlock(Layer):
    """Timing signal, convolution blocks, causal self-attention, attention to the source; a residual around each
    attention.

    source [batch, positions, features], target [batch, length, features] → [batch, length, features] (paper §2.1).
    """

    def __init__(self, hparams, **kwargs):
        super().__init__(**kwargs)
        self.hparams = h = hparams
        with keras.name_scope(self.name):
            self.blocks = [ConvBlock(h, causal=True, name=f"block{i}") for i in range(h.attention_blocks)]
            if h.use_attention:
                self.norm = LayerNorm(h.hidden_size, name="norm")
                self.self_attention = MultiHeadAttention(h.hidden_size, h.num_heads, name="self_attention")
            self.source = cross_attention(h, name="source")

    def call(self, target, source, source_padding_mask, training=False):
        length = ops.shape(target)[1]
        x = target + ops.cast(timing_signal(ops.arange(length), self.hparams.hidden_size), target.dtype)
        for block in self.blocks:
            x = block(x, training=training)
        if self.hparams.use_attention:
            normal = self.norm(x)
            x = residual_add(x, self.self_attention(normal, normal, causal_bias(length)))
        return self.source(x, source, source_padding_mask)

    def prepare(self, source, source_padding_mask):
        return self.source.prepare(source, source_padding_mask)

    @property
    def steps(self):
        return [step for block in self.blocks for step in block.steps]

    @property
    def attentions(self):
        return [*([self.self_attention] if self.hparams.use_attention else []), *self.source.attentions]

    def initial_state(self, batch, length, beam=1):
        """The state before the first of at most `length` positions, for `beam` rows an example."""
        return self.self_attention.initial_cache(batch, length, beam) if self.hparams.use_attention else {}

    def step(self, x, memory, state, position):
        """One position: x [batch, features] → ([batch, features], new state)."""
        x = x + timing_signal(position.time, self.hparams.hidden_size)
        for block in self.blocks:
            x = block.step(x, position)
        if self.hparams.use_attention:
            attended, state = self.self_attention.self_attend_step(self.norm.call(x), state, position)
            x = x + attended
        return self.source.step(x, memory, position), state
