"""What a model's arithmetic is: multiplications and additions of a forward pass and of a training step, as counted.

Counted is what the model is, not how it is computed: products and convolutions at two operations for a multiplication
and an addition, an expert for the tokens sent to it alone, taps at the outputs that are kept, nothing for padding.
Norms, softmaxes, sums, Fourier transforms and the optimiser are left out: they are a few operations for each number. A
training step is three forward passes: the gradients of what goes in and of the weights are a product each.

`parts` makes the same walk as `models/`: change both together (tests/test_benchmarks.py and tests/test_arithmetic.py
compare the count with the operations of the traced graph).
"""

import math

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.input.plan import BatchPlan
from t2t_multimodel.modalities import Audio, Image, Label, Text

STEP = 3  # forward passes that a training step is


def check(spec):
    """Raises `UserError` for a problem whose arithmetic is not counted."""
    for side, modality, known in (
        ("input", spec.inputs, (Text, Image, Audio)),
        ("target", spec.targets, (Text, Label)),
    ):
        if not isinstance(modality, known) or modality.members:
            names = ", ".join(kind.modality_name for kind in known)
            raise UserError(
                f"{spec.name}: the arithmetic of an {side} that is {modality.modality_name} is not counted, only of "
                f"{names}; leave the problem out"
            )


def is_counted(spec):
    """Whether the arithmetic of a problem is counted."""
    try:
        check(spec)
    except UserError:
        return False
    return True


def of_update(hparams, spec, split):
    """Operations of an update from one batch of a problem, a mean over the first batches of its training split.

    Args: split: of the problem's `ExampleStore`; its lengths alone are read.
    """
    plan = BatchPlan(split, spec, hparams, seed=0)
    batches = plan.window(0, 0)
    rows = np.concatenate(batches)
    lengths = [
        np.asarray(getattr(split, f"{side}_length"))[rows] + modality.end_of_sequence if modality.variable_length else 1
        for side, modality in (("input", spec.inputs), ("target", spec.targets))
    ]
    counted = sum(np.broadcast_to(part, rows.shape).sum() for part in parts(hparams, spec, 1, *lengths, True).values())
    return STEP * float(counted) / len(batches)


def parts(hparams, spec, rows, inputs, targets, training=False):
    """{part: operations} of a forward pass.

    Args:
      rows: examples. inputs, targets: the length of each: ids with end-of-sequence, samples of sound; 1 where lengths
        do not vary. Arrays of several lengths give arrays of operations.
    """
    check(spec)
    h, grid, counted = hparams, None, {}
    if isinstance(spec.inputs, Text):
        length = inputs
    elif isinstance(spec.inputs, Image):
        counted["image net"], grid = image_net(h, spec.inputs, rows)
        length = math.prod(grid)
    else:
        counted["audio net"], length = audio_net(h, spec.inputs, rows, inputs)
    counted["encoder"] = _blocks(h, h.encoder_blocks, rows * length)
    counted["encoder"] += h.encoder_experts * experts(h, rows * length, training)
    if isinstance(spec.targets, Label):
        counted["class net"] = class_net(h, grid or (length, 1), rows, len(spec.targets.classes))
        return counted
    written = targets
    counted["mixer"] = _blocks(h, h.attention_blocks + h.mixer_blocks, rows * written)
    counted["mixer"] += source(h, rows, written, length)
    if h.use_attention:
        counted["mixer"] += attention(h, rows, written, written)
    counted["decoder"] = _blocks(h, h.decoder_blocks, rows * written)
    counted["decoder"] += (h.decoder_attentions or h.decoder_blocks) * source(h, rows, written, length)
    counted["decoder"] += h.decoder_experts * experts(h, rows * written, training)
    counted["softmax"] = product(rows * written, h.hidden_size, spec.targets.vocabulary_size)
    if h.ctc_weight and spec.inputs.in_order:
        counted["CTC"] = product(rows * length, h.hidden_size, spec.targets.vocabulary_size)
    return counted


def product(rows, inner, columns):
    return 2 * rows * inner * columns


def conv_step(tokens, before, after, taps):
    """A separable convolution: taps of every feature, then pointwise."""
    return 2 * tokens * before * (taps if taps > 1 else 0) + product(tokens, before, after)


def _blocks(h, count, tokens):
    """Convolution blocks of the body."""
    return count * conv_block(h, tokens) if h.use_convolutions else 0


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


def audio_net(h, sound, rows, samples):
    """(operations, positions) of the residual blocks over a spectrogram or a waveform."""
    each = lambda strides: [strides[min(i, len(strides) - 1)] for i in range(h.audio_blocks)]
    filters = [min(h.audio_filter_multiplier * 2 ** (i + 1), h.audio_filters_most) for i in range(h.audio_blocks)]
    if sound.form == "spectrogram":
        hop, frame = (
            round(sound.rate * h.audio_hop_milliseconds / 1000),
            2 * round(sound.rate * h.audio_frame_milliseconds / 2000),
        )
        frames, bins = -(-samples // hop), h.audio_mel_bins
        operations = product(rows * frames, 2 ** math.ceil(math.log2(frame)) // 2 + 1, bins)
        length, before, sideways = -(-frames // h.audio_stack), h.audio_stack, each(h.audio_bin_strides)
    else:
        length, bins, before, sideways = samples, 1, filters[0], [1] * h.audio_blocks
        operations = product(rows * samples, 9, before)
    for after, down, right in zip(filters, each(h.audio_strides), sideways):
        kept, kept_bins = -(-length // down), -(-bins // right)
        operations += conv_step(rows * length * bins, before, after, 9) + conv_step(
            rows * length * bins, after, after, 9
        )
        operations += conv_step(rows * kept * kept_bins, before, after, 1)
        length, bins, before = kept, kept_bins, after
    return operations + product(rows * length, bins * before, h.hidden_size), length


def class_net(h, grid, rows, classes):
    """The exit flow."""
    size = h.hidden_size
    third, fourth = (int(size * ratio) for ratio in h.class_filter_ratios)
    positions = rows * math.prod(grid)
    kept = rows * math.prod(-(-side // 2) for side in grid)
    operations = conv_step(kept, size, size, 9) + 2 * conv_step(positions, size, size, 9)
    operations += conv_step(kept, size, third, 9) + conv_step(kept, third, fourth, 9)
    return operations + product(rows, fourth, classes)
