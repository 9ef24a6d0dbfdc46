"""What is done to sound before and after its spectrogram: loudness, dither, pre-emphasis, mean and variance, masks."""

import keras
from keras import ops

from t2t_multimodel.layers.layer import Layer

_STEP = 1.0 / 32768.0  # of 16-bit sound at full scale 1
_LOUDNESS = 0.1  # root mean square that recordings are brought to, −20 dB of full scale
_QUIETEST = 1e-4  # root mean square, −80 dB; what is quieter is not made louder than that would be
_LEAST_VARIANCE = 1e-5


class Waveform(Layer):
    """Sound [B, N] as the nets read it: noise is added in training, loudness levelled, high frequencies raised."""

    def __init__(self, hparams, **kwargs):
        super().__init__(autocast=False, **kwargs)
        h = hparams
        self.dither, self.preemphasis = h.audio_dither, h.audio_preemphasis
        self.level = h.audio_normalize == "recording"
        if self.dither:
            with keras.name_scope(self.name):
                self.seed = keras.random.SeedGenerator(name="dither_seed")

    def call(self, sound, lengths, training=False):
        """sound float32 [B, N] in [-1, 1], lengths int32 [B] in samples → [B, N], zero behind each recording."""
        dither = training and self.dither
        if not (dither or self.level or self.preemphasis):
            return sound
        there = ops.cast(ops.arange(ops.shape(sound)[1], dtype="int32")[None] < lengths[:, None], "float32")
        if dither:
            sound = sound + keras.random.normal(ops.shape(sound), seed=self.seed) * (self.dither * _STEP)
        sound = sound * there
        if self.level:
            power = ops.sum(ops.square(sound), axis=1) / ops.maximum(ops.sum(there, axis=1), 1.0)
            sound = sound * (_LOUDNESS / ops.maximum(ops.sqrt(power), _QUIETEST))[:, None]
        if self.preemphasis:
            before = ops.pad(sound[:, :-1], [[0, 0], [1, 0]])
            sound = (sound - self.preemphasis * before) * there
        return sound


class Frames(Layer):
    """A spectrogram [B, T, bins] as the blocks read it: normalised, masked in training, frames side by side."""

    def __init__(self, hparams, hop_milliseconds, **kwargs):
        super().__init__(autocast=False, **kwargs)
        h = hparams
        self.normal, self.stack = h.audio_normalize == "recording", h.audio_stack
        self.masks = {1: (h.audio_time_masks, round(h.audio_time_mask_milliseconds / hop_milliseconds))}
        self.masks[2] = (h.audio_bin_masks, h.audio_bin_mask_width)
        self.share = h.audio_time_mask_share
        self.seeds = {}
        with keras.name_scope(self.name):
            for axis, name in ((1, "time_mask_seed"), (2, "bin_mask_seed")):
                if self.masks[axis][0]:
                    self.seeds[axis] = keras.random.SeedGenerator(name=name)

    def call(self, x, padding_mask, training=False):
        """x float32 [B, T, bins], padding_mask [B, T] → [B, ⌈T / stack⌉, bins, stack]."""
        masked = training and self.seeds
        real = padding_mask[..., None]
        if self.normal or masked:
            count = ops.maximum(ops.sum(real, axis=1, keepdims=True), 1.0)
            mean = ops.sum(x * real, axis=1, keepdims=True) / count
        if self.normal:
            variance = ops.sum(ops.square(x - mean) * real, axis=1, keepdims=True) / count
            x, mean = (x - mean) * ops.rsqrt(variance + _LEAST_VARIANCE) * real, ops.zeros_like(mean)
        if masked:
            for axis, seed in self.seeds.items():
                x = ops.where(self._hidden(x, padding_mask, axis, seed), mean, x)
        if self.stack == 1:
            return x[..., None]
        batch, frames, bins = ops.shape(x)[0], ops.shape(x)[1], x.shape[2]
        x = ops.pad(x * real, [[0, 0], [0, -frames % self.stack], [0, 0]])
        return ops.transpose(ops.reshape(x, [batch, -1, self.stack, bins]), [0, 1, 3, 2])

    def _hidden(self, x, padding_mask, axis, seed):
        """Where frames (axis 1) or bins (axis 2) are hidden, [B, T, 1] or [B, 1, bins] of booleans.

        SpecAugment (Park et al. 2019): each mask is as wide as a draw from 0 … its most says, and lies anywhere.
        """
        count, width = self.masks[axis]
        if axis == 1:
            size = ops.sum(padding_mask, axis=1)[:, None]  # [B, 1]
            most = ops.minimum(float(width), ops.floor(self.share * size))
        else:
            size, most = float(x.shape[2]), float(min(width, x.shape[2]))
        draws = keras.random.uniform([ops.shape(x)[0], count, 2], seed=seed)  # in [0, 1)
        wide = ops.floor(draws[..., 0] * (most + 1.0))  # [B, masks]
        start = ops.floor(draws[..., 1] * (size - wide + 1.0))
        place = ops.cast(ops.arange(ops.shape(x)[axis], dtype="int32"), "float32")[None, :, None]
        inside = ops.logical_and(place >= start[:, None], place < (start + wide)[:, None])
        return ops.expand_dims(ops.any(inside, axis=2), 3 - axis)
