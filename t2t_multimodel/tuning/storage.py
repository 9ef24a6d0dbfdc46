"""The file of a search, study.sqlite: checked before Optuna reads it, and the trials in it after.

An empty or damaged file never begins a new search: it is one line. SQLite finds damage to the structure of its file
alone, so each trial that has ended has a digest of its values.
"""

import contextlib
import hashlib
import math
import os
import sqlite3
import stat
import sys
from pathlib import Path

from t2t_multimodel.errors import UserError
from t2t_multimodel.json_files import damaged

DIGEST = "digest"  # of a trial, an attribute in Optuna's storage
_BESIDE = ("-journal", "-wal", "-shm")  # files of SQLite
_HEADER = b"SQLite format 3\0"
_TABLES = {
    "studies",
    "study_directions",
    "study_user_attributes",
    "trials",
    "trial_params",
    "trial_values",
    "trial_intermediate_values",
    "trial_user_attributes",
    "version_info",
}
ADVICE = "put a whole copy of it there, or begin a new search in another --output_dir"


def check_file(path, study, trials_folder):
    """Raises `UserError` unless `path` is missing with its trials, or an SQLite file with the study of this name."""
    path, has_trials = Path(path), any(Path(trials_folder).glob("*"))
    try:
        about = path.stat()
    except FileNotFoundError:
        if has_trials:
            raise UserError(f"{path} is missing, but {trials_folder} holds trials; {ADVICE}") from None
        return
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}; {ADVICE}") from None
    if not stat.S_ISREG(about.st_mode):
        raise damaged(path, "it is not a regular file", ADVICE)
    for beside in (path.with_name(path.name + ending) for ending in _BESIDE):  # SQLite opens them, and waits at a pipe
        if os.path.lexists(beside) and not stat.S_ISREG(beside.lstat().st_mode):
            raise damaged(
                beside, "it is not a regular file", "remove it, or begin a new search in another --output_dir"
            )
    with open(path, "rb") as file:
        header = file.read(len(_HEADER))
    if not header and not has_trials:  # killed before its first write: there is nothing to lose
        print(f"warning: {path} is empty, and there are no trials: the search begins", file=sys.stderr)
        return
    if header != _HEADER:
        raise damaged(path, "it is empty" if not header else "it is no SQLite file", ADVICE)
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1.0)) as connection:
            names = _names(connection)
            if not has_trials and not names:  # the same: its first transaction was not finished
                return
            (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if said != "ok":
                raise damaged(path, " ".join(said.split()), ADVICE)
            if made := connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchone():
                raise damaged(path, f"it has the trigger {made[0]!r:.60}, which no search makes", ADVICE)
            if not names >= _TABLES:
                raise damaged(path, f"it has no table {min(_TABLES - names)}", ADVICE)
            studies = [name for (name,) in connection.execute("SELECT study_name FROM studies")]
            if studies != [study] and (studies or has_trials):
                raise damaged(path, f"it has the studies {studies}, not one that is called {study}", ADVICE)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise UserError(f"{path} is in use by another program; wait for its end") from None
        raise damaged(path, str(error), ADVICE) from None
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise damaged(path, str(error), ADVICE) from None


def _names(connection):
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@contextlib.contextmanager
def reading(path):
    """Whatever Optuna raises in the body while it reads the storage is one line."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:  # of Optuna, SQLAlchemy, json, …: the file has rows that they did not write
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise damaged(path, f"{type(error).__name__}: {said:.200}", ADVICE) from None


def check_trials(path, study, direction, values_of):
    """Raises `DamagedFile` if the trials of a study are not what a search has written.

    Args:
      direction: "maximize" or "minimize", of the objective. values_of: function from a stored trial to its values.
    """
    with reading(path):
        if study.direction.name.lower() != direction:
            raise damaged(path, f"its direction is not to {direction}", ADVICE)
        trials = study.get_trials()
        if [trial.number for trial in trials] != list(range(len(trials))):
            raise damaged(path, "the numbers of its trials have gaps", ADVICE)
        for trial in trials:
            values_of(trial)
            numbers = [*(trial.values or []), *trial.intermediate_values.values()]
            if not all(map(math.isfinite, numbers)):
                raise damaged(path, f"trial {trial.number} has a value that is not finite", ADVICE)
            said = trial.user_attrs.get(DIGEST)
            if trial.state.is_finished() and said is not None and said != digest(trial, trial.state, trial.value):
                raise damaged(path, f"the digest of trial {trial.number} is not that of its values", ADVICE)


def digest(trial, state, value):
    """The digest of a stored trial that ends, or has ended, with this state and value."""
    parts = [
        trial.number,
        state.name,
        None if value is None else float(value),
        sorted(trial.params.items()),
        sorted((name, repr(one)) for name, one in trial.distributions.items()),
        sorted(trial.intermediate_values.items()),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()
