"""The body all tasks share: encoder, mixer, decoder; paper §2.3. Every part keeps [B, T, d].

Rows are independent but for the experts, which take the tokens of all rows: between them, a wide body computes the two
halves of a batch side by side.
"""

import contextlib
import functools

import keras
from keras import ops

from t2t_multimodel.hyperparameters import check_backend
from t2t_multimodel.kernels.select import device
from t2t_multimodel.kernels.shapes import shape_of
from t2t_multimodel.kernels.split_batch import split_batch
from t2t_multimodel.layers import intermediates
from t2t_multimodel.layers.attention import AttentionBlock, cross_attention, timing_signal
from t2t_multimodel.layers.convolution import conv_blocks
from t2t_multimodel.layers.experts import MixtureOfExperts
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.layers.normalization import LayerNorm
from t2t_multimodel.layers.remat import rematerialised

WIDE = 128  # features from which splitting the batch gains more than calling twice as many operations costs


def split_if_wide(function, hparams, *arrays):
    """`function(*arrays)`, arrays [B, …] of independent rows: by `split_batch` where that is faster.

    No splitting while capturing intermediates: layers would sow each half under the same name.
    """
    if hparams.hidden_size < WIDE or intermediates.capturing():
        return function(*arrays)
    return split_batch(function, *arrays)


def unless_kept(layer, hparams, training):
    """The layer as it is called: with `remat=block` its intermediates are not kept for the backward pass."""
    if not training or hparams.remat == "none":
        return layer
    check_backend(hparams, device()[0])
    return rematerialised(layer)


def mixtures_of_experts(hparams, count):
    """The expert layers of a part of the body; called within its name scope. The first is that of the paper."""
    layers = []
    for i in range(count if hparams.use_experts else 0):
        with keras.name_scope(f"more{i}") if i else contextlib.nullcontext():
            layers.append(MixtureOfExperts(hparams, name="experts"))
    return layers


def places(layers, rounds):
    """Before which of the `rounds` of blocks each of some layers stands, evenly: one before the middle."""
    return [(i + 1) * rounds // (len(layers) + 1) for i in range(len(layers))]


def together(reports):
    """The report of several expert layers: losses add up, shares are averaged; None without one."""
    if len(reports) < 2:
        return reports[0] if reports else None
    names = ("dropped_token_fraction", "load")
    return {"load_balance_loss": sum(report["load_balance_loss"] for report in reports)} | {
        name: sum(report[name] for report in reports) / len(reports) for name in names
    }


class Encoder(Layer):
    """Six convolution blocks, the experts in the middle, a layer norm at the end; timing signal on the input."""

    def __init__(self, hparams, **kwargs):
        super().__init__(**kwargs)
        self.hparams = h = hparams
        with keras.name_scope(self.name):
            self.blocks = conv_blocks(h, h.encoder_blocks)
            self.experts = mixtures_of_experts(h, h.encoder_experts)
            self.norm = LayerNorm(h.hidden_size, name="norm")

    def call(self, x, padding_mask, training=False):
        """x [B, S, d], padding_mask [B, S] → (encoded [B, S, d], zero at padding; the experts' report or None)."""
        start, reports = 0, []
        mask = ops.cast(padding_mask, x.dtype)[..., None]
        x = x + ops.cast(timing_signal(ops.arange(shape_of(x)[1]), self.hparams.hidden_size), x.dtype)
        for experts, place in zip(self.experts, places(self.experts, len(self.blocks))):
            if place > start:
                before = functools.partial(self._blocks, self.blocks[start:place], training)
                x = split_if_wide(before, self.hparams, x, mask)
            x, report = unless_kept(experts, self.hparams, training)(x, padding_mask, training=training)
            reports.append(report)
            start = place
        ending = lambda x, mask: self.norm(self._blocks(self.blocks[start:], training, x, mask)) * mask
        return split_if_wide(ending, self.hparams, x, mask), together(reports)

    def _blocks(self, blocks, training, x, mask):
        for block in blocks:
            x = unless_kept(block, self.hparams, training)(x, mask, training=training)
        return x


class Mixer(Layer):
    """Attention block from the shifted outputs to the encoded inputs, then two causal convolution blocks."""

    def __init__(self, hparams, **kwargs):
        super().__init__(**kwargs)
        self.hparams = hparams
        with keras.name_scope(self.name):
            self.attention_block = AttentionBlock(hparams, name="attention_block")
            self.blocks = conv_blocks(hparams, hparams.mixer_blocks, causal=True)

    def call(self, target, source, source_padding_mask, training=False):
        def mixed(target, source, source_padding_mask):
            attention_block = unless_kept(self.attention_block, self.hparams, training)
            x = attention_block(target, source, source_padding_mask, training=training)
            for block in self.blocks:
                x = unless_kept(block, self.hparams, training)(x, training=training)
            return x

        return split_if_wide(mixed, self.hparams, target, source, source_padding_mask)

    def prepare(self, source, source_padding_mask):
        return self.attention_block.prepare(source, source_padding_mask)

    @property
    def steps(self):
        return [*self.attention_block.steps, *(step for block in self.blocks for step in block.steps)]

    @property
    def prepared(self):
        """The layers besides `steps` that have `constants`, which decoding computes once."""
        return self.attention_block.attentions

    def initial_state(self, batch, length, beam=1):
        return self.attention_block.initial_state(batch, length, beam)

    def step(self, x, cross_attention_cache, self_attention_cache, position):
        """One position: x [B, d] → ([B, d], the new self-attention cache)."""
        x, self_attention_cache = self.attention_block.step(x, cross_attention_cache, self_attention_cache, position)
        for block in self.blocks:
            x = block.step(x, position)
        return x, self_attention_cache


class Decoder(Layer):
    """Four times (causal convolution block, cross attention), the experts in the middle, a layer norm at the end."""

    def __init__(self, hparams, **kwargs):
        super().__init__(**kwargs)
        self.hparams = h = hparams
        with keras.name_scope(self.name):
            self.blocks = conv_blocks(h, h.decoder_blocks, causal=True)
            attentions = h.decoder_attentions or h.decoder_blocks
            self.cross_attentions = [cross_attention(h, name=f"source{i}") for i in range(attentions)]
            self.experts = mixtures_of_experts(h, h.decoder_experts)
            self.norm = LayerNorm(h.hidden_size, name="norm")

    def call(self, x, target_padding_mask, source, source_padding_mask, training=False):
        """x [B, T, d] → ([B, T, d], the experts' report or None). Only the experts need the target's padding."""
        start, reports = 0, []
        for experts, place in zip(self.experts, places(self.experts, len(self._rounds))):
            if place > start:
                before = functools.partial(self._blocks, slice(start, place), training)
                x = split_if_wide(before, self.hparams, x, source, source_padding_mask)
            x, report = unless_kept(experts, self.hparams, training)(x, target_padding_mask, training=training)
            reports.append(report)
            start = place
        ending = lambda *arrays: self.norm(self._blocks(slice(start, None), training, *arrays))
        return split_if_wide(ending, self.hparams, x, source, source_padding_mask), together(reports)

    def _blocks(self, which, training, x, source, source_padding_mask):
        for block, attend in self._rounds[which]:
            if block is not None:
                x = unless_kept(block, self.hparams, training)(x, training=training)
            if attend is not None:
                x = unless_kept(attend, self.hparams, training)(x, source, source_padding_mask)
        return x

    @property
    def _rounds(self):
        """(convolution block or None, cross-attention or None) of each round: of each kind all, spread evenly."""
        count = max(len(self.blocks), len(self.cross_attentions))

        def spread(layers):
            ends = [(i + 1) * len(layers) // count for i in range(count)]
            return [layers[end - 1] if end > start else None for start, end in zip([0, *ends], ends)]

        return list(zip(spread(self.blocks), spread(self.cross_attentions)))

    def prepare(self, source, source_padding_mask):
        return [layer.prepare(source, source_padding_mask) for layer in self.cross_attentions]

    @property
    def steps(self):
        return [step for block in self.blocks for step in block.steps]

    @property
    def prepared(self):
        """The layers besides `steps` that have `constants`, which decoding computes once."""
        attentions = [attention for layer in self.cross_attentions for attention in layer.attentions]
        return [*attentions, *self.experts]

    def step(self, x, cross_attention_caches, position):
        """One position: x [B, d] → the same. cross_attention_caches: of each block."""
        caches, rounds = iter(cross_attention_caches), self._rounds
        before = list(zip(places(self.experts, len(rounds)), self.experts))
        for i, (block, attend) in enumerate([*rounds, (None, None)]):
            for experts in (experts for place, experts in before if place == i):
                x = experts.step(x, position)
            x = block.step(x, position) if block is not None else x
            x = attend.step(x, next(caches), position) if attend is not None else x
        return self.norm.call(x)
