"""Runs a trial in a separate process, so that all its memory is freed at the end."""

import os
import subprocess
import sys
from pathlib import Path

from t2t_multimodel.regular_files import last_lines, opened_to_write
from t2t_multimodel.training.metrics_log import read_metrics

LOG_FILE = "log.txt"
_PATIENCE = 120.0  # seconds to wait for a trial to save a checkpoint


class ChildRun:
    """`t2t-trainer` in a child process (see cli/trial.py), which ends when this process ends."""

    def __init__(self, arguments, folder, problems, intervals=None):
        """Args:
        arguments: of t2t-trainer, with --output_dir=`folder`. problems: names of the trained problems.
        intervals: (own, reported) updates between evaluations, of trials that differ in length: their evaluations are
          reported as if all were as long.
        """
        self._folder, self._problems, self._intervals = Path(folder), set(problems), intervals
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log = self._folder / LOG_FILE
        with open(opened_to_write(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "t2t_multimodel.cli.trial", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def evaluations(self):
        """All complete evaluations so far (with every problem): [(step, {problem: {metric: value}})], by step."""
        by_step = {}
        for record in read_metrics(self._folder):
            whole = isinstance(record.get("step"), int) and isinstance(record.get("problem"), str)
            if whole and record.get("split") not in (None, "train"):
                by_step.setdefault(record["step"], {})[record["problem"]] = record
        return [
            (self._place(step), scores) for step, scores in sorted(by_step.items()) if set(scores) == self._problems
        ]

    def _place(self, step):
        if self._intervals is None:
            return step
        own, reported = self._intervals
        return -(-step // own) * reported  # the last one may come sooner

    def ended(self):
        """None, or (whether it succeeded, the last line of its output)."""
        status = self._process.poll()
        if status is None:
            return None
        self._process.stdin.close()
        lines = [line for line in last_lines(self._log) if line]
        said = lines[-1] if lines else ""
        return status == 0, said if status > 0 else f"{said} (killed by signal {-status})"

    def stop(self, save=False):
        """Ends the process and waits for its end; with `save`, it first saves a checkpoint."""
        if self._process.poll() is None:
            try:
                if save:
                    self._process.terminate()
                    self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                pass
            self._process.kill()
        self._process.wait()
        self._process.stdin.close()
