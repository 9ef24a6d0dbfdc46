"""Resolves the hyper-parameters of a run: set → gin files → gin bindings → --hparams → --train_steps.

Each stage overrides the one before it. The source of every value is kept, also in the run directory. Continuing a run
with other values is an error that lists them.
"""

import dataclasses
import json
import os
from pathlib import Path

from t2t_multimodel import hyperparameters, registry
from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.files import write_file
from t2t_multimodel.hyperparameters import HParams, Resolved

HPARAMS_FILE = "hparams.json"
GIN_FILE = "operative_config.gin"

# What may change when a run is continued: its length.
_MAY_CHANGE = ("train_steps",)


def resolve(hparams_set, hparams="", gin_files=(), gin_bindings=(), train_steps=None):
    """The hyper-parameters of the command line.

    Args:
      hparams_set: name of a registered set.
      hparams: overrides as "name=value,name=value".
      gin_files: paths of gin files, or names of gin files in the hparams package.
      gin_bindings: gin lines such as "HParams.hidden_size = 128".
      train_steps: number of updates, or None.

    Returns:
      A `Resolved`.

    Raises:
      UserError: an unknown name anywhere, a value of the wrong type, a gin file that can't be read.
    """
    entry = registry.hparams_sets.entry(hparams_set)
    values = entry.value()
    if not isinstance(values, HParams):
        raise UserError(f"hparams set {entry.name!r} ({entry.source}) returns {type(values).__name__}, not HParams")
    hyperparameters.validate(values)
    sources = {name: f"set {entry.name}" for name in _different(values, HParams())}

    from_files, from_bindings = _gin_values(gin_files, gin_bindings)
    changes = {}
    for given, source in (
        (from_files, ", ".join(f"gin file {path}" for path in gin_files)),
        (from_bindings, "--gin_bindings"),
        (hyperparameters.parse(hparams or ""), "--hparams"),
        ({} if train_steps is None else {"train_steps": train_steps}, "--train_steps"),
    ):
        changes |= hyperparameters.check(given, source)
        sources |= {name: source for name in given}
    return Resolved(hyperparameters.override(values, changes, "the settings together"), sources)


def settings_table(resolved):
    """An aligned table of the values that differ from the defaults of `HParams` or were given, with their sources."""
    from t2t_multimodel.training.reporting import format_table

    rows = [
        (name, repr(getattr(resolved.hparams, name)), source)
        for name, source in sorted(resolved.sources.items())
        if source != "default"
    ]
    others = len(hyperparameters.field_types()) - len(rows)
    table = format_table([("hparam", "value", "from"), *rows])
    return f"{table}\n{others} more have their defaults; all of them: {HPARAMS_FILE} in the run directory"


def check_unchanged(resolved, output_dir):
    """Raises `UserError` if `output_dir` holds a run with other hyper-parameters; lists each old → new."""
    if Path(output_dir).exists() and not Path(output_dir).is_dir():
        raise UserError(f"--output_dir={output_dir} is a file; name a folder")
    path = Path(output_dir) / HPARAMS_FILE
    if not path.exists():
        return
    stored = load(output_dir)
    changed = [n for n in _different(stored.hparams, resolved.hparams) if n not in _MAY_CHANGE]
    if changed:
        listed = ", ".join(
            f"{n}: {getattr(stored.hparams, n)!r} → {getattr(resolved.hparams, n)!r} "
            f"({stored.sources.get(n, 'default')} → {resolved.sources.get(n, 'default')})"
            for n in changed
        )
        raise UserError(
            f"{output_dir} holds a run with other hyper-parameters: {listed}. Give another --output_dir, "
            f"or the old values to continue that run"
        )


def load(output_dir):
    """The `Resolved` of a run directory; raises `UserError` if it can't be read."""
    path = Path(output_dir) / HPARAMS_FILE
    try:
        return Resolved.from_json(json.loads(path.read_text(encoding="utf-8")), where=str(path))
    except FileNotFoundError:
        raise UserError(f"{output_dir} holds no run ({HPARAMS_FILE} is missing); train one with t2t-trainer") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None


def store(resolved, output_dir):
    """Writes `hparams.json` and `operative_config.gin` (the same values as a gin file) to `output_dir`."""
    try:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UserError(f"can't make the run directory {output_dir}: {error.strerror} ({error.filename})") from error
    stored = json.dumps(resolved.to_json(), indent=1, sort_keys=True) + "\n"
    write_file(Path(output_dir) / HPARAMS_FILE, stored.encode())
    write_file(Path(output_dir) / GIN_FILE, _as_gin(resolved).encode())


def _different(one, other):
    return [f.name for f in dataclasses.fields(HParams) if getattr(one, f.name) != getattr(other, f.name)]


def _gin_values(files, bindings):
    """({field: value} of the files, {field: value} of the bindings)."""
    if not files and not bindings:
        return {}, {}
    import gin

    gin.clear_config()
    configurable = _gin_configurable()
    from_files = {}
    for path in files:
        _parse(lambda path=path: gin.parse_config_file(_gin_path(path)), f"--gin_file={path}")
        from_files = _parse(configurable, f"--gin_file={path}")
    for line in bindings:
        _parse(lambda line=line: gin.parse_config(line.replace(";", "\n")), f"--gin_bindings={line}")
    bound = _parse(configurable, "--gin_bindings")
    return from_files, {n: value for n, value in bound.items() if n not in from_files or from_files[n] != value}


def _gin_path(path):
    """`path`, or the file with this name in the hparams package."""
    import t2t_multimodel.hparams

    shipped = os.path.join(os.path.dirname(t2t_multimodel.hparams.__file__), path)
    if not os.path.isfile(path) and not os.path.isfile(shipped):
        raise UserError(f"--gin_file={path}: no such file")
    return path if os.path.isfile(path) else shipped


def _gin_configurable():
    """The gin configurable: its parameters are the fields of `HParams`; calling it returns the bound values."""
    import gin

    try:
        return gin.get_configurable("HParams")
    except ValueError:

        def bound(**values):  # `hyperparameters.override` checks the names
            return values

        return gin.external_configurable(bound, name="HParams", module="t2t_multimodel")


def _parse(function, where):
    try:
        return function()
    except (OSError, ValueError, SyntaxError, TypeError, AttributeError, ImportError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        if said.startswith("No configurable matching '"):
            name = said.split("'")[1]
            raise unknown_name("gin name", name, ["HParams"], f"{where}; e.g. HParams.hidden_size = 128") from None
        if "malformed node" in said:
            said = "the value is not a Python literal (text needs quotes)"
        raise UserError(f"{where}: {said}") from None


def _as_gin(resolved):
    lines = ["# Every hyper-parameter of this run; --gin_file with this file gives the same values again."]
    for name, value in dataclasses.asdict(resolved.hparams).items():
        lines.append(f"HParams.{name} = {value!r}  # {resolved.sources.get(name, 'default')}")
    return "\n".join(lines) + "\n"
