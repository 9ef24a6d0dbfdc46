"""Which examples make up which batch: by row numbers and lengths alone, before anything is read.

An epoch is a permutation of the rows, cut into windows of about `length_window` batches. A window is sorted
by length and cut into batches by the token budget; their order is then shuffled. A window can be had without
the ones before it, so a position is three small integers: epoch, window, batch.
"""

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.mixture import permutation


class BatchPlan:
    """The batches of one split under given hparams, as row numbers.

    `left_out` is the number of training examples that are longer than the hparams allow, or that alone exceed
    `batch_tokens`.
    """

    def __init__(self, split, spec, hparams, seed, *, bucket=False, training=True):
        """Raises `UserError` if no example can be used. `training=False`: nothing is left out."""
        self.input_lengths = spec.inputs.lengths(hparams, "inputs", bucket)
        self.target_lengths = spec.targets.lengths(hparams, "targets", bucket)
        self._key = (seed, spec.name, split.name)
        self._batch_tokens, self._batch_examples = hparams.batch_tokens, hparams.batch_examples
        self._rows_multiple = hparams.batch_rows_multiple
        self._sorted_epochs = hparams.sorted_epochs
        # Of each row: what its sides are padded to, and what they count against the budget.
        longest = spec.inputs.longest_varied(split.input_length, hparams) if training else None
        self.input_padded = self.input_lengths.padded(split.input_length if longest is None else longest)
        self.target_padded = self.target_lengths.padded(split.target_length)
        self._input_positions = self.input_lengths.positions(self.input_padded)
        self._target_positions = self.target_lengths.positions(self.target_padded)
        # The same of every input and the target: a batch is as long as the longest of each, one by one.
        sides = (self.input_lengths.apart(self.input_padded), self.target_lengths.apart(self.target_padded))
        self._apart = np.concatenate(sides, axis=1)
        positions = self._input_positions + self._target_positions
        self._rows = np.arange(len(split))
        if training:
            too_long = self.input_lengths.too_long(split.input_length)
            too_long |= self.target_lengths.too_long(split.target_length)
            self._rows = np.flatnonzero(~too_long & (positions <= self._batch_tokens))
        self.left_out = len(split) - len(self._rows)
        if not len(split):
            raise UserError(f"{spec.name}: its {split.name} split has no examples")
        if not len(self._rows):
            raise UserError(
                f"{spec.name}: all {len(split)} {split.name} examples are too long (shortest input "
                f"{split.input_length.min()}, shortest target {split.target_length.min()}); raise max_input_length, "
                f"max_target_length, max_audio_seconds or batch_tokens"
            )
        # How many rows a batch has, about: those that fit at the mean length.
        fitting = self._batch_tokens / max(1.0, positions[self._rows].mean())
        self._rows_per_batch = max(1.0, min(self._batch_examples, fitting))
        self.windows = max(1, round(len(self._rows) / (hparams.length_window * self._rows_per_batch)))
        self._epoch, self._order = None, None

    def window(self, epoch, window):
        """The batches of one window of an epoch, in the order of training: a list of arrays of row numbers."""
        if epoch != self._epoch:
            self._order = self._rows[permutation(len(self._rows), "examples", *self._key, epoch)]
            if epoch < self._sorted_epochs:
                self._order = self._order[np.argsort(self._input_positions[self._order], kind="stable")]
            self._epoch = epoch
        size, more = divmod(len(self._order), self.windows)  # all windows alike: the last one is no tiny rest
        start = window * size + min(window, more)
        batches = self.cut(self._order[start : start + size + (window < more)])
        if epoch < self._sorted_epochs:
            return sorted(batches, key=lambda rows: self._input_positions[rows].max())
        return [batches[i] for i in permutation(len(batches), "batches", *self._key, epoch, window)]

    def cut(self, rows):
        """Sorts `rows` by length and cuts them into batches that keep to the budget: a list of arrays."""
        rows = self._by_length(rows)
        batches, start, longest = [], 0, [0] * self._apart.shape[1]
        for end, more in enumerate(self._apart[rows].tolist()):
            longest = list(map(max, longest, more))
            if end > start and not self._fits(end + 1 - start, sum(longest)):
                batches.append(rows[start:end])
                start, longest = end, more
        batches.append(rows[start:])
        return self._levelled(batches)

    def _by_length(self, rows):
        """`rows` in an order in which neighbours are alike on both sides.

        Sorted by input length, cut into strips, and each strip sorted by target length, up and down in turn. The
        more the inputs' lengths vary beside the targets', the more strips: one where only targets vary, and one
        strip a batch where only inputs do.
        """
        inputs, targets = self._input_positions[rows], self._target_positions[rows]
        batches = len(rows) / self._rows_per_batch
        spread = [side.std() + 1e-3 for side in (inputs, targets)]
        strips = int(np.clip(np.sqrt(batches * spread[0] / spread[1]), 1, max(1, batches)))
        strip = np.empty(len(rows), np.int64)
        strip[np.lexsort((targets, inputs))] = np.arange(len(rows)) * strips // max(1, len(rows))
        return rows[np.lexsort((inputs, np.where(strip % 2, -targets, targets), strip))]

    def full_rows(self, rows):
        """How many rows a full batch has at the padded lengths of these `rows`."""
        positions = self._apart[rows].max(axis=0).sum()
        return int(max(len(rows), min(self._batch_examples, self._batch_tokens // max(1, positions))))

    def filled_rows(self, rows):
        """The same up to a multiple of `batch_rows_multiple`: the further rows are no examples."""
        return -(-self.full_rows(rows) // self._rows_multiple) * self._rows_multiple

    def padded_positions(self, rows):
        """How many positions a batch of these `rows` has, with its padding; of two alike the one with longer rows."""
        longest = int(self._apart[rows].max(axis=0).sum())
        return self.full_rows(rows) * longest, longest

    def shape(self, rows):
        """(rows, (lengths of inputs), (lengths of targets)) of a batch of these `rows`, filled up and padded."""
        lengths = (np.atleast_1d(padded[rows].max(axis=0)) for padded in (self.input_padded, self.target_padded))
        return self.filled_rows(rows), *(tuple(side.tolist()) for side in lengths)

    def _fits(self, count, positions):
        return count <= self._batch_examples and count * positions <= self._batch_tokens

    def _levelled(self, batches):
        """Shares the last two batches evenly where the budget allows: one example alone would weigh as much as 64."""
        if len(batches) < 2 or 2 * len(batches[-1]) >= len(batches[-2]):
            return batches
        rows = np.concatenate(batches[-2:])
        halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        for half in halves:
            if not self._fits(len(half), self._apart[half].max(axis=0).sum()):
                return batches
        return [*batches[:-2], *halves]
