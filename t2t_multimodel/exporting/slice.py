"""The slice of a run that an export holds: the model cut to one problem, with that problem's part of the weights."""

import contextlib
import dataclasses
import os
import warnings
from typing import Any

import numpy as np

from t2t_multimodel.decode_hparams import DECODE_DEFAULTS, check_ctc, decode_settings
from t2t_multimodel.errors import UserError


@dataclasses.dataclass(frozen=True)
class Slice:
    """One problem of a run at one step."""

    directory: Any  # the `RunDirectory` that it is of
    model: Any  # a model of this problem alone, with its weights
    run: Any  # the `Run`, cut to the problem, which has `settings` for its own
    hparams: Any
    vocabulary: Any  # a `Vocabulary`; None where there is no text
    step: int
    settings: dict[str, Any]  # how answers are decoded, all of `DECODE_DEFAULTS`

    @property
    def problem(self) -> Any:
        """The `RunProblem`."""
        return next(iter(self.run.problems.values()))

    @property
    def spec(self) -> Any:
        """The `ProblemSpec`."""
        return self.problem.spec

    @property
    def writes_ids(self) -> bool:
        """Whether answers are written id by id (text), not read from the encoded input at once (a class)."""
        return self.model.head(self.spec).autoregressive

    @property
    def limit(self) -> int:
        """The most ids of an answer."""
        return self.settings["max_length"] or int(1.2 * self.problem.longest_target) + 4

    @property
    def grammar(self) -> Any:
        """The grammar that answers are written by; None: any text."""
        from t2t_multimodel.decoding.grammars import grammar_of

        return grammar_of(self.spec, self.vocabulary) if self.settings["constrained"] and self.writes_ids else None

    @property
    def weight_bytes(self) -> int:
        """The size of its weights."""
        variables = [v for v in self.model.variables if v.dtype != "uint32"]  # the state of random generators
        return sum(int(np.prod(v.shape)) * np.dtype(v.dtype).itemsize for v in variables)

    def answers(self, inputs: list[Any]) -> list[Any]:
        """The product's own answers, which every export is held against."""
        from t2t_multimodel.predictor import Predictor

        given = (self.model, self.run, self.hparams, self.vocabulary, self.step)
        predictor = Predictor(*given, quantize=self.settings["quantize"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return predictor.decode(self.spec.name, inputs, long_inputs="warn")


def load_slice(
    directory: Any, name: str, step: int | None, decode_hparams: dict[str, Any], with_ctc: bool = False
) -> Slice:
    """The slice of the problem `name` of a `RunDirectory`; on the backend that Keras runs on, whichever trained it.

    Args: with_ctc: whether the export can answer by CTC, as the whole model does.

    Raises:
      UserError: no such run, problem or checkpoint; settings that an export can't have.
    """
    from t2t_multimodel.training import checkpoints
    from t2t_multimodel.training.run import build_model, load_weights

    run, hparams = directory.run(), directory.resolved().hparams
    known = run.problem(name)
    settings = decode_settings(decode_hparams, known.decode_hparams, name)
    if settings["temperature"]:
        raise UserError(
            f"{name}: an export does not sample, its answers could not be compared; "
            "set temperature=0 in --decode_hparams"
        )
    if settings["return_beams"]:
        raise UserError(f"{name}: an export gives one answer; set return_beams=0, and beam_size to search for it")
    if settings["ctc"] and not with_ctc:
        raise UserError(
            f"{name}: an export of this format answers by its decoder alone; set ctc=0 in --decode_hparams, or give "
            "--format=hub"
        )
    check_ctc(settings, known.spec, hparams.ctc_weight > 0)
    vocabulary = directory.vocabulary(run)
    folder = directory.checkpoints
    checkpoint = checkpoints.load_latest(folder) if step is None else checkpoints.load(folder, step)
    if checkpoint is None:
        raise UserError(f"{directory.path} holds no checkpoint yet; train with t2t-trainer first")
    # What an input is answered by, without being asked for again. int8 is in the weights.
    own = {n: v for n, v in settings.items() if v != DECODE_DEFAULTS[n] and n != "quantize"}
    one = dataclasses.replace(run, problems={name: dataclasses.replace(known, decode_hparams=own)})
    model = build_model(one, hparams, quantize=settings["quantize"])
    load_weights(model, checkpoint.arrays, folder)
    return Slice(directory, model, one, hparams, vocabulary, checkpoint.step, settings)


@contextlib.contextmanager
def traced_with(kernels):
    """Traces these kernels, a setting of `kernels/select.py`; "portable" and "reference" run on any device."""
    before = os.environ.get("T2T_KERNELS")
    os.environ["T2T_KERNELS"] = kernels
    try:
        yield
    finally:
        if before is None:
            del os.environ["T2T_KERNELS"]
        else:
            os.environ["T2T_KERNELS"] = before
