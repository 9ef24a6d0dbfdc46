"""Promise: damage to any file of a suite or of a search is found, and told in one line; never a wrong report."""

import json
import random
import shutil

import numpy as np
import pytest
import small_suite
from fuzz_files import mutate, rounds

from t2t_multimodel.cli import experiment, experiment_run
from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import report, results, statistics, stored, suite_figures
from t2t_multimodel.report.page import Section

pytestmark = pytest.mark.slow

OF_RUNS = ("plan.json", "runs/000/result.json", "runs/011/result.json")
OF_A_COPY = ("plan.json", "results.jsonl", "curves.jsonl", "probes.jsonl", "digests.json")


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    return small_suite.write(tmp_path_factory.mktemp("suite") / "exp")


@pytest.fixture(scope="module")
def copied(suite, tmp_path_factory):
    """The suite as it is passed on: its results, without the runs."""
    folder = tmp_path_factory.mktemp("copy") / "exp"
    shutil.copytree(suite, folder)
    results.collect(folder)
    shutil.rmtree(folder / "runs")
    return folder


@pytest.fixture
def without_drawing(monkeypatch):
    for name in ("curves", "heat_map", "shares"):
        monkeypatch.setattr(suite_figures.figures, name, lambda *_, **__: "figure")
    monkeypatch.setattr(Section, "figure", lambda *_, **__: None)
    monkeypatch.setattr(statistics, "RESAMPLES", 10)


def measured(folder):
    """What the report is made of, as plain values."""
    results.collect(folder)
    return plain(results.read(folder))


def plain(value):
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return plain(vars(value)) if hasattr(value, "__dict__") else value


def damaged_copy(folder, name, seed, tmp_path):
    """(what was done, a copy of the folder with damage to one of its files)."""
    work = tmp_path / f"work{seed}"
    shutil.copytree(folder, work)
    content = (work / name).read_bytes()
    said, other = mutate(content, random.Random(seed))
    (work / name).write_bytes(other)
    return said, work


@pytest.mark.parametrize("name", OF_RUNS)
def test_damage_to_a_suite_is_found(name, suite, tmp_path):
    check(name, suite, tmp_path)


@pytest.mark.parametrize("name", OF_A_COPY)
def test_damage_to_the_results_of_a_suite_is_found(name, copied, tmp_path):
    check(name, copied, tmp_path)


def check(name, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "whole")
    right = measured(tmp_path / "whole")
    for seed in rounds(100):
        said, work = damaged_copy(folder, name, seed, tmp_path)
        try:
            found = measured(work)
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 600, (seed, said)
        else:
            assert found == right, (seed, said)
        shutil.rmtree(work)


@pytest.mark.parametrize("name", OF_A_COPY[1:4])
def test_finished_runs_are_not_made_again_where_the_lines_about_them_are_damaged(name, suite, copied, tmp_path):
    """They count as done by their lines where their folders are gone; else the lines are made from the folders."""
    assert results.collected(copied) == {run["digest"] for run in results.stored_plan(copied)["runs"]}
    assert results.collected(tmp_path) == results.collected(suite) == frozenset()
    for folder, is_gone in ((copied, True), (suite, False)):
        work = shutil.copytree(folder, tmp_path / folder.parent.name)
        (work / name).write_bytes((copied / name).read_bytes()[:-9])
        if is_gone:
            with pytest.raises(UserError, match=name):
                results.collected(work)
        else:
            assert results.collected(work) == frozenset()


def test_a_flipped_bit_in_the_word_digest_is_found(suite, tmp_path):
    for name in OF_RUNS[:2]:
        content = (suite / name).read_text()
        (tmp_path / "file.json").write_text(content.replace('"digest":', '"digess":'))
        with pytest.raises(UserError, match="digest"):
            stored.opened(tmp_path / "file.json", stored.PLAN if name == "plan.json" else stored.RESULT, "", False)


@pytest.mark.parametrize("name", OF_RUNS + OF_A_COPY[1:4])
def test_a_strangers_suite_with_digests_that_fit_is_reported_or_refused(name, suite, copied, tmp_path, without_drawing):
    folder = suite if name in OF_RUNS else copied
    for seed in rounds(60, 1):
        said, work = damaged_copy(folder, name, seed, tmp_path)
        seal(work / name)
        try:
            results.collect(work)
            report.build(results.read(work))
        except UserError as error:
            assert "\n" not in str(error), (seed, said)
        except Exception as error:
            raise AssertionError(f"{name}, seed {seed}: {said}") from error
        shutil.rmtree(work)


def seal(path):
    if path.suffix == ".jsonl":
        (path.parent / stored.DIGESTS_FILE).unlink()
        return
    try:
        values = json.loads(path.read_bytes())
        values.pop("digest", None)
        path.write_text(json.dumps(stored.sealed(values)))
    except (ValueError, RecursionError, AttributeError, TypeError):
        pass  # no JSON object any more


def test_the_command_says_it_in_one_line_and_with_status_2(suite, tmp_path, run_command):
    flags = ["--suite=transfer", "--problem=tiny_parse,tiny_image", "--data_dir=d", "--report_only"]
    for name in OF_RUNS[:2]:
        for content in (b"", b"[]", b"[" * 100_000, b"\xff", (suite / name).read_bytes()[:-100]):
            work = tmp_path / "work"
            shutil.copytree(suite, work)
            (work / name).write_bytes(content)
            status, _, error = run_command(experiment.main, *flags, f"--output_dir={work}")
            assert status == 2 and len(error.splitlines()) == 1 and name in error, error
            shutil.rmtree(work)


def test_a_damaged_job_is_one_line(tmp_path, run_command, monkeypatch):
    monkeypatch.setattr(experiment_run, "_end_with_parent", lambda parent: None)
    path = tmp_path / "job.json"
    whole = {"trainer": ["--problem=x"], "result": "r.json", "measure": "scores", "spawned": 1.5}
    wrong = [{"trainer": [3]}, {"result": None}, {"measure": "x"}, {"spawned": "now"}]
    for content in ("", "[]", "[" * 100_000, "{}", *(json.dumps(whole | one) for one in wrong)):
        path.write_text(content)
        status, _, error = run_command(lambda argv: experiment_run.main(argv), str(path))
        assert status == 2 and len(error.splitlines()) == 1 and "job.json" in error, error


def test_a_damaged_result_counts_as_not_done(suite, tmp_path):
    path = tmp_path / "result.json"
    content = (suite / "runs" / "000" / "result.json").read_bytes()
    path.write_bytes(content)
    assert not stored.why_not_whole(path, "scores")
    for seed in rounds(30, 2):
        said, other = mutate(content, random.Random(seed))
        path.write_bytes(other)
        stored._why_not_whole.cache_clear()
        assert stored.why_not_whole(path, "scores") or json.loads(other) == json.loads(content), (seed, said)
