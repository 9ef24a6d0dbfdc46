"""Operations of the nets of pictures, sound and classes, counted from sizes alone; see training/arithmetic.py.

They make the same walk as the nets in `image_nets.py`, `audio_nets.py` and `label_nets.py`: change both together.
"""

import math


def product(rows, inner, columns):
    return 2 * rows * inner * columns


def conv_step(tokens, before, after, taps):
    """A separable convolution: taps of every feature, then pointwise."""
    return 2 * tokens * before * (taps if taps > 1 else 0) + product(tokens, before, after)


def image_net(h, picture, rows):
    """Of the entry flow: (operations, positions, grid)."""
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
    return operations, math.prod(grid), grid


def audio_net(h, sound, rows, samples):
    """Of the residual blocks over a spectrogram or a waveform: (operations, positions, None)."""
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
    return operations + product(rows * length, bins * before, h.hidden_size), length, None


def class_net(h, grid, rows, classes):
    """The exit flow."""
    size = h.hidden_size
    third, fourth = (int(size * ratio) for ratio in h.class_filter_ratios)
    positions = rows * math.prod(grid)
    kept = rows * math.prod(-(-side // 2) for side in grid)
    operations = conv_step(kept, size, size, 9) + 2 * conv_step(positions, size, size, 9)
    operations += conv_step(kept, size, third, 9) + conv_step(kept, third, fourth, 9)
    return operations + product(rows, fourth, classes)
