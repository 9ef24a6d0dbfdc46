"""`t2t-trainer --dry_run`: counts what a step takes without making an array, and says whether it fits."""

from dataclasses import replace

import keras
import pytest
from models import BACKEND
from small_world import HPARAMS, make_data, make_trainer

from t2t_multimodel.cli import trainer as command
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import Resolved
from t2t_multimodel.input.batching import BatchStream
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.mixture import Mixture
from t2t_multimodel.training import memory_plan
from t2t_multimodel.training.memory_plan import GIB, MemoryPlan, plan_memory, size_of
from t2t_multimodel.training.run_settings import RunSettings

PLAN = MemoryPlan(8 * GIB, 8 * GIB, GIB, 3 * GIB, "german, 16 rows", 2_000_000_000, "cpu", 24 * GIB)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def settings(data, tmp_path, **changes):
    mixture = Mixture("small", "a test's", ("tiny_ende", "tiny_image"))
    return RunSettings(
        Resolved(replace(HPARAMS, **changes)), mixture, str(data), str(tmp_path / "run"), schedule="train"
    )


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "adafactor"])
def test_it_counts_what_the_trainer_makes(data, tmp_path, optimizer):
    plan = plan_memory(settings(data, tmp_path, optimizer=optimizer))
    trainer = make_trainer(data, tmp_path / "run", replace(HPARAMS, optimizer=optimizer), ("tiny_ende", "tiny_image"))
    model = trainer.train_step.model
    assert (
        plan.weights == size_of(model.variables) == sum(keras.ops.convert_to_numpy(v).nbytes for v in model.variables)
    )
    assert plan.optimizer == size_of(trainer.train_step.optimizer.variables)
    assert plan.count == sum(keras.ops.size(v) for v in model.trainable_variables)
    assert 0 < plan.gradients <= 4 * plan.count
    assert (plan.activations is None) == (BACKEND == "tensorflow")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_frozen_weights_have_no_gradients(data, tmp_path):
    whole, frozen = (plan_memory(settings(data, tmp_path, freeze=parts)) for parts in ("", "body"))
    assert 0 < frozen.gradients < whole.gradients and frozen.weights == whole.weights
    with pytest.raises(UserError, match="nonsense"):
        plan_memory(settings(data, tmp_path, freeze="nonsense"))


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow does not say what a program takes")
def test_gradient_surgery_has_the_gradients_of_all_batches(data, tmp_path):
    counted = {}
    for operated in (False, True):
        changes = {"gradient_accumulation_steps": 3, "gradient_surgery": operated}
        counted[operated] = plan_memory(settings(data, tmp_path, **changes))
    assert counted[True].activations - counted[False].activations == 2 * 4 * counted[True].count


@pytest.mark.slow
def test_a_model_larger_than_the_machine_is_counted_too(data, tmp_path, run_command, monkeypatch):
    """Eight billion weights: nothing of that size is made; what XLA plans, and takes minutes to, is left out here."""
    monkeypatch.setattr(memory_plan.adapter().Step, "planned_bytes", lambda self, microbatches: None)
    monkeypatch.setattr(memory_plan, "machine_memory", lambda: 24 * GIB)
    status, out, err = run_command(
        command.main,
        f"--data_dir={data}",
        f"--output_dir={tmp_path / 'run'}",
        "--problem=tiny_ende",
        "--hparams_set=multimodel_base",
        "--hparams=num_experts=900",
        "--dry_run",
    )
    assert status == 0, err
    assert out.splitlines()[-1] == "cpu: 24.0 GiB of memory: this does not fit"
    assert "weights" in out and "not counted" in out
    assert not (tmp_path / "run").exists()


def test_it_refuses_the_devices_that_training_would(data, tmp_path, run_command):
    flags = [f"--data_dir={data}", f"--output_dir={tmp_path / 'run'}", "--problem=tiny_ende", "--devices=99999"]
    status, out, err = run_command(command.main, *flags, "--dry_run")
    assert status == 2 and "--devices" in err and "GiB" not in out


def test_the_largest_batch_is_the_one_with_most_positions(data):
    stream = BatchStream(ExampleStore(data, "tiny_ende"), "train", HPARAMS, 0)
    before = stream.state()
    largest = stream.largest()
    assert stream.state() == before
    positions = lambda batch: sum(batch.arrays[side].size for side in ("inputs", "targets"))
    epoch = []
    while not epoch or epoch[-1].epoch == 0:
        epoch.append(stream.next())
    stream.close()
    assert positions(largest) == max(positions(batch) for batch in epoch[:-1])


def test_the_lines_say_whether_it_fits():
    assert PLAN.total == 20 * GIB
    lines = PLAN.lines()
    assert lines[0] == "weights          8.00 GiB  (2,000,000,000 numbers)"
    assert lines[-1] == "cpu: 24.0 GiB of memory: this fits, if other programs leave as much"
    assert replace(PLAN, memory=19 * GIB).lines()[-1] == "cpu: 19.0 GiB of memory: this does not fit"
    uncounted = replace(PLAN, activations=None).lines()
    assert "not counted" in uncounted[3] and uncounted[4].endswith("at least")
    assert uncounted[-1].endswith("weights, gradients and optimizer fit")
    assert replace(PLAN, memory=None).lines()[-1] == "cpu: how much memory it has is unknown"
    several = replace(PLAN, devices="8 devices").lines()
    assert several[:2] == ["8 devices", "on each of them:"] and "(2,000,000,000 numbers in all)" in several[2]


def test_the_memory_of_this_machine_is_known():
    assert GIB / 4 < memory_plan.machine_memory() < 2**50
