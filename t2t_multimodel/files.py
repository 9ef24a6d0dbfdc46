"""Paths as users write them, and files that are written whole or not at all: a reader never sees a part."""

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator

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


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], content: bytes = b"") -> Iterator[pathlib.Path]:
    """For a writer that needs a path: the body fills the file that it is given, which then takes the place of `path`.

        with replacing(folder / "curves.png") as temporary:
            figure.savefig(temporary, format="png")

    The file is in the same folder, new, with `content`. If the body raises, it is removed and `path` stays as it was.
    """
    path = pathlib.Path(path)
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
