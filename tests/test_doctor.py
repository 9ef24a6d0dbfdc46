"""t2t-doctor: one table of what is well and what to do; its status says whether something is wrong."""

import importlib.metadata
import shutil

import numpy as np
import pytest

from t2t_multimodel import registry
from t2t_multimodel.cli import doctor, doctor_checks
from t2t_multimodel.cli.doctor_checks import NOTE, WELL, WRONG, Finding


@pytest.fixture
def light(monkeypatch):
    """Without the process that imports a backend, which takes seconds."""
    monkeypatch.setattr(doctor_checks, "_devices", lambda backend: Finding("machine", backend, WELL, "a device"))


def states(findings):
    return {finding.what: finding.state for finding in findings}


def test_this_environment_is_well_and_a_wrong_one_is_not(light, run_command, monkeypatch):
    status, out, _ = run_command(doctor.main)
    assert status == 0 and "all is well" in out and "tensorflow-text" in out

    right = importlib.metadata.version
    others = {"tensorflow-text": "2.18.0", "numpy": "1.9", "optuna": None}

    def version(name):
        if name in others and others[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return others.get(name) or right(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    status, out, _ = run_command(doctor.main, "--only_wrong")
    lines = {line.split()[1]: line for line in out.splitlines()[2:-1]}
    assert status == 2
    assert "wrong" in lines["numpy"] and 'pip install "numpy' in lines["numpy"]
    assert "not a pair" in lines["tensorflow,"] and "tensorflow-text==" in lines["tensorflow,"]
    assert "note" in lines["optuna"] and "[tune]" in lines["optuna"]
    assert "keras" not in lines


def test_a_backend_that_can_not_be_imported_is_wrong(monkeypatch):
    for code, said in (
        ("raise ImportError('no libraries')", "no libraries"),
        ("import os; os.kill(os.getpid(), 4)", "signal 4"),
    ):
        monkeypatch.setitem(doctor_checks._DEVICES, "jax", code)
        found = doctor_checks._devices("jax")
        assert found.state == WRONG and said in found.found and found.todo
    monkeypatch.setitem(doctor_checks._DEVICES, "jax", "print('noise'); print('cpu:0')")
    assert doctor_checks._devices("jax") == Finding("machine", "backend jax", WELL, "cpu:0")


@pytest.mark.slow
def test_data_folders(tmp_path):
    from t2t_multimodel.data_gen.generate import generate

    folder = tmp_path / "data"
    assert states(doctor_checks.data(str(folder))) == {str(folder): WRONG}
    problem = registry.problem("tiny_image")
    problem.train_examples, problem.dev_examples, problem.test_examples = 8, 2, 2
    generate([problem], folder, workers=1, log=lambda line: None, progress=False)
    found = {finding.what: finding for finding in doctor_checks.data(str(folder))}
    assert found["tiny_image"].state == WELL and found["tiny_image"].found.startswith("train 8, dev 2")

    (folder / "incomplete.tiny_ende").mkdir()
    shard = next((folder / "tiny_image").glob("*train.tfrecord*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    shutil.copytree(folder / "tiny_image", folder / "tiny_copy")
    found = {finding.what: finding for finding in doctor_checks.data(str(folder))}
    assert found["tiny_image"].state == WRONG and shard.name in found["tiny_image"].found
    assert found["tiny_copy"].state == WRONG, "it is of another problem"
    assert found["incomplete.tiny_ende"].state == NOTE


def test_run_directories(tmp_path, monkeypatch):
    from t2t_multimodel.training import checkpoints, run_directory

    assert states(doctor_checks.run(str(tmp_path / "none"))) == {str(tmp_path / "none"): WRONG}

    class Known:
        model, problems = "multimodel", {"a": None}

    class Resolved:
        class hparams:
            train_steps = 20

    for name, value in (("run", Known), ("resolved", Resolved), ("vocabulary", None)):
        monkeypatch.setattr(run_directory.RunDirectory, name, lambda self, *_, value=value: value)
    found = {finding.what: finding for finding in doctor_checks.run(str(tmp_path))}
    assert found["checkpoints"].state == NOTE and found["its data"].state == NOTE
    for step in (10, 20):
        checkpoints.save(tmp_path / "checkpoints", step, {"x": np.zeros(3)}, {})
    found = {finding.what: finding for finding in doctor_checks.run(str(tmp_path))}
    assert found["checkpoints"].found == "2, the newest whole one of step 20" and found["training"].found == "finished"
    (tmp_path / "checkpoints" / "step-000020" / "arrays.safetensors").write_bytes(b"")
    found = {finding.what: finding for finding in doctor_checks.run(str(tmp_path))}
    assert found["checkpoint 20"].state == WRONG and "next older one" in found["checkpoint 20"].todo
    assert found["training"].found == "stands at step 10 of 20"
