"""Using a trained model: `t2t_multimodel.load("run").decode("tiny_ende", ["…"])`."""

import os
import reprlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from t2t_multimodel.errors import UserError

if TYPE_CHECKING:
    from t2t_multimodel.modalities import ProblemSpec


def load(output_dir: "str | os.PathLike[str]", step: int | None = None) -> "Predictor":
    """Loads a run once, to decode many times.

    Args:
      output_dir: the run directory, or a folder that `t2t-exporter --format=hub` made.
      step: which checkpoint; None: the newest whole one.

    Returns:
      A `Predictor`.
    """
    from t2t_multimodel import startup
    from t2t_multimodel.arguments import COUNT, check_arguments
    from t2t_multimodel.files import user_path

    check_arguments(step=(step, (COUNT, None)))
    output_dir = user_path(output_dir, "output_dir")
    startup.set_environment()
    startup.import_tensorflow()
    from t2t_multimodel.training import published
    from t2t_multimodel.training.run_directory import RunDirectory

    if published.is_published(output_dir):
        return Predictor(*published.load(output_dir, step))
    directory = RunDirectory(output_dir)
    model, run, hparams, step = directory.load_model(step, report=warnings.warn)
    return Predictor(model, run, hparams, directory.vocabulary(run), step)


class Predictor:
    """A trained model and all it takes to use it: vocabulary, classes, sizes."""

    def __init__(self, model: Any, run: Any, hparams: Any, vocabulary: Any, step: int) -> None:
        from t2t_multimodel.decoding.batch_decoder import BatchDecoder
        from t2t_multimodel.training.backend import adapter

        backend = adapter()
        self.model, self.hparams, self.step = model, hparams, step
        self._run, self._vocabulary = run, vocabulary
        self._decoder = BatchDecoder(model, backend)
        self._static_shapes = backend.STATIC_SHAPES

    @property
    def problems(self) -> list[str]:
        """Names of the problems that the model was trained on."""
        return sorted(self._run.problems)

    def spec(self, problem: str) -> "ProblemSpec":
        """The `ProblemSpec` of a problem: what it reads and writes."""
        return self._run.problem(problem).spec

    def decode(
        self,
        problem: str,
        inputs: Sequence[Any],
        long_inputs: str = "error",
        first_row: int = 0,
        **decode_hparams: float,
    ) -> list[Any]:
        """The model's answers to inputs of one problem, in their order.

        Args:
          problem: its name.
          inputs: what the problem's modality reads: strings for text; paths or uint8 arrays for pictures; paths or
            int16 arrays (at the problem's rate) for sound; of several inputs a dict or a line with tabs between them;
            None for a problem without inputs.
          long_inputs: what to do with an input longer than any the model was trained on: "error" or "warn". None is
            ever cut.
          first_row: the number of the first input; when answers are sampled, random numbers differ by number.
          decode_hparams: what differs from the problem's own: beam_size (1 = greedy), alpha (exponent of the length
            penalty), max_length (ids; 0: by training), constrained (1: trees are well-formed, a leaf for each word;
            0: whatever the model writes). To sample: temperature (above 0), top_k, top_p and seed; an answer
            depends on the seed, its input and the number of its input, so equal inputs have different answers.

        Returns:
          A list of answers: text, the name of the likeliest class, or what the target's modality makes of it.

        Raises:
          UserError: unknown problem or setting, an input that can't be read or is too long.
        """
        from t2t_multimodel.arguments import COUNT, OneOf, check_arguments
        from t2t_multimodel.decode_hparams import decode_settings
        from t2t_multimodel.input.padding import make_batch, samples_of_values

        check_arguments(
            problem=(problem, str), long_inputs=(long_inputs, OneOf("error", "warn")), first_row=(first_row, COUNT)
        )
        if isinstance(inputs, (str, bytes, Mapping, os.PathLike)) or not isinstance(inputs, Iterable):
            raise UserError(f"inputs must be a list of inputs, not {reprlib.repr(inputs)}; put one input into a list")
        known = self._run.problem(problem)
        settings = decode_settings(decode_hparams, known.decode_hparams, problem)
        modality = known.spec.inputs
        lengths = modality.lengths(self.hparams, "inputs", self._static_shapes)
        samples = samples_of_values(known.spec, inputs)
        columns, stored = modality.columns(samples, self._vocabulary)
        stored = np.array(stored, np.int64)
        self._check_lengths(known.spec, stored, lengths, long_inputs)
        answers = [None] * len(samples)
        order = np.argsort(lengths.positions(lengths.padded(stored)), kind="stable").tolist()
        for start in range(0, len(order), self.hparams.batch_examples):
            rows = order[start : start + self.hparams.batch_examples]
            part = {name: [column[i] for i in rows] for name, column in columns.items()}
            arrays = make_batch(known.spec, part, input_length=lengths.padded(stored[rows]).max(axis=0))
            for i, answer in zip(
                rows, self._decoder.answers(known, arrays, self._vocabulary, settings, [first_row + i for i in rows])
            ):
                answers[i] = known.spec.targets.best(answer)
        return answers

    def _check_lengths(self, spec, stored, lengths, long_inputs):
        for place, (length, too_long) in enumerate(zip(stored.tolist(), lengths.too_long(stored).tolist()), 1):
            if too_long:
                said = f"{spec.name}: input {place} is longer ({length}) than any the model was trained on"
                if long_inputs == "error":
                    raise UserError(f"{said}; split it, or decode it all the same with long_inputs=warn")
                warnings.warn(said, stacklevel=3)
