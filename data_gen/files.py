"""Safe writing of data folders: one writer at a time, complete folders or none, one-line errors for a full disk."""

import contextlib
import errno
import hashlib
import os
import pathlib
import shutil
import socket

from t2t_multimodel.errors import UserError

INCOMPLETE = "incomplete."  # prefix of folders that are not complete
MADE_FROM = "made_from.json"  # marks a staging folder (`staging.py`)
_LOCK_FILE = ".datagen.lock"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def only_one(data_dir):
    """Locks the data folder for this process; the system releases the lock when the process ends.

    Raises:
      UserError: another process holds the lock, or the folder can't be created or written.
    """
    import fcntl

    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = open(data_dir / _LOCK_FILE, "a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"can't write to the data folder {data_dir}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UserError(
                f"{data_dir} is being written by another t2t-datagen ({lock.read().strip() or 'it just started'}); "
                "wait for it, or use another --data_dir"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


@contextlib.contextmanager
def written_whole(folder):
    """Yields a new folder to write into, which replaces `folder` when the block ends without an error.

    All files are synced to disk before the folder is renamed. So after a crash `folder` is the old one, the new one, or
    missing. After an error the new folder is removed; `sweep` removes what a killed process leaves.
    """
    beside = folder.with_name(f"{INCOMPLETE}{folder.name}.{os.getpid()}")
    before = folder.with_name(f"{INCOMPLETE}{folder.name}.replaced.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
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
        shutil.rmtree(beside, ignore_errors=True)
        raise
    shutil.rmtree(before, ignore_errors=True)


def sweep(data_dir):
    """Removes what killed processes left and no job can reuse; call it while holding `only_one`."""
    for path in data_dir.glob(f"{INCOMPLETE}*"):
        if not has_finished_partitions(path):
            shutil.rmtree(path, ignore_errors=True)


def has_finished_partitions(folder):
    """Whether `folder` is a staging folder (`staging.py`) with at least one finished partition."""
    return (folder / MADE_FROM).exists() and any((folder / "partitions").glob("*-*.json"))


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
    """The sha256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def sync(path):
    """Flushes a file's content, or a folder's list of names, to the disk."""
    handle = os.open(pathlib.Path(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
