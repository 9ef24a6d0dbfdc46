"""The logs of a run: metrics.jsonl and TensorBoard's events. Whatever is wrong with them, the run goes on.

A line of `metrics.jsonl` is one JSON object: "step", "split" ("train", "dev", …), "problem" (absent where a value
belongs to the run as a whole) and the measured values by name. A line that is not that is left out, and counted.

Several processes may append: a training run, and evaluations of it. Each line is one write, and to rewrite the file
takes the same lock as to append.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import socket
import sys
import time
from pathlib import Path

from t2t_multimodel.files import replacing
from t2t_multimodel.regular_files import opened_to_write

METRICS_FILE = "metrics.jsonl"
EVENTS_FOLDER = "events"
EVALUATION_EVENTS_FOLDER = "events-evaluate"  # TensorBoard reads only the newest file of a folder

_LONGEST_LINE, _LARGEST_LOG = 1 << 20, 1 << 30  # bytes
_LARGEST = 1e100  # of all values: with larger ones no curve can be drawn
_PATIENCE = 2.0  # seconds to wait for a process that holds the log; then the line is written all the same
_NOT_FINITE = ("nan", "inf", "-inf")  # JSON has no NaN
# Values with which is calculated: finite numbers, or the line is damaged. Other values may be text.
_FINITE = ("share_planned", "share_actual", "microbatches", "examples_seen", "train_seconds")
_MAY_DIVERGE = ("loss", "cross_entropy", "load_balance_loss", "dropped_token_fraction", "learning_rate", "ctc_loss")


class NoLog(contextlib.AbstractContextManager):
    """The log of a process that writes none, since another one does."""

    def write(self, step, values, *, problem="", split="train"):
        pass

    def __exit__(self, *exception):
        pass


class MetricsLog:
    """Appends measurements to `metrics.jsonl` and to TensorBoard's events, both in the run directory."""

    def __init__(self, output_dir, resume_step=0, append_only=False, warn=None):
        """Opens the log of a run that is at step `resume_step`; what was logged after that step is dropped.

        A run that was killed goes on from its last checkpoint, so steps after it happen twice: without this the curves
        would double back.

        Args:
          append_only: drop nothing, since another process may be training this run.
          warn: a function that is told, a line each, what was dropped and what can't be written; None: standard error.
        """
        self.path = Path(output_dir) / METRICS_FILE
        self._warn = warn or _to_standard_error
        self._said = set()
        if not append_only:
            self._tried(METRICS_FILE, self._drop_after, resume_step)
        folder = self.path.parent / (EVALUATION_EVENTS_FOLDER if append_only else EVENTS_FOLDER)
        self._events = self._tried(folder.name, _EventFile, folder, None if append_only else resume_step)

    def write(self, step, values, *, problem="", split="train"):
        """Logs `values` ({name: number or text}) of one problem, or of the whole run where `problem` is empty."""
        record = {"step": int(step), "split": split} | ({"problem": problem} if problem else {})
        numbers = {name: float(value) for name, value in values.items() if is_number(value)}
        plain = {name: _plain(numbers[name]) if name in numbers else value for name, value in values.items()}
        line = json.dumps(record | plain, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        self._tried(METRICS_FILE, self._append, line)
        if self._events:
            tags = {f"{problem or 'run'}/{split}/{name}": value for name, value in numbers.items()}
            self._tried(EVENTS_FOLDER, self._events.write, step, tags)

    def close(self):
        if self._events:
            self._tried(EVENTS_FOLDER, self._events.close)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _append(self, line):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _held(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
            end = os.fstat(descriptor).st_size
            if end and os.pread(descriptor, 1, end - 1) != b"\n":  # half a line, of a process that was killed
                line = b"\n" + line
            while line:
                line = line[os.write(descriptor, line) :]

    def _drop_after(self, step):
        """Rewrites the log without the records after `step` and without damaged lines; whole or not at all."""
        if not os.path.lexists(self.path):
            return
        damaged = []
        with _held(self.path, os.O_RDONLY) as descriptor, open(descriptor, "rb", closefd=False) as file:
            wanted = [_is_up_to(step, line, number, damaged) for number, line in enumerate(_lines(file), 1)]
            if all(wanted):
                return
            file.seek(0)
            with replacing(self.path) as temporary, open(temporary, "wb") as kept:
                kept.writelines(line for line, keep in zip(_lines(file), wanted) if keep)
        if damaged:
            self._warn(f"{self.path}: {_counted(damaged)} can't be read and dropped, the first is line {damaged[0]}")

    def _tried(self, name, function, *arguments):
        """The value of function(*arguments); None where a file is in the way of it, which is said once."""
        try:
            return function(*arguments)
        except (OSError, ValueError) as error:
            if name not in self._said:
                said = f"{getattr(error, 'strerror', None) or error}"
                self._warn(f"{self.path.parent / name} is not written ({said}); the run goes on without this log")
            self._said.add(name)
            return None


def read_metrics(output_dir, warn=None):
    """Yields the records of a run's `metrics.jsonl` as dicts.

    A last line that is being written, or that a kill cut short, is left out; and so are damaged lines.

    Args:
      warn: a function that is told, in one line, what was left out; None: it is not said.
    """
    path, damaged = Path(output_dir) / METRICS_FILE, []
    if not os.path.lexists(path):
        return
    try:
        with open(_opened(path, os.O_RDONLY), "rb") as file:
            for number, line in enumerate(_lines(file), 1):
                record = _parsed(line)
                if record:
                    yield record
                elif line.endswith(b"\n") or not line:
                    damaged.append(number)
    except OSError as error:
        if warn:
            warn(f"{path} can't be read: {error.strerror or error}")
        return
    if damaged and warn:
        warn(f"{path}: {_counted(damaged)} can't be read and left out, the first is line {damaged[0]}")


def is_number(value):
    if isinstance(value, bool | str) or value is None:
        return False
    return hasattr(value, "__float__")


class _EventFile:
    """TensorBoard's event file, written without tensorflow (which the JAX backend would load for nothing else)."""

    def __init__(self, folder, resume_step):
        """Args: resume_step: TensorBoard is told to forget what earlier files say of later steps; None: it is not."""
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        goes_on = any(folder.iterdir())
        # time_ns: two openings of one process within a second must not share a file.
        name = f"events.out.tfevents.{time.time_ns():020}.{socket.gethostname()}.{os.getpid()}"
        self._event = event_pb2.Event
        self._file = open(folder / name, "xb")
        self._writer = RecordWriter(self._file)
        self._write(self._event(wall_time=time.time(), file_version="brain.Event:2"))
        if goes_on and resume_step is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(self._event(wall_time=time.time(), step=resume_step + 1, session_log=start))

    def write(self, step, values):
        event = self._event(wall_time=time.time(), step=int(step))
        for tag, value in values.items():
            event.summary.value.add(tag=tag, simple_value=value)
        if values:
            self._write(event)

    def close(self):
        self._file.close()

    def _write(self, event):
        self._writer.write(event.SerializeToString())
        self._file.flush()


def _is_up_to(step, line, number, damaged):
    record = _parsed(line)
    if record is None:
        damaged.append(number)
    return record is not None and record["step"] <= step


def _lines(file):
    """The lines of a binary file with their ends; one that is too long is b""."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            line = b""
        yield line


def _parsed(line):
    """The record of a line of bytes; None if it is damaged."""
    try:
        record = json.loads(line.decode(), parse_constant=_refuse)
        if b"\\u" in line:
            json.dumps(record, ensure_ascii=False).encode()  # raises for half of a surrogate pair
    except (ValueError, RecursionError):
        return None
    if not line.endswith(b"\n") or not isinstance(record, dict):
        return None
    step, split, problem = record.get("step"), record.get("split"), record.get("problem", "-")
    whole = type(step) is int and 0 <= step < 2**53 and isinstance(split, str) and isinstance(problem, str)
    return record if whole and all(_is_value(name, value) for name, value in record.items()) else None


def _is_value(name, value):
    """Whether a log may have this value under this name."""
    if type(value) is int or type(value) is float:
        return abs(value) <= _LARGEST
    if name in _MAY_DIVERGE:
        return value in _NOT_FINITE
    return (value is None or isinstance(value, str)) and name not in _FINITE


def _refuse(name):
    raise ValueError(name)


def _plain(number):
    if not math.isfinite(number):
        return str(number)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


@contextlib.contextmanager
def _held(path, flags):
    """A descriptor of the log, while no other process appends to it or replaces it."""
    descriptor = _locked(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(path, flags):
    deadline = time.monotonic() + _PATIENCE
    while True:
        descriptor = _opened(path, flags)
        _lock(descriptor, deadline)
        # Replaced or removed while this process waited, it is the log no longer.
        if time.monotonic() > deadline or _is_the_file_at(path, descriptor):
            return descriptor
        os.close(descriptor)


def _is_the_file_at(path, descriptor):
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(descriptor, deadline):
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.005)
        except OSError:  # a file system without locks
            return None


def _opened(path, flags):
    """A descriptor of the log; raises `OSError` where it is no regular file or a link, which are not waited for."""
    descriptor = opened_to_write(path, flags)
    if os.fstat(descriptor).st_size > _LARGEST_LOG:
        os.close(descriptor)
        raise OSError(errno.EFBIG, f"it has more than {_LARGEST_LOG:,} bytes", str(path))
    return descriptor


def _counted(numbers):
    return "1 line" if len(numbers) == 1 else f"{len(numbers):,} lines"


def _to_standard_error(line):
    print(f"warning: {line}", file=sys.stderr)
