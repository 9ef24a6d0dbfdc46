"""Decodes batches with a model, keeping the compiled programs.

One program reads, for each problem's inputs; one writes, for each kind of text, and all its problems share it.
A form (`grammars.py`) makes a kind of its own.
"""

import numpy as np

from t2t_multimodel.decoding.decode import rank_classes, read_source, write_text
from t2t_multimodel.decoding.grammars import grammar_of

BUFFER_STEP = 64  # output buffers come in multiples of so many ids, so that few programs serve all lengths


class BatchDecoder:
    """Batches of numpy arrays in; ids, strings or ranked classes out."""

    def __init__(self, model, backend):
        """Args: model: a `MultiModel`. backend: the adapter of `training/backend.py`."""
        self._model, self._backend = model, backend
        self._readers, self._writers, self._rankers = {}, {}, {}
        self._sizes = set()  # numbers of rows that programs were compiled for

    def ids(self, spec, arrays, limit, beam_size=1, alpha=0.6, form=None):
        """→ ids int32 [rows, ≥ limit], with end-of-sequence and zeros behind it; scores float32 [rows].

        Args:
          arrays: a batch, see docs/architecture.md. limit: at most so many ids a row.
          form: what the text keeps to, of `grammars.grammar_of`; None: any text.
        """
        rows = len(arrays["command"])
        filled = self._filled(arrays, rows)
        cross_attention_cache = self._reader(spec)(filled)
        length = -(-limit // BUFFER_STEP) * BUFFER_STEP
        writer = self._writer(spec.targets, length, beam_size, form)
        asked = form.rows(filled["inputs"].tolist()) if form else np.int32(0)
        ids, scores = writer(cross_attention_cache, filled["command"], np.int32(limit), np.float32(alpha), asked)
        return np.asarray(ids)[:rows], np.asarray(scores)[:rows]

    def texts(self, problem, arrays, vocabulary, settings):
        """The strings decoded of a batch. problem: a `RunProblem`. settings: of `decode_hparams.decode_settings`."""
        limit = settings["max_length"] or int(1.2 * problem.longest_target) + 4
        form = grammar_of(problem.spec, vocabulary) if settings["constrained"] else None
        ids, _ = self.ids(problem.spec, arrays, limit, settings["beam_size"], settings["alpha"], form)
        return [vocabulary.decode(row) for row in ids.tolist()]

    def classes(self, spec, arrays):
        """→ class ids int32 [rows, classes], likeliest first; log-probabilities float32 [rows, classes]."""
        if spec.signature not in self._rankers:

            def rank(batch):
                return rank_classes(self._model, spec, batch)

            self._rankers[spec.signature] = self._backend.compiled(self._model, spec, rank)
        rows = len(arrays["command"])
        if self._backend.STATIC_SHAPES:
            arrays = self._filled(arrays, rows)
        order, scores = self._rankers[spec.signature](arrays)
        return np.asarray(order)[:rows], np.asarray(scores)[:rows]

    def _reader(self, spec):
        if spec.signature not in self._readers:

            def read(batch):
                return read_source(self._model, spec, batch)

            self._readers[spec.signature] = self._backend.compiled(self._model, spec, read)
        return self._readers[spec.signature]

    def _writer(self, targets, length, beam_size, form):
        key = (targets.name, length, beam_size, form and form.name)
        if key not in self._writers:

            def write(cross_attention_cache, command, limit, alpha, asked):
                return write_text(
                    self._model, targets, cross_attention_cache, command, limit, length, beam_size, alpha, form, asked
                )

            self._writers[key] = self._backend.fused(self._model, write)
        return self._writers[key]

    def _filled(self, arrays, rows):
        """Rows filled up with weightless zeros: a program is compiled for each number of them, so there are few.

        What is left over of a split takes the program of its full batches, if they are not many times as large.
        """
        full = min((size for size in self._sizes if rows <= size <= 8 * rows), default=1 << (rows - 1).bit_length())
        self._sizes.add(full)
        if full == rows:
            return arrays
        more = full - rows
        return {name: np.concatenate([a, np.zeros((more, *a.shape[1:]), a.dtype)]) for name, a in arrays.items()}
