"""What a trained model makes of one batch: teacher-forced statistics, answers, or both."""

import dataclasses
import threading
from typing import Any, NamedTuple

from t2t_multimodel.vocabulary import EOS_ID


@dataclasses.dataclass(frozen=True)
class Task:
    """A batch of a problem, and what is wanted of it."""

    problem: str
    arrays: dict[str, Any]  # a batch, see docs/architecture.md
    settings: dict[str, Any] | None = None  # of `decode_hparams.decode_settings`; None: nothing is decoded
    rows: Any = None  # the number of each row, by which random numbers differ; None: its place in the batch
    scored: bool = False  # whether answers have scores
    forced: bool = False  # whether teacher-forced statistics are wanted too
    observed: bool = False  # whether what `MultiModel.observe` sees is wanted too


class Outcome(NamedTuple):
    """What became of a `Task`; None for what was not wanted."""

    forced: Any = None  # statistics of `Step.evaluate`
    answers: Any = None  # of `BatchDecoder.answers` or `scored_answers`
    observed: Any = None  # of `Step.observe`


class Answerer:
    """Does `Task`s with a model in this process. Several threads may use one at once."""

    def __init__(self, model, run, hparams, vocabulary, step=None):
        """Args:
        model, run, hparams: see `training/run.py`. vocabulary: of its texts, or None.
        step: the backend's `Step` with the compiled evaluation to use; None: one is made, without an optimiser.
        """
        from t2t_multimodel.decoding.batch_decoder import BatchDecoder
        from t2t_multimodel.training.backend import adapter

        backend = adapter()
        self._model, self._run, self._vocabulary = model, run, vocabulary
        self._static_shapes = backend.STATIC_SHAPES
        self.decoder = BatchDecoder(model, backend)
        self._step = step or backend.Step(model, None, hparams)  # of which only the evaluation is used
        self._lock = threading.Lock()

    def do(self, task):
        """The `Outcome` of a `Task`."""
        problem = self._run.problem(task.problem)
        forced = answers = observed = None
        with self._lock:
            if task.forced:
                forced = self._step.evaluate(problem.spec, task.arrays)
            if task.observed:
                observed = self._step.observe(problem.spec, task.arrays)
        if task.settings is not None:
            answer = self.decoder.scored_answers if task.scored else self.decoder.answers
            answers = answer(problem, task.arrays, self._vocabulary, task.settings, task.rows)
        return Outcome(forced, answers, observed)

    def explain(self, problem, columns, input_length, settings):
        """The `Explanation` of the answer to one input.

        Args:
          problem: its name. columns: {name: column} of the input. input_length: to pad to. settings: as of `Task`.
        """
        from t2t_multimodel.decoding.batch_decoder import BUFFER_STEP
        from t2t_multimodel.decoding.explanation import Explanation, attention_over_source, expert_shares
        from t2t_multimodel.input.padding import columns_of, make_batch

        known, vocabulary = self._run.problem(problem), self._vocabulary
        spec = known.spec
        arrays = make_batch(spec, columns, input_length=input_length)
        pieces: list[str] = []
        if self._model.head(spec).autoregressive:
            row = self.decoder.written_ids(known, arrays, vocabulary, settings)[0]
            answer = vocabulary.decode(row.tolist())
            ended = bool((row == EOS_ID).any())
            ids = row[: int((row == EOS_ID).argmax())] if ended else row[row != 0]
            pieces = spec.targets.attention_axis(ids, None, vocabulary)["positions"]
            pieces = pieces if ended else pieces[:-1]  # cut off, it has no end
            length = -(-(len(ids) + 1) // BUFFER_STEP) * BUFFER_STEP if self._static_shapes else 0
            targets = columns_of([ids])
            arrays = make_batch(spec, columns, targets, input_length=input_length, target_length=length)
        else:
            (answer,) = self.do(Task(problem, arrays, settings, [0])).answers
            answer = spec.targets.best(answer)
        with self._lock:
            seen = self._step.capture(spec, arrays)
        attention = {name: of_layer[: len(pieces)] for name, of_layer in attention_over_source(seen).items()}
        sample = {name: column[0] for name, column in columns.items()}
        sample = sample["values"] if [*sample] == ["values"] else sample
        axis = spec.inputs.attention_axis(sample, seen["grid"], vocabulary)
        return Explanation(answer, pieces, attention if pieces else {}, axis, expert_shares(seen))
