"""t2t-avg-all and t2t-inspect --run: the mean is the mean, it decodes, it is not trained on; a run is described."""

import dataclasses
import shutil

import numpy as np
import pytest
import small_world

from t2t_multimodel.cli import average, inspect_data
from t2t_multimodel.errors import UserError
from t2t_multimodel.training import checkpoints

BLOCKS = {"encoder_blocks": 1, "decoder_blocks": 1, "mixer_blocks": 0}
HPARAMS = dataclasses.replace(small_world.HPARAMS, train_steps=4, **BLOCKS)
PROBLEMS = (("tiny_image", 1.0), ("tiny_ende", 1e-9))  # the words are scored, and hardly ever drawn


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaging")
    small_world.make_data(folder / "data")
    settings = {"schedule": "train_and_evaluate", "eval_interval": 2, "skip_decoding": True, "save_interval": 1}
    small_world.make_trainer(folder / "data", folder / "run", HPARAMS, PROBLEMS, **settings).run()
    return folder / "data", folder / "run"


@pytest.mark.slow
def test_the_mean_of_the_last_decodes_and_is_not_trained_on(trained, tmp_path, run_command, monkeypatch):
    data, run = trained
    from t2t_multimodel.training import averaging

    monkeypatch.setattr(averaging, "open_stores", only_pictures(averaging.open_stores))
    flags = [f"--run={run}", f"--output_dir={tmp_path / 'mean'}", "--n=3", "--eval_batches=1"]
    status, shown, _ = run_command(average.main, *flags)
    assert status == 0 and "steps 2, 3, 4" in shown and "tiny_image  accuracy" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["mean"]
    arrays = checkpoints.load(tmp_path / "mean" / "checkpoints", 4).arrays
    each = [checkpoints.load(run / "checkpoints", step).arrays for step in (2, 3, 4)]
    assert not any(name.startswith("adam/") for name in arrays) and len(arrays) > 100
    for name, array in arrays.items():
        if array.dtype == np.float32:
            expected = np.mean([a[name].astype(np.float64) for a in each], axis=0).astype(np.float32)
            np.testing.assert_allclose(array, expected, rtol=1e-6)
    from t2t_multimodel import load

    assert len(load(tmp_path / "mean").decode("tiny_image", [np.zeros((32, 32, 3), np.uint8)])) == 1
    with pytest.raises(UserError, match="averaged weights, which can't be trained on.*--warm_start_from"):
        small_world.make_trainer(data, tmp_path / "mean", HPARAMS, PROBLEMS)
    longer = dataclasses.replace(HPARAMS, train_steps=9)
    start = {"warm_start_from": str(tmp_path / "mean")}
    assert small_world.make_trainer(data, tmp_path / "new", longer, PROBLEMS, **start).step == 0
    with pytest.raises(UserError, match="no state of the optimizer"):
        small_world.make_trainer(data, tmp_path / "new", longer, PROBLEMS, keep_optimizer=True, **start)
    status, _, said = run_command(average.main, *flags)
    assert status == 2 and "is there already; give another --output_dir" in said
    assert "whole; the mean of steps 2, 3, 4" in run_command(inspect_data.main, f"--run={tmp_path / 'mean'}")[1]


def only_pictures(open_stores):
    """Scoring words would take a program of its own."""
    return lambda data_dir, run, names: open_stores(data_dir, run, ["tiny_image"])


def test_where_the_mean_loses_is_said():
    rows = [("tiny_ende", "bleu", 20.0, 17.0), ("tiny_image", "accuracy_top1", 0.5, 0.6)]
    assert average.score_table(rows, 9).endswith(
        "the mean is worse on tiny_ende: use step 9, or checkpoints closer together"
    )
    assert "worse" not in average.score_table(rows[1:], 9)


@pytest.mark.slow
def test_the_best_are_those_of_the_log(trained, run_command, tmp_path):
    from t2t_multimodel.training.averaging import choose_steps
    from t2t_multimodel.training.run_directory import RunDirectory

    _, run = trained
    assert choose_steps(RunDirectory(run), 2, "teacher_forced_log_perplexity") == [2, 4]  # those that were scored
    with pytest.raises(UserError, match="5 checkpoints can't be averaged: .* has 4; give another --n"):
        choose_steps(RunDirectory(run), 5)
    status, _, said = run_command(average.main, f"--run={run}", f"--output_dir={tmp_path}", "--best=blue")
    assert status == 2 and "did you mean 'bleu'" in said
    status, _, said = run_command(average.main, f"--run={run}", f"--output_dir={tmp_path}", "--best=tiny_end/bleu")
    assert status == 2 and "did you mean 'tiny_ende'" in said


@pytest.mark.slow
def test_a_run_is_described(trained, run_command, tmp_path):
    _, run = trained
    status, shown, _ = run_command(inspect_data.main, f"--run={run}")
    assert status == 0
    for word in ("tiny_image", "tiny_ende", "400 ids", "hparams.json", "step 4", "whole", "encoder/experts", "dev"):
        assert word in shown, word
    assert run_command(inspect_data.main, f"--run={run / 'none'}")[0] == 2
    assert run_command(inspect_data.main, f"--run={run}", "--problem=tiny_ende")[0] == 2
    shutil.copytree(run, tmp_path / "damaged")
    arrays = tmp_path / "damaged" / "checkpoints" / "step-000004" / checkpoints.ARRAYS_FILE
    arrays.write_bytes(arrays.read_bytes()[:-3])
    shown = run_command(inspect_data.main, f"--run={tmp_path / 'damaged'}")[1]
    assert "damaged: arrays.safetensors has" in shown and "encoder/experts" in shown
    shutil.rmtree(tmp_path / "damaged" / "checkpoints")
    status, shown, _ = run_command(inspect_data.main, f"--run={tmp_path / 'damaged'}")
    assert status == 0 and "no checkpoint yet" in shown
    (tmp_path / "damaged" / "run.json").write_text("{}")
    status, _, said = run_command(inspect_data.main, f"--run={tmp_path / 'damaged'}")
    assert status == 2 and "run.json is damaged" in said
