"""What declares something huge, mistyped or a stranger's, is one line before memory is taken for it."""

import json
import os
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import pytest
from small_world import HPARAMS, make_data, make_trainer

from t2t_multimodel import machine
from t2t_multimodel.decode_hparams import decode_settings
from t2t_multimodel.digests import sealed
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import HParams, override
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.training import checkpoints
from t2t_multimodel.training.run_directory import HPARAMS_FILE, RUN_FILE, RunDirectory, _digest, _digest_of_hparams

PROBLEMS = ("tiny_ende",)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert make_trainer(data, folder, replace(HPARAMS, train_steps=1), PROBLEMS, log_interval=1).run() == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    import shutil

    return shutil.copytree(trained, tmp_path / "run")


def one_line(error):
    return "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 10**9},
        {"num_experts": 2**31 - 1},
        {"expert_filter_size": 2**31 - 1},
        {"encoder_blocks": 1000, "hidden_size": 2**17},
    ],
    ids=str,
)
def test_a_model_larger_than_the_memory_is_one_line(data, tmp_path, changes):
    with pytest.raises(UserError, match="does not fit into memory: at least [0-9,]+ weights") as error:
        make_trainer(data, tmp_path / "run", replace(HPARAMS, **changes), PROBLEMS)
    assert one_line(error) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_blocks": 2**31 - 1},
        {"decoder_blocks": 1001},
        {"audio_blocks": 31},
        {"audio_mel_bins": 10**9},
        {"audio_frame_milliseconds": 1e9},
        {"gradient_accumulation_steps": 2**31 - 1},
        {"large_kernel": 2**31 - 1},
        {"large_dilation": 2**31 - 1},
    ],
    ids=str,
)
def test_what_takes_memory_beside_the_weights_has_a_bound(changes):
    with pytest.raises(UserError, match=f"{next(iter(changes))}|positions back") as error:
        override(HParams(), changes, "a test")
    assert one_line(error) and "most" in str(error.value)


@pytest.mark.parametrize("setting", [{"beam_size": 2**31 - 1}, {"max_length": 2**31 - 1}], ids=str)
def test_so_have_the_settings_of_decoding(setting):
    with pytest.raises(UserError, match="at most"):
        decode_settings(setting)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"hidden_size": 1 << 12}, {"num_experts": 10**4}, {"decoder_blocks": 1000}], ids=str
)
def test_a_strangers_run_makes_no_more_weights_than_its_checkpoint_has(run, changes):
    """Its files agree with each other, so no digest tells."""
    hparams, about = (json.loads((run / name).read_text()) for name in (HPARAMS_FILE, RUN_FILE))
    for name, value in changes.items():
        hparams[name]["value"] = value
    about["hparams_digest"] = _digest_of_hparams({name: entry["value"] for name, entry in hparams.items()})
    del about["digest"]
    (run / HPARAMS_FILE).write_text(json.dumps(hparams))
    (run / RUN_FILE).write_text(json.dumps(about | {"digest": _digest(about)}))
    with pytest.raises(UserError, match=r"is of another model: that of .* has more weights \(at least") as error:
        RunDirectory(run).load_model()
    assert one_line(error)


def test_a_longest_target_that_a_stranger_made_up_bounds_no_answer():
    from t2t_multimodel.decoding.batch_decoder import limit_of

    problems = [SimpleNamespace(longest_target=longest) for longest in (10, 2**31 - 1)]
    limits = [limit_of(problem, decode_settings({})) for problem in problems]
    assert limits == [16, 2**20]


@pytest.mark.parametrize("flags", [["--workers=1000000000"], ["--seeds=1000000000"]], ids=str)
def test_a_number_of_processes_or_runs_has_a_bound(flags, run_command):
    from t2t_multimodel.cli import experiment

    suite = ["--suite=transfer", "--problem=tiny_ende,tiny_parse", "--data_dir=nowhere", "--output_dir=nowhere"]
    status, _, said = run_command(experiment.main, *suite, *flags)
    assert status == 2 and "1000000000" in said.splitlines()[-1]


def test_so_has_that_of_data_generation():
    from t2t_multimodel.data_gen.workers import Workers

    with pytest.raises(UserError, match="between 1 and 1,024"):
        Workers([], 10**9)


def checkpoint_of(folder, content, size=0):
    """A checkpoint of step 1 with a manifest that vouches for these arrays."""
    step = checkpoints.save(folder, 1, {}, {})
    path = step / checkpoints.ARRAYS_FILE
    with open(path, "wb") as file:
        file.write(content)
        file.truncate(max(size, len(content)))
    manifest = json.loads((step / checkpoints.MANIFEST_FILE).read_text())
    manifest["files"][checkpoints.ARRAYS_FILE] = checkpoints._facts_of(path)
    (step / checkpoints.MANIFEST_FILE).write_text(json.dumps(manifest))


def test_a_header_of_arrays_has_a_bound(tmp_path):
    checkpoint_of(tmp_path, (1 << 26).to_bytes(8, "little"), (1 << 26) + 100)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="its header has 67,108,864 bytes") as error:
            checkpoints.load(tmp_path, 1)
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()
    assert one_line(error)


def test_a_checkpoint_larger_than_the_memory_is_not_even_read(tmp_path, monkeypatch):
    checkpoint_of(tmp_path, b"", 1 << 20)
    monkeypatch.setattr(machine, "memory", lambda: 1 << 19)
    monkeypatch.setattr(checkpoints, "_facts", lambda *arguments: pytest.fail("it was read"))
    for call in (checkpoints.load_latest, lambda folder: checkpoints.load(folder, 1)):
        with pytest.raises(UserError, match="more than this machine's memory") as error:
            call(tmp_path)
        assert one_line(error)
    assert (tmp_path / "step-000001").is_dir()  # it is no damaged one


def forged(data, folder, change):
    """A copy of a store with another manifest, which vouches for itself."""
    import shutil

    shutil.copytree(data, folder)
    path = folder / "tiny_ende" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256_of_values"]
    change(manifest, folder / "tiny_ende")
    path.write_bytes(sealed(manifest))
    return folder


@pytest.mark.slow
def test_a_store_of_a_million_million_examples_is_one_line(data, tmp_path):
    """Its index is a file with a hole. Where no disk takes that size, the sizes differ, which is one line too."""

    def change(manifest, folder):
        shard = next(iter(manifest["splits"]["train"]["files"].values()))
        shard["examples"] = manifest["splits"]["train"]["examples"] = 10**12
        manifest["files"]["index-train.npz"]["bytes"] = 24 * 10**12
        try:
            os.truncate(folder / "index-train.npz", 24 * 10**12)
        except OSError:
            pass

    with pytest.raises(UserError, match="memory|instead of") as error:
        ExampleStore(forged(data, tmp_path / "data", change), "tiny_ende").split("train")
    assert one_line(error)


@pytest.mark.slow
def test_an_index_larger_than_the_memory_is_not_even_read(data, monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 100)
    with pytest.raises(UserError, match="for 40 examples, more than this machine's memory") as error:
        ExampleStore(data, "tiny_ende").split("train")
    assert one_line(error)


def test_the_memory_of_a_process_is_that_of_its_limits(monkeypatch):
    assert 2**26 < machine.memory() < 2**50
    monkeypatch.setattr(machine, "_of_container", lambda: 12345)
    assert machine.memory() == 12345
