"""What this machine has: the memory that a process may take."""

import os
import sys
from pathlib import Path

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_UNKNOWN = 1 << 50  # bytes; where nothing tells how much memory there is


def memory() -> int:
    """Bytes of memory that this process may take: the machine's, or less where a container or `ulimit -v` limits it."""
    return min(_physical(), _of_container(), _of_process())


def peak_memory() -> int:
    """The most bytes of memory that this process has had at once; 0 where that is not known."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def gibibytes(size: float) -> str:
    """A number of bytes in words: "12.5 GiB"."""
    return f"{size / 2**30:,.1f} GiB"


def _physical() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return _UNKNOWN


def _of_container() -> int:
    for path in _CGROUPS:
        try:
            return int(Path(path).read_text(encoding="ascii"))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return _UNKNOWN


def _of_process() -> int:
    try:
        import resource
    except ImportError:  # not on Windows
        return _UNKNOWN
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return _UNKNOWN if limit == resource.RLIM_INFINITY else limit
