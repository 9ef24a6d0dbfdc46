"""Using a trained model: `t2t_multimodel.load("run").decode("tiny_ende", ["…"])`."""

import warnings

import numpy as np

from t2t_multimodel.errors import UserError


def load(output_dir, step=None):
    """Loads a run once, to decode many times.

    Args:
      output_dir: the run directory. step: which checkpoint; None: the newest whole one.

    Returns:
      A `Predictor`.
    """
    from t2t_multimodel import startup

    startup.set_environment()
    startup.import_tensorflow()
    from pathlib import Path

    from t2t_multimodel.training.run import load_model
    from t2t_multimodel.vocabulary import Vocabulary

    model, run, hparams, step = load_model(output_dir, step, report=warnings.warn)
    folder = Path(output_dir) / "vocabulary"
    return Predictor(model, run, hparams, Vocabulary.load(folder) if folder.is_dir() else None, step)


class Predictor:
    """A trained model and all it takes to use it: vocabulary, classes, sizes."""

    def __init__(self, model, run, hparams, vocabulary, step):
        from t2t_multimodel.decoding.batch_decoder import BatchDecoder
        from t2t_multimodel.training.backend import adapter

        backend = adapter()
        self.model, self.hparams, self.step = model, hparams, step
        self._run, self._vocabulary = run, vocabulary
        self._decoder = BatchDecoder(model, backend)
        self._static_shapes = backend.STATIC_SHAPES

    @property
    def problems(self):
        """Names of the problems that the model was trained on."""
        return sorted(self._run.problems)

    def decode(self, problem, inputs, long_inputs="error", **decode_hparams):
        """The model's answers to inputs of one problem, in their order.

        Args:
          problem: its name.
          inputs: strings for text; paths or uint8 arrays for pictures; paths or int16 arrays (at the problem's rate)
            for sound.
          long_inputs: what to do with an input longer than any the model was trained on: "error" or "warn". None is
            ever cut.
          decode_hparams: what differs from the problem's own: beam_size (1 = greedy), alpha (exponent of the length
            penalty), max_length (ids; 0: by training), constrained (1: trees are well-formed, a leaf for each word;
            0: whatever the model writes).

        Returns:
          A list of strings: text, or the name of the likeliest class.

        Raises:
          UserError: unknown problem or setting, an input that can't be read or is too long.
        """
        from t2t_multimodel.decode_hparams import decode_settings
        from t2t_multimodel.input.lengths import InputLengths
        from t2t_multimodel.input.padding import encode_inputs

        known = self._run.problem(problem)
        settings = decode_settings(decode_hparams, known.decode_hparams)
        lengths = InputLengths(known.spec.inputs, self.hparams, bucket=self._static_shapes)
        values = [self._read(known.spec, value, place) for place, value in enumerate(inputs, 1)]
        self._check_lengths(known.spec, values, lengths, long_inputs)
        answers = [None] * len(values)
        order = sorted(range(len(values)), key=lambda i: len(values[i]))
        for start in range(0, len(order), self.hparams.batch_examples):
            rows = order[start : start + self.hparams.batch_examples]
            arrays = encode_inputs(known.spec, [values[i] for i in rows], self._vocabulary, lengths)
            for i, answer in zip(rows, self._answers(known, arrays, settings)):
                answers[i] = answer
        return answers

    def _answers(self, problem, arrays, settings):
        if problem.spec.targets.modality == "label":
            return [problem.classes[row[0]] for row in self._decoder.classes(problem.spec, arrays)[0]]
        return self._decoder.texts(problem, arrays, self._vocabulary, settings)

    def _read(self, spec, value, place):
        """A value as the model's arrays: paths are read, everything else is taken as it is."""
        if spec.inputs.modality == "text" or isinstance(value, np.ndarray):
            return value
        from t2t_multimodel.data_gen.readers.pictures import read_picture
        from t2t_multimodel.data_gen.readers.recordings import read_recording

        side = spec.inputs
        try:
            if side.modality == "image":
                return read_picture(value, side.height, side.width, side.channels, fit=side.fit or "stretch")
            return read_recording(value, side.rate)
        except (OSError, ValueError) as error:
            raise UserError(f"{spec.name}: input {place}: {error}") from None

    def _check_lengths(self, spec, values, lengths, long_inputs):
        if spec.inputs.modality == "image":
            return
        sizes = values if spec.inputs.modality != "text" else self._vocabulary.encode_batch(values)
        for place, value in enumerate(sizes, 1):
            if lengths.too_long(len(value)):
                said = f"{spec.name}: input {place} is longer ({len(value)}) than any the model was trained on"
                if long_inputs == "error":
                    raise UserError(f"{said}; split it, or decode it all the same with long_inputs=warn")
                warnings.warn(said, stacklevel=3)
