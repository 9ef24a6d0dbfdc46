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


class _AtOnce(int):
    """The exit status after a second Ctrl-C."""


def status(error: KeyboardInterrupt) -> int:
    """The exit status where `error` ends a command; `status_of` knows from it whether it was a second Ctrl-C."""
    inner = error.__context__
    while inner is not None and not isinstance(inner, KeyboardInterrupt):
        inner = inner.__context__
    return INTERRUPTED if inner is None else _AtOnce(INTERRUPTED)


def status_of(run: Callable[[], int]) -> int:
    """The exit status that `run()` returns, for a process that ends with it; 130 where Ctrl-C ends it.

    After a second Ctrl-C, which may have left worker processes that Python would wait for at its end, the process ends
    at once; and so does a further one after the end of `run()`.
    """
    try:
        with heard():
            found = run()
        if isinstance(found, _AtOnce):
            os._exit(INTERRUPTED)
        return found
    except KeyboardInterrupt:  # within what an earlier one led to
        return INTERRUPTED
    finally:
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) not in (
            signal.SIG_IGN,
            None,
        ):
            signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
