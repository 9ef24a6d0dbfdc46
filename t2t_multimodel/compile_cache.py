"""Where compiled programs are kept between processes: a private folder, of limited size.

By default it is in the user's cache: `T2T_COMPILE_CACHE=off` keeps none, `T2T_COMPILE_CACHE=DIR` or a command's
`--compile_cache=DIR` names another. A compiled program is code that is executed: a folder that others can use is
refused.

On TensorFlow the folder holds traced programs (`training/tensorflow_kept.py`) and XLA's compiled ones, each file with
the digest of its content. XLA itself would fail to compile where it finds a half-written file, or can't write: it is
given a folder of this process alone, which gets what is whole, and what is new there is kept when it is whole.
"""

import atexit
import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import shutil
import stat
import sys
import tempfile
import time
from pathlib import Path

from t2t_multimodel.errors import UserError
from t2t_multimodel.files import user_path, write_file
from t2t_multimodel.regular_files import open_regular

VARIABLE = "T2T_COMPILE_CACHE"
JAX_VARIABLE = "JAX_COMPILATION_CACHE_DIR"  # JAX reads it when it is imported
KEPT_VARIABLE = "T2T_KEPT_PROGRAMS"  # the folder of traced programs, for worker processes too
XLA_VARIABLE = "TF_XLA_FLAGS"
_XLA_FLAG = "--tf_xla_persistent_cache_directory"
_XLA_ENDING = ".xla"
_OWN = "t2t-xla-"  # what the names of processes' folders begin with
_YOUNG = 60.0  # seconds: a folder may not be locked yet
_LEAST_FREE_BYTES = 256 << 20  # where XLA writes; with less it keeps nothing
MOST_BYTES = 4 << 30  # in the folder; what was not used for longest goes first
_UNUSED_SECONDS = 90 * 86_400.0  # after which the folder of other versions goes
_FINGERPRINT = "[0-9a-f]" * 16  # what `_fingerprint` looks like


def set_compile_cache():
    """Has JAX, which is not imported yet, keep its compiled programs; a cache that can't be had stops nothing."""
    if os.environ.get(JAX_VARIABLE) or "jax" in sys.modules:
        return
    folder = _usual_folder("jax-")
    if folder is not None:
        os.environ[JAX_VARIABLE] = str(folder)


def begin(folder: str | os.PathLike[str] | None = None) -> None:
    """Has this process, a command that runs models, keep programs: in `folder`, or where that is not given on
    TensorFlow in the user's cache. To be called before tensorflow or jax is imported.

    Raises:
      UserError: the folder can't be made, or is not the user's alone.
    """
    if folder:
        use(folder)
    elif os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        usual = kept_folder() or _usual_folder("tensorflow-")
        if usual is not None:
            os.environ[KEPT_VARIABLE] = str(usual)
            _of_xla.begin()


def _usual_folder(prefix):
    """The folder where nothing names one, which is made; None: none is wanted, or can be had."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted.lower() in ("off", "0", "no", "false"):
        return None
    try:
        return _prepared(Path(wanted) if wanted else _users_cache() / "t2t-multimodel", prefix)
    except PermissionError as error:
        if not error.filename:  # else of the system: a home folder that can't be written to, say
            print(f"warning: compiled programs are not kept: {error}", file=sys.stderr)
    except (OSError, RuntimeError, ValueError):  # RuntimeError: no home folder; ValueError: a NUL in the path
        pass
    return None


def use(folder: str | os.PathLike[str]) -> None:
    """Has XLA keep its programs in `folder`, which is made; to be called before tensorflow or jax is imported.

    Raises:
      UserError: the folder can't be made, or is not the user's alone.
    """
    named = f"--compile_cache={folder}"
    path = Path(user_path(folder, "--compile_cache")).absolute()
    try:
        mine = _prepared(path, "")
    except OSError as error:
        raise UserError(f"{named}: {error.strerror or error}") from None
    os.environ[JAX_VARIABLE] = os.environ[KEPT_VARIABLE] = str(mine)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    _of_xla.begin()


def kept_folder() -> Path | None:
    """Where traced programs are kept, by this process or the one that started it; None: nowhere."""
    folder = os.environ.get(KEPT_VARIABLE)
    return Path(folder) if folder else None


def read_kept(path: Path) -> bytes | None:
    """What `write_kept` wrote; None where that is not there as a whole."""
    try:
        with open_regular(path, links=False) as file:
            digest, _, content = file.read(MOST_BYTES).partition(b"\n")
    except OSError:
        return None
    return content if digest == hashlib.sha256(content).hexdigest().encode() else None


def write_kept(path: Path, content: bytes) -> None:
    """Writes a file with its digest; where that can't be done, a line says so, and all else goes on."""
    try:
        write_file(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    except OSError as error:
        _warn(f"compiled programs can't be kept in {path.parent}: {error.strerror or error}")


@functools.cache
def _warn(said):
    print(f"warning: {said}", file=sys.stderr)


class _OfXla:
    """XLA's compiled programs: a folder of this process alone, and copies of it in the one that is kept."""

    def __init__(self):
        self._folder = None  # where XLA reads and writes
        self._lock = None  # of that, which tells others that this process lives
        self._group = ""
        self._known = set()  # names in there that need not be kept again

    def begin(self):
        """Makes the folder, in that of the process that started this one if it has one; without space for it XLA keeps
        nothing. Once: XLA reads where it is when it starts.
        """
        if self._folder is not None:
            return
        flags = os.environ.get(XLA_VARIABLE, "").split()
        above = next((flag.partition("=")[2] for flag in flags if flag.startswith(_XLA_FLAG)), None)
        os.environ[XLA_VARIABLE] = " ".join(flag for flag in flags if not flag.startswith(_XLA_FLAG))
        above = above if above and os.path.isdir(above) else tempfile.gettempdir()
        _sweep(above)
        try:
            if shutil.disk_usage(above).free < _LEAST_FREE_BYTES:
                return
            folder = tempfile.mkdtemp(prefix=_OWN, dir=above)
        except OSError:
            return
        if any(character.isspace() or character in "\"'" for character in folder):  # XLA reads flags as words
            os.rmdir(folder)
            return
        self._lock = _locked(folder)
        self._folder, self._known = Path(folder), set()
        os.environ[XLA_VARIABLE] += f" {_XLA_FLAG}={folder}"
        atexit.register(self._end, os.getpid())

    def fill(self, group):
        """Gives XLA what was kept of a group of programs, such as those of a model; what is new is kept as such."""
        kept = kept_folder()
        if self._folder is None or kept is None:
            return
        self._group = group
        for path in sorted(kept.glob(f"{group}-*{_XLA_ENDING}")):
            content, name = read_kept(path), path.name[len(group) + 1 : -len(_XLA_ENDING)]
            with contextlib.suppress(OSError):
                if content is None:
                    path.unlink()
                elif name not in self._known:
                    write_file(self._folder / name, content)
                    self._known.add(name)

    def keep_new(self, settled=1.0):
        """Keeps what XLA has written, but for `settled` seconds: a file that is still written is kept later."""
        kept = kept_folder()
        if self._folder is None or kept is None or not self._group:
            return
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                is_new = entry.is_file() and entry.name not in self._known and not entry.name.startswith(".")
                if is_new and entry.stat().st_mtime <= time.time() - settled:
                    self._known.add(entry.name)
                    content = Path(entry.path).read_bytes()
                    write_kept(kept / f"{self._group}-{entry.name}{_XLA_ENDING}", content)

    def _end(self, process):
        if os.getpid() == process:  # not one that was forked off
            self.keep_new(settled=0.0)
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)


def _locked(folder):
    """A descriptor of a folder that holds its lock, as long as this process lives and those that it forks.

    Raises:
      OSError: it is no folder, or another process holds the lock.
    """
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _sweep(above):
    """Removes the folders of processes of this user that were killed."""
    for path in Path(above).glob(f"{_OWN}*"):
        with contextlib.suppress(OSError):
            facts = path.lstat()
            if facts.st_uid == os.getuid() and time.time() - facts.st_mtime > _YOUNG:
                descriptor = _locked(path)
                shutil.rmtree(path, ignore_errors=True)
                os.close(descriptor)


_of_xla = _OfXla()


def fill_xla(group: str) -> None:
    """Gives XLA the programs of this group that were kept; what it compiles from here on is kept as of the group."""
    _of_xla.fill(group)


def keep_new_of_xla() -> None:
    """Keeps what XLA has compiled so far; at its end a process does that by itself."""
    _of_xla.keep_new()


def use_in_worker() -> None:
    """Goes on with the folder that the process that started this one was given; before tensorflow is imported."""
    if kept_folder() is not None:
        _of_xla.begin()


def _prepared(above, prefix):
    """The folder inside `above` for the programs of these versions on this processor."""
    folder = above / f"{prefix}{_fingerprint()}"
    for each in (above, folder):
        _make_private(each)
    _drop_oldest(folder, MOST_BYTES)
    if prefix:  # else what else is there may be anybody's
        _drop_unused(above, prefix, folder)
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
    files = _files(folder)
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= most_bytes:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        total -= size


def _drop_unused(above, prefix, own):
    """Removes the folders that were not used for a long time: mostly of versions that are no longer installed."""
    for folder in above.glob(f"{prefix}{_FINGERPRINT}"):
        with contextlib.suppress(OSError):  # another process does the same
            about = folder.lstat()
            if folder == own or not stat.S_ISDIR(about.st_mode):
                continue
            files = _files(folder)
            if time.time() - max([about.st_mtime, *(used for used, *_ in files)]) > _UNUSED_SECONDS:
                for _, _, path in files:
                    os.unlink(path)
                folder.rmdir()


def _files(folder):
    """[(when it was read or written last, its bytes, its path)] of the regular files of a folder."""
    files = []
    for entry in os.scandir(folder):
        if not entry.is_file(follow_symlinks=False):
            continue
        with contextlib.suppress(FileNotFoundError):  # another process removes some
            found = entry.stat(follow_symlinks=False)
            files.append((max(found.st_atime, found.st_mtime), found.st_size, entry.path))
    return files
