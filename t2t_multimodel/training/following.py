"""How a model follows inputs that are in order, such as speech, summed over the batches of an evaluation."""

import numpy as np

from t2t_multimodel import metrics

MONOTONICITY = "attention_monotonicity"  # in metrics.jsonl; of the most monotone head, −1 to 1
ALIGNED = "ctc_"  # before the name of a metric: of the likeliest path of CTC, without the decoder


class Following:
    """Adds up what `MultiModel.observe` says of batches."""

    def __init__(self):
        self._signs, self._pairs, self._texts = 0.0, 0.0, []

    def add(self, seen, examples, vocabulary):
        """Args: seen: of `Step.observe`. examples: rows of the batch that are examples. vocabulary: of the targets."""
        if "signs" in seen:
            pairs = seen["pairs"].astype(np.float64)
            share = seen["signs"] / np.maximum(pairs, 1.0)[:, None]  # of each example, [rows, heads]
            counted = pairs > 0
            self._signs = self._signs + share[counted].sum(axis=0)
            self._pairs += counted.sum()
        if "aligned_ids" in seen:
            self._texts += [vocabulary.decode(row[row > 0]) for row in seen["aligned_ids"][:examples]]

    def result(self, names, references):
        """{metric: value}: the mean over the examples of the head whose attention is the most monotone, and the first
        of the metrics `names` of what CTC reads.

        Args:
          references: as of `metrics.score`; [] where nothing is decoded.
        """
        found = {}
        if self._pairs:
            found[MONOTONICITY] = float(np.max(self._signs) / self._pairs)
        if self._texts and references and names:
            scores = metrics.score(names[:1], self._texts, references)
            found[ALIGNED + names[0]] = scores[names[0]]
        return found
