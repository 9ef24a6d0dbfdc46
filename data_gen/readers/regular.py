"""Opens users' files: regular files only, so a pipe, a device or a folder is an error at once and never a wait."""

import errno
import os
import stat

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def open_regular(path):
    """The regular file at `path`, opened to read its bytes; links are followed.

    Raises:
      OSError: it can't be opened, or is something else; `strerror` is the reason in words.
    """
    _check(path, stat_of(path))  # before it is opened, which some devices answer with an action
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe that took its place does not block
    try:
        _check(path, os.fstat(handle))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def require_regular(path):
    """Raises `OSError`, as `open_regular` does, unless a regular file is at `path`; for libraries that open it."""
    _check(path, stat_of(path))


def stat_of(path):
    """`os.stat`, with an `OSError` for what can't be a name at all."""
    try:
        return os.stat(path)
    except ValueError as error:  # NUL, or a character that no file name can have
        raise OSError(errno.EINVAL, f"not a file name: {error}", path) from None


def kind_of(mode):
    """What a file of this mode is, in words; "" for a regular file."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "something else")


def _check(path, status):
    if kind := kind_of(status.st_mode):
        raise OSError(errno.EINVAL, f"{kind}, a regular file expected", path)
