"""Resolves the hyper-parameters of a command line: set → gin files → gin bindings → --hparams → --train_steps.

Each stage overrides the one before it. The source of every value is kept, also in the run directory.
"""

import os

from t2t_multimodel import hyperparameters
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameter_effects import without_effect, words

_NOTHING = object()  # no value of an hparam


def resolve(hparams_set, hparams="", gin_files=(), gin_bindings=(), train_steps=None, freeze=None):
    """The hyper-parameters of the command line.

    Args:
      hparams_set: name of a registered set.
      hparams: overrides as "name=value,name=value".
      gin_files: paths of gin files, or names of gin files in the hparams package.
      gin_bindings: gin lines such as "HParams.hidden_size = 128".
      train_steps: number of updates, or None.
      freeze: names of parts, or None.

    Returns:
      A `Resolved`.

    Raises:
      UserError: an unknown name anywhere, a value of the wrong type, a gin file that can't be read.
    """
    from_files, from_bindings = _gin_values(gin_files, gin_bindings)
    stages = (
        (from_files, ", ".join(f"gin file {path}" for path in gin_files)),
        (from_bindings, "--gin_bindings"),
        (hyperparameters.parse(hparams or ""), "--hparams"),
        ({} if train_steps is None else {"train_steps": train_steps}, "--train_steps"),
        ({} if freeze is None else {"freeze": freeze}, "--freeze"),
    )
    return hyperparameters.resolve(hparams_set, stages)


def settings_table(resolved, backend=None):
    """An aligned table of the values that differ from the defaults of `HParams` or were given, with their sources; and
    which of those that were given decide nothing, also because of the `backend`, where it is given.
    """
    from t2t_multimodel.training.reporting import format_table

    rows = [
        (name, repr(getattr(resolved.hparams, name)), source)
        for name, source in sorted(resolved.sources.items())
        if source != "default"
    ]
    others = len(hyperparameters.field_types()) - len(rows)
    table = format_table([("hparam", "value", "from"), *rows])
    idle = {name: f"where {words(resolved.hparams, by)}" for name, by in without_effect(resolved.hparams).items()}
    if backend == "tensorflow" and resolved.hparams.batch_rows_multiple > 1:
        idle["batch_rows_multiple"] = "on TensorFlow, which trains on one device"
    idle = [
        f"{name} has no effect {where}\n"
        for name, where in sorted(idle.items())
        if not resolved.sources.get(name, "set").startswith("set")
    ]
    return f"{table}\n{''.join(idle)}{others} more have their defaults; all of them: hparams.json in the run directory"


def _gin_values(files, bindings):
    """({field: value} of the files, {field: value} of the bindings)."""
    if not files and not bindings:
        return {}, {}
    from t2t_multimodel.cli.gin_files import GinSettings

    gin = GinSettings()
    for path in files:
        gin.add_file(_gin_path(path), f"--gin_file={path}")
    from_files = gin.values()
    for line in bindings:
        gin.add_text(line.replace(";", "\n"), f"--gin_bindings={line}")
    return from_files, {n: value for n, value in gin.values().items() if from_files.get(n, _NOTHING) != value}


def _gin_path(path):
    """`path`, or the file with this name in the hparams package."""
    import t2t_multimodel.hparams

    shipped = os.path.join(os.path.dirname(t2t_multimodel.hparams.__file__), path)
    if not os.path.exists(path) and not os.path.isfile(shipped):
        raise UserError(f"--gin_file={path}: no such file")
    return path if os.path.exists(path) else shipped
