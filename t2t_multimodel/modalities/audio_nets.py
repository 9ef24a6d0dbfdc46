"""Sound in, as a spectrogram or as the waveform: a stack of residual blocks, each halves the time; paper §2.5.

The paper's blocks stride along time only and keep every frequency bin; `audio_strides`, `audio_bin_strides` and
`audio_stack` are what speech recognition does instead (docs/speech.md).
"""

import functools
import math

import keras
from keras import ops

from t2t_multimodel.errors import UserError
from t2t_multimodel.kernels.split_batch import split_batch
from t2t_multimodel.layers.convolution import ConvRes, ConvStep2D
from t2t_multimodel.layers.layer import ModalityNet, as_matrix
from t2t_multimodel.layers.sound import Frames, Waveform

POWER_FLOOR = 1e-5  # of the mel spectrogram; quieter is silence


class SpectrogramEncoder(ModalityNet):
    """float32 [batch, samples] → [batch, frames / (stack · strides), hidden].

    Block i (from 1) has multiplier · 2^i features; layer norm over frequency × features: over few features alone it
    would keep little but signs.
    """

    def __init__(self, modality, hparams, **kwargs):
        super().__init__(autocast=False, **kwargs)  # sound stays float32 up to the first convolution
        h = hparams
        self.hop = round(modality.rate * h.audio_hop_milliseconds / 1000)
        self.frame = 2 * round(
            modality.rate * h.audio_frame_milliseconds / 2000
        )  # windows of odd length differ by backend
        if not self.hop or not self.frame:
            name = "audio_frame_milliseconds" if self.hop else "audio_hop_milliseconds"
            raise UserError(f"{name}={getattr(h, name)} is less than one sample at {modality.rate:,} Hz; raise it")
        bins = h.audio_mel_bins
        filters = _filters(h)
        self.strides = list(zip(_each_block(h, h.audio_strides), _each_block(h, h.audio_bin_strides)))
        with keras.name_scope(self.name):
            self.waveform = Waveform(h, name="waveform")
            self.frames = Frames(h, h.audio_hop_milliseconds, name="frames")
            self.mel = keras.layers.MelSpectrogram(
                fft_length=2 ** math.ceil(math.log2(self.frame)),
                sequence_length=self.frame,
                sequence_stride=self.hop,
                sampling_rate=modality.rate,
                num_mel_bins=bins,
                min_freq=20.0,
                max_freq=modality.rate / 2,
                power_to_db=False,
                dtype="float32",
                name="mel",
            )
            self.blocks = []
            for i, (before, after) in enumerate(zip([h.audio_stack, *filters], filters)):
                block = ConvRes(before, after, self.strides[i], norm_positions=bins, name=f"block{i}")
                self.blocks.append(block)
                bins = -(-bins // self.strides[i][1])
            self.project = keras.layers.Dense(h.hidden_size, name="project")
            self.project.build((None, None, bins * filters[-1]))
            as_matrix(self.project.kernel)

    def call(self, arrays, training=False):
        """→ ([batch, positions, hidden], padding_mask [batch, positions], no grid)."""
        x, padding_mask = self.features(arrays, training)
        x = ops.cast(x, self.compute_dtype)
        strides = [down for down, _ in self.strides]
        x = split_batch(functools.partial(_through, self.blocks, strides), x, padding_mask)
        x = ops.reshape(x, [ops.shape(x)[0], ops.shape(x)[1], x.shape[2] * x.shape[3]])
        padding_mask = padding_mask[:, :: math.prod(strides)]
        return _project(self.project, x, padding_mask), padding_mask, None

    def features(self, arrays, training=False):
        """What the blocks read: log mel powers float32 [batch, frames / stack, bins, stack], and their padding mask."""
        lengths = arrays["length"]
        sound = self.waveform(arrays["values"], lengths, training=training)
        # Frames are centred and the ends reflected; zeros behind every recording keep its end from depending on
        # padding.
        sound = ops.pad(sound, [[0, 0], [0, self.frame]])
        power = ops.transpose(self.mel(sound), [0, 2, 1])  # [batch, frames, bins]
        x = (ops.log(power + POWER_FLOOR) - math.log(POWER_FLOOR)) / 10.0  # 0 = silence; about 0 to 2
        padding_mask = _mask(lengths, self.hop, ops.shape(x)[1])
        return self.frames(x, padding_mask, training=training), padding_mask[:, :: self.frames.stack]


class WaveformEncoder(ModalityNet):
    """float32 [batch, samples] → [batch, samples / strides, hidden], one dimension throughout."""

    def __init__(self, modality, hparams, **kwargs):
        super().__init__(autocast=False, **kwargs)  # sound stays float32 up to the first convolution
        filters = _filters(hparams)
        self.strides = _each_block(hparams, hparams.audio_strides)
        with keras.name_scope(self.name):
            self.waveform = Waveform(hparams, name="waveform")
            # A layer norm over one or two features keeps only signs: the first convolution is a full one.
            self.stem = ConvStep2D(1, filters[0], relu=False, full=True, name="stem")
            self.blocks = [
                ConvRes(before, after, (self.strides[i], 1), name=f"block{i}")
                for i, (before, after) in enumerate(zip([filters[0], *filters], filters))
            ]
            self.project = keras.layers.Dense(hparams.hidden_size, name="project")
            self.project.build((None, None, filters[-1]))
            as_matrix(self.project.kernel)

    def call(self, arrays, training=False):
        """→ ([batch, positions, hidden], padding_mask [batch, positions], no grid)."""
        sound = self.waveform(arrays["values"], arrays["length"], training=training)
        padding_mask = _mask(arrays["length"], 1, ops.shape(sound)[1])
        x = ops.cast(sound, self.compute_dtype)[:, :, None, None]  # [batch, samples, 1, 1]
        x = self.stem(x, ops.cast(padding_mask, x.dtype)[:, :, None, None])
        x = split_batch(functools.partial(_through, self.blocks, self.strides), x, padding_mask)
        padding_mask = padding_mask[:, :: math.prod(self.strides)]
        return _project(self.project, x[:, :, 0], padding_mask), padding_mask, None


def _through(blocks, strides, x, padding_mask):
    """Residual blocks one after the other, each of which shortens the time by its stride."""
    for block, stride in zip(blocks, strides):
        x = block(x, ops.cast(padding_mask, x.dtype)[:, :, None, None])
        padding_mask = padding_mask[:, ::stride]
    return x


def _project(project, x, padding_mask):
    """The last layer, zero at padding; there `max_pool` left minus infinity, which in 16 bits must not be summed."""
    wide = ops.cast(padding_mask, x.dtype)[..., None]
    return project(x * wide) * wide


def _each_block(hparams, strides):
    """The stride of every block: the last of `strides` is that of all blocks behind it too."""
    return [strides[min(i, len(strides) - 1)] for i in range(hparams.audio_blocks)]


def _filters(hparams):
    return [
        min(hparams.audio_filter_multiplier * 2**i, hparams.audio_filters_most)
        for i in range(1, hparams.audio_blocks + 1)
    ]


def _mask(lengths, hop, positions):
    """[batch] samples → [batch, positions], 1 where a frame starts inside the recording."""
    frames = (lengths + (hop - 1)) // hop
    return ops.cast(ops.arange(positions)[None] < frames[:, None], "float32")
