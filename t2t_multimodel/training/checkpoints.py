"""Checkpoints: arrays and state of a run at a step, in folders that are whole or not there.

    run/checkpoints/step-000300/arrays.safetensors   weights, optimiser state, …: {name: array}
                                state.json           positions in the data, counters, …: plain values
                                manifest.json        bytes and sha256 of each of them
              step-000350/arrays-00001-of-00002.safetensors, …: of several processes, a file each (`shards.py`)
                    damaged/step-000400/             a damaged checkpoint, out of the way of those that follow

A checkpoint is written beside its place, flushed to the disk and renamed, so that a run killed at any moment, or
a full disk, leaves the earlier ones as they were. What rots afterwards is noticed by its digest. No pickle, no links,
no other files: a stranger's checkpoint is read safely.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from t2t_multimodel.errors import UserError
from t2t_multimodel.files import remove_folder
from t2t_multimodel.json_files import DamagedFile, MissingFile, Whole, read_bytes, read_json
from t2t_multimodel.regular_files import open_regular
from t2t_multimodel.training import arrays_file, shards

FORMAT_VERSION, SHARDS_VERSION = 1, 2  # of one file of arrays; of several
ARRAYS_FILE, STATE_FILE, MANIFEST_FILE = "arrays.safetensors", "state.json", "manifest.json"
DAMAGED_FOLDER = "damaged"
_STEP_FOLDER = re.compile(r"step-([0-9]{6,15})")
_TEMPORARY = ".unfinished-"  # prefix of folders that are being written or removed
_MOST_JSON_BYTES = {STATE_FILE: 1 << 26, MANIFEST_FILE: 1 << 20}
_FACTS = {"bytes": Whole(0), "sha256": str}
_MANIFEST = {
    "format_version": Whole(),
    "step": Whole(0),
    "files": {str: _FACTS},
}
TRIES = 5  # at finding the newest, while a trainer makes and removes some
_CLOCK_TICK = 20_000_000  # nanoseconds; two changes of a file further apart have different times


@dataclass(frozen=True)
class Checkpoint:
    """What `save` was given."""

    step: int
    folder: Path
    arrays: dict  # {name: array}
    state: dict

    @contextlib.contextmanager
    def state_used(self):
        """For the block that reads `state`: what it lacks or has of a wrong type is a `UserError`."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"the checkpoint {self.folder} is damaged (its {STATE_FILE} is not one of this run: {said}); "
                f"use another one of {self.folder.parent}"
            ) from error


def save(folder, step, arrays, state):
    """Writes a checkpoint; when this returns, it is on the disk, and a crash of the machine does not undo it.

    Args:
      folder: of all checkpoints of the run; made if need be. One process writes to it at a time.
      step: the global step, 0 or more. One of that step that is there already is replaced.
      arrays: {name: array}, of any shape and of number or bool types, bfloat16 included.
      state: plain values for JSON.

    Returns:
      The checkpoint's folder.

    Raises:
      UserError: the disk is full, or can't be written for another reason; nothing is left of the attempt.
    """
    with writing(folder, step, state) as (unfinished, facts):
        arrays_file.write(unfinished / ARRAYS_FILE, arrays)
        facts[ARRAYS_FILE] = flushed_facts(unfinished / ARRAYS_FILE)
    return folder_of(folder, step)


@contextlib.contextmanager
def writing(folder, step, state):
    """For the block that writes the arrays of a checkpoint: with its end the checkpoint is there; see `save`.

    Yields:
      (an empty folder for the files of arrays, a dict to which the block adds `flushed_facts` of each by its name).
    """
    folder, facts = Path(folder), {}
    final, temporary = folder_of(folder, step), folder / f"{_TEMPORARY}{step}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        temporary.mkdir()
        yield temporary, facts
        _write(temporary / STATE_FILE, _json(state))
        facts[STATE_FILE] = _facts_of(temporary / STATE_FILE)
        version = FORMAT_VERSION if ARRAYS_FILE in facts else SHARDS_VERSION
        _write(temporary / MANIFEST_FILE, _json({"format_version": version, "step": step, "files": facts}))
        _flush(temporary)
        if final.exists() and damage(folder, step):
            set_aside(folder, step)
        elif final.exists():
            os.rename(final, folder / f"{_TEMPORARY}replaced-{step}-{os.getpid()}")
        os.rename(temporary, final)
        _flush(folder)
    except OSError as error:
        raise unwritable(folder, step, error) from error
    finally:
        _sweep(folder)


def unwritable(folder, step, error):
    """The `UserError` of an `OSError` in writing a checkpoint."""
    todo = "make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "put that right"
    return UserError(
        f"the checkpoint of step {step} could not be written to {folder}: {error.strerror or error}; {todo} and "
        f"run the same command again, earlier checkpoints are unharmed"
    )


def flushed_facts(path):
    """Has the disk keep a file that was written; returns what the manifest says of it."""
    _flush(path)
    return _facts_of(path)


def steps(folder):
    """The steps that `folder` has checkpoints of, ascending; whether they are whole is not looked at."""
    folder = Path(folder)
    found = (_STEP_FOLDER.fullmatch(path.name) for path in (folder.iterdir() if folder.is_dir() else ()))
    return sorted(step for match in found if match and folder_of(folder, step := int(match[1])).name == match[0])


def latest(folder, warn=None):
    """The newest step that has a whole checkpoint, None where there is none at all.

    Args:
      folder: of all checkpoints of the run.
      warn: a function that is told, a line each, about damaged checkpoints newer than that; None: standard error.

    Raises:
      UserError: there are checkpoints, and all of them are damaged.
    """
    for _ in range(TRIES):
        damaged, gone = [], False
        for step in reversed(steps(folder)):
            reason = damage(folder, step)
            if reason is None:
                for line in damaged:
                    (warn or _warn)(f"{line}; the one of step {step} is used instead")
                return step
            if not os.path.lexists(folder_of(folder, step)):  # a trainer has just removed it, and made newer ones
                gone = True
            else:
                damaged.append(f"the checkpoint {folder_of(folder, step)} is damaged ({reason})")
        if not gone:
            break
    if damaged:
        more = f", like all {len(damaged)} of this run" if len(damaged) > 1 else ", and there is no other"
        raise UserError(f"{damaged[0]}{more}; put one back from a copy, or start again with another --output_dir")
    return None


def load_latest(folder, warn=None):
    """The newest whole `Checkpoint`, None where there is none at all; `warn` and errors are those of `latest`.

    A trainer may remove checkpoints meanwhile.
    """
    for tries_left in reversed(range(TRIES)):
        step = latest(folder, warn)
        if step is None:
            return None
        try:
            return load(folder, step, verify=False)
        except UserError:
            if not tries_left or os.path.lexists(folder_of(folder, step)):
                raise
    return None


def damage(folder, step, unchanged=False):
    """What is wrong with the checkpoint of a step, a clause; None if every file has the digest of its manifest.

    Args:
      unchanged: a file that this process read before, and that has not changed since by its times, is not read again.

    Raises:
      UserError: it has the size that it promises, which is more than this machine's memory, or may not be read.
    """
    checkpoint = folder_of(folder, step)
    try:
        if checkpoint.is_symlink():
            return "it is a link"
        version = _read_manifest(checkpoint, {"format_version": Whole()})["format_version"]
        if version not in (FORMAT_VERSION, SHARDS_VERSION):
            return f"its format version is {version}, this program reads {FORMAT_VERSION} and {SHARDS_VERSION}"
        manifest = _read_manifest(checkpoint, _MANIFEST)
        if manifest["step"] != step:
            return f"its {MANIFEST_FILE} is not one of step {step}"
        array_files(checkpoint)
        total = 0
        for name, facts in manifest["files"].items():
            with open_regular(checkpoint / name, links=False) as file:
                size = os.fstat(file.fileno()).st_size
                if size != facts["bytes"]:
                    return f"{name} has {size:,} bytes instead of {facts['bytes']:,}"
                if size > _MOST_JSON_BYTES.get(name, size):
                    return f"{name} has more than {_MOST_JSON_BYTES[name]:,} bytes"
                total += size
                arrays_file.require_memory(checkpoint / name, total)
                if _facts(file, unchanged) != facts:
                    return f"{name} was changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except PermissionError as error:  # nothing is wrong with it, and older ones are no answer
        place = error.filename or checkpoint
        raise UserError(f"{place} can't be read: {error.strerror}; let the user of this command read it") from None
    except OSError as error:
        return f"{Path(error.filename or checkpoint).name} can't be read: {error.strerror}"
    except MissingFile:
        return f"{MANIFEST_FILE} is missing"
    except DamagedFile:
        return f"its {MANIFEST_FILE} can't be read"
    return None


def load(folder, step, verify=True):
    """Reads the checkpoint of a step.

    Args:
      verify: compare all digests first; not needed for what `latest` just returned.

    Returns:
      A `Checkpoint`.

    Raises:
      UserError: there is none of this step (the steps that there are are named), or it is damaged.
    """
    checkpoint = folder_of(folder, step)
    if not checkpoint.is_dir():
        there = ", ".join(map(str, steps(folder))) or "none"
        raise UserError(f"no checkpoint of step {step} in {folder}; there are: {there}")
    reason = damage(folder, step) if verify else None
    if reason:
        raise UserError(f"the checkpoint {checkpoint} is damaged ({reason}); use another one of {folder}")
    try:
        # Not by a schema, which would refuse a sum that is infinite.
        state = json.loads(read_bytes(checkpoint / STATE_FILE, limit=_MOST_JSON_BYTES[STATE_FILE], links=False))
        if not isinstance(state, dict):
            raise ValueError(f"{STATE_FILE} holds no object")
        arrays = shards.joined([arrays_file.read(path) for path in array_files(checkpoint)])
    except DamagedFile as error:
        raise UserError(f"the checkpoint {checkpoint} is damaged ({error}); use another one of {folder}") from None
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise UserError(f"the checkpoint {checkpoint} is damaged ({error}); use another one of {folder}") from error
    return Checkpoint(step, checkpoint, arrays, state)


def array_files(checkpoint):
    """The files of a checkpoint's arrays, in order: `ARRAYS_FILE`, or one of each process that trained.

    Raises:
      DamagedFile: its manifest names other files.
    """
    names = set(_read_manifest(checkpoint, _MANIFEST)["files"])
    for arrays in ([ARRAYS_FILE], shards.file_names(len(names) - 1)):
        if arrays and names == {*arrays, STATE_FILE}:
            return [Path(checkpoint) / name for name in arrays]
    raise DamagedFile(f"{checkpoint / MANIFEST_FILE} names other files than a checkpoint has")


def prune(folder, keep_last, warn=None, spared=()):
    """Removes all checkpoints older than the newest `keep_last` (at least one) whole ones; returns the steps removed.

    Those of the steps `spared` stay. Damaged ones among these are set aside, and `warn` (None: standard error) is told
    a line each.
    """
    folder, keep_last = Path(folder), max(1, keep_last)
    there = steps(folder)
    kept = 0
    while len(there) > keep_last - kept and kept < keep_last:
        step = there.pop()
        reason = damage(folder, step, unchanged=True)
        if reason is None:
            kept += 1
        else:
            place = set_aside(folder, step)
            (warn or _warn)(f"the checkpoint {folder_of(folder, step)} is damaged ({reason}); it was moved to {place}")
    removed = [step for step in there if step not in spared] if kept == keep_last else []
    for step in removed:
        # Renamed first, so that a kill half-way leaves no damaged checkpoint, only something to sweep.
        os.rename(folder_of(folder, step), folder / f"{_TEMPORARY}pruned-{step}-{os.getpid()}")
    _sweep(folder)
    return removed


def set_aside(folder, step):
    """Moves a damaged checkpoint out of the way, to `DAMAGED_FOLDER`; returns where it is now.

    Raises:
      UserError: it can't be moved.
    """
    checkpoint = folder_of(folder, step)
    try:
        (Path(folder) / DAMAGED_FOLDER).mkdir(exist_ok=True)
        place, number = Path(folder) / DAMAGED_FOLDER / checkpoint.name, 1
        while os.path.lexists(place):
            number += 1
            place = place.with_name(f"{checkpoint.name}.{number}")
        os.rename(checkpoint, place)
        _flush(place.parent)
    except OSError as error:
        raise UserError(
            f"the damaged checkpoint {checkpoint} can't be moved to {Path(folder) / DAMAGED_FOLDER}: "
            f"{error.strerror or error}; move it yourself"
        ) from error
    return place


def folder_of(folder, step):
    """Where the checkpoint of a step is, or would be."""
    return Path(folder) / f"step-{step:06d}"


def _write(path, content):
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush(path):
    """Has the disk keep a file's content, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _facts_of(path):
    with open_regular(path, links=False) as file:
        return _facts(file)


def _facts(file, unchanged=False):
    """{"bytes", "sha256"} of an open file; no more is read than it has at first."""
    status, started = os.fstat(file.fileno()), time.time_ns()
    signature = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if unchanged and signature in _known_digests:
        return {"bytes": status.st_size, "sha256": _known_digests[signature]}
    digest, left = hashlib.sha256(), status.st_size
    while left and (block := file.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    if started - max(status.st_mtime_ns, status.st_ctime_ns) >= _CLOCK_TICK:  # else it may yet change unnoticed
        _known_digests[signature] = digest.hexdigest()
    return {"bytes": status.st_size - left, "sha256": digest.hexdigest()}


_known_digests = {}  # (device, inode, size, times) of files, which another content would change → sha256


def _read_manifest(checkpoint, schema):
    return read_json(checkpoint / MANIFEST_FILE, schema, limit=_MOST_JSON_BYTES[MANIFEST_FILE], links=False)


def _json(values):
    return json.dumps(values, indent=1).encode()  # no newline at the end: a file cut by any byte is not JSON


def _sweep(folder):
    """Removes what killed runs left half-written or half-removed."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        remove_folder(path)


def _warn(line):
    print(f"warning: {line}", file=sys.stderr)
