"""One process at a time: a lock file whose lock the system frees when its holder ends, however it ends."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator

from t2t_multimodel.regular_files import opened_to_write

_TRIES, _PAUSE = 10, 0.02  # a process that only asks whether a lock is free holds it for less than that


class Busy(Exception):
    """Another process holds the lock; its text says which, as far as is known."""


@contextlib.contextmanager
def hold(path: str | os.PathLike[str]) -> Iterator[None]:
    """Holds the lock of the file `path`, which is made if need be, and stays.

    Raises:
      Busy: another process, or this one, holds it.
      OSError: the file can't be made. No link is followed. NotRegular: something else is there.
    """
    import fcntl

    with open(opened_to_write(path, os.O_RDWR | os.O_CREAT), "r+", encoding="utf-8", errors="backslashreplace") as file:
        for tries_left in reversed(range(_TRIES)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not tries_left:
                    raise Busy(_holder(file)) from None
                time.sleep(_PAUSE)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def check_free(path: str | os.PathLike[str]) -> None:
    """Raises `Busy` if a process holds the lock of `path`; makes and changes nothing."""
    import fcntl

    try:
        descriptor = opened_to_write(path, os.O_RDONLY)
    except OSError:
        return  # `hold` will say what is wrong
    with open(descriptor, encoding="utf-8", errors="backslashreplace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(_holder(file)) from None


def _holder(file):
    return file.read(200).strip() or "it just started"
