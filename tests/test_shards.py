"""Promise: a checkpoint in several files is what one file is: read by all, by any number of processes, and checked."""

import json
import shutil

import numpy as np
import pytest
from several_processes import PROBLEMS, finish, make, saved

from t2t_multimodel.errors import UserError
from t2t_multimodel.training import arrays_file, checkpoints, shards

WHOLE = {"w": np.arange(48, dtype=np.float32).reshape(4, 12), "step": np.array(7, np.int64)}


def save(folder, step, *files):
    """A checkpoint with these {name: array} of each process."""
    with checkpoints.writing(folder, step, {"step": step}) as (unfinished, facts):
        for name, arrays in zip(shards.file_names(len(files)), files):
            arrays_file.write(unfinished / name, arrays)
            facts[name] = checkpoints.flushed_facts(unfinished / name)
    return checkpoints.folder_of(folder, step)


def quarters():
    w = WHOLE["w"]
    return [
        {"w[0:2/4,0:6/12]": w[:2, :6], "w[2:4/4,6:12/12]": w[2:, 6:], "step": WHOLE["step"]},
        {"w[0:2/4,6:12/12]": w[:2, 6:], "w[2:4/4,0:6/12]": w[2:, :6]},
    ]


def test_the_pieces_of_all_files_are_put_together(tmp_path):
    save(tmp_path, 5, *quarters())
    arrays = checkpoints.load(tmp_path, 5).arrays
    assert arrays.keys() == WHOLE.keys()
    for name, array in arrays.items():
        assert array.dtype == WHOLE[name].dtype and np.array_equal(array, WHOLE[name])


def changed(change):
    files = quarters()
    change(*files)
    return files


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda a, b: b.pop("w[0:2/4,6:12/12]"), "not the whole"),
        (lambda a, b: b.update({"w[1:2/4,0:6/12]": WHOLE["w"][1:2, :6]}), "not the whole"),
        (lambda a, b: b.update(w=WHOLE["w"]), "w is there twice"),
        (lambda a, b: b.update(step=WHOLE["step"]), "step is there twice"),
        (lambda a, b: b.update({"w[0:2/4,6:12/12]": WHOLE["w"][:3, 6:]}), "other sizes"),
        (lambda a, b: b.update({"w[0:2/4,6:12/12]": WHOLE["w"][:2, 6:].T}), "instead of"),
        (lambda a, b: b.update({"w[0:2/4,6:12/12]": WHOLE["w"][:2, 6:].astype(np.int8)}), "do not belong together"),
        (lambda a, b: b.update({"w[0:2/4,6:12/99]": b.pop("w[0:2/4,6:12/12]")}), "do not belong together"),
        (lambda a, b: b.update({"v[0:1000000000000/1000000000000]": np.zeros(1)}), "other sizes"),
        (lambda a, b: b.update({"v[0:1/1000000000000]": np.zeros(1)}), "not the whole"),
        (lambda a, b: b.update({"v[5:1/9]": np.zeros(4)}), "not the whole"),
    ],
)
def test_pieces_that_are_no_whole_are_refused(tmp_path, change, said):
    save(tmp_path, 5, *changed(change))
    with pytest.raises(UserError, match=f"damaged .*{said}"):
        checkpoints.load(tmp_path, 5)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("place", [-1, 40, 3])
def test_a_flipped_bit_in_any_file_is_noticed_and_the_one_before_is_used(tmp_path, number, place):
    save(tmp_path, 4, *quarters())
    path = save(tmp_path, 5, *quarters()) / f"arrays-0000{number}-of-00002.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    said = []
    assert checkpoints.latest(tmp_path, said.append) == 4
    assert f"{path.name} was changed" in said[0]
    with pytest.raises(UserError, match="step-000005 is damaged"):
        checkpoints.load(tmp_path, 5)


def test_a_missing_file_is_damage_and_one_that_the_manifest_does_not_name_is_not_read(tmp_path):
    folder = save(tmp_path, 5, *quarters())
    shutil.copy(folder / "arrays-00001-of-00002.safetensors", folder / "arrays-00003-of-00003.safetensors")
    assert checkpoints.damage(tmp_path, 5) is None
    (folder / "arrays-00002-of-00002.safetensors").unlink()
    assert checkpoints.damage(tmp_path, 5) == "arrays-00002-of-00002.safetensors is missing"


@pytest.mark.parametrize(
    "names",
    [
        ["arrays-00001-of-00002.safetensors"],
        ["arrays-00001-of-00002.safetensors", "../../x"],
        ["arrays-00001-of-00003.safetensors", "arrays-00002-of-00003.safetensors"],
        ["arrays.safetensors", "arrays-00002-of-00002.safetensors"],
        [],
    ],
)
def test_a_manifest_that_names_other_files_is_damage(tmp_path, names):
    folder = save(tmp_path, 5, *quarters())
    path = folder / checkpoints.MANIFEST_FILE
    manifest = json.loads(path.read_text())
    facts = manifest["files"].pop("arrays-00001-of-00002.safetensors")
    manifest["files"] = {name: facts for name in names} | {checkpoints.STATE_FILE: manifest["files"]["state.json"]}
    path.write_text(json.dumps(manifest))
    assert "manifest.json can't be read" in checkpoints.damage(tmp_path, 5)


def test_arrays_are_streamed_into_the_same_format(tmp_path):
    import ml_dtypes

    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([True, False, True]),
        "c": np.arange(4).astype(ml_dtypes.bfloat16),
        "d": np.array(3, np.uint32),
        "e": np.zeros((0, 2), np.float16),
    }
    entries = [(name, array.dtype, array.shape, lambda array=array: array) for name, array in arrays.items()]
    arrays_file.write_streamed(tmp_path / "x", entries)
    back = arrays_file.read(tmp_path / "x")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype and back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


# ---- Of processes


@pytest.mark.slow
def test_saved_by_two_processes_in_pieces_and_restored_by_one_and_by_four(tmp_path, run_command):
    pytest.importorskip("jax")
    flags = make(tmp_path)
    finish(flags, tmp_path / "run", train_steps=2, save_interval=1, shard_weights="true")
    folder = checkpoints.folder_of(tmp_path / "run" / "checkpoints", 2)
    files = [arrays_file.read(path) for path in checkpoints.array_files(folder)]
    assert len(files) == 2 and all(any(shards.path_of(name) != name for name in file) for file in files)
    assert all(any(shards.path_of(name) == name for name in file) for file in files), "whole ones are shared out too"
    arrays, _ = saved(tmp_path / "run", 2)
    others = {}
    for count in (1, 4):
        shutil.copytree(tmp_path / "run", tmp_path / f"by{count}")
        said = finish(flags, tmp_path / f"by{count}", count=count, train_steps=3)
        assert "continuing from step 2" in said[0]
        others[count] = saved(tmp_path / f"by{count}", 3)
        assert len(checkpoints.array_files(checkpoints.folder_of(tmp_path / f"by{count}" / "checkpoints", 3))) == count
    for path, array in others[1][0].items():
        assert array.shape == arrays[path].shape
        np.testing.assert_allclose(array, others[4][0][path], rtol=1e-5, atol=1e-5, err_msg=path)
    read_by_everything_else(tmp_path / "run", flags, tmp_path / "mean", run_command)


def read_by_everything_else(run, flags, mean, run_command):
    from t2t_multimodel import load
    from t2t_multimodel.cli import average, evaluate, inspect_data

    assert load(run).decode(PROBLEMS[0], [np.array([0.1, 0.5], np.float32)])[0] in ("x", "y")
    data = f"--data_dir={flags['data_dir']}"
    for main, argv in (
        (inspect_data.main, [f"--run={run}"]),
        (evaluate.main, [f"--output_dir={run}", f"--problem={PROBLEMS[0]}", data]),
        (average.main, [f"--run={run}", f"--output_dir={mean}", "--n=2", data]),
    ):
        status, shown, said = run_command(main, *argv)
        assert status == 0, said
        if main is inspect_data.main:
            assert "encoder/experts" in shown and "whole" in shown
    assert (
        checkpoints.load(mean / "checkpoints", 2).arrays.keys() < checkpoints.load(run / "checkpoints", 2).arrays.keys()
    )
