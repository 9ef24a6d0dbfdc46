"""What a trained model makes of one batch: teacher-forced statistics, answers, or both."""

import dataclasses
import threading
from typing import Any


@dataclasses.dataclass(frozen=True)
class Task:
    """A batch of a problem, and what is wanted of it."""

    problem: str
    arrays: dict[str, Any]  # a batch, see docs/architecture.md
    settings: dict[str, Any] | None = None  # of `decode_hparams.decode_settings`; None: nothing is decoded
    rows: Any = None  # the number of each row, by which random numbers differ; None: its place in the batch
    scored: bool = False  # whether answers have scores
    forced: bool = False  # whether teacher-forced statistics are wanted too


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
        self._run, self._vocabulary = run, vocabulary
        self.decoder = BatchDecoder(model, backend)
        self._step = step or backend.Step(model, None, hparams)  # of which only the evaluation is used
        self._lock = threading.Lock()

    def do(self, task):
        """→ (statistics of `Step.evaluate` or None, answers of `BatchDecoder.answers` or `scored_answers` or None)."""
        problem = self._run.problem(task.problem)
        forced = answers = None
        if task.forced:
            with self._lock:
                forced = self._step.evaluate(problem.spec, task.arrays)
        if task.settings is not None:
            answer = self.decoder.scored_answers if task.scored else self.decoder.answers
            answers = answer(problem, task.arrays, self._vocabulary, task.settings, task.rows)
        return forced, answers
