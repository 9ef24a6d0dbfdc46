"""Runs of `small_world` in processes of their own, for tests that stop, kill or disturb them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from small_world import log_lines, weights

STEPS = 30
_CHILD = Path(__file__).with_name("small_world.py")


def start(data, output_dir, save_interval=1):
    """A process that trains for `STEPS` steps. Ctrl-C reaches it, even if this process ignores it."""
    command = [sys.executable, str(_CHILD), str(data), str(output_dir), str(save_interval), str(STEPS)]
    heed = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heed)


def wait_until(child, ready):
    """Returns when `ready()` is true, or the process has ended."""
    while child.poll() is None and not ready():
        time.sleep(0.01)


def finish(child, output_dir):
    """Waits for the end, which must be a good one; returns what `result` does."""
    assert child.wait() == 0, child.stderr.read()
    return result(output_dir)


def result(output_dir):
    """(everything in the last checkpoint, the lines of the log)."""
    return weights(output_dir, STEPS), log_lines(output_dir)


def newest(output_dir):
    """The step of the newest checkpoint; 0 without one."""
    folder = Path(output_dir) / "checkpoints"
    steps = (int(path.name.partition("-")[2]) for path in folder.glob("step-*"))
    return max(steps, default=0) if folder.is_dir() else 0


def count_lines(output_dir):
    """How many lines the log has."""
    log = Path(output_dir) / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0
