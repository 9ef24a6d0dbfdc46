"""The MultiModel of Tensor2Tensor 1.9.0, layer for layer, out of this project's parts: for benchmarks/against_t2t.py.

It is not the paper's model. Encoder: L layers of four separable convolutions (3, 3, 15, and 15 at dilation 4), of
which the first two are four times as wide, beside a mixture of experts on the same input. Decoder: L layers of
self-attention, attention to the source, and a plain feed-forward net or, in one layer, experts. A layer norm after each
sum. Pictures go through one 3×3 convolution and then as a sequence of all their pixels; classes come from the mean over
positions.
"""

import dataclasses
import math

import arithmetic
import keras
from common import body
from keras import ops

from t2t_multimodel.kernels.cross_entropy import cross_entropy, cross_entropy_split
from t2t_multimodel.kernels.dense import dense
from t2t_multimodel.kernels.depthwise import depthwise_1d
from t2t_multimodel.kernels.shapes import shape_of
from t2t_multimodel.kernels.split_batch import cached_for_split
from t2t_multimodel.kernels.zero_mean import zero_mean_columns
from t2t_multimodel.layers.attention import MultiHeadAttention, timing_signal
from t2t_multimodel.layers.convolution import ConvStep2D
from t2t_multimodel.layers.experts import MixtureOfExperts
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.layers.masks import causal_bias, padding_bias
from t2t_multimodel.layers.normalization import LayerNorm
from t2t_multimodel.modalities import Label, ProblemSpec, Text
from t2t_multimodel.modalities.text_nets import TextNet
from t2t_multimodel.models.body import split_if_wide

# Its registered sets multimodel_tiny and multimodel_base by hidden size: (layers, width of convolutions and of the
# encoder's experts, the decoder layer with experts).
SETS = {128: (2, 512, 0), 512: (4, 2048, 2)}
DECODER_EXPERT_SIZE = 2048
EXPERTS_PER_TOKEN = 2


def hparams_of(hidden, experts=16):
    """What of its settings is an `HParams` here; dropout is off on both sides."""
    return body(
        hidden,
        experts,
        experts_per_token=EXPERTS_PER_TOKEN,
        expert_filter_size=SETS[hidden][1],
        num_heads=8,
        label_smoothing=0.1,
        clip_norm=2.0,
    )


def text_problem(vocabulary=8192):
    """Inputs and targets have an embedding each."""
    sides = [Text(vocabulary_size=vocabulary, vocabulary_digest=side) for side in ("inputs", "targets")]
    return ProblemSpec("text", *sides, 5)


def operations(hparams, spec, batch):
    """What a training step's arithmetic is, counted as `arithmetic.training` counts."""
    size, rows, product = hparams.hidden_size, len(batch["command"]), arithmetic.product
    layers, filters, layer_with_experts = SETS[size]
    tokens = math.prod(batch["inputs"].shape[:3])  # ids, or pixels
    total = 0 if isinstance(spec.inputs, Text) else product(tokens, 9 * spec.inputs.channels, size)
    convolutions = (size, filters, 3), (filters, filters, 3), (filters, size, 15), (size, size, 15)
    total += layers * sum(arithmetic.conv_step(tokens, *convolution) for convolution in convolutions)
    total += layers * arithmetic.experts(hparams, tokens, training=True)
    if isinstance(spec.targets, Label):
        return 3 * (total + product(rows, size, len(spec.targets.classes)))
    length, written = tokens // rows, batch["targets"].shape[1]
    attention = sum(arithmetic.attention(hparams, rows, written, keys) for keys in (written, length))
    wide_experts = dataclasses.replace(hparams, expert_filter_size=DECODER_EXPERT_SIZE)
    for layer in range(layers):
        with_experts = layer == layer_with_experts
        experts = arithmetic.experts(wide_experts, rows * written, training=True) if with_experts else 0
        total += attention + (experts or 2 * product(rows * written, size, filters))
    return 3 * (total + product(rows * written, size, spec.targets.vocabulary_size))


class Original(Layer):
    """Takes the place of a `MultiModel` in a training step."""

    def __init__(self, hparams, spec, layers, filters, layer_with_experts, **kwargs):
        super().__init__(name="original", autocast=False, **kwargs)
        self.hparams, self.spec = hparams, spec
        size = hparams.hidden_size
        wide_experts = dataclasses.replace(hparams, expert_filter_size=DECODER_EXPERT_SIZE)
        with keras.name_scope(self.name):
            if isinstance(spec.inputs, Text):
                self.input_net = TextNet(spec.inputs, hparams, name="inputs")
            else:
                self.input_net = ConvStep2D(spec.inputs.channels, size, relu=False, full=True, name="inputs")
            self.encoder = [EncoderLayer(hparams, filters, name=f"encoder{i}") for i in range(layers)]
            if isinstance(spec.targets, Text):
                self.output_net = TextNet(spec.targets, hparams, name="targets")
                self.decoder = [
                    DecoderLayer(
                        wide_experts if i == layer_with_experts else hparams,
                        filters,
                        i == layer_with_experts,
                        name=f"decoder{i}",
                    )
                    for i in range(layers)
                ]
            else:
                self.output_net = Dense(size, len(spec.targets.classes), name="classes")
        self.built = True

    def loss(self, batch, spec, training=False):
        """As `MultiModel.loss`."""
        x, padding_mask = self._inputs(batch)
        x = self._timed(x)
        balance = 0.0
        for layer in self.encoder:
            x, more = layer(x, padding_mask, training=training)
            balance = balance + more
        targets, weights = batch["targets"], batch["example_weights"]
        if isinstance(spec.targets, Label):
            logits = ops.cast(self.output_net(ops.mean(x, axis=1)), "float32")
            total, log_probability, correct = cross_entropy(logits, targets, weights, self.hparams.label_smoothing)
        else:
            y = self._timed(self.output_net.shifted({"values": targets}, batch["command"]))
            for layer in self.decoder:
                y, more = layer(y, x, padding_mask, training=training)
                balance = balance + more
            weights = ops.cast(ops.not_equal(targets, 0), "float32") * weights[:, None]
            losses = cross_entropy_split(self.output_net.logits, y, targets, weights, self.hparams.label_smoothing)
            total, log_probability, correct, logits = losses
        count = ops.sum(weights)
        mean = total / count
        return mean + balance, {
            "cross_entropy": mean,
            "weight": count,
            "load_balance_loss": balance,
            "dropped_token_fraction": ops.zeros(()),
            "correct": correct,
            "log_probability": log_probability,
            "weights": weights,
            "logits": logits,
        }

    def _timed(self, x):
        return x + ops.cast(timing_signal(ops.arange(ops.shape(x)[1]), self.hparams.hidden_size), x.dtype)

    def trainable_variables_for(self, spec):
        unused = {id(self.input_net.softmax), id(self.input_net.bias)} if isinstance(spec.inputs, Text) else set()
        return [v for v in self.trainable_variables if id(v) not in unused]

    def _inputs(self, batch):
        if isinstance(self.spec.inputs, Text):
            x, padding_mask, _ = self.input_net({"values": batch["inputs"]})
            return x, padding_mask
        x = self.input_net(ops.cast(batch["inputs"], "float32"))
        x = ops.reshape(x, [ops.shape(x)[0], x.shape[1] * x.shape[2], x.shape[3]])
        return x, ops.ones_like(x[..., 0])


class EncoderLayer(Layer):
    """LN(x + convolutions(x) + experts(x))."""

    def __init__(self, hparams, filters, **kwargs):
        super().__init__(**kwargs)
        self.hparams, size = hparams, hparams.hidden_size
        with keras.name_scope(self.name):
            self.steps = [
                WideStep(size, filters, 3, name="step1"),
                WideStep(filters, filters, 3, name="step2"),
                WideStep(filters, size, 15, name="step3"),
                WideStep(size, size, 15, 4, name="step4"),
            ]
            self.experts = MixtureOfExperts(hparams, name="experts")
            self.norm = LayerNorm(size, name="norm")

    def call(self, x, padding_mask, training=False):
        y = split_if_wide(self._convolutions, self.hparams, x, padding_mask[..., None])
        with_experts, report = self.experts(x, padding_mask, training=training)  # x is in it already
        return self.norm(with_experts + y), report["load_balance_loss"]

    def _convolutions(self, x, padding_mask):
        for step in self.steps:
            x = step(x, padding_mask)
        return x


class DecoderLayer(Layer):
    """LN(x + self-attention + attention to the source), then LN(x + feed-forward or experts)."""

    def __init__(self, hparams, filters, with_experts, **kwargs):
        super().__init__(**kwargs)
        self.hparams, size = hparams, hparams.hidden_size
        with keras.name_scope(self.name):
            self.self_attention = MultiHeadAttention(size, hparams.num_heads, name="self_attention")
            self.source_attention = MultiHeadAttention(size, hparams.num_heads, name="source_attention")
            self.norm1, self.norm2 = LayerNorm(size, name="norm1"), LayerNorm(size, name="norm2")
            self.experts = MixtureOfExperts(hparams, name="experts") if with_experts else None
            if not with_experts:
                self.wide, self.narrow = Dense(size, filters, name="wide"), Dense(filters, size, name="narrow")

    def call(self, x, source, padding_mask, training=False):
        if self.experts is None:
            whole = lambda *arrays: self._fed_forward(self._attended(*arrays))
            return split_if_wide(whole, self.hparams, x, source, padding_mask), 0.0
        y, report = self.experts(
            split_if_wide(self._attended, self.hparams, x, source, padding_mask), training=training
        )
        return self.norm2(y), report["load_balance_loss"]

    def _attended(self, x, source, padding_mask):
        y = self.self_attention(x, x, causal_bias(ops.shape(x)[1]))
        return self.norm1(x + y + self.source_attention(y, source, padding_bias(padding_mask)))

    def _fed_forward(self, x):
        return self.norm2(x + self.narrow(ops.relu(self.wide(x))))


class WideStep(Layer):
    """`ConvStep` with another width behind it than before it: LN(SepConv(ReLU(x)))."""

    def __init__(self, before, after, kernel_size, dilation=1, **kwargs):
        super().__init__(**kwargs)
        self.dilation = dilation
        self.kernel = self.add_weight(shape=(kernel_size, before), initializer="glorot_uniform", name="depthwise")
        self.pointwise = self.add_weight(shape=(before, after), initializer="glorot_uniform", name="pointwise")
        self.bias = self.add_weight(shape=(after,), initializer="zeros", name="bias")
        with keras.name_scope(self.name):
            self.norm = LayerNorm(after, name="norm")

    def call(self, x, padding_mask):
        shape = shape_of(x)
        rows = depthwise_1d(ops.relu(x), self.kernel, shape, self.dilation, padding_mask=padding_mask)
        weights, bias = cached_for_split(self, lambda: zero_mean_columns(self.pointwise, self.bias))
        return self.norm.scale_zero_mean_rows(ops.add(ops.matmul(rows, weights), bias), [*shape[:2], bias.shape[0]])


class Dense(Layer):
    """x · W + b."""

    def __init__(self, before, after, **kwargs):
        super().__init__(**kwargs)
        self.weight = self.add_weight(shape=(before, after), initializer="glorot_uniform", name="weight")
        self.bias = self.add_weight(shape=(after,), initializer="zeros", name="bias")

    def call(self, x):
        return dense(x, self.weight, self.bias)
