"""Promise: a run on several devices computes what a run on one does, each device doing its part of the work.

Four devices of a CPU stand for four accelerators; devices_child.py runs on them.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_world import HPARAMS, make_data

from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import override
from t2t_multimodel.input.batching import BatchStream
from t2t_multimodel.input.store import ExampleStore

MODES = ("data", "expert", "both", "weights")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What devices_child.py writes."""
    pytest.importorskip("jax")
    folder = tmp_path_factory.mktemp("devices")
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiles twice as fast
        # The programs that are looked at are those that ran, so they are compiled once.
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1",
    }
    child = Path(__file__).with_name("devices_child.py")
    done = subprocess.run(
        [sys.executable, str(child), str(folder / "found.json")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_several_devices_train_as_one_does(trained, mode):
    """Losses and gradients of three updates, with dropout and the gates' noise."""
    for values in ("losses", "norms"):
        np.testing.assert_allclose(trained[mode][values], trained["one"][values], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["muon", "muon_weights"])
def test_muon_on_several_devices_is_that_on_one(trained, mode):
    """Its products enlarge what rounding does to the small parts of a gradient."""
    for values in ("losses", "norms"):
        np.testing.assert_allclose(trained[mode][values], trained["muon_one"][values], rtol=1e-5)
    assert trained[mode]["held"] == trained[mode]["counted"] < trained["muon_one"]["held"]


@pytest.mark.slow
def test_evaluation_and_decoding_on_several_devices_are_complete_and_in_order(trained):
    one, several = trained["one"], trained["weights"]
    assert several["decoded"] == one["decoded"]
    for name, values in one["evaluation"].items():
        np.testing.assert_allclose(several["evaluation"][name], values, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_each_device_holds_its_part_of_the_weights_and_of_the_optimizer(trained):
    held = {mode: trained[mode]["shapes"] for mode in ("one", *MODES)}
    for slot in ("first", "momentum"):
        assert held["one"][slot] == held["data"][slot] == [8, 32, 24]
        assert (held["expert"][slot], held["both"][slot], held["weights"][slot]) == (
            [2, 32, 24],
            [4, 32, 24],
            [4, 16, 24],
        )
    assert held["one"]["dense"] == held["data"]["dense"] == held["both"]["dense"] == [32, 32]
    assert held["weights"]["dense"] == [8, 32]


@pytest.mark.parametrize("of", ["", "_first_momentum", "_average_of_squares"])
def test_what_an_optimizer_keeps_of_experts_is_where_the_experts_are(of):
    """By its name too: of several processes each makes the averages whole, without the place of the weight."""
    pytest.importorskip("jax")
    from t2t_multimodel.training.devices import EXPERT, Devices

    devices = Devices(1, num_experts=8)
    path = f"adam/multimodel_encoder_experts_first{of}" if of else "multimodel/encoder/experts/first"
    assert devices._axes(path, (8, 32, 24)) == [EXPERT, None, None]
    assert devices._axes(path.replace("experts", "block0"), (8, 32, 24)) == [None, None, None]


@pytest.mark.slow
def test_what_a_device_will_hold_is_counted_before_it_is_made(trained):
    """`t2t-trainer --dry_run`; the most is held where all is on every device, a quarter where all is shared."""
    held = {mode: trained[mode]["held"] for mode in ("one", *MODES)}
    assert held == {mode: trained[mode]["counted"] for mode in held}
    assert held["one"] == held["data"] > held["both"] > held["expert"]
    assert held["one"] / 4 < held["weights"] < 0.4 * held["one"]  # small vectors are whole on each


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_each_device_computes_its_part_of_the_experts(trained, mode):
    """A quarter of the multiplications, forward and backward; slots are filled up to be shared evenly."""
    whole, part = sum(trained["one"]["products"]), sum(trained[mode]["products"])
    assert len(trained[mode]["products"]) == len(trained["one"]["products"]) > 0
    assert whole / 4 <= part <= 1.3 * whole / 4


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["groups", "groups_weights"])
def test_groups_of_rows_do_not_depend_on_the_devices(trained, mode):
    """Where experts are full too; each device sorts the tokens of its rows, and sends them to their experts."""
    alone, shared = trained["groups_one"], trained[mode]
    assert min(alone["dropped"]) > 0.01
    for values in ("losses", "norms", "dropped"):
        np.testing.assert_allclose(shared[values], alone[values], rtol=1e-6)
    assert len(shared["sorts"]) == len(alone["sorts"]) > 0
    assert [4 * size for size in shared["sorts"]] == alone["sorts"]
    assert shared["exchanges"] > 0 == alone["exchanges"]
    assert 4 * sum(shared["products"]) == sum(alone["products"]) > 0


@pytest.mark.slow
def test_what_was_saved_is_restored_in_other_places(trained):
    assert trained["restored"] == [True, True]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def settings(**asked):
    return SimpleNamespace(**({"devices": 0, "expert_devices": 0, "shard_weights": False} | asked))


@pytest.mark.parametrize(
    "asked, said",
    [
        ({"devices": 5}, "--devices=5, but JAX finds 4"),
        ({"devices": 3}, "--devices=3 can't share batches of a multiple of batch_rows_multiple=8.*multiple=24"),
        ({"expert_devices": 4}, "--expert_devices=4 must divide both the 4 devices and the 6 experts; 2 is the most"),
        ({"devices": 1, "shard_weights": True}, "--shard_weights needs several devices"),
    ],
)
def test_what_can_not_be_shared_evenly_is_refused(monkeypatch, asked, said):
    jax = pytest.importorskip("jax")
    from t2t_multimodel.training.devices import chosen_devices

    monkeypatch.setattr(jax, "devices", lambda: [None] * 4)
    with pytest.raises(UserError, match=said):
        chosen_devices(settings(**asked), replace(HPARAMS, num_experts=6, batch_rows_multiple=8))


@pytest.mark.parametrize("multiple, groups, used", [(8, 1, 4), (4, 1, 4), (2, 1, 2), (6, 1, 3), (8, 4, 4), (8, 2, 2)])
def test_as_many_devices_are_used_as_share_the_rows_evenly(monkeypatch, capsys, multiple, groups, used):
    jax = pytest.importorskip("jax")
    from t2t_multimodel.training import devices

    monkeypatch.setattr(jax, "devices", lambda: [None] * 4)
    monkeypatch.setattr(devices, "Devices", lambda count, *more: count)
    hparams = replace(HPARAMS, batch_rows_multiple=multiple, expert_groups=groups)
    assert devices.chosen_devices(settings(), hparams) == used
    assert (f"{used} of 4 devices" in capsys.readouterr().out) == (used < 4)


def test_devices_that_groups_can_not_be_shared_by_are_refused(monkeypatch):
    jax = pytest.importorskip("jax")
    from t2t_multimodel.training.devices import chosen_devices

    monkeypatch.setattr(jax, "devices", lambda: [None] * 4)
    said = "can't share expert_groups=2 groups of rows evenly.*--hparams=expert_groups=4,batch_rows_multiple=8"
    with pytest.raises(UserError, match=said):
        chosen_devices(settings(devices=4), replace(HPARAMS, batch_rows_multiple=8, expert_groups=2))


def test_groups_of_unequal_rows_are_refused_and_so_is_tensorflow():
    from t2t_multimodel.hyperparameters import check_backend

    with pytest.raises(UserError, match="expert_groups=4 must divide batch_rows_multiple=6.*batch_rows_multiple=12"):
        override(HPARAMS, {"batch_rows_multiple": 6, "expert_groups": 4}, "test")
    grouped = override(HPARAMS, {"batch_rows_multiple": 8, "expert_groups": 4}, "test")
    check_backend(grouped, "jax")
    with pytest.raises(UserError, match="expert_groups=4 needs JAX"):
        check_backend(grouped, "tensorflow")


def test_one_device_needs_no_place(monkeypatch):
    pytest.importorskip("jax")
    from t2t_multimodel.training.devices import chosen_devices

    assert chosen_devices(settings(), HPARAMS) is None


@pytest.mark.parametrize("asked", [{"devices": 2}, {"expert_devices": 2}, {"shard_weights": True}])
def test_tensorflow_refuses_several_devices(monkeypatch, asked):
    import keras

    from t2t_multimodel.training import backend

    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(UserError, match=f"--{next(iter(asked))} needs --backend=jax"):
        backend.chosen_devices(settings(**asked), HPARAMS)
    assert backend.chosen_devices(settings(devices=1), HPARAMS) is None


@pytest.mark.parametrize("bucket", [True, False])
def test_batches_are_filled_up_to_the_multiple_with_rows_that_count_nothing(data, bucket):
    """For JAX; TensorFlow's batches have examples alone."""
    hparams = replace(HPARAMS, batch_rows_multiple=4)
    wide, narrow = (
        BatchStream(ExampleStore(data, "tiny_ende"), "train", h, 0, bucket=bucket) for h in (hparams, HPARAMS)
    )
    filled = 0
    for _ in range(12):
        batch, same = wide.next(), narrow.next()
        rows = len(batch.arrays["command"])
        np.testing.assert_array_equal(batch.rows, same.rows)
        np.testing.assert_array_equal(batch.arrays["inputs"][: batch.examples], same.arrays["inputs"][: batch.examples])
        assert batch.arrays["example_weights"].sum() == batch.examples
        assert rows % 4 == 0 if bucket else rows == batch.examples
        filled += rows - batch.examples
    assert bool(filled) == bucket
    wide.close()
    narrow.close()


def test_the_multiple_is_at_least_1():
    with pytest.raises(UserError, match="batch_rows_multiple=0 must be at least 1"):
        override(HPARAMS, {"batch_rows_multiple": 0}, "test")
