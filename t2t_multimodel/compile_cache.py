"""Where compiled programs are kept between processes: a private folder, of limited size.

JAX has one by default: `T2T_COMPILE_CACHE=off` keeps none, `T2T_COMPILE_CACHE=DIR` names another folder. On both
backends `--compile_cache=DIR` names one. A compiled program is code that is executed: a folder that others can use is
refused.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import stat
import sys
from pathlib import Path

from t2t_multimodel.errors import UserError
from t2t_multimodel.files import user_path

VARIABLE = "T2T_COMPILE_CACHE"
JAX_VARIABLE = "JAX_COMPILATION_CACHE_DIR"  # JAX reads it when it is imported
MOST_BYTES = 4 << 30  # in the folder; what was not used for longest goes first


def set_compile_cache():
    """Has JAX, which is not imported yet, keep its compiled programs; a cache that can't be had stops nothing."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted.lower() in ("off", "0", "no", "false") or os.environ.get(JAX_VARIABLE) or "jax" in sys.modules:
        return
    try:
        folder = _prepared(Path(wanted) if wanted else _users_cache() / "t2t-multimodel", "jax-")
    except PermissionError as error:
        if error.filename:  # of the system: a home folder that can't be written to, say
            return
        print(f"warning: compiled programs are not kept: {error}", file=sys.stderr)
    except (OSError, RuntimeError, ValueError):  # RuntimeError: no home folder; ValueError: a NUL in the path
        return
    else:
        os.environ[JAX_VARIABLE] = str(folder)


def use(folder: str | os.PathLike[str]) -> None:
    """Has XLA keep its programs in `folder`, which is made; to be called before tensorflow or jax is imported.

    Raises:
      UserError: the folder can't be made, or is not the user's alone.
    """
    named = f"--compile_cache={folder}"
    path = Path(user_path(folder, "--compile_cache")).absolute()
    if any(character.isspace() or character in "\"'" for character in str(path)):  # XLA reads flags as words
        raise UserError(f"{named}: its path has a space or a quote; name another folder")
    try:
        mine = _prepared(path, "")
    except OSError as error:
        raise UserError(f"{named}: {error.strerror or error}") from None
    flags = [os.environ.get("TF_XLA_FLAGS", ""), f"--tf_xla_persistent_cache_directory={mine}"]
    os.environ["TF_XLA_FLAGS"] = " ".join(filter(None, flags))
    os.environ[JAX_VARIABLE] = str(mine)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def _prepared(above, prefix):
    """The folder inside `above` for the programs of these versions on this processor."""
    folder = above / f"{prefix}{_fingerprint()}"
    for each in (above, folder):
        _make_private(each)
    _drop_oldest(folder, MOST_BYTES)
    return folder


def _users_cache():
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the standard has relative ones passed over
        return Path(given)
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def _make_private(folder):
    """Makes a folder of the user's alone; raises `PermissionError` without a file name where it is not that."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise PermissionError(f"{folder} is no folder, or a link")
    if hasattr(os, "geteuid") and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
        raise PermissionError(f"{folder} is not the user's alone: chmod 700 it, or set {VARIABLE} to another folder")


def _fingerprint():
    """A name of what programs are compiled by and for: those for another processor would end this process."""
    kind = [platform.machine(), platform.system(), *(f"{name} {_version(name)}" for name in ("tensorflow", "jaxlib"))]
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        kind += sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    return hashlib.sha256("\n".join(kind).encode()).hexdigest()[:16]


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _drop_oldest(folder, most_bytes):
    """Removes the files of a folder that were read and written longest ago, until the others keep to `most_bytes`."""
    files = []
    for entry in os.scandir(folder):
        if not entry.is_file(follow_symlinks=False):
            continue
        with contextlib.suppress(FileNotFoundError):  # another process does the same
            found = entry.stat(follow_symlinks=False)
            files.append((max(found.st_atime, found.st_mtime), found.st_size, entry.path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= most_bytes:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        total -= size
