"""Decodes batches with a model, and caches the compiled programs.

There is one encoding program for each input signature, and one decoding program for each kind of target text, shared by
all problems with such targets. Each grammar (`grammars.py`) has its own decoding programs, and so has
sampling. Several threads may decode at once: programs are made one at a time.
"""

import threading
from typing import Any, NamedTuple

import numpy as np

from t2t_multimodel.decode_hparams import LONGEST, beam_of, check_ctc
from t2t_multimodel.decoding import ctc
from t2t_multimodel.decoding.decode import begin_text, continue_text, predict, read_source, write_text
from t2t_multimodel.decoding.grammars import grammar_of
from t2t_multimodel.decoding.sampling import Sampling
from t2t_multimodel.decoding.search import POSSIBLE
from t2t_multimodel.errors import UserError

_UNFINISHED = "\ufffd\ue000"  # ends a text that was cut inside a character or an escape of the vocabulary
BUFFER_STEP = 64  # sizes of output buffers are multiples of this, so that few programs serve all lengths


class ScoredAnswer(NamedTuple):
    """One of several answers to an input. The score is a log-probability (natural logarithm); of a beam search it is
    divided by the length penalty.
    """

    answer: Any
    score: float


class BatchDecoder:
    """Batches of numpy arrays in; ids or answers out."""

    def __init__(self, model, backend):
        """Args: model: a `MultiModel`. backend: the adapter of `training/backend.py`."""
        self._model, self._backend = model, backend
        self._readers, self._writers, self._predictors, self._in_parts, self._aligned = {}, {}, {}, {}, {}
        self._sizes = set()  # numbers of rows that programs were compiled for
        self._lock = threading.RLock()  # held where programs and sizes are added

    def ids(self, spec, arrays, limit, beam_size=1, alpha=0.6, grammar=None, sampling=None, best=0, positions=None):
        """→ ids int32 [rows, ≥ limit], zeros after end-of-sequence; scores float32 [rows].

        With `best`, so many hypotheses of each row, at most `beam_size`: ids [rows, best, ≥ limit], scores [rows,
        best].

        Args:
          arrays: a batch, see docs/architecture.md. limit: most ids per row.
          grammar: the grammar of the text, from `grammars.grammar_of`; None: any text.
          sampling: a `Sampling` of numbers and an array, to draw ids; None: greedy or beam search.
          positions: how many are written, at most; None: `limit`. The program is the same.
        """
        rows = len(arrays["command"])
        filled = self._filled(arrays, rows)
        cross_attention_cache = self._reader(spec)(filled)
        length = _buffer(limit)
        wanted = grammar.rows(filled["inputs"].tolist()) if grammar else np.int32(0)
        draws, truncated = _draws(sampling, len(filled["command"]))
        given = (
            cross_attention_cache,
            filled["command"],
            np.int32(positions or limit),
            np.float32(alpha),
            wanted,
            draws,
            np.int32(best or 1),
        )
        written = self._writer(spec.targets, length, beam_size, grammar, truncated)(*given)
        ids, scores = (array[:rows] for array in self._backend.to_host(written))  # of all hypotheses
        return (ids[:, :best], scores[:, :best]) if best else (ids[:, 0], scores[:, 0])

    def parts(self, spec, arrays, limit, pace, grammar=None, sampling=None):
        """Yields the ids of a batch of one example as they are written, int32 [ids so far]; the last are all of them.

        The programs are others than those of `ids`, of a few positions, but write the same.

        Args:
          pace: function that says how many positions to write next, at least 1. Others: as of `ids`.
        """
        filled = self._filled(arrays, 1)
        cross_attention_cache = self._reader(spec)(filled)
        wanted = grammar.rows(filled["inputs"].tolist()) if grammar else np.int32(0)
        draws, truncated = _draws(sampling, len(filled["command"]))
        begin, go_on = self._writer_in_parts(spec.targets, _buffer(limit), grammar, truncated)
        search, constants = begin(filled["command"], wanted)
        time, ended = 0, False
        while not ended:
            until = min(limit, time + max(1, pace()))
            search = go_on(cross_attention_cache, constants, search, np.int32(limit), np.int32(until), draws)
            time = until
            ended = time == limit or bool(np.asarray(search["done"])[0])
            yield np.asarray(search["ids"])[:time, 0]

    def text_parts(self, problem, arrays, vocabulary, settings, pace, rows=None):
        """Yields the answer to a batch of one example as it is written: the text so far; the last is the whole text.

        Each begins with the one before. Args: of `parts` and `answers`; it is never a beam search.
        """
        if settings["ctc"]:  # all positions at once
            yield self.answers(problem, arrays, vocabulary, settings, rows)[0]
            return
        how = self._how(problem, arrays, vocabulary, settings, rows)
        how = {name: how[name] for name in ("limit", "grammar", "sampling")}
        before, text = "", ""
        for ids in self.parts(problem.spec, arrays, pace=pace, **how):
            text = vocabulary.decode(ids.tolist())
            if len(part := settled(text)) > len(before):
                yield (before := part)
        if text != before:
            yield text

    def answers(self, problem, arrays, vocabulary, settings, rows=None):
        """The answers to a batch, one a row, as metrics take them: strings, or what `Modality.answers` makes.

        Args:
          problem: a `RunProblem`. settings: of `decode_hparams.decode_settings`.
          rows: a number for each row, by which random numbers differ; None: its place in the batch.
        """
        spec = problem.spec
        if not self._model.head(spec).autoregressive:
            return spec.targets.answers(self.predicted(spec, arrays))
        ids = self.written_ids(problem, arrays, vocabulary, settings, rows)
        return [vocabulary.decode(row) for row in ids.tolist()]

    def written_ids(self, problem, arrays, vocabulary, settings, rows=None):
        """The ids of the text that is the answer to each row, int32 [rows, ids], 0 behind its end. Args: as of
        `answers`.
        """
        how = self._how(problem, arrays, vocabulary, settings, rows)
        if settings["ctc"]:
            return self._with_ctc(problem.spec, arrays, settings, how)[0][:, 0]
        ids, _ = self.ids(problem.spec, arrays, **how)
        return ids

    def scored_answers(self, problem, arrays, vocabulary, settings, rows=None):
        """For each row a list of at most `return_beams` `ScoredAnswer`s, best first. Args: as of `answers`.

        Raises:
          UserError: answers of this kind have no scores.
        """
        spec, most = problem.spec, settings["return_beams"]
        if not self._model.head(spec).autoregressive:
            predicted = self.predicted(spec, arrays)
            if not spec.targets.ranked or "scores" not in predicted:
                raise UserError(f"{spec.name}: its answers have no scores; leave out return_beams")
            ranked = zip(spec.targets.answers(predicted), predicted["scores"].tolist())
            return [[ScoredAnswer(*pair) for pair in zip(row[:most], scores)] for row, scores in ranked]
        how = self._how(problem, arrays, vocabulary, settings, rows)
        if settings["ctc"]:
            ids, scores = (array[:, :most] for array in self._with_ctc(spec, arrays, settings, how))
        else:
            ids, scores = self.ids(spec, arrays, best=most, **how)
        return [
            [ScoredAnswer(vocabulary.decode(row), score) for row, score in zip(*of_row) if score > POSSIBLE]
            for of_row in zip(ids.tolist(), scores.tolist())
        ]

    def compile(self, problem, arrays, vocabulary, settings):
        """Makes the programs that answers to such a batch need, and runs them for one position. Args: of `answers`."""
        if not self._model.head(problem.spec).autoregressive:
            self.predicted(problem.spec, arrays)
            return
        how = self._how(problem, arrays, vocabulary, settings, None)
        if settings["ctc"]:
            self._with_ctc(problem.spec, arrays, settings, how)
        else:
            self.ids(problem.spec, arrays, positions=1, **how)

    def compile_parts(self, problem, arrays, vocabulary, settings):
        """The same for `text_parts`, of a batch of one example."""
        if settings["ctc"]:
            self.compile(problem, arrays, vocabulary, settings)
            return
        how = self._how(problem, arrays, vocabulary, settings, None)
        how = {name: how[name] for name in ("limit", "grammar", "sampling")}
        next(self.parts(problem.spec, arrays, pace=lambda: 1, **how))

    def _how(self, problem, arrays, vocabulary, settings, rows):
        """The arguments of `ids` that settings stand for."""
        grammar = grammar_of(problem.spec, vocabulary) if settings["constrained"] else None
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
        return {
            "limit": limit_of(problem, settings),
            "beam_size": beam_of(settings),
            "alpha": settings["alpha"],
            "grammar": grammar,
            "sampling": sampling,
        }

    def _with_ctc(self, spec, arrays, settings, how):
        """Of each row its hypotheses, best first: ids int32 [rows, beams, ids], scores float32 [rows, beams].

        With ctc=1 those of CTC, and for a beam_size of 1 its likeliest path; else those of the beam search that `how`
        says and of CTC's own, each scored by both.
        """
        check_ctc(settings, spec, self._model.aligned_net(spec) is not None)
        rows, beam, to_host = len(arrays["command"]), how["beam_size"], self._backend.to_host
        filled = self._filled(arrays, rows)
        if settings["ctc"] == 1 and beam == 1:
            ids, scores = to_host(self._aligned_program(spec, ctc.read_ids)(filled))
            ids = ctc.to_the_left(ids)[:, : how["limit"]]
            return ids[:rows, None], scores[:rows, None]
        logits, padding_mask = self._aligned_program(spec, ctc.read_positions)(filled)
        limit = how["limit"]
        own_ids, own_scores = ctc.likeliest(*to_host((logits, padding_mask)), beam, _buffer(limit), limit)
        if settings["ctc"] == 1:
            return own_ids[:rows], own_scores[:rows]
        ids, scores = self.ids(spec, filled, best=beam, **how)
        if how["grammar"] is None:  # CTC knows none
            by_decoder = self._log_probabilities(spec, filled, own_ids)
            lengths = (own_ids != 0).sum(axis=2)
            own_scores = np.where(lengths, by_decoder / ctc.penalty(lengths, how["alpha"]), -np.inf)
            ids, scores = ctc.pooled(ids, scores, own_ids, own_scores)
        (of_ctc,) = to_host((self._aligned_program(spec, ctc.log_probabilities)(logits, padding_mask, ids),))
        given = scores, of_ctc, (ids != 0).sum(axis=2), settings["ctc"], how["alpha"]
        order, scores = ctc.joint_order(*given)
        order, scores = order[:rows, :beam], scores[:rows, :beam]
        return np.take_along_axis(ids[:rows], order[..., None], axis=1), scores

    def _aligned_program(self, spec, function):
        """`function(model, spec, *arrays)` of `ctc.py`, compiled."""

        def run(*arrays):
            return function(self._model, spec, *arrays)

        key = spec.signature, function.__name__
        with self._lock:
            if key not in self._aligned:
                of_batch = function is not ctc.log_probabilities
                make = self._backend.compiled if of_batch else self._backend.fused
                self._aligned[key] = make(self._model, *([spec] if of_batch else []), run, called=("ctc", *key))
            return self._aligned[key]

    def _log_probabilities(self, spec, filled, ids):
        """What the decoder gives to each text: ids int32 [rows, texts, T] → float32 [rows, texts]."""
        texts = ids.shape[1]
        key = spec.signature, "by_decoder", texts
        with self._lock:
            if key not in self._aligned:
                run = lambda batch: self._model.log_probabilities(batch, spec, texts)
                self._aligned[key] = self._backend.compiled(
                    self._model, spec, run, called=("ctc", *key), with_targets=True
                )
        found = self._aligned[key](filled | {"targets": ids.reshape(len(ids), -1)})
        return self._backend.to_host((found,))[0]

    def predicted(self, spec, arrays):
        """What a head that is not autoregressive predicts: {name: numpy array [rows, …]}."""

        def prediction(batch):
            return predict(self._model, spec, batch)

        with self._lock:
            if spec.signature not in self._predictors:
                called = ("predict", spec.signature)
                self._predictors[spec.signature] = self._backend.compiled(self._model, spec, prediction, called=called)
        rows = len(arrays["command"])
        if self._backend.STATIC_SHAPES:
            arrays = self._filled(arrays, rows)
        found = self._backend.to_host(self._predictors[spec.signature](arrays))
        return {name: value[:rows] for name, value in found.items()}

    def _reader(self, spec):

        def read(batch):
            return read_source(self._model, spec, batch)

        with self._lock:
            if spec.signature not in self._readers:
                called = ("read", spec.signature)
                self._readers[spec.signature] = self._backend.compiled(self._model, spec, read, called=called)
            return self._readers[spec.signature]

    def _writer(self, targets, length, beam_size, grammar, truncated):
        """`truncated`: of `Sampling`; None: no sampling."""

        def write(cross_attention_cache, command, limit, alpha, wanted, draws, needed):
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
                needed,
            )

        key = (targets.weights_name, length, beam_size, grammar and grammar.name, truncated)
        with self._lock:
            if key not in self._writers:
                called = _kept_as("write", key, targets)
                self._writers[key] = self._backend.fused(self._model, write, any_rows=True, called=called)
            return self._writers[key]

    def _writer_in_parts(self, targets, length, grammar, truncated):
        """The programs of `parts`: (begin, go on). Args: as of `_writer`."""

        def begin(command, wanted):
            return begin_text(self._model, command, length, grammar, wanted)

        def go_on(cross_attention_cache, constants, search, limit, until, draws):
            sampling = Sampling(**draws, truncated=truncated) if draws else None
            given = (cross_attention_cache, constants, search, limit, until, grammar, sampling)
            return continue_text(self._model, targets, *given)

        key = (targets.weights_name, length, grammar and grammar.name, truncated)
        with self._lock:
            if key not in self._in_parts:
                fused = self._backend.fused
                self._in_parts[key] = tuple(
                    fused(self._model, function, called=_kept_as(function.__name__, key, targets))
                    for function in (begin, go_on)
                )
            return self._in_parts[key]

    def _filled(self, arrays, rows):
        """Pads a batch with rows of zeros of weight 0 to one of few batch sizes: each size needs a compiled program.

        The last batch of a split uses the program of the full batches, unless they are more than 8 times larger.
        """
        with self._lock:
            fitting = (size for size in self._sizes if rows <= size <= 8 * rows)
            full = min(fitting, default=1 << (rows - 1).bit_length())
            self._sizes.add(full)
        if full == rows:
            return arrays
        more = full - rows
        return {name: np.concatenate([a, np.zeros((more, *a.shape[1:]), a.dtype)]) for name, a in arrays.items()}


def _kept_as(name, key, targets):
    """`called` of the adapters' `fused`; None where a grammar is of a vocabulary that nothing is known of."""
    known = getattr(targets, "vocabulary_digest", "") or not any(isinstance(part, str) for part in key[1:])
    return (name, *key) if known else None


def settled(text):
    """The part of the text of some ids that further ids can't change."""
    return text.rstrip(_UNFINISHED)


def _buffer(limit):
    """The size of the output buffer for `limit` ids."""
    return -(-limit // BUFFER_STEP) * BUFFER_STEP


def _draws(sampling, rows):
    """({name: array} of a `Sampling` of so many rows, its `truncated`); ({}, None) of None."""
    if sampling is None:
        return {}, None
    draws = vars(sampling).copy()
    truncated = draws.pop("truncated")
    return draws | {"rows": np.resize(draws["rows"], rows)}, truncated


def limit_of(problem, settings):
    """The most ids that an answer of a `RunProblem` has: what `settings` say, else a fifth more than in training."""
    return settings["max_length"] or min(int(1.2 * problem.longest_target) + 4, LONGEST)
