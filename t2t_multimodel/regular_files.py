"""Opens regular files only: a pipe, a device or a folder at a path is an error at once, and never a wait."""

import errno
import os
import stat
from typing import IO

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
}
_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)  # a pipe that took its place does not block


class NotRegular(OSError):
    """What is at a path is no regular file; `strerror` is the reason in words."""


def open_regular(
    path: str | os.PathLike[str], *, links: bool = True, folder: int | None = None, buffering: int = -1
) -> IO[bytes]:
    """The regular file at `path`, opened to read its bytes.

    Args:
      links: whether a link to a regular file is one.
      folder: the descriptor of the folder that `path` is relative to.
      buffering: as of `open`.

    Raises:
      NotRegular: it is something else. OSError: it can't be opened.
    """
    _check(path, stat_of(path, links=links, folder=folder))  # before it is opened, which some devices act upon
    no_links = 0 if links else getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, os.O_RDONLY | _FLAGS | no_links, dir_fd=folder)
    try:
        _check(path, os.fstat(descriptor))
        return open(descriptor, "rb", buffering=buffering)
    except BaseException:
        os.close(descriptor)
        raise


def opened_to_write(path: str | os.PathLike[str], flags: int) -> int:
    """The descriptor of a regular file that a process keeps for itself, such as a lock or a log; no link is followed.

    Args:
      flags: `os.O_RDWR | os.O_CREAT`, …; a file that is made can be read and written as the umask allows.

    Raises:
      NotRegular: something else is there, which is not waited for. OSError: it can't be opened.
    """
    try:
        descriptor = os.open(path, flags | _FLAGS | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotRegular(errno.EINVAL, "it is a link", os.fspath(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular(errno.EINVAL, "it is no regular file", os.fspath(path))
    return descriptor


def last_lines(path: str | os.PathLike[str], most: int = 1 << 16) -> list[str]:
    """The lines in the last `most` bytes of a file that a program wrote, without blanks around them.

    Raises:
      NotRegular: it is no regular file. OSError: it can't be read.
    """
    with open_regular(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - most))
        return [line.strip() for line in file.read(most).decode("utf-8", "replace").splitlines()]


def require_regular(path: str | os.PathLike[str]) -> None:
    """Raises `OSError`, as `open_regular` does, unless a regular file is at `path`; for libraries that open it."""
    _check(path, stat_of(path))


def stat_of(path: str | os.PathLike[str], *, links: bool = True, folder: int | None = None) -> os.stat_result:
    """`os.stat`, with an `OSError` for what can't be a name at all."""
    try:
        return os.stat(path, dir_fd=folder, follow_symlinks=links)
    except ValueError as error:  # NUL, or a character that no file name can have
        raise OSError(errno.EINVAL, f"not a file name: {error}", path) from None


def kind_of(mode: int) -> str:
    """What a file of this mode is, in words; "" for a regular file."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "something else")


def _check(path: str | os.PathLike[str], status: os.stat_result) -> None:
    if kind := kind_of(status.st_mode):
        raise NotRegular(errno.EINVAL, f"{kind}, a regular file expected", os.fspath(path))
