"""A published folder: one problem of a run at one step, to pass on; `load` of `predictor.py` opens it like a run.

    config.json         what the model is: run, hyper-parameters, step; size and sha256 of the weights; a digest of all
    model.safetensors   the weights of that problem, {path of the variable: array}
    vocabulary/         of its texts, where it has some
    README.md           for people; never read here

It may come from a stranger: regular files only, with the digests that are written in config.json; no code.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from t2t_multimodel.digests import read_sealed, sealed
from t2t_multimodel.errors import UserError
from t2t_multimodel.files import user_path, write_file
from t2t_multimodel.hyperparameters import HParams, Resolved
from t2t_multimodel.json_files import ANY, OneOf, Whole
from t2t_multimodel.regular_files import open_regular
from t2t_multimodel.training.arrays_file import require_memory
from t2t_multimodel.training.run import Run, Stored
from t2t_multimodel.vocabulary import Vocabulary
from t2t_multimodel.vocabulary_files import facts_of

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
MODEL_TYPE = "t2t_multimodel"
FORMAT_VERSION = 2
_OF_FLOATS = 1  # the version that is written where no weight is int8, so that older programs read it
_SCHEMA = {
    "model_type": OneOf(MODEL_TYPE),
    "format_version": Whole(1),
    "step": Whole(0),
    "run": {str: ANY},  # `Run.from_json` checks it
    "hparams": {str: ANY},  # `Resolved.from_json` does
    "weights": {"bytes": Whole(0), "sha256": str},
    "quantize?": OneOf("int8"),  # where its matrices are int8, see `kernels/int8_weight.py`
}
_ADVICE = "download the folder again"


@dataclasses.dataclass(frozen=True)
class Published:
    """What a published folder holds, read and compared with its digests; no model is made of it yet."""

    run: Run
    hparams: HParams
    vocabulary: Vocabulary | None  # None where there is no text
    step: int
    arrays: dict[str, Any]  # {path of a variable: array}
    quantize: str  # of `Stored`


def is_published(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is a published one, by the names of its files; nothing is read."""
    return os.path.lexists(Path(folder) / CONFIG_FILE) and os.path.lexists(Path(folder) / WEIGHTS_FILE)


def write(folder, run: Run, hparams: HParams, model, vocabulary, step: int, quantize: str = "none") -> None:
    """Writes all but the README into an empty folder.

    Args:
      run: cut to what `model` has. vocabulary: a `Vocabulary`, None where there is no text. quantize: how `model` holds
        its matrices.
    """
    import numpy as np
    from keras import ops
    from safetensors.numpy import save

    # In C order: `save` writes an array's memory as it lies.
    arrays = {v.path: np.asarray(ops.convert_to_numpy(v.value), order="C") for v in model.variables}
    weights = save(arrays, metadata={"format": "np"})
    config = {
        "model_type": MODEL_TYPE,
        "format_version": _OF_FLOATS if quantize == "none" else FORMAT_VERSION,
        "step": step,
        "run": run.to_json(),
        "hparams": dataclasses.asdict(hparams),
        "weights": facts_of(weights),
    }
    if quantize != "none":
        config["quantize"] = quantize
    write_file(Path(folder) / WEIGHTS_FILE, weights)
    if vocabulary is not None:
        vocabulary.copy_to(Path(folder) / "vocabulary")
    write_file(Path(folder) / CONFIG_FILE, sealed(config))


def stored(folder, step: int | None = None) -> Stored:
    """What `write` wrote, to make a model of.

    Args:
      step: the step that it must be of; None: whichever.

    Raises:
      UserError: as `read`.
    """
    found = read(folder, step)
    source = (f"{folder}", str(Path(folder) / CONFIG_FILE), _ADVICE)
    return Stored(found.run, found.hparams, found.vocabulary, found.step, found.arrays, source, quantize=found.quantize)


def read(folder, step: int | None = None) -> Published:
    """Reads what `write` wrote; no model is made.

    Args:
      step: the step that it must be of; None: whichever.

    Raises:
      UserError: a file is missing, or not what was written; or it is of another step.
    """
    from t2t_multimodel.training.run_directory import RunDirectory

    path = Path(folder) / CONFIG_FILE
    config = read_sealed(path, _SCHEMA, _ADVICE)
    if config["format_version"] > FORMAT_VERSION:
        raise UserError(
            f"{path} is of format version {config['format_version']}, this program reads up to {FORMAT_VERSION}; "
            "use the version of t2t-multimodel that its README.md names"
        )
    if step not in (None, config["step"]):
        raise UserError(f"{folder} holds step {config['step']} alone, not {step}; leave the step out")
    try:
        run = Run.from_json(config["run"])
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())}; {_ADVICE}") from None
    stored = {name: {"value": value, "source": CONFIG_FILE} for name, value in config["hparams"].items()}
    hparams = Resolved.from_json(stored, str(path)).hparams
    vocabulary = RunDirectory(folder).vocabulary(run)
    arrays = _weights(Path(folder) / WEIGHTS_FILE, config["weights"])
    return Published(run, hparams, vocabulary, config["step"], arrays, config.get("quantize", "none"))


def vocabulary_of(folder) -> Vocabulary:
    """The vocabulary of a run directory, or of a published folder.

    Raises:
      UserError: there is neither, it is damaged, or none of its problems has text.
    """
    from t2t_multimodel.training.run_directory import RunDirectory

    folder = user_path(folder, "vocabulary_from")
    found = read(folder).vocabulary if is_published(folder) else RunDirectory(folder).vocabulary()
    if found is None:
        raise UserError(f"--vocabulary_from: no problem of {folder} has text, so it has no vocabulary")
    return found


def _weights(path, facts):
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    try:
        with open_regular(path) as file:  # in a download cache it is a link to one
            size = os.fstat(file.fileno()).st_size
            require_memory(path, size)
            content = file.read(facts["bytes"]) if size == facts["bytes"] else None
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}; {_ADVICE}") from None
    if content is None:
        raise UserError(f"{path} is damaged: it has {size:,} bytes instead of {facts['bytes']:,}; {_ADVICE}")
    if facts_of(content) != facts:
        raise UserError(f"{path} is damaged: it is not the file that {CONFIG_FILE} describes; {_ADVICE}")
    try:
        return parse(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); {_ADVICE}") from None
