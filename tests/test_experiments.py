"""What a suite promises: equal examples, no run twice, exact continuation, statistics that others agree with."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_world import HPARAMS, make_data, make_trainer

from t2t_multimodel.cli import experiment
from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import estimate, plan, queue, stored
from t2t_multimodel.metrics import totals, value_of
from t2t_multimodel.mixture import Mixture, parse
from t2t_multimodel.training.affinity import gradient_cosines
from t2t_multimodel.training.clock import TrainingClock, seconds_logged

pytestmark = pytest.mark.usefixtures("kept_programs")

ROLES = {"parsing": "tiny_parse", "images": "tiny_image"}
IDENTITY = {"model": "multimodel", "backend": "tensorflow", "version": "0"}


def planned(mixture, steps, seeds=(0,), suite="paper_tables", **changes):
    hparams = replace(HPARAMS, **changes)
    names = mixture.problem_names
    shares = plan.shares_of(mixture, hparams, {})
    identity = IDENTITY | {"data": {name: f"digest of {name}" for name in names}}
    kinds = plan.kinds_of(suite, names, ROLES)
    return plan.run_plans(kinds, seeds, steps, mixture, shares, hparams, identity)


# ---- The plan


def test_every_problem_has_the_same_number_of_draws_in_every_run():
    mixture = parse("tiny8")
    runs = {run.kind.name: run for run in planned(mixture, 5400)}
    shares = plan.shares_of(mixture, HPARAMS, {})
    assert set(runs) == {
        "joint",
        "no experts",
        "no attention",
        "tiny_parse with tiny_image",
        *(f"{name} alone" for name in mixture.problem_names),
    }
    for run in runs.values():
        total = sum(dict(run.weights).values())
        for problem, weight in run.weights:
            assert run.steps * weight / total == pytest.approx(5400 * shares[problem], abs=1), (run.kind.name, problem)
    assert sum(runs[f"{name} alone"].steps for name in mixture.problem_names) == pytest.approx(5400, abs=8)
    assert runs["no experts"].hparams == {"use_experts": False} and runs["joint"].hparams == {}
    pair = dict(parse(runs["tiny_parse with tiny_image"].mixture).problems)
    weights = dict(mixture.problems)
    assert pair["tiny_parse"] / pair["tiny_image"] == pytest.approx(weights["tiny_parse"] / weights["tiny_image"])
    # The warm-up stays the same part of a run.
    alone = planned(mixture, 5400, learning_rate_warmup_steps=540)
    warm_up = next(run for run in alone if run.kind.name == "tiny_image alone").hparams["learning_rate_warmup_steps"]
    assert warm_up == pytest.approx(540 * shares["tiny_image"], abs=1)


def test_a_digest_names_all_that_decides_a_result_and_nothing_else():
    mixture = Mixture("m", "", ("tiny_parse", "tiny_image", "tiny_ende"), source="here")
    first = {run.digest for run in planned(mixture, 60, seeds=(0, 1))}
    assert len(first) == 14, "every run has a name of its own"
    assert first == {run.digest for run in planned(Mixture("n", "other words", mixture.problems), 60, seeds=(0, 1))}
    assert not first & {run.digest for run in planned(mixture, 60, seeds=(0, 1), dropout=0.2)}
    # What two suites have in common is run once.
    transfer = {run.digest for run in planned(mixture, 60, suite="transfer")}
    assert len(transfer & first) == 5 and len(transfer) == 7  # without tiny_ende is parsing with pictures


def test_a_curve_has_a_point_before_the_shortest_run_alone_ends():
    shares = plan.shares_of(parse("tiny8"), HPARAMS, {})
    joint, *alone = plan.kinds_of("transfer", tuple(shares))[:9]
    assert 1 / plan.evaluations(joint, shares) < min(shares.values())
    assert {plan.evaluations(kind, shares) for kind in alone} == {plan.EVALUATIONS[0]}


def test_a_suite_is_made_as_long_as_its_budget_allows():
    mixture = parse("tiny_parse,tiny_image:3")
    shares = plan.shares_of(mixture, HPARAMS, {})
    kinds = plan.kinds_of("transfer", mixture.problem_names)
    parts = {"graph": "g", "trace": 5.0, "step": 0.1, "first_evaluation": 2.0, "example": 0.01}
    timings = {"": {"seconds": {"start": 4.0}, "save": 0.1, "problems": {name: parts for name in shares}}}
    sizes = {name: (100, 200) for name in shares}
    arguments = (kinds, 3, shares, timings, sizes, 2)
    steps = estimate.steps_for(1200, *arguments)
    seconds = estimate.suite_seconds(kinds, 3, steps, *arguments[2:])[0]
    assert 0.97 * 1200 < seconds * estimate.RESERVE <= 1200
    with pytest.raises(UserError, match="too small: one update of every problem in each of the 9 runs"):
        estimate.steps_for(60, *arguments)
    assert queue.makespan([5, 3, 3, 1], 2) == 6


# ---- What the trainer measures for it


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
def test_clock_counts_updates_without_tracing_and_goes_on():
    clock = TrainingClock(5.0)
    for first in (True, False):
        clock.start()
        time.sleep(0.01)
        clock.stop(counts=not first)
    assert 5.01 <= clock.seconds < 5.5, "the first is not counted, the second is"
    records = [{"step": 2, "train_seconds": 1.5}, {"step": 4}, {"step": 6, "train_seconds": 3.0}]
    assert (seconds_logged(records, 5), seconds_logged(records, 6), seconds_logged([], 6)) == (1.5, 3.0, 0.0)


@pytest.mark.slow
def test_gradients_are_compared_in_the_body_that_both_touch(data, tmp_path):
    trainer = make_trainer(data, tmp_path, replace(HPARAMS, train_steps=4))
    trainer.run()
    before = [np.array(v) for v in trainer.model.trainable_variables]
    specs = {name: problem.spec for name, problem in trainer.run_record.problems.items()}
    found = gradient_cosines(trainer.train_step, trainer.hparams, trainer.stores, specs)
    cosines = np.array(found["cosines"])
    assert found["problems"] == list(trainer.stores) and cosines.shape == (3, 3)
    assert np.allclose(cosines, cosines.T) and np.all(np.abs(cosines) <= 1 + 1e-9)
    assert all(np.array_equal(v, old) for v, old in zip(trainer.model.trainable_variables, before))
    # By hand for one pair: a class target touches the encoder alone.
    one, other = "tiny_ende", "tiny_image"
    encoder = {id(v) for v in trainer.model.encoder.trainable_variables}
    sums = []
    for name in (one, other):
        total = None
        from t2t_multimodel.training.affinity import _few

        for batch in _few(trainer.stores[name], "dev", trainer.hparams):
            gradients = trainer.train_step.gradients(specs[name], batch.arrays)
            mine = [
                g.ravel()
                for v, g in zip(trainer.model.trainable_variables_for(specs[name]), gradients)
                if id(v) in encoder
            ]
            total = np.concatenate(mine) + (0 if total is None else total)
        sums.append(total)
    by_hand = sums[0] @ sums[1] / np.linalg.norm(sums[0]) / np.linalg.norm(sums[1])
    assert cosines[0, found["problems"].index(other)] == pytest.approx(by_hand, abs=1e-4)


# ---- A whole suite

SMALL_SET = f'''
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.registry import register_hparams

@register_hparams
def small():
    """As small as it gets."""
    return {HPARAMS!r}
'''


def flags_of(data, output_dir, folder, *more):
    return [
        "--suite=transfer",
        "--problem=tiny_ende,tiny_image",
        "--hparams_set=small",
        f"--t2t_usr_dir={folder}",
        f"--data_dir={data}",
        f"--output_dir={output_dir}",
        "--seeds=1",
        *more,
    ]


@pytest.mark.slow
def test_a_suite_goes_on_after_a_kill_repeats_nothing_and_reports(data, tmp_path, user_folder, run_command):
    folder, exp = user_folder({"sets.py": SMALL_SET}), tmp_path / "exp"
    argv = flags_of(data, exp, folder, "--train_steps=300")
    command = [sys.executable, "-m", "t2t_multimodel.cli.experiment", *argv]
    suite = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while suite.poll() is None and not any(exp.glob("runs/*/checkpoints/step-*")):
        time.sleep(0.05)
    suite.send_signal(signal.SIGKILL)
    assert suite.wait() == -signal.SIGKILL, suite.stderr.read()
    setup = json.loads((exp / "plan.json").read_text())
    runs = {run["kind"]: exp / "runs" / run["digest"] for run in setup["runs"]}
    assert set(runs) == {"joint", "tiny_ende alone", "tiny_image alone"}
    while any(alive(path) for path in exp.glob("runs/*/job.json")):  # children see that they are orphans, and save
        time.sleep(0.1)

    status, out, error = run_command(experiment.main, *argv)
    assert status == 0, error
    assert "timing" not in error, "it was timed before the kill"
    logs = [path.read_text() for path in exp.glob("runs/*/log.txt")]
    assert any("continuing from step" in log for log in logs)
    report = (exp / "report.md").read_text()
    assert "tiny_ende gains from joint training: can't tell at this size" in report
    assert "<svg" not in report and (exp / "report.html").read_text().count("data:image/svg+xml") >= 5
    lines = [json.loads(line) for line in (exp / "results.jsonl").read_text().splitlines()]
    measured = {(line["kind"], line["problem"]) for line in lines}
    assert measured == {
        ("joint", "tiny_ende"),
        ("joint", "tiny_image"),
        ("tiny_ende alone", "tiny_ende"),
        ("tiny_image alone", "tiny_image"),
    }
    for line in lines:
        assert line["examples"] == len(line["scores"]) == 6 and math.isfinite(line["value"])
        assert value_of(line["metric"], totals(line["scores"])) == pytest.approx(line["value"], rel=1e-4, abs=1e-4)
    seen = {(line["kind"], line["problem"]): line["examples_seen"] for line in lines}
    for problem in ("tiny_ende", "tiny_image"):
        assert seen["joint", problem] == seen[f"{problem} alone", problem], "the same examples in both"
    probes = [json.loads(line) for line in (exp / "probes.jsonl").read_text().splitlines()]
    assert len(probes) == 3 and probes[-1]["step"] == 300 and set(probes[0]["loads"]) == {"tiny_ende", "tiny_image"}

    written = {path: path.stat().st_mtime_ns for path in exp.glob("runs/*/result.json")}
    status, out, error = run_command(experiment.main, *argv)
    assert status == 0 and written == {path: path.stat().st_mtime_ns for path in exp.glob("runs/*/result.json")}
    assert "for the 0 runs that are to do" in out
    files = [exp / f"{name}.jsonl" for name in ("results", "curves", "probes")]
    lines = {path: sorted(path.read_text().splitlines()) for path in files}
    for gone in (["tiny_image alone"], ["joint", "tiny_ende alone"]):  # the runs may be removed, one or all
        for kind in gone:
            shutil.rmtree(runs[kind])
        status, _, error = run_command(experiment.main, *argv, "--report_only")
        assert status == 0, error
        assert lines == {path: sorted(path.read_text().splitlines()) for path in files}
    status, out, error = run_command(experiment.main, *argv)
    assert status == 0 and "for the 0 runs that are to do" in out, error
    assert lines == {path: sorted(path.read_text().splitlines()) for path in files}
    status, _, error = run_command(experiment.main, *flags_of(data, exp, folder, "--budget=31s"))
    assert status == 2 and len(error.splitlines()) == 2 and "too small: one update of every problem" in error


def alive(job):
    """Whether a child process works on a job file."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(job).encode() in process.read_bytes():
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--suite=paper_table"], r"unknown suite 'paper_table'; did you mean 'paper_tables'\?"),
        (["--suite=transfer", "--problem=tiny_ende"], "needs at least two problems"),
        (["--suite=transfer", "--problem=tiny_ende,tiny_caption"], "tiny_caption.* t2t-datagen"),
        (["--suite=paper_tables"], "no problem has the role parsing .* --roles=parsing=NAME"),
        (["--suite=paper_tables", "--roles=trees=tiny_ende"], "unknown role 'trees'"),
        (["--suite=paper_tables", "--roles=parsing=tiny_parse"], "unknown problem of this suite 'tiny_parse'"),
        (["--suite=paper_tables", "--roles=images=tiny_ende"], "tiny_ende can't have the role images"),
        (["--suite=transfer", "--budget=soon"], "write 90s, 20m, 1.5h or 1h30m"),
        (["--suite=transfer", "--budget=9s"], "too small"),
        (["--suite=transfer", "--budget=9m", "--train_steps=9"], "give one of them"),
        (["--suite=transfer", "--train_steps=2"], "too few: with fewer than 3 steps"),
        (["--suite=transfer", "--hparams=mixture=adaptive"], "constant shares"),
        (["--suite=transfer", "--single_hparams=droput=0.1"], "did you mean 'dropout'"),
        (["--suite=transfer", "--report_only"], "holds no suite"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line_before_anything_starts(data, tmp_path, run_command, flags, said):
    import re

    where = ["--problem=tiny_ende,tiny_image,tiny_speech", f"--data_dir={data}", f"--output_dir={tmp_path / 'exp'}"]
    status, out, error = run_command(experiment.main, *where, *flags)
    assert status == 2 and out == "" and len(error.splitlines()) == 1
    assert re.search(said, error), error
    assert not (tmp_path / "exp").exists()


def test_a_run_that_fails_is_named_and_the_others_are_reported(tmp_path, monkeypatch):
    def job(title, module):
        folder = tmp_path / title
        return queue.Job(title, folder, folder / "result.json", (module,), "scores", 1)

    result = stored.sealed({"steps": 1, "examples_seen": {}, "train_seconds": 0.5, "scores": {}})
    script = tmp_path / "child.py"
    script.write_text(
        "import json, pathlib, sys\njob = json.loads(pathlib.Path(sys.argv[1]).read_text())\n"
        "sys.exit('the loss is nan: an error') if job['trainer'] == ['bad'] else "
        f"pathlib.Path(job['result']).write_text({json.dumps(result)!r})\n"
    )
    monkeypatch.setattr(queue, "_command", lambda path: [sys.executable, str(script), str(path)])
    jobs = [job("good", "good"), job("bad", "bad"), job("also good", "good")]
    failed = queue.run_all(jobs, queue.devices(2), "test")
    assert list(failed) == ["bad"] and "exit status 1: the loss is nan: an error" in failed["bad"]
    assert [each.done for each in jobs] == [True, False, True]
    cores = sorted(os.sched_getaffinity(0))
    shared = [place for _, place in queue.devices(1)]
    assert shared == [tuple(cores)] and all(place for _, place in queue.devices(3 * len(cores)))
