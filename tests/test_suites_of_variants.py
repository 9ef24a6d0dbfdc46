"""Suites blocks and balancing: which runs they have, what their pages say of made-up results, and the command."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_world import HPARAMS
from variant_results import JOINT, METRICS, PROBLEMS, measured

from t2t_multimodel.cli import experiment
from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import balancing, blocks, estimate, plan, quality, report
from t2t_multimodel.experiments.suite import open_suite
from t2t_multimodel.hyperparameters import Resolved
from t2t_multimodel.mixture import parse
from t2t_multimodel.report.page import Page, Section

pytestmark = pytest.mark.usefixtures("kept_programs")

# ---- Blocks


def test_each_kind_of_block_is_left_out_of_the_joint_run():
    kinds = plan.kinds_of("blocks", PROBLEMS)
    changes = {kind.name: dict(kind.changes) for kind in kinds}
    assert changes == {
        plan.JOINT: {},
        plan.NO_EXPERTS: {"use_experts": False},
        plan.NO_ATTENTION: {"use_attention": False},
        plan.NO_CONVOLUTIONS: {"use_convolutions": False},
    }
    assert all(kind.problems == PROBLEMS for kind in kinds)
    assert len(plan.kinds_of("blocks", PROBLEMS[:1])) == 4, "one problem has blocks too"


def test_no_run_is_compared_with_itself():
    """A block that the model lacks anyway can't be left out of it."""
    kinds_of = lambda suite, **changes: plan.with_own_blocks(
        suite,
        plan.kinds_of(suite, PROBLEMS, {"parsing": "my_trees", "images": "my_words"}),
        replace(HPARAMS, **changes),
    )
    names = lambda **changes: [kind.name for kind in kinds_of("blocks", **changes)]
    without_experts = [plan.JOINT, plan.NO_ATTENTION, plan.NO_CONVOLUTIONS]
    assert names() == [plan.JOINT, *plan.LEFT_OUT]
    assert names(use_experts=False) == names(encoder_experts=0, decoder_experts=0) == without_experts
    assert names(use_attention=False, use_convolutions=False) == [plan.JOINT, plan.NO_EXPERTS]
    assert plan.NO_EXPERTS in names(encoder_experts=0), "those of the decoder are left"
    with pytest.raises(UserError, match="suite blocks compares with runs of no experts, no attention, no convolutions"):
        kinds_of("blocks", use_experts=False, use_attention=False, use_convolutions=False)
    with pytest.raises(UserError, match=r"has no attention itself; .* in --hparams \(use_attention\)"):
        kinds_of("paper_tables", use_attention=False)
    of_classes = lambda **changes: [
        kind.name
        for kind in plan.with_own_blocks(
            "blocks", plan.kinds_of("blocks", PROBLEMS), replace(HPARAMS, **changes), writes=False
        )
    ]
    assert of_classes() == [plan.JOINT, plan.NO_EXPERTS, plan.NO_CONVOLUTIONS], "attention is in mixer and decoder"
    assert of_classes(encoder_experts=0) == [plan.JOINT, plan.NO_CONVOLUTIONS]
    assert of_classes(encoder_blocks=0) == [plan.JOINT, plan.NO_EXPERTS]
    assert len(kinds_of("paper_tables", use_convolutions=False)) == len(kinds_of("paper_tables"))


@pytest.mark.slow
def test_the_page_of_blocks_says_what_is_lost_without_each():
    kinds = plan.kinds_of("blocks", PROBLEMS)
    rights = {plan.JOINT: 240, plan.NO_EXPERTS: 240, plan.NO_ATTENTION: 200, plan.NO_CONVOLUTIONS: 280}
    counted = {kind.name: dict.fromkeys(PROBLEMS, 3e9) for kind in kinds}
    page = report.build(measured("blocks", kinds, rights, arithmetic=counted))
    text = page.markdown()
    assert "The mixture of experts helps or does no harm on every task: holds" in text
    assert "Attention helps or does no harm on every task: holds" in text and "a gain on my_trees, my_words" in text
    assert "Convolution helps or does no harm on every task: does not hold" in text
    row = next(line for line in text.splitlines() if line.startswith(f"| {quality.MEAN}"))
    lost = [cell.replace("\u00a0", " ").strip() for cell in row.strip("|").split("|")]
    assert lost[2:] == ["59.8", "+0.00 ± 0.00", "+10.00 ± 0.00", "-10.00 ± 0.00"]
    assert "3.00" in text and "200.0" in text and "1,024" in text and "1,000,000" in text
    assert page.html().count("data:image/svg+xml") == 1 + len(PROBLEMS)


def test_a_metric_with_a_unit_of_its_own_is_in_no_figure_of_points(monkeypatch):
    monkeypatch.setitem(METRICS, "my_words", ["mae"])
    drawn = []
    monkeypatch.setattr(report.figures, "heat_map", lambda values, *names, **_: drawn.append((values, names)))
    monkeypatch.setattr(Section, "figure", lambda *_, **__: None)
    kinds = plan.kinds_of("blocks", PROBLEMS)
    page = Page("blocks")
    blocks.add(page, measured("blocks", kinds, {plan.JOINT: 240}))
    ((values, names),) = drawn
    assert values == pytest.approx(np.full((3, 2), 10.0)) and names[1] == ["trees", "sounds"]
    text = page.markdown()
    assert "my_words: in the unit of the metric" in text and "points lost" not in text


def test_a_seed_whose_metric_is_not_a_number_is_left_out():
    assert math.isnan(quality.goodness("exact_match", math.nan)) and math.isnan(quality.goodness("cer", math.nan))
    assert quality.goodness("cer", 1.5) == 0
    found = measured("balancing", [JOINT], {plan.JOINT: 240})
    scores = found.scores[plan.JOINT]["my_sounds"]["cer"]
    scores[1] = replace(scores[1], value=math.nan)
    assert list(quality.by_problem(found, plan.JOINT, "my_sounds")) == [0, 2]
    assert list(quality.mean_quality(found, plan.JOINT)) == [0, 2]
    lines = [line for line in found.curves if line["seed"] == 2 and "cer" in line]
    for line in lines:
        line["cer"] = math.nan
    assert list(quality.mean_at(found, plan.JOINT, 12.0)) == [0, 1]


def test_a_suite_of_means_needs_a_metric_that_can_be_averaged():
    from t2t_multimodel.experiments.suite import _check_mean

    stores = {"ages": SimpleNamespace(metrics=["mae", "r2"]), "words": SimpleNamespace(metrics=["teacher_forced_loss"])}
    for suite in ("efficiency", "balancing"):
        with pytest.raises(UserError, match=r"have units of their own \(ages mae, words .*\); add a problem"):
            _check_mean(suite, stores)
        _check_mean(suite, stores | {"trees": SimpleNamespace(metrics=["exact_match"])})
    _check_mean("blocks", stores)


def test_arithmetic_of_an_update_is_of_all_its_draws(data, tmp_path):
    one, four = (
        small_suite("blocks", data, tmp_path, gradient_accumulation_steps=draws)._arithmetic() for draws in (1, 4)
    )
    assert {kind: {p: 4 * operations for p, operations in each.items()} for kind, each in one.items()} == four


# ---- Balancing


def balancing_kinds(mixture=None):
    mixture = mixture or parse("tiny_ende:1,tiny_parse:3")
    joint = plan.Kind(plan.JOINT, tuple(mixture.problem_names))
    return [joint, *balancing.kinds(joint, mixture, HPARAMS, {"tiny_ende": 1000, "tiny_parse": 10})]


def test_ways_to_balance_are_valid_and_differ_from_the_joint_run():
    kinds = balancing_kinds()
    assert [kind.name for kind in kinds[1:]] == list(balancing.WORDS)
    hparams = [replace(HPARAMS, **dict(kind.changes)) for kind in kinds]
    assert len(set(hparams)) == len(kinds)
    from t2t_multimodel import hyperparameters

    for each in hparams:
        hyperparameters.validate(each)
    draws = {kind.name: dict(kind.draws) for kind in kinds}
    # From shares of 1/4 to even ones: 3/8 on the mean. By size: 1000^(1/5) against 3 · 10^(1/5).
    assert draws["staged"]["tiny_ende"] == pytest.approx(3 / 8, abs=0.02)
    assert draws["temperature"]["tiny_ende"] == pytest.approx(1000**0.2 / (1000**0.2 + 3 * 10**0.2))


def test_a_frozen_body_has_no_gradients_for_surgery():
    joint = plan.Kind(plan.JOINT, ("tiny_ende", "tiny_parse"))
    hparams = replace(HPARAMS, freeze="body")
    kinds = balancing.kinds(joint, parse("tiny_ende,tiny_parse"), hparams, {"tiny_ende": 1000, "tiny_parse": 10})
    assert [kind.name for kind in kinds] == [name for name in balancing.WORDS if name != balancing.SURGERY]


def test_runs_are_as_long_as_take_the_time_of_the_joint_run():
    """Trees take three times as long as sentences, and two draws twice as long as one."""
    parts = lambda factor: {"tiny_ende": {"step": 0.1 * factor}, "tiny_parse": {"step": 0.3 * factor}}
    timings = {"": {"problems": parts(1)}, "gradient surgery": {"problems": parts(2)}}
    shares = {"tiny_ende": 0.25, "tiny_parse": 0.75}
    seconds = {kind.name: estimate.update_seconds(kind, shares, timings) for kind in balancing_kinds()}
    assert seconds["joint"] == pytest.approx(0.25) == seconds["uncertainty"]
    assert seconds["gradient surgery"] == pytest.approx(0.5)
    assert seconds["staged"] == pytest.approx(0.225, abs=0.01)
    shorter = replace(balancing_kinds()[0], length=0.5)
    assert plan.steps_of(shorter, shares, 100) == 50
    assert plan.changes_of(shorter, shares, 100, replace(HPARAMS, learning_rate_warmup_steps=10)) == {
        "learning_rate_warmup_steps": 5
    }


def small_suite(name, data, tmp_path, seeds=1, workers=1, problems="tiny_ende,tiny_image", grid="", **changes):
    """A suite of two problems, as the command opens it."""
    return open_suite(
        name,
        parse(problems),
        Resolved(replace(HPARAMS, **changes)),
        data_dir=data,
        output_dir=tmp_path,
        flags=["--model=multimodel"],
        settings="",
        seeds=seeds,
        places=[({}, (0,))] * workers,
        identity={"model": "multimodel", "backend": "tensorflow", "version": "0"},
        grid=grid,
    )


def test_suites_of_classes_alone_have_no_runs_without_attention(data, tmp_path):
    names = lambda problems: [k.name for k in small_suite("blocks", data, tmp_path, problems=problems).kinds]
    assert plan.NO_ATTENTION in names("tiny_ende,tiny_image")
    assert names("tiny_image") == [plan.JOINT, plan.NO_EXPERTS, plan.NO_CONVOLUTIONS]
    grid = "num_heads=1|2,decoder_blocks=1|2,encoder_blocks=1|2"
    suite = small_suite("efficiency", data, tmp_path, problems="tiny_image", grid=grid)
    assert [kind.name for kind in suite.kinds] == [plan.JOINT, "encoder_blocks=1"]


@pytest.mark.parametrize("budget", [None, 600.0])
def test_runs_at_equal_time_stay_as_long_with_other_workers(data, tmp_path, budget):
    def planned(seeds, workers, factor, steps, earlier=None):
        parts = lambda step: {name: {"step": step} for name in ("tiny_ende", "tiny_image")}
        timings = {"": {"problems": parts(0.1)}, "gradient surgery": {"problems": parts(0.1 * factor)}}
        suite = small_suite("balancing", data, tmp_path, seeds, workers).at_equal_time(timings)
        suite = suite.as_long_as(earlier, budget, steps)
        runs, _ = suite.runs(steps, {})
        return suite.store_plan(runs, steps, budget)

    digests = lambda stored: {run["digest"] for run in stored["runs"]}
    first = planned(1, 1, 1.7, 101)
    again = planned(2, 2, 2.4, 101, json.loads(json.dumps(first)))
    assert digests(first) < digests(again) and len(digests(again)) == 2 * len(digests(first))
    lengths = {run["kind"]: run["steps"] for run in planned(1, 2, 2.4, 200, first)["runs"]}
    assert lengths["gradient surgery"] == round(200 / 2.4), "other steps need new runs, as long as measured"


@pytest.mark.slow
def test_the_page_of_balancing_compares_each_way_with_the_joint_run():
    kinds = [JOINT, *(replace(JOINT, name=name) for name in balancing.WORDS)]
    rights = {plan.JOINT: 240, "uncertainty": 260, "loss ratio": 220, "temperature": 240}
    page = report.build(measured("balancing", kinds, rights))
    text = page.markdown().replace("\u00a0", " ")
    assert "uncertainty gains on the mean: holds. +5.00 ± 0.00 points over 3 seeds" in text
    assert "loss ratio gains on the mean: does not hold. -5.00" in text
    assert "temperature gains on the mean: can't tell" in text
    assert page.html().count("data:image/svg+xml") == 1 + len(PROBLEMS)


# ---- The command


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--suite=blocks", "--grid=num_heads=1|2"], "--grid is for --suite=efficiency, not for blocks"),
        (["--suite=blocks", "--single_choices=dropout=0.1"], "suite blocks has no single-task runs"),
        (["--suite=balancing", "--problem=tiny_ende"], "problems that are trained together: it needs at least two"),
        (["--suite=efficiency", "--single_hparams=dropout=0.1"], "suite efficiency has no single-task runs"),
        (["--suite=efficiency", "--grid=num_heads=5"], "a multiple of num_heads=5"),
        (["--suite=block"], "did you mean 'blocks'"),
        (["--suite=paper_tables", "--hparams=use_experts=False", "--roles=parsing=tiny_ende"], "no experts itself"),
    ],
)
def test_what_a_suite_can_not_do_is_one_line(flags, said, data, tmp_path, run_command):
    names = [flag.partition("=")[0] for flag in flags]
    given = [f for f in (f"--data_dir={data}", f"--output_dir={tmp_path / 'exp'}") if f.partition("=")[0] not in names]
    if "--problem" not in names:
        given.append("--problem=tiny_ende,tiny_image")
    status, _, error = run_command(experiment.main, *flags, *given)
    assert status == 2 and said in error and len(error.splitlines()) == 1, error


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from small_world import make_data

    return make_data(tmp_path_factory.mktemp("data"))


SMALL_SET = f'''
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.registry import register_hparams

@register_hparams
def small():
    """As small as it gets."""
    return {HPARAMS!r}
'''


@pytest.mark.slow
def test_a_grid_is_trained_weighed_and_repeated_never(data, tmp_path, user_folder, run_command):
    folder, exp = user_folder({"sets.py": SMALL_SET}), tmp_path / "exp"
    argv = [
        "--suite=efficiency",
        "--problem=tiny_ende,tiny_image",
        "--hparams_set=small",
        "--grid=num_experts=0|3",
        "--seeds=1",
        "--train_steps=4",
        f"--t2t_usr_dir={folder}",
        f"--data_dir={data}",
        f"--output_dir={exp}",
    ]
    status, out, error = run_command(experiment.main, *argv)
    assert status == 0, error
    assert "2 kinds of runs × 1 seed" in out and "num_experts=0" in out
    (exp / "report.html").read_text()
    text = (exp / "report.md").read_text()
    assert "The number of experts matters: can't tell" in text and "2 points, best first" in text
    written = {path: path.stat().st_mtime_ns for path in exp.glob("runs/*/result.json")}
    status, out, error = run_command(experiment.main, *argv)
    assert status == 0 and "for the 0 runs that are to do" in out, error
    assert written == {path: path.stat().st_mtime_ns for path in exp.glob("runs/*/result.json")}
    status, _, error = run_command(experiment.main, *argv, "--report_only")
    assert status == 0 and (exp / "report.md").read_text() == text
