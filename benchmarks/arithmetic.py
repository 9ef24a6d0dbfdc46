"""What a model's arithmetic is: multiplications and additions of a forward pass and of a training step, as counted.

Counted is what the model is, not how it is computed: products and convolutions at two operations for a multiplication
and an addition, an expert for the tokens sent to it alone, taps at the outputs that are kept, nothing for padding.
Norms, softmaxes, sums and the optimiser are left out: they are a few operations for each number. A training step is
three forward passes: the gradients of what goes in and of the weights are a product each.

`parts` makes the same walk as `model/`: change both together (tests/test_benchmarks.py compares the
count with the operations of the traced graph).
"""

import math

import numpy as np

from t2t_multimodel.modalities import Image, Label, Text


def forward(hparams, spec, batch, training=False):
    """Operations of a forward pass over a batch of `common.text_batch`'s or `picture_batch`'s form, without padding."""
    return sum(parts(hparams, spec, batch, training).values())


def training(hparams, spec, batch):
    """Operations of a training step."""
    return 3 * forward(hparams, spec, batch, training=True)


def parts(hparams, spec, batch, training=False):
    """{part: operations} of a forward pass."""
    h, rows = hparams, len(batch["command"])
    counted = {}
    if isinstance(spec.inputs, Text):
        length = batch["inputs"].shape[1]
    elif isinstance(spec.inputs, Image):
        counted["image net"], grid = image_net(h, spec.inputs, rows)
        length = math.prod(grid)
    else:
        raise ValueError(f"the arithmetic of {spec.inputs.modality_name} is not counted")
    counted["encoder"] = h.encoder_blocks * conv_block(h, rows * length) + experts(h, rows * length, training)
    if isinstance(spec.targets, Label):
        counted["class net"] = class_net(h, grid, rows, len(spec.targets.classes))
        return counted
    written = batch["targets"].shape[1]
    counted["mixer"] = (h.attention_blocks + h.mixer_blocks) * conv_block(h, rows * written)
    counted["mixer"] += source(h, rows, written, length)
    if h.use_attention:
        counted["mixer"] += attention(h, rows, written, written)
    counted["decoder"] = h.decoder_blocks * (conv_block(h, rows * written) + source(h, rows, written, length))
    counted["decoder"] += experts(h, rows * written, training)
    counted["softmax"] = product(rows * written, h.hidden_size, spec.targets.vocabulary_size)
    return counted


def decoding(hparams, spec, rows, length, written, beam=1):
    """Operations of decoding `written` ids for each of `rows` inputs of `length` ids: every position once, for each of
    `beam` hypotheses; the encoder once.
    """
    batch = {"command": np.zeros(rows), "inputs": np.zeros((rows, length)), "targets": np.zeros((rows, written))}
    counted = parts(hparams, spec, batch)
    return counted.pop("encoder") + beam * sum(counted.values())


def product(rows, inner, columns):
    return 2 * rows * inner * columns


def conv_step(tokens, before, after, taps):
    """A separable convolution: taps of every feature, then pointwise."""
    return 2 * tokens * before * (taps if taps > 1 else 0) + product(tokens, before, after)


def conv_block(h, tokens):
    size = h.hidden_size
    return 2 * sum(conv_step(tokens, size, size, taps) for taps in (h.small_kernel, h.large_kernel))


def attention(h, rows, queries, keys):
    """Projections, logits and weighted sums. Causal attention counts whole, as it is computed."""
    size = h.hidden_size
    projections = 2 * product(rows * queries, size, size) + 2 * product(rows * keys, size, size)
    return projections + 2 * product(rows * queries, size, keys)


def source(h, rows, written, length):
    """The target's reading of the source: attention, or the ablation's two products."""
    if h.use_attention:
        return attention(h, rows, written, length)
    return product(rows * length, h.hidden_size, h.hidden_size) + product(rows, h.hidden_size, h.hidden_size)


def experts(h, tokens, training):
    """The gates (with their noise in training), and the k experts of each token."""
    if not h.use_experts:
        return 0
    gates = product(tokens, h.hidden_size, h.num_experts) * (2 if training else 1)
    return gates + h.experts_per_token * 2 * product(tokens, h.hidden_size, h.expert_filter_size)


def image_net(h, picture, rows):
    """(operations, grid) of the entry flow."""
    halved = lambda grid, stride=2: tuple(-(-side // stride) for side in grid)
    first, second = h.image_stem_filters
    grid = halved((picture.height, picture.width), h.image_stem_stride)
    operations = product(rows * math.prod(grid), 9 * picture.channels, first)
    operations += conv_step(rows * math.prod(grid), first, second, 9)
    before = second
    for filters in (f or h.hidden_size for f in h.image_residual_filters):
        positions, kept = rows * math.prod(grid), rows * math.prod(halved(grid))
        operations += conv_step(positions, before, filters, 9) + conv_step(positions, filters, filters, 9)
        operations += conv_step(kept, before, filters, 1)
        grid, before = halved(grid), filters
    if before != h.hidden_size:
        operations += conv_step(rows * math.prod(grid), before, h.hidden_size, 1)
    return operations, grid


def class_net(h, grid, rows, classes):
    """The exit flow."""
    size = h.hidden_size
    third, fourth = (int(size * ratio) for ratio in h.class_filter_ratios)
    positions = rows * math.prod(grid)
    kept = rows * math.prod(-(-side // 2) for side in grid)
    operations = conv_step(kept, size, size, 9) + 2 * conv_step(positions, size, size, 9)
    operations += conv_step(kept, size, third, 9) + conv_step(kept, third, fourth, 9)
    return operations + product(rows, fourth, classes)
