"""Exports one problem of a run: written beside its place, compared answer by answer, then renamed."""

import contextlib
import dataclasses
import errno
import importlib
import importlib.util
import json
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

from t2t_multimodel.errors import UserError, unknown_name

FORMATS = ("saved_model", "hub", "onnx", "litert", "stablehlo")  # modules of this folder
FLOATS = ("onnx", "litert")  # whose converters would store floats for int8 weights
WITH_INT8 = tuple(name for name in FORMATS if name not in FLOATS)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What became of an export."""

    folder: Path
    compared: dict[str, dict[str, int]]  # {signature: {"questions", "equal"}}, answers compared with the run's own
    compared_with: str  # where the questions are from
    bytes: int
    seconds: float


def backend_of(format: str) -> str | None:
    """The backend of Keras that a format is made with, whichever trained the run; None: any.

    Raises:
      UserError: no such format, or a package that it needs is missing.
    """
    return _module(format).BACKEND


def export(
    output_dir: str | os.PathLike[str],
    problem: str,
    export_dir: str | os.PathLike[str],
    *,
    format: str = "saved_model",
    step: int | None = None,
    decode_hparams: dict[str, Any] | None = None,
    xla: bool = False,
    questions: int = 32,
) -> Exported:
    """Exports a problem of a run.

    Args:
      output_dir: the run directory. problem: its name.
      export_dir: the export is `export_dir/<step>/`, new.
      format: one of `FORMATS`. step: which checkpoint; None: the newest whole one.
      decode_hparams: what differs from the problem's own. xla: of saved_model, a second signature compiled by XLA.
      questions: how many inputs the export and the run are asked, and compared by.

    Returns:
      An `Exported`.

    Raises:
      UserError: an unknown name, an export that is there already, a format that the problem has no form in, or answers
        that differ from the run's own. Nothing is left then.
    """
    import keras

    from t2t_multimodel.arguments import COUNT, check_arguments
    from t2t_multimodel.exporting.comparison import questions_for
    from t2t_multimodel.exporting.slice import load_slice
    from t2t_multimodel.training.run_directory import RunDirectory

    module, started = _module(format), time.monotonic()
    check_arguments(questions=(questions, COUNT))
    if not questions:
        raise UserError("questions must be at least 1; without any, nothing is known of the export")
    if module.BACKEND not in (None, keras.backend.backend()):
        raise UserError(f"--format={format} needs the backend {module.BACKEND}; set KERAS_BACKEND={module.BACKEND}")
    if xla and format != "saved_model":
        raise UserError("--xla is of --format=saved_model")
    if format in FLOATS and (decode_hparams or {}).get("quantize", "none") != "none":
        raise UserError(f"--format={format} has floats only; leave out quantize, or use {' or '.join(WITH_INT8)}")
    directory = RunDirectory(output_dir)
    part = load_slice(directory, problem, step, decode_hparams or {}, with_ctc=format == "hub")
    final = Path(export_dir) / str(part.step)
    _check_free(final)
    temporary = final.with_name(f".unfinished-{final.name}-{os.getpid()}-{secrets.token_hex(4)}")
    made = not final.parent.exists()
    try:
        temporary.mkdir(parents=True)
        about = {"problem": problem, "step": part.step, "format": format, "decode_hparams": part.settings}
        about |= module.write(part, temporary, xla)
        asked = questions_for(part, questions, any_length=not module.FIXED_LENGTH)
        compared = module.compare(part, temporary, about, asked)
        about |= {"compared": {"questions": asked.origin, "answers": compared}, "versions": _versions()}
        (temporary / module.ABOUT).parent.mkdir(exist_ok=True)
        text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
        (temporary / module.ABOUT).write_text(text, encoding="utf-8")
        size = _flush_all(temporary)
        if final.is_dir():
            final.rmdir()  # an empty one
        os.rename(temporary, final)
    except OSError as error:
        todo = "make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "name another --export_dir"
        raise UserError(f"can't write the export {final}: {error.strerror or error}; {todo}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if made:  # an empty folder goes too
            with contextlib.suppress(OSError):
                final.parent.rmdir()
    return Exported(final, compared, asked.origin, size, time.monotonic() - started)


def _module(format):
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    module = importlib.import_module(f"t2t_multimodel.exporting.{format}")
    for package, extra in module.NEEDS.items():
        if importlib.util.find_spec(package) is None:
            raise UserError(f"--format={format} needs {package}; install it: pip install 't2t-multimodel[{extra}]'")
    return module


def _check_free(final):
    if final.is_symlink() or (final.exists() and (not final.is_dir() or any(final.iterdir()))):
        raise UserError(f"{final} is there already; remove it, or name another --export_dir")


def _versions():
    from t2t_multimodel.training.environment import describe

    wanted = ("t2t-multimodel", "keras", "tensorflow", "jax", "sentencepiece")
    return {name: version for name, version in describe().items() if name in wanted}


def _flush_all(folder):
    """Has the disk keep every file; returns their size in bytes."""
    size = 0
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                size += os.fstat(file.fileno()).st_size
    return size
