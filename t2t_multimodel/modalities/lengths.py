"""How long the sides of an example are: what they are padded to, and what they count against a batch's budget.

A side's stored length is ids without end-of-sequence, samples of sound, …, or 1 where lengths do not vary; its
*positions* are what it counts against `batch_tokens`.
"""

import numpy as np

# Lengths that bucketing pads to: 8, then powers of two and the half-way points between them.
BUCKETS = np.array(sorted({8} | {2**k for k in range(4, 40)} | {3 * 2**k for k in range(3, 40)}))


class Lengths:
    """Lengths of one side of a problem; all methods take one length or an array of them."""

    def __init__(self, modality, hparams, side, bucket=False):
        """
        Args:
          modality: the side's `Modality`.
          hparams: the `HParams`.
          side: "inputs" or "targets".
          bucket: lengths are padded up to one of few (for compilers that make a program for each shape).
        """
        self._varies = modality.variable_length
        self._extra = modality.end_of_sequence
        self._each = modality.samples_per_position(hparams)
        self._positions = modality.fixed_positions(hparams)
        if self._varies:
            self._most = int(getattr(hparams, modality.limit_hparam(side)) * modality.length_per_unit)
            self._buckets = _buckets(int(np.ceil((self._most + self._extra) / self._each))) if bucket else None

    def padded(self, lengths):
        """What arrays of examples of these stored `lengths` are padded to."""
        lengths = np.asarray(lengths, np.int64)
        if not self._varies:
            return np.ones_like(lengths)
        lengths = lengths + self._extra
        if self._buckets is None:
            return lengths
        positions = self._buckets[np.searchsorted(self._buckets, np.ceil(lengths / self._each))]
        return np.ceil(positions * self._each).astype(np.int64)

    def positions(self, padded):
        """What a padded length counts against `batch_tokens`, a whole number."""
        padded = np.asarray(padded, np.int64)
        if not self._varies:
            return np.full_like(padded, self._positions)
        return np.ceil(padded / self._each).astype(np.int64)

    def tokens(self, lengths):
        """Positions that hold something (not padding), for throughput; at least 1."""
        lengths = np.asarray(lengths, np.int64)
        return np.maximum(self.positions(lengths + self._extra), 1)

    def too_long(self, lengths):
        """Whether examples of these stored lengths are left out of training."""
        lengths = np.asarray(lengths, np.int64)
        return lengths > self._most if self._varies else np.zeros(lengths.shape, bool)

    def apart(self, padded):
        """The positions of each member, along a last axis; one here, see `LengthsOfSeveral`."""
        return self.positions(padded)[..., None]


class LengthsOfSeveral:
    """As `Lengths`, of a side with several members: stored and padded lengths have one for each along the last axis."""

    def __init__(self, members):
        """Args: members: the `Lengths` of each."""
        self._members = members

    def padded(self, lengths):
        return np.stack([m.padded(each) for m, each in self._each(lengths)], axis=-1)

    def positions(self, padded):
        return self.apart(padded).sum(axis=-1)

    def apart(self, padded):
        return np.stack([m.positions(each) for m, each in self._each(padded)], axis=-1)

    def tokens(self, lengths):
        return sum(m.tokens(each) for m, each in self._each(lengths))

    def too_long(self, lengths):
        return np.any([m.too_long(each) for m, each in self._each(lengths)], axis=0)

    def _each(self, lengths):
        lengths = np.asarray(lengths, np.int64)
        lengths = lengths if lengths.size else lengths.reshape(0, len(self._members))
        return zip(self._members, np.moveaxis(lengths, -1, 0), strict=True)


def _buckets(most):
    """`BUCKETS`, with the ones a little under the longest training length replaced by that, a multiple of 8."""
    most = -(-most // 8) * 8
    return np.concatenate([BUCKETS[BUCKETS < 0.8 * most], [most], BUCKETS[BUCKETS > most]])
