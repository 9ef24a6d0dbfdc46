"""Decodes batches with a model, keeping one compiled program for each signature and way of decoding."""

import numpy as np

from t2t_multimodel.decoding.decode import decode_text, rank_classes

BUFFER_STEP = 64  # output buffers come in multiples of so many ids, so that few programs serve all lengths


class BatchDecoder:
    """Batches of numpy arrays in, ids or ranked classes out."""

    def __init__(self, model, compiled, few_shapes=False):
        """Args:
        model: a `MultiModel`.
        compiled: the backend adapter's function (model, spec, function, scalar dtypes) → callable on numpy arrays.
        few_shapes: rows are filled up to a power of two, for compilers that make a program for each shape.
        """
        self._model, self._compiled, self._few_shapes = model, compiled, few_shapes
        self._programs = {}

    def ids(self, spec, arrays, limit, beam_size=1, alpha=0.6):
        """→ ids int32 [rows, ≥ limit], with end-of-sequence and zeros behind it; scores float32 [rows].

        Args:
          arrays: a batch, see docs/architecture.md. limit: at most so many ids a row.
        """
        length = -(-limit // BUFFER_STEP) * BUFFER_STEP
        key = (spec.signature, length, beam_size)
        if key not in self._programs:

            def decode(batch, limit, alpha):
                return decode_text(self._model, spec, batch, limit, length, beam_size, alpha)

            self._programs[key] = self._compiled(self._model, spec, decode, ("int32", "float32"))
        rows = len(arrays["command"])
        ids, scores = self._programs[key](self._filled(arrays, rows), limit, alpha)
        return ids[:rows], scores[:rows]

    def classes(self, spec, arrays):
        """→ class ids int32 [rows, classes], likeliest first; log-probabilities float32 [rows, classes]."""
        if spec.signature not in self._programs:

            def rank(batch):
                return rank_classes(self._model, spec, batch)

            self._programs[spec.signature] = self._compiled(self._model, spec, rank)
        rows = len(arrays["command"])
        order, scores = self._programs[spec.signature](self._filled(arrays, rows))
        return order[:rows], scores[:rows]

    def _filled(self, arrays, rows):
        more = (1 << (rows - 1).bit_length()) - rows if self._few_shapes else 0
        if not more:
            return arrays
        return {name: np.concatenate([a, np.zeros((more, *a.shape[1:]), a.dtype)]) for name, a in arrays.items()}
