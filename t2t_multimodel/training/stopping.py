"""Being told to stop: SIGTERM and Ctrl-C let the trainer finish its step and save; a second Ctrl-C ends it at once.

A `KeyboardInterrupt` may be raised anywhere, also inside a callback of a library, which would drop it. So while
training goes on, a signal only sets a flag.
"""

import os
import signal
import threading

RESUME_ME = 75  # exit status after SIGTERM: saved, the same command continues (EX_TEMPFAIL)
INTERRUPTED = 130  # exit status after SIGINT: saved too


class Stop(Exception):
    """Raised inside an evaluation that is given up because the trainer was told to stop."""


class StopSignals:
    """Listens to signals, in the main thread only: `status` is the exit status asked for, 0 as long as none is.

    Use it as a context manager around all that a training command does, and call `training()` where it starts to train.
    Before that there is nothing to save: Ctrl-C raises `KeyboardInterrupt`, and SIGTERM does what it always does.
    """

    def __init__(self, exit_at_once=False):
        """
        Args:
          exit_at_once: a second Ctrl-C ends the process, also within a long call of a library; otherwise it raises
            `KeyboardInterrupt` as soon as Python runs again, such as in a notebook.
        """
        self.status = 0
        self._exit_at_once = exit_at_once
        self._training = self._saves = False
        self._interrupts = 0
        self._before = {}  # signal → handler to put back
        self._wakeup = None

    def training(self, saves=True):
        """From here on a signal only sets `status`. Args: saves: False: of an evaluation, which saves nothing."""
        self._training, self._saves = True, saves
        self._listen(signal.SIGTERM, self._terminate)

    def check(self):
        """Raises `Stop` where stopping was asked for."""
        if self.status:
            raise Stop

    def __enter__(self):
        # A process that is told to ignore Ctrl-C (nohup, a shell's background job) goes on ignoring it.
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None):
            self._listen(signal.SIGINT, self._interrupt)
            if self._exit_at_once:
                self._wakeup = _Wakeup(self._count)
        return self

    def __exit__(self, *exception):
        if self._wakeup:
            self._wakeup.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _listen(self, number, handler):
        if threading.current_thread() is threading.main_thread() and number not in self._before:
            before = signal.signal(number, handler)
            self._before[number] = signal.SIG_DFL if before is None else before

    def _terminate(self, *_):
        self.status = self.status or RESUME_ME

    def _interrupt(self, *_):
        self.status = INTERRUPTED
        if not self._wakeup:
            self._count()
        if not self._training or (self._interrupts > 1 and not self._exit_at_once):
            raise KeyboardInterrupt

    def _count(self):
        """One more Ctrl-C; called by the thread of `_Wakeup` where there is one."""
        self._interrupts += 1
        if self._interrupts == 1 and self._training:
            ending = "this step is finished and saved" if self._saves else "the evaluation is given up after this batch"
            lost = ", back to the last checkpoint" if self._saves else ""
            _say(f"interrupted: {ending}; another Ctrl-C stops at once{lost}")
        if self._interrupts > 1 and self._exit_at_once:
            _say("stopped at once" + ("; what was done since the last checkpoint is lost" if self._saves else ""))
            os._exit(INTERRUPTED)


class _Wakeup:
    """Calls a function for each SIGINT from a thread of its own, so also while the main thread is inside a library."""

    def __init__(self, interrupted):
        self._interrupted = interrupted
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self):
        signal.set_wakeup_fd(self._before)
        os.write(self._writer, b"\0")
        self._thread.join()
        os.close(self._reader)
        os.close(self._writer)

    def _read(self):
        numbers = b""
        while 0 not in numbers:
            numbers = os.read(self._reader, 64)
            for _ in range(numbers.count(signal.SIGINT)):
                self._interrupted()


def _say(line):
    """To standard error, past Python's buffers: the signal may have come in the middle of a print."""
    try:
        os.write(2, f"\n{line}\n".encode())
    except OSError:
        pass
