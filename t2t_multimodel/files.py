"""Paths as users write them, and files that are written whole or not at all: a reader never sees a part."""

import contextlib
import errno
import os
import pathlib
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO

from t2t_multimodel.errors import UserError


def user_path(path: str | os.PathLike[str], name: str) -> str:
    """A path with "~" and "~user" expanded, for the argument or flag that is called `name`.

    Raises:
      UserError: there is no such home folder, or the path is none.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise UserError(f"{name} must be a path, not {path!r}")
    text = os.fspath(path)
    if not text or "\0" in text:
        raise UserError(f"{name}={text!r} can't be a path")
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        home = text.split("/", 1)[0]
        raise UserError(f"{name}={text}: {home} has no home folder here; a folder of that name is written ./{home}")
    return expanded


def write_file(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Replaces `path` by a file with `content`; text is written as UTF-8.

    Raises:
      OSError: the file can't be written; what was at `path` is still there, and nothing else is left.
    """
    with replacing(path, content.encode() if isinstance(content, str) else content):
        pass


def remove_folder(path: str | os.PathLike[str]) -> None:
    """Removes a folder and what is in it, as far as that can be removed; what is no folder stays.

    `shutil.rmtree` opens what is at `path` first, and waits for ever at a pipe.
    """
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return
    if is_folder:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def output_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """What a user wants written at `path`: a file, whole or not at all; a pipe or a device such as /dev/stdout.

    Raises:
      OSError: it can't be written; of a pipe also that nothing reads it.
    """
    is_open = os.path.dirname(os.path.abspath(path)) in ("/dev", "/dev/fd", "/proc/self/fd")  # /dev/stdout > file
    if not is_open and not _is_special(path, stat.S_ISCHR, stat.S_ISFIFO):
        with replacing(path) as temporary, open(temporary, "wb") as file:
            yield file
        return
    try:  # not O_CREAT: nothing is made there; a pipe without a reader is no wait
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0))
        os.set_blocking(descriptor, True)
        with open(descriptor, "wb") as file:
            yield file
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.EPIPE):
            raise
        raise OSError(error.errno, "nothing reads this pipe", os.fspath(path)) from None


def _is_special(path: str | os.PathLike[str], *kinds: Callable[[int], bool]) -> bool:
    """Whether something of these kinds is at `path`, or where a link there leads."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return any(kind(mode) for kind in kinds)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], content: bytes = b"") -> Iterator[pathlib.Path]:
    """For a writer that needs a path: the body fills the file that it is given, which then takes the place of `path`.

        with replacing(folder / "curves.png") as temporary:
            figure.savefig(temporary, format="png")

    The file is in the same folder, new, with `content`. If the body raises, it is removed and `path` stays as it was.
    A device is never replaced: that raises `OSError`.
    """
    path = pathlib.Path(path)
    if _is_special(path, stat.S_ISCHR, stat.S_ISBLK):  # which root would replace, /dev/null too
        raise OSError(errno.EINVAL, "it is a device; name a file", str(path))
    temporary = path.with_name(f".{path.name[:50]}.{os.getpid()}-{secrets.token_hex(4)}")
    # Created here and only here: a file or link planted there is not written through.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
