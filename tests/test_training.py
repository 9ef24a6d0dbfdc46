"""What a training run promises: exact repetition and resume, evaluation that disturbs nothing, errors that stop it."""

import json
import math
import types
from dataclasses import replace

import numpy as np
import pytest
from small_world import HPARAMS, PROBLEMS, make_data, make_trainer, weights

from t2t_multimodel.errors import DivergedError, UserError
from t2t_multimodel.mixture import LossAverages
from t2t_multimodel.training import checkpoints
from t2t_multimodel.training.checks import check_update
from t2t_multimodel.training.joint_loss import objective_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kept_programs")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """A run of 12 updates that nothing happened to."""
    output_dir = tmp_path_factory.mktemp("undisturbed")
    assert make_trainer(data, output_dir).run() == 0
    return output_dir


def records(output_dir):
    return [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_repeats_bit_for_bit(data, undisturbed, tmp_path):
    make_trainer(data, tmp_path).run()
    assert weights(tmp_path, 12) == weights(undisturbed, 12)


def test_another_seed_is_another_run(data, undisturbed, tmp_path):
    make_trainer(data, tmp_path, replace(HPARAMS, train_steps=1), seed=4).run()
    assert weights(tmp_path, 1)[0] != weights(undisturbed, 4)[0]


def test_a_resumed_run_ends_with_the_same_bits(data, undisturbed, tmp_path):
    first = make_trainer(data, tmp_path, replace(HPARAMS, train_steps=12))
    microbatches = first.stream.microbatches

    def until_step_5(step, count=None):
        if step == 5:
            raise KeyboardInterrupt
        return microbatches(step, count)

    first.stream.microbatches = until_step_5
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = make_trainer(data, tmp_path)
    assert second.step == 4
    second.run()
    assert weights(tmp_path, 12) == weights(undisturbed, 12)
    steps = [r["step"] for r in records(tmp_path) if "problem" not in r]
    assert steps == sorted(set(steps)), "a step is logged twice"


def test_evaluation_does_not_disturb_training(data, undisturbed, tmp_path):
    make_trainer(data, tmp_path, schedule="train_and_evaluate", eval_interval=3, eval_batches=1).run()
    assert weights(tmp_path, 12)[0] == weights(undisturbed, 12)[0]
    evaluations = [r for r in records(tmp_path) if r["split"] == "dev"]
    assert {(r["step"], r["problem"]) for r in evaluations} == {(s, p) for s in (3, 6, 9, 12) for p in PROBLEMS}
    for record in evaluations:  # every problem by itself, with its own metrics and the number of examples
        assert record["examples"] > 0 and record["teacher_forced_log_perplexity"] > 0
    assert all(math.isfinite(r["bleu"]) for r in evaluations if r["problem"] == "tiny_ende")


def test_training_lowers_the_loss_of_every_problem(data, tmp_path):
    make_trainer(
        data, tmp_path, replace(HPARAMS, train_steps=120, learning_rate=1e-2, dropout=0.0), log_interval=1
    ).run()
    losses = {name: [r["loss"] for r in records(tmp_path) if r.get("problem") == name] for name in PROBLEMS}
    for name, of in losses.items():
        assert np.mean(of[-5:]) < of[0] - 0.3, (name, of)


def test_several_problems_in_one_update(data, tmp_path):
    hparams = replace(HPARAMS, gradient_accumulation_steps=3, train_steps=2)
    make_trainer(data, tmp_path, hparams, log_interval=1).run()
    drawn = {r["problem"]: r["microbatches"] for r in records(tmp_path) if r["step"] == 2 and "problem" in r}
    assert drawn == dict.fromkeys(PROBLEMS, 1)


def test_shares_are_logged_as_planned_and_as_drawn(data, undisturbed):
    drawn = weights(undisturbed, 12)[1]["stream"]["drawn"]
    assert sum(drawn.values()) == 12
    last = [r for r in records(undisturbed) if r["step"] == 12 and "problem" in r]
    assert last
    for record in last:
        assert abs(record["share_planned"] - 1 / 3) < 1e-6
        assert record["share_actual"] == drawn[record["problem"]] / 12


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_batch(data, tmp_path):
    trainer = make_trainer(data, tmp_path, save_interval=2)
    update = trainer.train_step.update

    def broken(microbatches, rate, weights):
        reports, norm = update(microbatches, rate, weights)
        return ([r | {"loss": math.nan} for r in reports] if trainer.step == 5 else reports), norm

    trainer.train_step.update = broken
    with pytest.raises(UserError, match=r"loss is nan \(problem tiny_\w+, step 6, epoch \d+, batch \d+\)"):
        trainer.run()
    assert make_trainer(data, tmp_path).step == 4, "the last checkpoint is as it was"


@pytest.mark.parametrize(
    "schedule, said",
    [("train_and_evaluate", "teacher_forced_.* is nan after step 1"), ("train", "not finite after step 1")],
)
def test_what_the_last_update_spoilt_is_not_saved(data, tmp_path, schedule, said):
    trainer = make_trainer(data, tmp_path, replace(HPARAMS, train_steps=1), schedule=schedule)
    update = trainer.train_step.update

    def broken(microbatches, rate, weights):
        results = update(microbatches, rate, weights)
        trainer.train_step.variables()
        for variable in trainer.model.trainable_variables:
            variable.assign(np.full(variable.shape, np.nan))
        return results

    trainer.train_step.update = broken
    with pytest.raises(DivergedError, match=said):
        trainer.run()
    assert checkpoints.steps(tmp_path / "checkpoints") == []


@pytest.mark.parametrize("values, said", [({"loss": 0.0}, "exactly 0"), ({"weight": 0.0}, "without targets")])
def test_learning_from_nothing_does_not_go_unnoticed(data, tmp_path, values, said):
    trainer = make_trainer(data, tmp_path)
    update = trainer.train_step.update
    trainer.train_step.update = lambda *given: ([r | values for r in update(*given)[0]], 1.0)
    with pytest.raises(UserError, match=said):
        trainer.run()


def test_a_loss_of_zero_is_no_error_where_a_problem_may_have_been_learnt():
    batch = types.SimpleNamespace(problem="easy", epoch=3, position=400)
    check_update(500, [batch], [{"loss": 0.0, "weight": 8.0}])
    batch.position = 4
    with pytest.raises(UserError, match="exactly 0"):
        check_update(5, [batch], [{"loss": 0.0, "weight": 8.0}])


def test_a_batch_of_unknown_targets_is_passed_over():
    """NaN is not counted; it may be all there is in a small batch."""
    batch = types.SimpleNamespace(problem="prices", epoch=0, position=4)
    batch.arrays = {"targets": np.array([[np.nan], [0.0]], np.float32), "inputs": np.ones([2, 3], np.int32)}
    nothing = {"loss": 0.0, "weight": 0.0, "cross_entropy": 0.0}
    check_update(5, [batch], [nothing])
    losses = LossAverages(["prices"])
    losses.record("prices", objective_of(nothing, 0.0))
    losses.record("prices", 2.0)
    losses.record("prices", 1.0)
    assert losses.relative()[0] < 1.0, "the first loss is that of the first known target"
    batch.arrays["targets"] = np.zeros([2, 1], np.float32)
    with pytest.raises(UserError, match="without targets"):
        check_update(5, [batch], [nothing])


def test_what_finds_the_best_needs_evaluations(data, tmp_path):
    with pytest.raises(UserError, match="--schedule=train scores nothing"):
        make_trainer(data, tmp_path, schedule="train", keep_best="tiny_image/accuracy_top1")


def test_early_stopping_works_in_the_default_schedule(data, tmp_path):
    hparams = replace(HPARAMS, learning_rate=1e-9)
    trainer = make_trainer(
        data,
        tmp_path,
        hparams,
        schedule="train_and_evaluate",
        eval_interval=2,
        eval_batches=1,
        early_stopping_metric="tiny_image/accuracy_top1",
        early_stopping_patience=2,
    )
    assert trainer.run() == 0
    assert trainer.step == 6 and trainer.early_stopping.stopped
    assert make_trainer(data, tmp_path, hparams).step == 6, "what was trained is saved"


def test_another_model_in_the_output_directory_is_refused(data, undisturbed):
    with pytest.raises(UserError, match="another run.*seed: 3 → 9"):
        make_trainer(data, undisturbed, seed=9)
    with pytest.raises(UserError, match="problems: tiny_ende, tiny_image, tiny_speech → tiny_image"):
        make_trainer(data, undisturbed, problems=("tiny_image",))


def test_a_loaded_run_answers_without_its_data(data, undisturbed):
    import t2t_multimodel

    model = t2t_multimodel.load(undisturbed)
    answers = model.decode("tiny_ende", ["a red circle is big", "the moon"])
    assert len(answers) == 2 and all(isinstance(a, str) for a in answers)
    assert answers == model.decode("tiny_ende", ["the moon", "a red circle is big"])[::-1], "the order is kept"
    picture = np.zeros((32, 32, 3), np.uint8)
    assert model.decode("tiny_image", [picture])[0] in model._run.problem("tiny_image").spec.targets.classes
    with pytest.raises(UserError, match="tiny_ende"):
        model.decode("tiny_end", ["x"])
    with pytest.raises(UserError, match="longer .* than any the model was trained on"):
        model.decode("tiny_ende", ["a " * 500])
    with pytest.warns(UserWarning, match="longer"):
        model.decode("tiny_ende", ["a red " * 150], long_inputs="warn", max_length=5)


def test_a_cut_checkpoint_is_said_aloud_and_the_one_before_is_used(data, undisturbed, tmp_path, capsys):
    import shutil

    shutil.copytree(undisturbed, tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "step-000012" / "arrays.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    trainer = make_trainer(data, tmp_path / "run")
    assert trainer.step == 8
    assert "step-000012" in capsys.readouterr().err
    trainer.run()
    assert weights(tmp_path / "run", 12) == weights(undisturbed, 12)
