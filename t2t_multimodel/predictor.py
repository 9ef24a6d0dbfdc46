"""Using a trained model: `t2t_multimodel.load("run").decode("tiny_ende", ["…"])`."""

import os
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from t2t_multimodel.arguments import COUNT, POSITIVE, OneOf, check_arguments
from t2t_multimodel.decode_hparams import QUANTIZE, decode_settings, of_stream
from t2t_multimodel.errors import UserError

if TYPE_CHECKING:
    from t2t_multimodel.decoding.explanation import Explanation
    from t2t_multimodel.modalities import ProblemSpec
    from t2t_multimodel.training.workers import Workers

_LONG_INPUTS = OneOf("error", "warn")


def load(
    output_dir: "str | os.PathLike[str]", step: int | None = None, workers: int = 1, quantize: str = "none"
) -> "Predictor":
    """Loads a run once, to decode many times: a `Predictor`.

    Args:
      output_dir: the run directory, or a folder that `t2t-exporter --format=hub` made.
      step: which checkpoint; None: the newest whole one.
      workers: processes that decode and score beside each other, each on one processor; what is fewer batches than
        workers is done by this process. A script that sets it needs `if __name__ == "__main__":`.
      quantize: "int8": matrices are held as int8, in a quarter of the memory; answers may differ a little.

    Raises:
      UserError: no run or checkpoint, or a damaged one; several workers where a GPU or another device computes.
    """
    from t2t_multimodel import startup
    from t2t_multimodel.files import user_path

    check_arguments(
        step=(step, (COUNT, None)), workers=(workers, (POSITIVE, None)), quantize=(quantize, OneOf(*QUANTIZE))
    )
    output_dir = user_path(output_dir, "output_dir")
    startup.set_environment()
    startup.import_backend()
    from t2t_multimodel.training import published
    from t2t_multimodel.training.run_directory import RunDirectory

    if published.is_published(output_dir):
        stored = published.stored(output_dir, step)
    else:
        stored = RunDirectory(output_dir).stored(step, report=warnings.warn)
    stored = stored.quantized(quantize)
    if workers == 1:
        return _predictor(stored)
    from t2t_multimodel.training.workers import Workers

    pool = Workers(workers, stored)  # which get ready while this process makes its own model
    try:
        return _predictor(pool.stored, pool)
    except BaseException:
        pool.close()
        raise


def _predictor(of, workers=None):
    return Predictor(of.model(), of.run, of.hparams, of.vocabulary, of.step, workers, of.quantize)


class Predictor:
    """A trained model and all it takes to use it: vocabulary, classes, sizes. Several threads may use one at once."""

    def __init__(
        self,
        model: Any,
        run: Any,
        hparams: Any,
        vocabulary: Any,
        step: int,
        workers: "Workers | None" = None,
        quantize: str = "none",
    ) -> None:
        """Args: workers: of the same run; they end with this object. quantize: how the model holds its matrices."""
        from t2t_multimodel.training.answerer import Answerer
        from t2t_multimodel.training.backend import adapter

        self.model, self.hparams, self.step, self.quantize = model, hparams, step, quantize
        self._run, self._vocabulary = run, vocabulary
        self._answerer = Answerer(model, run, hparams, vocabulary)
        self._decoder = self._answerer.decoder
        self._static_shapes = adapter().STATIC_SHAPES
        self._limited: dict[str, Any] = {}  # problem → its inputs' modality as `check` uses it
        self._workers = workers
        self._end = weakref.finalize(self, workers.close) if workers else lambda: None

    def close(self) -> None:
        """Ends its worker processes, if there are any; then this process decodes alone."""
        self._end()

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def problems(self) -> list[str]:
        """Names of the problems that the model was trained on."""
        return sorted(self._run.problems)

    def spec(self, problem: str) -> "ProblemSpec":
        """The `ProblemSpec` of a problem: what it reads and writes."""
        return self._run.problem(problem).spec

    def decode_settings(self, problem: str, /, **decode_hparams: float) -> dict[str, Any]:
        """All decode hparams of a problem: the defaults, then its own, then those given.

        Raises:
          UserError: unknown problem or setting.
        """
        asked = {"quantize": self.quantize} | decode_hparams
        settings = decode_settings(asked, self._run.problem(problem).decode_hparams, problem)
        if settings["quantize"] != self.quantize:
            said = f"the run is loaded with quantize={self.quantize}, so it can't answer with {settings['quantize']}"
            raise UserError(f"{said}; leave it out, or load the run with it")
        return settings

    def _of_stream(self, problem, decode_hparams):
        return of_stream(lambda asked: self.decode_settings(problem, **asked), decode_hparams)

    def longest_answer(self, problem: str, /, **decode_hparams: float) -> int:
        """The most ids that an answer of a problem with text targets has."""
        from t2t_multimodel.decoding.batch_decoder import limit_of

        return limit_of(self._run.problem(problem), self.decode_settings(problem, **decode_hparams))

    def check(self, problem: str, value: Any) -> Any:
        """One input, read and checked before it is decoded, so that it can't spoil a batch.

        Args:
          problem: its name. value: as one of the inputs of `decode`; bytes are those of a picture or a recording.

        Returns:
          The sample, which `decode` takes as an input: text as it is, a picture or a recording as an array.

        Raises:
          UserError: unknown problem; an input that can't be read, is empty, or is longer than any in training.
        """
        spec = self._run.problem(problem).spec
        modality = self._limited.get(problem)
        if modality is None:
            modality = self._limited[problem] = spec.inputs.limited(self.hparams)
        try:
            sample = modality.from_line(value)
            modality.check(sample)
        except (ValueError, OSError, TypeError) as error:
            raise UserError(f"{problem}: {error}") from None
        stored = np.array(spec.inputs.columns([sample], self._vocabulary)[1], np.int64)
        lengths = spec.inputs.lengths(self.hparams, "inputs", self._static_shapes)
        if lengths.too_long(stored)[0]:
            raise UserError(f"{problem}: the input is longer ({stored.tolist()[0]}) than any in training; split it")
        return sample

    def warm(
        self, problem: str, sizes: Sequence[int] = (1, 8, 32), stream: bool = False, **decode_hparams: float
    ) -> None:
        """Compiles what decoding short inputs needs, so that the first answers don't wait for it.

        Args:
          problem: its name. sizes: numbers of inputs at once; what is decoded later is filled up to one of these.
          stream: whether `stream` is got ready too; where a text is written, and by the size 1.
          decode_hparams: as of `decode`.

        Raises:
          UserError: unknown problem or setting.
        """
        from t2t_multimodel.input.given import made_up
        from t2t_multimodel.input.padding import make_batch

        known = self._run.problem(problem)
        modality = known.spec.inputs
        settings = self.decode_settings(problem, **decode_hparams)
        lengths = modality.lengths(self.hparams, "inputs", self._static_shapes)
        sample = made_up(modality)
        length = lengths.padded(np.array([modality.stored_length(sample)], np.int64)).max(axis=0)
        for size in sizes:
            check_arguments(size=(size, COUNT))
            if not 0 < size <= self.hparams.batch_examples:
                continue  # `decode` makes no such batch
            columns = {name: [array] * size for name, array in sample.items()} or {"values": [0] * size}
            arrays = make_batch(known.spec, columns, input_length=length)
            self._decoder.compile(known, arrays, self._vocabulary, settings)
            if stream and size == 1 and self.writes_text(problem):
                self._decoder.compile_parts(known, arrays, self._vocabulary, self._of_stream(problem, decode_hparams))

    def decode(
        self,
        problem: str,
        inputs: Sequence[Any],
        long_inputs: str = "error",
        first_row: int = 0,
        row_numbers: Sequence[int] | None = None,
        **decode_hparams: float,
    ) -> list[Any]:
        """The model's answers to inputs of one problem, in their order.

        Args:
          problem: its name.
          inputs: what the problem's modality reads: strings for text; paths, bytes or uint8 arrays for pictures; paths,
            bytes or int16 arrays (at the problem's rate) for sound; of several inputs a dict or a line with tabs
            between them; None for a problem without inputs.
          long_inputs: what to do with an input longer than any the model was trained on: "error" or "warn". None is
            ever cut.
          first_row: the number of the first input; when answers are sampled, random numbers differ by number.
          row_numbers: the number of each input, where they do not follow each other.
          decode_hparams: what differs from the problem's own: beam_size (1 = greedy), alpha (exponent of the length
            penalty), max_length (ids; 0: by training), constrained (1: trees are well-formed, a leaf for each word;
            0: whatever the model writes), return_beams (n: the n best answers with scores, of a beam at least as
            large). To sample: temperature (above 0), top_k, top_p and seed; an answer depends on the seed, its input
            and the number of its input, so equal inputs have different answers.

        Returns:
          A list of answers: text, the name of the likeliest class, or what the target's modality makes of it. With
          `return_beams`, each is a list of `ScoredAnswer(answer, score)`, best first.

        Raises:
          UserError: unknown problem or setting, an input that can't be read or is too long.
        """
        return self.begin(problem, inputs, long_inputs, first_row, row_numbers, **decode_hparams)()

    def begin(
        self,
        problem: str,
        inputs: Sequence[Any],
        long_inputs: str = "error",
        first_row: int = 0,
        row_numbers: Sequence[int] | None = None,
        **decode_hparams: float,
    ) -> Callable[[], list[Any]]:
        """Begins what `decode` does, with the same arguments and errors, so that workers go on with it while this
        process reads further inputs; returns a function that waits for the answers. Without workers that makes them.
        """
        from t2t_multimodel.input.given import batches_by_length, check_is_list, numbers_of
        from t2t_multimodel.input.padding import make_batch
        from t2t_multimodel.training.answerer import Task

        check_arguments(problem=(problem, str), long_inputs=(long_inputs, _LONG_INPUTS), first_row=(first_row, COUNT))
        check_is_list(inputs)
        known, settings = self._run.problem(problem), self.decode_settings(problem, **decode_hparams)
        columns, stored, lengths = self._columns(known.spec, inputs, long_inputs, first_row)
        numbers = numbers_of(row_numbers, first_row, len(stored))
        several = settings["return_beams"] > 0

        def task(rows):
            part = {name: [column[i] for i in rows] for name, column in columns.items()}
            arrays = make_batch(known.spec, part, input_length=lengths.padded(stored[rows]).max(axis=0))
            return Task(problem, arrays, settings, [numbers[i] for i in rows], several)

        plan = batches_by_length(stored, lengths, self.hparams.batch_examples)
        results = self._results(plan, task)
        answers: list[Any] = [None] * len(stored)

        def finish():
            for rows, outcome in zip(plan, results()):
                for i, answer in zip(rows, outcome.answers):
                    answers[i] = answer if several else known.spec.targets.best(answer)
            return answers

        return finish

    def stream(
        self, problem: str, value: Any, pace: Callable[[], int] = lambda: 1, first_row: int = 0, **decode_hparams: float
    ) -> Iterator[str]:
        """The model's answer to one input as it is written; the problem must have text as target.

        Args:
          problem: its name. value: one of the inputs of `decode`.
          pace: is asked before each part how many ids to write next. first_row: the number of the input, see `decode`.
          decode_hparams: as of `decode`; there is no beam search here, even where a problem has one of its own, and
            no CTC beside it.

        Returns:
          An iterator over the text so far, each text an extension of the one before; the last one is the answer, equal
          to that of `decode(problem, [value], beam_size=1, …)`. It may be empty.

        Raises:
          UserError: what `decode` raises; an answer that is no text; beam_size above 1 or return_beams.
        """
        from t2t_multimodel.input.padding import make_batch

        known = self._run.problem(problem)
        if not self.writes_text(problem):
            raise UserError(f"{problem}: its answers are not written word by word; use decode")
        settings = self._of_stream(problem, decode_hparams)
        if settings["beam_size"] > 1 or settings["return_beams"]:
            raise UserError(f"{problem}: a stream has one answer; leave out beam_size and return_beams")
        columns, stored, lengths = self._columns(known.spec, [value], "error", 0)
        arrays = make_batch(known.spec, columns, input_length=lengths.padded(stored).max(axis=0))
        return self._decoder.text_parts(known, arrays, self._vocabulary, settings, pace, [first_row])

    def explain(self, problem: str, value: Any, **decode_hparams: float) -> "Explanation":
        """The model's answer to one input, what it looked at while writing it, and the experts that it used.

        Args: as of `decode`, without return_beams.

        Raises:
          UserError: what `decode` raises.
        """
        known = self._run.problem(problem)
        settings = self.decode_settings(problem, **decode_hparams)
        if settings["return_beams"]:
            raise UserError(f"{problem}: one answer is explained; leave out return_beams")
        columns, stored, lengths = self._columns(known.spec, [value], "error", 0)
        return self._answerer.explain(problem, columns, lengths.padded(stored).max(axis=0), settings)

    def writes_text(self, problem: str) -> bool:
        """Whether the answers to a problem are written id by id, so that `stream` can give them."""
        return self.model.head(self.spec(problem)).autoregressive

    def score(
        self,
        problem: str,
        inputs: Sequence[Any],
        targets: Sequence[Any],
        long_inputs: str = "error",
        first_row: int = 0,
    ) -> list[float]:
        """The log-probability (natural logarithm) of each given target, end-of-sequence included.

        Args:
          problem: its name, with text or a class as target. inputs, long_inputs: as of `decode`.
          first_row: the number of the first input, for errors.
          targets: for each input a text or the name of a class.

        Raises:
          UserError: unknown problem, targets without probabilities, an input or a target that does not fit.
        """
        from t2t_multimodel.input.given import batches_by_length, check_is_list
        from t2t_multimodel.input.padding import make_batch
        from t2t_multimodel.training.answerer import Task

        check_arguments(problem=(problem, str), long_inputs=(long_inputs, _LONG_INPUTS), first_row=(first_row, COUNT))
        check_is_list(inputs)
        check_is_list(targets, "targets")
        inputs, targets = list(inputs), list(targets)
        known = self._run.problem(problem)
        spec = known.spec
        if "log_probability" not in self.model.head(spec).statistics:
            raise UserError(f"{problem}: its targets have no probabilities, so nothing can be scored")
        if len(targets) != len(inputs):
            raise UserError(f"targets must be a list of {len(inputs)}, one for each input")
        columns, stored, lengths = self._columns(spec, inputs, long_inputs, first_row)
        for place, target in enumerate(targets, first_row + 1):
            try:
                spec.targets.check(target)
            except ValueError as error:
                raise UserError(f"{problem}: target {place}: {error}") from None
        target_columns, target_lengths = spec.targets.columns(targets, self._vocabulary)
        of_targets = spec.targets.lengths(self.hparams, "targets", self._static_shapes)
        padded_targets = of_targets.padded(np.array(target_lengths, np.int64))

        def task(rows):
            arrays = make_batch(
                spec,
                {name: [column[i] for i in rows] for name, column in columns.items()},
                {name: [column[i] for i in rows] for name, column in target_columns.items()},
                rows=self.hparams.batch_examples if self._static_shapes else 0,
                input_length=lengths.padded(stored[rows]).max(axis=0),
                target_length=int(padded_targets[rows].max()),
            )
            return Task(problem, arrays, forced=True)

        scores = [0.0] * len(stored)
        plan = batches_by_length(stored, lengths, self.hparams.batch_examples)
        for rows, outcome in zip(plan, self._results(plan, task)()):
            each = outcome.forced["log_probability"] * (outcome.forced["weights"] > 0)
            for i, score in zip(rows, each.reshape(len(each), -1).sum(axis=1).tolist()):
                scores[i] = score
        return scores

    def _columns(self, spec, inputs, long_inputs, first_row):
        """({name: column}, stored lengths, `Lengths`) of inputs as a person gives them."""
        from t2t_multimodel.input.given import check_lengths
        from t2t_multimodel.input.padding import samples_of_values

        modality = spec.inputs
        lengths = modality.lengths(self.hparams, "inputs", self._static_shapes)
        samples = samples_of_values(spec, inputs, first_row + 1)
        columns, stored = modality.columns(samples, self._vocabulary)
        stored = np.array(stored, np.int64)
        check_lengths(spec.name, stored, lengths, long_inputs, first_row)
        return columns, stored, lengths

    def _results(self, plan, task):
        """Begins a plan's tasks where workers do them; returns a function that gives an iterator over the results."""
        if self._workers is None or self._workers.closed or len(plan) < self._workers.count:
            return lambda: map(self._answerer.do, map(task, plan))
        return self._workers.begin(list(map(task, plan)))
