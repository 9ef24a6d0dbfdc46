"""The queue of a suite: runs child processes in parallel on cores or devices, with one progress display."""

import contextlib
import dataclasses
import heapq
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from t2t_multimodel import locks
from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import stored
from t2t_multimodel.files import write_file
from t2t_multimodel.json_files import Whole, parse_json
from t2t_multimodel.regular_files import last_lines, open_regular, opened_to_write
from t2t_multimodel.training.metrics_log import METRICS_FILE
from t2t_multimodel.training.reporting import format_seconds

RUN_MODULE = "t2t_multimodel.cli.experiment_run"
JOB_FILE, LOG_FILE = "job.json", "log.txt"
WAIT_FOR_SAVING = 60.0  # seconds for children to finish a step and save


@dataclasses.dataclass(frozen=True)
class Job:
    """One child process: title, folder, the result file that it writes at the end, flags."""

    title: str
    folder: Path
    result: Path
    trainer: tuple  # flags of t2t-trainer
    measure: str  # see cli/experiment_run.py
    steps: int  # updates, for the display
    seconds: float = 0.0  # expected
    collected: bool = False  # its result is among the lines of the suite's files

    @property
    def done(self):
        """Whether there is a result, and it is whole: of its own, or only collected."""
        if self.collected and not self.result.exists():
            return True
        return not stored.why_not_whole(self.result, self.measure)


def devices(workers=None):
    """The places for parallel runs: a list of ({environment variable: value}, cores or None).

    With NVIDIA devices there is one run per device; otherwise the cores are divided. The default is one run per core:
    on two cores, two single-threaded runs in parallel take little more than half the time of one after the other, since
    a second thread speeds up a small model only a little, and tracing not at all.
    """
    cards = sorted(os.listdir("/proc/driver/nvidia/gpus")) if os.path.isdir("/proc/driver/nvidia/gpus") else []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:  # "-1" hides this and all later devices
        cards = list(itertools.takewhile(lambda card: card != "-1", filter(None, visible.split(","))))
    else:
        cards = [str(i) for i in range(len(cards))]
    if cards:
        return [({"CUDA_VISIBLE_DEVICES": cards[i % len(cards)]}, None) for i in range(workers or len(cards))]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    count = workers or len(cores) or os.cpu_count() or 1
    if not cores:
        return [({}, None)] * count
    return [
        ({}, tuple(cores[i * len(cores) // count : (i + 1) * len(cores) // count]) or (cores[i % len(cores)],))
        for i in range(count)
    ]


def makespan(seconds, workers):
    """The total time of jobs with these durations; each goes, in order, to the first free worker."""
    free = [0.0] * workers
    for duration in seconds:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


@contextlib.contextmanager
def only_one(folder):
    """Locks the suite's folder; raises `UserError` if another t2t-experiment holds the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locks.hold(folder / ".lock"):
            yield
    except locks.Busy as holder:
        raise UserError(
            f"another t2t-experiment ({holder}) uses {folder}; wait for it, or give another --output_dir"
        ) from None


def run_all(jobs, places, label):
    """Runs the jobs that are not done; returns {title: last line of its output} of the failed jobs.

    Raises:
      KeyboardInterrupt: the children were told to save and stop; the same call later continues.
    """
    jobs = list(dict.fromkeys(jobs))
    waiting = [job for job in jobs if not job.done]
    for job in waiting:
        if job.result.exists():
            print(f"warning: {stored.why_not_whole(job.result, job.measure)}", file=sys.stderr)
    free, running, failed = list(range(len(places))), {}, {}
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Display(label, jobs, len(places)) as display:
            while waiting or running:
                while waiting and free:
                    place = free.pop(0)
                    job = waiting.pop(0)
                    running[place] = (job, _start(job, places[place]))
                    display.started(job)
                time.sleep(0.3)
                for place, (job, child) in list(running.items()):
                    status = child.poll()
                    if status is None:
                        continue
                    del running[place]
                    free.append(place)
                    if status or not job.done:
                        failed[job.title] = _last_line(job, status)
                    display.ended(job, failed.get(job.title))
                display.show()
    except BaseException:
        _stop([child for _, child in running.values()])
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    return failed


def _interrupt(*_):
    raise KeyboardInterrupt


def _start(job, place):
    environment, cores = place
    job.folder.mkdir(parents=True, exist_ok=True)
    values = {"trainer": list(job.trainer), "result": str(job.result), "measure": job.measure, "spawned": time.time()}
    write_file(job.folder / JOB_FILE, (json.dumps(values, indent=1) + "\n").encode())
    command = _command(job.folder / JOB_FILE)
    if cores:  # both backends make as many threads as there are cores to run on
        command = [sys.executable, "-c", _ON_CORES, ",".join(map(str, cores)), *command[1:]]
    with open(opened_to_write(job.folder / LOG_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )


def _command(job_file):
    return [sys.executable, "-m", RUN_MODULE, str(job_file)]


# Sets the CPU affinity and executes the command; a preexec_fn would run Python between fork and exec.
_ON_CORES = """import os, sys
os.sched_setaffinity(0, [int(core) for core in sys.argv[1].split(",")])
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"""


def _stop(children):
    """Tells the children to save and stop, and waits for them; a second Ctrl-C kills them."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + WAIT_FOR_SAVING
    try:
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.1, deadline - time.monotonic()))
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()


def _last_line(job, status):
    """The last line of a failed child's output, and the path of its log."""
    log = job.folder / LOG_FILE
    lines = [line for line in last_lines(log) if line]
    said = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "")
    return f"exit status {status}: {said or 'no output'} ({log})"


class Display:
    """The progress of a suite: number of finished runs, the running ones with their steps, time left.

    On a terminal it is one bar over the expected seconds; otherwise a line every `seconds_between` seconds, and one for
    each finished run.
    """

    def __init__(self, label, jobs, workers, stream=None, seconds_between=30.0):
        self._label, self._jobs, self._workers = label, jobs, workers
        self._stream = stream or sys.stderr
        self._between, self._last = seconds_between, time.monotonic()
        self._running = {}  # job → when it started
        self._pace = [0.0, 0.0]  # seconds that ended runs took, seconds that they were expected to take
        self._done = sum(job.done for job in jobs)
        self._todo = [job for job in jobs if not job.done]
        self._bar = None
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=1.0, file=self._stream, dynamic_ncols=True, bar_format="{desc} |{bar}| {postfix}")

    def started(self, job):
        self._running[job] = time.monotonic()
        self._todo.remove(job)

    def ended(self, job, failure=None):
        took = time.monotonic() - self._running.pop(job)
        self._done += failure is None
        if job.seconds and not failure:
            self._pace = [self._pace[0] + took, self._pace[1] + job.seconds]
        said = f"failed: {failure}" if failure else f"done in {format_seconds(took)}"
        self._say(f"{self._label} {self._done}/{len(self._jobs)}: {job.title} {said}")

    def show(self):
        if self._bar is not None:
            left, whole = self._left(), sum(job.seconds for job in self._jobs) / self._workers or 1.0
            self._bar.n = max(0.0, min(1.0, 1 - left / whole))
            self._bar.set_description_str(f"{self._label} {self._done}/{len(self._jobs)}", refresh=False)
            self._bar.set_postfix_str(self._now(), refresh=True)
        elif time.monotonic() - self._last >= self._between:
            self._last = time.monotonic()
            self._say(f"{self._label} {self._done}/{len(self._jobs)}: {self._now()}")

    def close(self):
        if self._bar is not None:
            self._bar.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _say(self, text):
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def _now(self):
        running = ", ".join(f"{j.title} {step_of(j)}/{j.steps}" if j.steps else j.title for j in self._running)
        left = f"about {format_seconds(self._left())} left; " if any(job.seconds for job in self._jobs) else ""
        return left + running

    def _left(self):
        """The expected seconds of the waiting and running jobs, scaled by the speed of the finished ones."""
        pace = self._pace[0] / self._pace[1] if self._pace[1] else 1.0
        now, parts = time.monotonic(), []
        for job, started in self._running.items():
            expected = job.seconds * pace
            to_do = 1 - step_of(job) / job.steps if job.steps else 0.0  # fraction of its steps, if it takes longer
            parts.append(max(expected - (now - started), 0.5 * expected * to_do))
        return makespan([*parts, *(job.seconds * pace for job in self._todo)], self._workers)


def step_of(job):
    """The newest step in the log of a job's run; 0 without a log."""
    path = job.folder / METRICS_FILE
    try:
        with open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
            lines = file.read(8192).split(b"\n")[:-1]
        return parse_json(lines[-1], {"step": Whole(0)}, path)["step"]
    except (OSError, IndexError, UserError):
        return 0
