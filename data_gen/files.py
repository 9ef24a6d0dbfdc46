"""Safe writing of data folders: one writer at a time, complete folders or none, one-line errors for a full disk."""

import contextlib
import errno
import os
import pathlib
import secrets

from t2t_multimodel import locks
from t2t_multimodel.digests import sha256_of_file
from t2t_multimodel.errors import UserError
from t2t_multimodel.files import remove_folder
from t2t_multimodel.regular_files import NotRegular, open_regular
from t2t_multimodel.store_folder import INCOMPLETE, remove_unless_read

MADE_FROM = "made_from.json"  # marks a staging folder (`staging.py`)
_LOCK_FILE = ".datagen.lock"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def only_one(data_dir):
    """Locks the data folder for this process; the system releases the lock when the process ends.

    Raises:
      UserError: another process holds the lock, or the folder can't be created or written.
    """
    held = False
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with locks.hold(data_dir / _LOCK_FILE):
            held = True
            yield
    except locks.Busy as holder:
        raise UserError(
            f"{data_dir} is being written by another t2t-datagen ({holder}); wait for it, or use another --data_dir"
        ) from None
    except OSError as error:
        if held:
            raise
        raise UserError(f"can't write to the data folder {data_dir}: {error.strerror}") from error


@contextlib.contextmanager
def written_whole(folder):
    """Yields a new folder to write into, which replaces `folder` when the block ends without an error.

    All files are synced to disk before the folder is renamed. So after a crash `folder` is the old one, the new one, or
    missing. After an error the new folder is removed; `sweep` removes what a killed process leaves.
    """
    beside, before = unused(folder, "new"), unused(folder, "replaced")
    try:
        beside.mkdir()
        yield beside
        for path in sorted(beside.rglob("*")):
            sync(path)
        sync(beside)
        if folder.exists():
            os.rename(folder, before)
        os.rename(beside, folder)
        sync(folder.parent)
    except BaseException:
        if before.exists() and not folder.exists():
            os.rename(before, folder)
        remove_folder(beside)
        raise
    remove_folder(before)


def unused(folder, purpose):
    """A path beside `folder` that nothing has; `sweep` removes what is left there."""
    return folder.with_name(f"{INCOMPLETE}{folder.name}.{purpose}.{secrets.token_hex(4)}")


def new_file(path):
    """An empty file, open for writing; what was at `path` is removed, and a link there is not followed."""
    pathlib.Path(path).unlink(missing_ok=True)
    return open(path, "xb")


def sweep(data_dir):
    """Removes what killed processes left and no job can reuse; call it while holding `only_one`.

    A replaced store stays as long as a process reads it.
    """
    for path in data_dir.glob(f"{INCOMPLETE}*"):
        if not has_finished_partitions(path):
            remove_unless_read(path)


def has_finished_partitions(folder):
    """Whether `folder` is a staging folder (`staging.py`) with at least one finished partition."""
    return not folder.is_symlink() and (folder / MADE_FROM).exists() and any((folder / "partitions").glob("*-*.json"))


@contextlib.contextmanager
def disk_full_in_words(data_dir):
    """Turns "no space left" into a `UserError`; TensorFlow raises its own exception type for it."""
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) in _DISK_FULL or "No space left on device" in str(error):
            raise UserError(
                f"the disk is full: {data_dir} could not be written; free some space and run the same command again: "
                "it continues from what is finished"
            ) from error
        raise


def sha256_of(path):
    """The sha256 of a regular file's content, in hexadecimal."""
    try:
        with open_regular(path, buffering=0) as file:
            return sha256_of_file(file)
    except NotRegular as error:
        raise UserError(f"{path}: {error.strerror}; move it elsewhere") from None


def sync(path):
    """Flushes a file's content, or a folder's list of names, to the disk."""
    handle = os.open(pathlib.Path(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
