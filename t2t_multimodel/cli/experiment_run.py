"""One run of a suite in a separate process: t2t-trainer, then the measurements of the suite.

    python -m t2t_multimodel.cli.experiment_run exp/runs/DIGEST/job.json

`job.json`: {"trainer": the trainer's flags, "result": file to write, "measure": "scores", "scores and probes", "dev
scores", "speed" or "speed of updates", "spawned": start time of the process, seconds since the epoch}. t2t-experiment
writes it, and reads the result. The same command continues an interrupted run.
"""

import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path

from t2t_multimodel.errors import DivergedError
from t2t_multimodel.files import write_file
from t2t_multimodel.json_files import OneOf, read_json

MEASURES = ("scores", "scores and probes", "dev scores", "speed", "speed of updates")
JOB = {"trainer": [str], "result": str, "measure": OneOf(*MEASURES), "spawned": float}


def main(argv=None):
    from t2t_multimodel.cli import trainer

    (path,) = sys.argv[1:] if argv is None else argv
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()

    def run():
        job = read_json(path, JOB, "give the command of the suite again: it writes the file")
        return trainer.command.run(lambda flags: _run(flags, job), job["trainer"])

    return trainer.command.guarded(run)


def _run(flags, job):
    from t2t_multimodel.cli.trainer import make_trainer

    trainer = make_trainer(flags)
    from t2t_multimodel.experiments import measure
    from t2t_multimodel.training import checkpoints

    seconds = {"start": time.time() - job["spawned"]}
    if job["measure"].startswith("speed"):
        timed = measure.timings(trainer, evaluate=job["measure"] == "speed")
        _write(job, {"seconds": seconds | {"all": time.time() - job["spawned"]}, **timed})
        return 0
    try:
        status, seconds["train"] = _timed(trainer.run)
    except DivergedError as error:
        if job["measure"] != "dev scores":
            raise
        print(error)  # this candidate is out
        _write(job, {"dev_scores": {}, "diverged": str(error)})
        return 0
    if status:
        return status
    result = {
        "steps": trainer.step,
        "examples_seen": dict(trainer.stream.examples_seen),
        "train_seconds": trainer.clock.seconds,
        **measure.size(trainer),  # before scoring, which is no part of training
    }
    if job["measure"] == "dev scores":
        result["dev_scores"], seconds["dev"] = _timed(lambda: measure.dev_scores(trainer))
    else:
        result["scores"], seconds["test"] = _timed(lambda: measure.test_scores(trainer))
    if job["measure"] == "scores and probes":
        result["probes"], seconds["probe"] = _timed(lambda: measure.probes(trainer))
    _write(job, result | {"seconds": seconds | {"all": time.time() - job["spawned"]}})
    checkpoints.prune(trainer.output_dir / "checkpoints", 1)
    return 0


def _write(job, values):
    from t2t_multimodel.experiments import stored

    write_file(Path(job["result"]), json.dumps(stored.sealed(_finite(values)), ensure_ascii=False) + "\n")


def _finite(value):
    """JSON values with None in place of numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _timed(function):
    started = time.perf_counter()
    value = function()
    return value, time.perf_counter() - started


def _end_with_parent(parent):
    """Stops this run when the queue's process ends; otherwise the next one might start it a second time."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)  # a training run finishes its step and saves


if __name__ == "__main__":
    sys.exit(main())
