"""Timing signal, multi-head attention, and the attention block of the mixer; paper §2.1."""

import keras
from keras import ops

from t2t_multimodel.kernels.dense import dense, flatten_leading, reshape_known, residual_add
from t2t_multimodel.kernels.shapes import shape_of
from t2t_multimodel.kernels.split_batch import cached_for_split
from t2t_multimodel.layers import intermediates
from t2t_multimodel.layers.cached_attention import CachedAttention
from t2t_multimodel.layers.convolution import conv_blocks
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.layers.masks import causal_bias, padding_bias
from t2t_multimodel.layers.normalization import LayerNorm


def timing_signal(times, depth):
    """sin(t·Δ_j), cos(t·Δ_j) with Δ_j = 10000^(−2j/depth) for channel pair (2j, 2j+1) of `depth` (paper §2.1).

    Args:
      times: [T] positions, or a scalar.
      depth: number of channels, even.

    Returns:
      [T, depth] float32 (or [depth]).
    """
    rates = ops.exp(ops.arange(0, depth, 2, dtype="float32") * (-9.210340371976184 / depth))  # −ln 10000 / depth
    angles = ops.cast(times, "float32")[..., None] * rates
    signal = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.reshape(signal, [*ops.shape(angles)[:-1], depth])


def scaled_dot_product(queries, keys, values, bias):
    """softmax(q·kᵀ + bias)·v for each head; the queries are already scaled by 1/√c.

    Args:
      queries: [B, h, T, c]. keys, values: [B, h, S, c].
      bias: broadcastable to [B, h, T, S]; `MASKED` where a position may not be seen; None: all may.
    """
    return ops.matmul(attention_weights(queries, keys, bias), values)


def attention_weights(queries, keys, bias):
    """softmax(q·kᵀ + bias), [B, h, T, S]; see `scaled_dot_product`."""
    logits = ops.matmul(queries, ops.swapaxes(keys, -1, -2))
    if bias is not None:
        logits = logits + ops.cast(bias, logits.dtype)
    return ops.softmax(logits)


class MultiHeadAttention(CachedAttention, Layer):
    """Queries from `x`, keys and values from `source` by two pointwise convolutions; no biases; output projection."""

    def __init__(self, features, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.size = heads, features // heads
        for name in ("query", "key", "value", "output"):
            weight = self.add_matrix(shape=(features, features), initializer="glorot_uniform", name=name)
            setattr(self, f"{name}_weight", weight)

    def call(self, x, source, bias=None):
        """x [B, T, d], source [B, S, d] → [B, T, d]; bias: see `scaled_dot_product`."""
        queries = self.queries(x)
        keys, values = self.keys_and_values(source)
        intermediates.sow(self.query_weight, lambda: attention_weights(queries, keys, bias))
        return self._joined(scaled_dot_product(queries, keys, values, bias))

    def queries(self, x):
        """[B, T, d] → [B, h, T, c], scaled."""
        scaled = cached_for_split((self, "query"), lambda: self.query_weight * self.size**-0.5)
        return self._split(x, [scaled])[0]

    def keys_and_values(self, source):
        """[B, S, d] → keys and values, each [B, h, S, c]."""
        return self._split(source, [self.key_weight, self.value_weight])

    def _split(self, x, weights):
        """x [B, T, d] times each of the weights: a list of [B, h, T, c]."""
        batch, length, features = shape_of(x)
        rows = flatten_leading(x, [batch, length, features])
        split = lambda y: reshape_known(y, [batch, length, self.heads, self.size], [-1, features])
        return [ops.transpose(split(ops.matmul(rows, of_kind)), [0, 2, 1, 3]) for of_kind in weights]

    def _joined(self, heads):
        """[B, h, T, c] → [B, T, d]."""
        heads = ops.transpose(heads, [0, 2, 1, 3])
        batch, length, features = *ops.shape(heads)[:2], self.heads * self.size
        rows = reshape_known(heads, [-1, features], [batch, length, self.heads, self.size])
        return reshape_known(ops.matmul(rows, self.output_weight), [batch, length, features], [-1, features])


class CrossAttention(Layer):
    """x + Attention(LN(x), source): every target position attends to the encoded inputs."""

    def __init__(self, hparams, **kwargs):
        super().__init__(**kwargs)
        with keras.name_scope(self.name):
            self.norm = LayerNorm(hparams.hidden_size, name="norm")
            self.attention = MultiHeadAttention(hparams.hidden_size, hparams.num_heads, name="attention")

    def call(self, x, source, padding_mask):
        """x [B, T, d], source [B, S, d], padding_mask [B, S] → [B, T, d]."""
        return residual_add(x, self.attention(self.norm(x), source, padding_bias(padding_mask)))

    def prepare(self, source, padding_mask):
        """What decoding needs of the source, computed once."""
        return self.attention.cross_attention_cache(source, padding_bias(padding_mask))

    @property
    def attentions(self):
        return [self.attention]

    def step(self, x, cross_attention_cache, position):
        """One position: x [B, d] → the same."""
        return x + self.attention.cross_attend_step(self.norm.call(x), cross_attention_cache, position)


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
        self.aligned = self.add_matrix(shape=(size, size), initializer="glorot_uniform", name="aligned")
        self.mean = self.add_matrix(shape=(size, size), initializer="glorot_uniform", name="mean")

    def call(self, x, source, padding_mask):
        length = shape_of(x)[1]
        cache = self.prepare(source, padding_mask)
        aligned = ops.pad(cache["aligned"], [[0, 0], [0, length], [0, 0]])[:, :length]
        return self.norm(x + aligned + cache["mean"][:, None])

    def prepare(self, source, padding_mask):
        weights = ops.cast(padding_mask, source.dtype)[..., None]
        source = source * weights
        mean = ops.sum(source, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)
        return {"aligned": dense(source, self.aligned), "mean": ops.matmul(mean, self.mean)}

    def step(self, x, cross_attention_cache, position):
        """One position: x [B, d] → the same."""
        aligned, time = cross_attention_cache["aligned"], position.time
        positions = ops.shape(aligned)[1]
        here = ops.take(aligned, ops.minimum(time, positions - 1), axis=1)
        given = here * ops.cast(time < positions, here.dtype) + cross_attention_cache["mean"]
        if position.beams:
            given = ops.repeat(given, position.beams.size, axis=0)
        return self.norm.call(x + given)


def cross_attention(hparams, **kwargs):
    """The layer by which the target reads the encoded inputs: attention, or its ablation."""
    return (CrossAttention if hparams.use_attention else CrossWithoutAttention)(hparams, **kwargs)


class AttentionBlock(Layer):
    """Timing signal, convolution blocks, causal self-attention, cross attention; a residual around each attention.

    source [B, S, d], target [B, T, d] → [B, T, d] (paper §2.1).
    """

    def __init__(self, hparams, **kwargs):
        super().__init__(**kwargs)
        self.hparams = h = hparams
        with keras.name_scope(self.name):
            self.blocks = conv_blocks(h, h.attention_blocks, causal=True)
            if h.use_attention:
                self.norm = LayerNorm(h.hidden_size, name="norm")
                self.self_attention = MultiHeadAttention(h.hidden_size, h.num_heads, name="self_attention")
            self.source = cross_attention(h, name="source")

    def call(self, target, source, source_padding_mask, training=False):
        length = shape_of(target)[1]
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
        """The self-attention cache before the first of at most `length` positions, for `beam` rows an example."""
        return self.self_attention.self_attention_cache(batch, length, beam) if self.hparams.use_attention else {}

    def step(self, x, cross_attention_cache, self_attention_cache, position):
        """One position: x [B, d] → ([B, d], the new self-attention cache)."""
        x = x + timing_signal(position.time, self.hparams.hidden_size)
        for block in self.blocks:
            x = block.step(x, position)
        if self.hparams.use_attention:
            normal = self.norm.call(x)
            attended, self_attention_cache = self.self_attention.self_attend_step(
                normal, self_attention_cache, position
            )
            x = x + attended
        return self.source.step(x, cross_attention_cache, position), self_attention_cache
