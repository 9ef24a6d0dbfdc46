"""What suits the runs alone: every choice is tried once on dev, the best is what counts, and nothing is tried twice."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from small_world import HPARAMS, make_data
from test_experiments import IDENTITY, ROLES, SMALL_SET, flags_of

from t2t_multimodel.cli import experiment
from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import choices, estimate, plan, stored
from t2t_multimodel.mixture import parse

pytestmark = pytest.mark.usefixtures("kept_programs")

METRICS = {"tiny_parse": ["exact_match"], "tiny_image": ["accuracy_top1"], "tiny_speech": ["cer"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def tries_of(text, problems=tuple(METRICS)):
    kinds = plan.kinds_of("paper_tables", problems, ROLES)
    return kinds, choices.tries(kinds, choices.parse(text, HPARAMS))


def judged(tries, values, tmp_path):
    """The jobs of tries that have come to these values on dev, {kind's name: {words: value}}."""
    jobs = []
    for number, one in enumerate(tries):
        result = tmp_path / f"{number}.json"
        problem = one.kind.problems[0]
        value = values[one.kind.name][one.words]
        scores = {problem: {METRICS[problem][0]: value, "split": "dev"}} if value is not None else {}  # it diverged
        result.write_text(json.dumps(stored.sealed({"dev_scores": scores})))
        jobs.append(SimpleNamespace(result=result))
    return jobs


def test_each_kind_gets_what_was_best_on_dev(tmp_path):
    kinds, tries = tries_of("learning_rate=0.002; learning_rate=0.002,dropout=0.2")
    assert choices.AS_GIVEN == "no change"
    slow, both = "learning_rate=0.002", "learning_rate=0.002, dropout=0.2"
    assert {one.kind.name for one in tries} == {
        "tiny_parse alone",
        "tiny_image alone",
        "tiny_speech alone",
        "tiny_parse with tiny_image",
    }
    assert [one.words for one in tries[:3]] == [choices.AS_GIVEN, slow, both]
    values = {
        "tiny_parse alone": {choices.AS_GIVEN: 0.3, slow: 0.5, both: 0.4},
        "tiny_parse with tiny_image": {choices.AS_GIVEN: 0.1, slow: 0.2, both: 0.3},
        "tiny_image alone": {choices.AS_GIVEN: 0.6, slow: 0.6, both: 0.1},  # equals: the earlier one
        "tiny_speech alone": {choices.AS_GIVEN: None, slow: 0.1, both: 0.3},  # errors: the lower, the better
    }
    found = choices.outcome(tries, judged(tries, values, tmp_path), METRICS)
    changes = {kind.name: dict(kind.changes) for kind in choices.chosen(kinds, tries, found)}
    assert changes["tiny_parse alone"] == changes["tiny_speech alone"] == {"learning_rate": 0.002}
    assert changes["tiny_parse with tiny_image"] == {"learning_rate": 0.002, "dropout": 0.2}
    assert changes["tiny_image alone"] == changes["joint"] == {}
    assert changes["no experts"] == {"use_experts": False}, "only what is compared with the joint run may choose"


def test_tries_have_a_seed_and_digests_of_their_own_and_are_part_of_the_time():
    problems = tuple(METRICS)
    kinds, tries = tries_of("learning_rate=0.002")
    shares = plan.shares_of(parse(",".join(problems)), HPARAMS, {})
    identity = IDENTITY | {"data": dict.fromkeys(problems, "digest")}
    tried = [one.tried for one in tries]
    arguments = (60, parse(",".join(problems)), shares, HPARAMS, identity)
    digests = [run.digest for run in plan.run_plans(tried, [choices.SEED], *arguments)]
    digests += [run.digest for run in plan.run_plans(kinds, range(3), *arguments)]
    assert len(set(digests)) == len(tries) + 3 * len(kinds)
    parts = {"graph": "g", "trace": 5.0, "step": 0.1, "first_evaluation": 2.0, "example": 0.01}
    timings = {"": {"seconds": {"start": 4.0}, "save": 0.1, "problems": dict.fromkeys(problems, parts)}}
    seconds = [
        estimate.suite_seconds(group, 3, 300, shares, timings, dict.fromkeys(problems, (100, 200)), 2)[0]
        for group in (kinds, [*tried, *kinds])
    ]
    assert 1.1 * seconds[0] < seconds[1] < 2 * seconds[0]


def test_a_warm_up_that_is_chosen_is_not_shortened_with_the_run():
    _, tries = tries_of("learning_rate_warmup_steps=50")
    hparams = replace(HPARAMS, learning_rate_warmup_steps=90)
    shares = dict.fromkeys(METRICS, 1 / 3)
    warm_ups = {
        one.words: plan.changes_of(one.tried, shares, 900, hparams)["learning_rate_warmup_steps"]
        for one in tries
        if one.kind.name == "tiny_parse alone"
    }
    assert warm_ups == {choices.AS_GIVEN: 30, "learning_rate_warmup_steps=50": 50}


def test_nothing_to_choose_means_no_tries():
    assert tries_of("")[1] == [] and tries_of(" ; ")[1] == []
    with pytest.raises(UserError, match="did you mean 'dropout'"):
        choices.parse("dropuot=0.1", HPARAMS)
    with pytest.raises(UserError, match="'dropout=0.1' is given twice"):
        choices.parse("dropout=0.1;dropout=0.1", HPARAMS)
    with pytest.raises(UserError, match="must lie in"):
        choices.parse("dropout=1.5", HPARAMS)
    with pytest.raises(UserError, match="--single_choices: 'dropout' is not name=value"):
        choices.parse("dropout", HPARAMS)
    for held_equal in ("train_steps=9", "batch_examples=4", "mixture=size"):
        with pytest.raises(UserError, match="is equal in all compared runs"):
            choices.parse(held_equal, HPARAMS)


@pytest.mark.slow
def test_a_suite_tries_chooses_and_reports_and_tries_nothing_again(data, tmp_path, user_folder, run_command):
    folder, exp = user_folder({"sets.py": SMALL_SET}), tmp_path / "exp"
    # One that diverges, and one that is what the set has, so that it is no run of its own.
    more = f"learning_rate=1e30; learning_rate={HPARAMS.learning_rate}"
    argv = flags_of(data, exp, folder, "--train_steps=12", f"--single_choices=learning_rate=0.0001; {more}")
    status, out, error = run_command(experiment.main, *argv)
    assert status == 0, error
    assert "3 kinds of runs × 1 seed, and 8 tries" in out and "tiny_image alone, learning_rate=0.0001" in out
    setup = json.loads((exp / "plan.json").read_text())
    assert set(setup["choices"]) == {"tiny_ende alone", "tiny_image alone"}
    changes = {run["kind"]: run["changes"] for run in setup["runs"]}
    assert set(changes) == {"joint", "tiny_ende alone", "tiny_image alone"}, "a try is no run that counts"
    for kind, found in setup["choices"].items():
        assert len(found["tries"]) == 4 and found["split"] == "dev"
        same = [found["tries"][words] for words in (choices.AS_GIVEN, f"learning_rate={HPARAMS.learning_rate}")]
        assert found["tries"]["learning_rate=1e+30"] is None and same[0] == same[1]
        assert ("learning_rate" in changes[kind]) == (found["best"] != choices.AS_GIVEN)
    report = (exp / "report.md").read_text()
    assert "Hparams of the single-task runs" in report and "diverged" in report
    assert all(f"{kind} | {found['problem']}, {found['metric']}" in report for kind, found in setup["choices"].items())
    written = {path: path.stat().st_mtime_ns for path in exp.glob("runs/*/result.json")}
    assert len(written) == 3 + 2 * 3
    status, out, error = run_command(experiment.main, *argv)
    assert status == 0, error
    assert written == {path: path.stat().st_mtime_ns for path in exp.glob("runs/*/result.json")}
    assert "for the 0 runs that are to do" in out
    setup = json.loads((exp / "plan.json").read_text())
    shutil.rmtree(exp / "runs")  # a copy of the suite's files is enough to go on
    status, out, error = run_command(experiment.main, *argv)
    assert status == 0, error
    assert "3 kinds of runs × 1 seed, 2 side by side" in out and "for the 0 runs that are to do" in out
    assert json.loads((exp / "plan.json").read_text()) == setup and not (exp / "runs").exists()
