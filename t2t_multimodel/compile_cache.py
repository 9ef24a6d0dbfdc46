"""The folder where compiled programs are kept, so that the next process with the same model does not compile again."""

import hashlib
import importlib.metadata
import os
import pathlib
import platform

from t2t_multimodel.errors import UserError
from t2t_multimodel.files import user_path

_OPEN_TO_OTHERS = 0o022  # mode bits


def use(folder: "str | os.PathLike[str]") -> None:
    """Has XLA keep its programs in `folder`, which is made; to be called before tensorflow or jax is imported.

    Programs of other versions or another processor are in separate folders inside it. A compiled program is code that
    is executed, so the folder must belong to this user, and no one else may write to it.

    Raises:
      UserError: the folder can't be made, or others may write to it.
    """
    path = pathlib.Path(user_path(folder, "--compile_cache")).absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise UserError(f"--compile_cache={folder}: {error.strerror or error}; name another folder") from None
    if status.st_uid != os.getuid() or status.st_mode & _OPEN_TO_OTHERS:
        raise UserError(f"--compile_cache={folder}: others may write programs to it; chmod 700 it, or name your own")
    mine = path / _fingerprint()
    mine.mkdir(mode=0o700, exist_ok=True)
    if any(character.isspace() or character in "\"'" for character in str(mine)):  # XLA reads flags as words
        raise UserError(f"--compile_cache={folder}: its path has a space or a quote; name another folder")
    flags = [os.environ.get("TF_XLA_FLAGS", ""), f"--tf_xla_persistent_cache_directory={mine}"]
    os.environ["TF_XLA_FLAGS"] = " ".join(filter(None, flags))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(mine)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def _fingerprint() -> str:
    """A name for the compiler and the processor that programs are made by and for."""
    versions = [f"{name} {_version(name)}" for name in ("tensorflow", "jaxlib")]
    processor = [platform.machine(), platform.processor()]
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        processor += sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        pass  # not Linux
    return hashlib.sha256("\n".join(versions + processor).encode()).hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
