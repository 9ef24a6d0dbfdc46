"""`--t2t_usr_dir`: imports a folder of the user's Python, which registers problems, hparams sets, metrics and more.

The import executes the user's code, so give only folders you trust. A folder with an `__init__.py` is imported as a
package and may use relative imports. In any other folder each `*.py` (not `_*.py`) is imported, and the files can
import each other. The environment variable `T2T_USR_DIR` is set to the folder, so that worker processes can import it
too (`load_user_code(os.environ["T2T_USR_DIR"])`).
"""

import dataclasses
import importlib.util
import os
import sys
import traceback
from pathlib import Path

from t2t_multimodel import registry
from t2t_multimodel.errors import UserError
from t2t_multimodel.files import user_path

ENVIRONMENT_VARIABLE = "T2T_USR_DIR"

# Import names of the packages that this project uses; Python's own modules are added below.
_TAKEN = frozenset(
    "absl gin hypothesis jax jaxlib jinja2 jiwer keras matplotlib nltk numpy optuna PIL pytest sacrebleu safetensors "
    "sentencepiece setup soundfile soxr t2t_multimodel tensorboard tensorflow tensorflow_datasets tensorflow_text "
    "tqdm".split()
)

_loaded = {}  # folder → UserCode, so that a second call in one process has no effect


class UserCodeError(UserError):
    """The user's code raised; `details` is its traceback."""

    def __init__(self, message, details):
        super().__init__(message)
        self.details = details


@dataclasses.dataclass(frozen=True)
class UserCode:
    """The imported modules of a folder, and the names that they registered."""

    directory: str
    modules: tuple
    added: tuple  # "problem city_birds", "hparams set my_small", …

    def __str__(self):
        said = f"usr_dir {self.directory}: imported {', '.join(self.modules)}; "
        if self.added:
            return said + "added " + ", ".join(self.added)
        return (
            f"warning: {said}it registers nothing (decorate with @register_problem, @register_hparams or "
            "another of t2t_multimodel.registry)"
        )


def load_user_code(directory):
    """Imports the folder `directory`.

    Returns:
      A `UserCode`; its `str` is the message for the user.

    Raises:
      UserError: a missing or empty folder, or a file that would hide another module by its name.
      UserCodeError: the user's code raised; `details` is its traceback.
    """
    folder = Path(user_path(directory, "--t2t_usr_dir")).resolve()
    if not folder.is_dir():
        raise UserError(f"--t2t_usr_dir={directory}: {'not a folder' if folder.exists() else 'no such folder'}")
    if folder not in _loaded:
        registry.load()
        before = [kind.snapshot() for kind in registry.ALL]
        modules = _import_package(folder) if (folder / "__init__.py").exists() else _import_files(folder)
        added = [f"{kind.kind} {name}" for kind, old in zip(registry.ALL, before) for name in kind.added_since(old)]
        _loaded[folder] = UserCode(str(folder), tuple(modules), tuple(added))
    os.environ[ENVIRONMENT_VARIABLE] = str(folder)
    return _loaded[folder]


def _import_package(folder):
    _import(folder.name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    return [folder.name]


def _import_files(folder):
    files = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    if not files:
        raise UserError(f"--t2t_usr_dir={folder}: there is no *.py in it to import")
    for path in files:
        _check_name(path.stem, path)  # all names before any import, since the files may import each other
    sys.path.insert(0, str(folder))
    for path in files:
        _import(path.stem, path)
    return [path.stem for path in files]


def _import(name, path, **options):
    """Imports the file `path` as the module `name`, like the `import` statement."""
    _check_name(name, path)
    if name in sys.modules:  # imported by another file
        return
    spec = importlib.util.spec_from_file_location(name, path, **options)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit, from a script without a main guard
        sys.modules.pop(name, None)
        if isinstance(error, UserError):
            raise
        raise UserCodeError(
            f"--t2t_usr_dir: importing {path} failed with {type(error).__name__}: {error}", _own_traceback(error)
        ) from error


def _check_name(name, path):
    if not name.isidentifier():
        raise UserError(f"--t2t_usr_dir: {path} can't be imported: {name!r} is not a Python name; rename it")
    if name in sys.stdlib_module_names or name in _TAKEN:
        raise UserError(f"--t2t_usr_dir: {path} would hide the module {name!r} that other code needs; rename it")
    present = sys.modules.get(name)
    if present is not None and Path(getattr(present, "__file__", None) or "").resolve() != path.resolve():
        raise UserError(f"--t2t_usr_dir: {path} would hide the module {name!r} that is loaded already; rename it")


def _own_traceback(error):
    """The traceback from the user's first line on, without the frames of this file and of importlib."""
    frame = error.__traceback__
    while frame and (frame.tb_frame.f_code.co_filename == __file__ or "importlib" in frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))
