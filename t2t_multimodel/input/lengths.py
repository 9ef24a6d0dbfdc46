"""How long the two sides of an example are: what they are padded to, and what they count against a batch's budget.

A side's length in the store is ids without end-of-sequence, samples of sound, or 1; its *positions* are what
it counts against `batch_tokens`: ids with end-of-sequence, `image_positions` for a picture,
`audio_positions_per_second` for sound, nothing for a class.
"""

import numpy as np

# Lengths that bucketing pads to: 8, then powers of two and the half-way points between them.
BUCKETS = np.array(sorted({8} | {2**k for k in range(4, 40)} | {3 * 2**k for k in range(3, 40)}))


class InputLengths:
    """Lengths of the input side of a problem; all methods take one length or an array of them."""

    def __init__(self, feature_spec, hparams, *, multiple=1, audio_multiple=1, bucket=False):
        """
        Args:
          feature_spec: the side's `FeatureSpec`.
          hparams: the `HParams`.
          multiple: text is padded to a multiple of so many ids.
          audio_multiple: sound is padded to a multiple of so many samples.
          bucket: lengths are padded up to one of few (for compilers that make a program for each shape).
        """
        self._modality = feature_spec.modality
        self._image_positions = hparams.image_positions
        if self._modality == "text":
            self._multiple = multiple
            self._most = self._most_ids(hparams)
            self._buckets = _buckets(self._most + 1) if bucket else None
        elif self._modality.startswith("audio"):
            self._multiple = audio_multiple
            self._most = int(hparams.max_audio_seconds * feature_spec.rate)
            self._samples_per_position = feature_spec.rate / hparams.audio_positions_per_second
            self._buckets = _buckets(int(np.ceil(self._most / self._samples_per_position))) if bucket else None

    def _most_ids(self, hparams):
        return hparams.max_input_length

    def padded(self, lengths):
        """What arrays of examples of these `lengths` are padded to: ids with end-of-sequence, or samples, or 1."""
        lengths = np.asarray(lengths, np.int64)
        if self._modality == "text":
            return _up_to_multiple(self._up_to_bucket(lengths + 1), self._multiple)
        if self._modality.startswith("audio"):
            if self._buckets is not None:
                positions = self._up_to_bucket(np.ceil(lengths / self._samples_per_position))
                lengths = np.ceil(positions * self._samples_per_position).astype(np.int64)
            return _up_to_multiple(lengths, self._multiple)
        return np.ones_like(lengths)

    def positions(self, padded):
        """What a padded length counts against `batch_tokens`, a whole number."""
        padded = np.asarray(padded, np.int64)
        if self._modality == "text":
            return padded
        if self._modality.startswith("audio"):
            return np.ceil(padded / self._samples_per_position).astype(np.int64)
        return np.full_like(padded, self._image_positions if self._modality == "image" else 0)

    def tokens(self, lengths):
        """Positions that hold something (not padding), for throughput; a class is 1."""
        lengths = np.asarray(lengths, np.int64)
        if self._modality == "label":
            return np.ones_like(lengths)
        return self.positions(lengths + (self._modality == "text"))

    def too_long(self, lengths):
        """Whether examples of these lengths are left out of training."""
        lengths = np.asarray(lengths, np.int64)
        if self._modality in ("image", "label"):
            return np.zeros(lengths.shape, bool)
        return lengths > self._most

    def _up_to_bucket(self, lengths):
        lengths = np.asarray(lengths, np.int64)
        return lengths if self._buckets is None else self._buckets[np.searchsorted(self._buckets, lengths)]


class TargetLengths(InputLengths):
    """The same for the target side."""

    def _most_ids(self, hparams):
        return hparams.max_target_length


def _buckets(most):
    """`BUCKETS`, with the ones a little under the longest training length replaced by that, a multiple of 8."""
    most = int(_up_to_multiple(most, 8))
    return np.concatenate([BUCKETS[BUCKETS < 0.8 * most], [most], BUCKETS[BUCKETS > most]])


def _up_to_multiple(lengths, multiple):
    return -(-np.asarray(lengths, np.int64) // multiple) * multiple
