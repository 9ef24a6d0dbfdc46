"""t2t-tune over numbers of blocks: every kind is a dimension, and trials of equal arithmetic are compared as equals."""

import json
from dataclasses import replace

import pytest
from small_run import arguments

from t2t_multimodel import hyperparameters
from t2t_multimodel.cli import settings, tune
from t2t_multimodel.errors import UserError
from t2t_multimodel.hparams.multimodel import multimodel_tiny
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.mixture import Mixture
from t2t_multimodel.training.run_directory import RunDirectory
from t2t_multimodel.tuning import space
from t2t_multimodel.tuning.child import ChildRun
from t2t_multimodel.tuning.equal_arithmetic import EqualArithmetic

pytest.importorskip("optuna")


def test_blocks_are_the_numbers_of_every_kind():
    dimensions = space.parse("blocks,dropout", multimodel_tiny())
    assert [d.name for d in dimensions] == [*space.BLOCKS, "dropout"]
    assert all(d.whole and d.range.high >= 3 for d in dimensions[:-1])
    with pytest.raises(UserError, match="decoder_blocks is given twice"):
        space.parse("decoder_blocks=1:2,blocks", multimodel_tiny())
    for name in space.BLOCKS:
        hyperparameters.override(multimodel_tiny(), {name: 3}, "here")


@pytest.fixture
def equal(small_run):
    base = replace(multimodel_tiny(), train_steps=1000, max_target_length=200, max_input_length=200)
    names = ("report_words", "report_shades")
    stores = {name: ExampleStore(small_run["data_dir"], name) for name in names}
    return EqualArithmetic(base, Mixture("m", "", (("report_words", 3), ("report_shades", 1))), stores), base


def test_a_model_of_more_operations_has_fewer_updates(equal):
    rule, base = equal
    assert rule.steps(base) == 1000
    deeper, without = replace(base, encoder_blocks=6), replace(base, use_attention=False, use_experts=False)
    assert rule.steps(deeper) < 1000 < rule.steps(without)
    for hparams in (deeper, without):
        total = rule.steps(hparams) * rule.operations(hparams)
        assert total == pytest.approx(1000 * rule.operations_of_base, rel=1e-3)
    twice = replace(base, gradient_accumulation_steps=2)
    assert rule.steps(twice) == 500


@pytest.mark.parametrize(
    "changes", [{"mixture": "adaptive"}, {"mixture": "schedule", "mixture_schedule": "linear @0 1 0"}]
)
def test_shares_that_change_on_the_way_can_not_be_counted_beforehand(equal, changes):
    rule, base = equal
    with pytest.raises(UserError, match=f"mixture={changes['mixture']} draws other shares"):
        rule.steps(replace(base, **changes))  # of a trial


def test_a_trial_counts_with_its_own_shares(equal):
    rule, base = equal
    rule._sizes = {"report_words": 1000, "report_shades": 10}
    even = replace(base, mixture="size", mixture_temperature=5.0)
    by_size = replace(even, mixture_temperature=1.0)
    assert rule.operations(even) != rule.operations(by_size)


def test_evaluations_of_trials_of_other_lengths_are_reported_at_the_same_places(tmp_path):
    child = ChildRun.__new__(ChildRun)
    child._folder, child._problems, child._intervals = tmp_path, {"p"}, (88, 120)
    lines = [{"step": step, "problem": "p", "split": "dev", "bleu": 1.0} for step in (88, 176, 264, 352, 437)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [step for step, _ in child.evaluations()] == [120, 240, 360, 480, 600]


@pytest.mark.slow
def test_the_command_finds_a_composition_at_equal_arithmetic(small_run, tmp_path, run_command):
    flags = small_run | {"problem": "report_words", "output_dir": tmp_path / "tune", "hparams_set": "report_small"}
    flags |= {"train_steps": 6, "hparams_range": "encoder_blocks=1:3,encoder_experts=0:2", "trials": 1}
    argv = [*arguments(flags), "--equal_arithmetic"]
    status, out, error = run_command(tune.main, *argv)
    assert status == 0, error
    assert "6 updates of the set have" in out and "trial 0 complete" in out
    run = RunDirectory(tmp_path / "tune" / "trials" / "0000").resolved().hparams
    base = replace(settings.resolve("report_small").hparams, train_steps=6)
    stores = {"report_words": ExampleStore(small_run["data_dir"], "report_words")}
    rule = EqualArithmetic(base, Mixture("m", "", ("report_words",)), stores)
    assert run.train_steps == rule.steps(run)
    source = " ".join((tmp_path / "tune" / "best_hparams.py").read_text("utf-8").split())
    assert "after the operations of 6 updates of report_small" in source and "encoder_experts=" in source
    status, _, error = run_command(tune.main, *arguments(flags | {"trials": 2}))
    assert status == 2 and "other settings (equal_arithmetic: True → None)" in error
