"""Decodes batches with a model, and caches the compiled programs.

There is one encoding program for each input signature, and one decoding program for each kind of target text, shared by
all problems with such targets. Each grammar (`grammars.py`) has its own decoding programs, and so has sampling.
"""

import numpy as np

from t2t_multimodel.decode_hparams import LONGEST
from t2t_multimodel.decoding.decode import predict, read_source, write_text
from t2t_multimodel.decoding.grammars import grammar_of
from t2t_multimodel.decoding.sampling import Sampling

BUFFER_STEP = 64  # sizes of output buffers are multiples of this, so that few programs serve all lengths


class BatchDecoder:
    """Batches of numpy arrays in; ids or answers out."""

    def __init__(self, model, backend):
        """Args: model: a `MultiModel`. backend: the adapter of `training/backend.py`."""
        self._model, self._backend = model, backend
        self._readers, self._writers, self._predictors = {}, {}, {}
        self._sizes = set()  # numbers of rows that programs were compiled for

    def ids(self, spec, arrays, limit, beam_size=1, alpha=0.6, grammar=None, sampling=None):
        """→ ids int32 [rows, ≥ limit], zeros after end-of-sequence; scores float32 [rows].

        Args:
          arrays: a batch, see docs/architecture.md. limit: most ids per row.
          grammar: the grammar of the text, from `grammars.grammar_of`; None: any text.
          sampling: a `Sampling` of numbers and an array, to draw ids; None: greedy or beam search.
        """
        rows = len(arrays["command"])
        filled = self._filled(arrays, rows)
        cross_attention_cache = self._reader(spec)(filled)
        length = -(-limit // BUFFER_STEP) * BUFFER_STEP
        wanted = grammar.rows(filled["inputs"].tolist()) if grammar else np.int32(0)
        draws, truncated = {}, None
        if sampling is not None:
            draws, truncated = vars(sampling).copy(), sampling.truncated
            del draws["truncated"]
            draws["rows"] = np.resize(draws["rows"], len(filled["command"]))
        writer = self._writer(spec.targets, length, beam_size, grammar, truncated)
        given = (cross_attention_cache, filled["command"], np.int32(limit), np.float32(alpha), wanted, draws)
        ids, scores = writer(*given)
        return np.asarray(ids)[:rows], np.asarray(scores)[:rows]

    def answers(self, problem, arrays, vocabulary, settings, rows=None):
        """The answers to a batch, one a row, as metrics take them: strings, or what `Modality.answers` makes.

        Args:
          problem: a `RunProblem`. settings: of `decode_hparams.decode_settings`.
          rows: a number for each row, by which random numbers differ; None: its place in the batch.
        """
        spec = problem.spec
        if not self._model.head(spec).autoregressive:
            return spec.targets.answers(self.predicted(spec, arrays))
        limit = settings["max_length"] or min(int(1.2 * problem.longest_target) + 4, LONGEST)
        grammar = grammar_of(spec, vocabulary) if settings["constrained"] else None
        sampling = None
        if settings["temperature"]:
            sampling = Sampling(
                temperature=np.float32(settings["temperature"]),
                top_k=np.int32(settings["top_k"]),
                top_p=np.float32(settings["top_p"]),
                seed=np.int32(settings["seed"]),
                rows=np.asarray(np.arange(len(arrays["command"])) if rows is None else rows, np.int32),
                truncated=settings["top_k"] > 0 or settings["top_p"] < 1,
            )
        ids, _ = self.ids(spec, arrays, limit, settings["beam_size"], settings["alpha"], grammar, sampling)
        return [vocabulary.decode(row) for row in ids.tolist()]

    def predicted(self, spec, arrays):
        """What a head that is not autoregressive predicts: {name: numpy array [rows, …]}."""
        if spec.signature not in self._predictors:

            def prediction(batch):
                return predict(self._model, spec, batch)

            self._predictors[spec.signature] = self._backend.compiled(self._model, spec, prediction)
        rows = len(arrays["command"])
        if self._backend.STATIC_SHAPES:
            arrays = self._filled(arrays, rows)
        found = self._predictors[spec.signature](arrays)
        return {name: np.asarray(value)[:rows] for name, value in found.items()}

    def _reader(self, spec):
        if spec.signature not in self._readers:

            def read(batch):
                return read_source(self._model, spec, batch)

            self._readers[spec.signature] = self._backend.compiled(self._model, spec, read)
        return self._readers[spec.signature]

    def _writer(self, targets, length, beam_size, grammar, truncated):
        """`truncated`: of `Sampling`; None: no sampling."""
        key = (targets.weights_name, length, beam_size, grammar and grammar.name, truncated)
        if key not in self._writers:

            def write(cross_attention_cache, command, limit, alpha, wanted, draws):
                return write_text(
                    self._model,
                    targets,
                    cross_attention_cache,
                    command,
                    limit,
                    length,
                    beam_size,
                    alpha,
                    grammar,
                    wanted,
                    Sampling(**draws, truncated=truncated) if draws else None,
                )

            self._writers[key] = self._backend.fused(self._model, write)
        return self._writers[key]

    def _filled(self, arrays, rows):
        """Pads a batch with rows of zeros of weight 0 to one of few batch sizes: each size needs a compiled program.

        The last batch of a split uses the program of the full batches, unless they are more than 8 times larger.
        """
        full = min((size for size in self._sizes if rows <= size <= 8 * rows), default=1 << (rows - 1).bit_length())
        self._sizes.add(full)
        if full == rows:
            return arrays
        more = full - rows
        return {name: np.concatenate([a, np.zeros((more, *a.shape[1:]), a.dtype)]) for name, a in arrays.items()}
