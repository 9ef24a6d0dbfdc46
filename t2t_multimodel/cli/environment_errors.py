"""Errors of the file system and the machine that the user can put right, in one line each."""

import errno
import os

# Told with or without the name of a file, and also where another error followed from it.
_CAUSES = {
    errno.ENOSPC: "disk full{writing}: make room, then run the same command again",
    errno.EDQUOT: "disk full{writing}: make room, then run the same command again",
    errno.EFBIG: "file too large{at}: raise the limit (ulimit -f) or use another file system",
    errno.EMFILE: "too many open files{at}: raise the limit (ulimit -n) or use fewer processes",
    errno.ENFILE: "too many open files on this machine{at}: close other programs",
    errno.ENOMEM: "not enough memory{at}: close other programs or use a smaller size",
    errno.EIO: "input/output error{at}: check the disk",
    errno.EROFS: "read-only file system{at}: name a folder on another one",
}
# The same by name, for what C++ libraries raise.
_BY_TEXT = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Too many open files": errno.EMFILE,
    "File too large": errno.EFBIG,
}
# What to do, where a file's name is told.
_ADVICE = {
    errno.ENAMETOOLONG: "name a shorter one",
    errno.ELOOP: "the links lead in a circle; remove one of them",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file; name a folder",
    errno.EEXIST: "name another, or remove it",
    errno.EISDIR: "name a file",
}


def line(error):
    """One line for an error that the user can correct, or None."""
    if isinstance(error, MemoryError):
        return f"not enough memory ({str(error) or 'no more is said'}): close other programs or use a smaller size"
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        return f"{error.object!r:.80} is no text in this locale; rename it, or set PYTHONUTF8=1"
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return f"a path has a NUL character ({error}); name another"
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # of pathlib, before Python 3.13
        return f"{error}; {_ADVICE[errno.ELOOP]}"
    if "No usable temporary directory" in str(error):
        return "no folder for temporary files can be written (TMPDIR, /tmp): set TMPDIR to one, or make room"
    raised = error
    while error is not None:
        said = _cause(error)
        if said:
            return said
        error = error.__cause__ or error.__context__
    while raised is not None:
        name = _name(raised)
        if isinstance(raised, OSError) and name:
            advice = _ADVICE.get(raised.errno)
            said = raised.strerror or str(raised)
            return f"{name}: {said}" + (f"; {advice}" if advice else "")
        raised = raised.__cause__  # not the context: a bug in the handling of an error is a bug
    return None


def _cause(error):
    number, name = getattr(error, "errno", None), _name(error)
    if number in (errno.EACCES, errno.EPERM) and name:
        return f"no permission: {name} ({error.strerror})"
    if number not in _CAUSES:
        number = next((n for text, n in _BY_TEXT.items() if text in str(error)), None)
    return _said(number, name) if number in _CAUSES else None


def _said(number, name):
    at, writing = (f" {word} {name}" if name else "" for word in ("at", "while writing"))
    return _CAUSES[number].format(at=at, writing=writing)


def _name(error):
    name = getattr(error, "filename", None)
    return os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else ""
