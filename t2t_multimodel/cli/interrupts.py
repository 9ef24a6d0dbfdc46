"""Ctrl-C in a command: none is dropped by a library, and none ends in a traceback."""

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

INTERRUPTED = 130  # exit status
_PAUSE = 0.05  # seconds, after which the callback that dropped it has returned


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """While the body runs, a `KeyboardInterrupt` that a callback of a library drops is raised again.

    Python calls functions from within C, such as destructors, and can only report what they raise.
    """
    before = sys.unraisablehook

    def report(unraisable):
        if isinstance(unraisable.exc_value, KeyboardInterrupt) or unraisable.exc_type is KeyboardInterrupt:
            again = threading.Timer(_PAUSE, _thread.interrupt_main)
            again.daemon = True
            again.start()
        else:
            before(unraisable)

    sys.unraisablehook = report
    try:
        yield
    finally:
        sys.unraisablehook = before


def status_of(run: Callable[[], int]) -> int:
    """The exit status that `run()` returns, for a process that ends with it; 130 where Ctrl-C ends it.

    From its end on, a further Ctrl-C ends the process at once, in the middle of what Python does when it ends.
    """
    try:
        with heard():
            return run()
    except KeyboardInterrupt:  # within what an earlier one led to
        return INTERRUPTED
    finally:
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) not in (
            signal.SIG_IGN,
            None,
        ):
            signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
