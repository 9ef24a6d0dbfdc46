"""A run that starts from a trained one: what it takes over, what it refuses, what stays frozen."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import small_world

from t2t_multimodel.errors import UserError

HPARAMS = dataclasses.replace(small_world.HPARAMS, train_steps=4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(data folder, a run of 4 updates on words and pictures)."""
    folder = tmp_path_factory.mktemp("warm_start")
    small_world.make_data(folder / "data")
    make(folder / "data", folder / "run").run()
    return folder / "data", folder / "run"


def make(data, output, problems=("tiny_ende", "tiny_image"), hparams=HPARAMS, **settings):
    return small_world.make_trainer(data, output, hparams, problems, **{"save_interval": 2} | settings)


def arrays_of(trainer):
    return {v.path: np.asarray(v) for v in trainer.train_step.variables()}


def said(trainer):
    return {(part, what): why for part, _, what, why in trainer.warm_start.table}


@pytest.mark.slow
def test_shared_parts_are_copied_and_what_is_missing_is_new(trained, tmp_path):
    data, run = trained
    trainer = make(data, tmp_path / "new", ("tiny_image", "tiny_speech"), warm_start_from=f"{run}@2")
    before, now = small_world.weights(run, 2)[0], arrays_of(trainer)
    taken = [p for p in now if p in before and p.startswith("multimodel/") and not p.endswith("_state")]
    assert any("/encoder/" in path for path in taken) and any("/image_" in path for path in taken)
    assert all(now[path].tobytes() == before[path] for path in taken if "/text_" not in path)
    parts = said(trainer)
    assert parts["encoder", "copied"] == "" and ("audio_spectrogram_8000", "new") in parts
    assert not np.any(now["adam/iteration"]) and trainer.step == 0  # the optimizer begins anew
    assert trainer.run() == 0
    note = json.loads((tmp_path / "new" / "warm_start.json").read_text())
    assert note["step"] == 2 and note["problems"] == ["tiny_ende", "tiny_image"]
    again = make(data, tmp_path / "new", ("tiny_image", "tiny_speech"), warm_start_from=f"{run}@2")
    assert again.step == 4  # the same command continues; it does not start over


@pytest.mark.slow
def test_with_the_optimizer_it_goes_on_as_if_never_stopped(trained, tmp_path):
    data, run = trained
    longer = dataclasses.replace(HPARAMS, train_steps=8)
    shutil.copytree(run, tmp_path / "whole")
    make(data, tmp_path / "whole", hparams=longer).run()  # continues
    trainer = make(data, tmp_path / "new", hparams=longer, warm_start_from=str(run), keep_optimizer=True)
    assert trainer.step == 4
    trainer.run()
    assert small_world.weights(tmp_path / "new", 8)[0] == small_world.weights(tmp_path / "whole", 8)[0]
    with pytest.raises(UserError, match="keep_optimizer goes on from step 4, and train_steps is 4"):
        make(data, tmp_path / "short", warm_start_from=str(run), keep_optimizer=True)
    with pytest.raises(UserError, match="is not the same"):
        make(data, tmp_path / "other", ("tiny_speech",), longer, warm_start_from=str(run), keep_optimizer=True)


@pytest.mark.slow
def test_frozen_weights_and_their_slots_keep_their_bits(trained, tmp_path):
    data, run = trained
    hparams = dataclasses.replace(HPARAMS, train_steps=8, freeze="body")
    trainer = make(data, tmp_path / "new", hparams=hparams, warm_start_from=str(run), keep_optimizer=True)
    before = {name: value.tobytes() for name, value in arrays_of(trainer).items()}
    trainer.run()
    after = small_world.weights(tmp_path / "new", 8)[0]
    body = ("encoder", "mixer", "decoder")
    frozen = [
        n for n in before if n.startswith(tuple(f"{a}{b}" for b in body for a in ("multimodel/", "adam/multimodel_")))
    ]
    frozen = [name for name in frozen if not name.endswith("_state")]
    assert len(frozen) > 100 and all(before[name] == after[name] for name in frozen)
    assert any(before[name] != after[name] for name in before if "/image_" in name)


def test_what_can_not_start_is_said_in_one_line(trained, tmp_path):
    data, run = trained
    other = dataclasses.replace(HPARAMS, hidden_size=16)
    with pytest.raises(UserError, match=r'hidden_size: 8 → 16.*give --hparams="hidden_size=8"'):
        make(data, tmp_path / "new", hparams=other, warm_start_from=str(run))
    with pytest.raises(UserError, match="no checkpoint of step 3 .*there are: 2, 4"):
        make(data, tmp_path / "new", warm_start_from=f"{run}@3")
    with pytest.raises(UserError, match="did you mean 'tiny_image'"):
        make(data, tmp_path / "new", warm_start_from=str(run), warm_start_map="tiny_imag=tiny_image")
    with pytest.raises(UserError, match="did you mean 'encoder'"):
        make(data, tmp_path / "new", hparams=dataclasses.replace(HPARAMS, freeze="encodr"), warm_start_from=str(run))
    with pytest.raises(UserError, match="was not started from another one"):
        make(data, run, warm_start_from=str(tmp_path))
    with pytest.raises(UserError, match="--warm_start_from=.*and with --keep_optimizer"):
        make(data, run, hparams=dataclasses.replace(HPARAMS, learning_rate=1.0))
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_rows_of_another_vocabulary_and_of_other_classes_are_found_by_name(trained, tmp_path):
    from t2t_multimodel import registry
    from t2t_multimodel.data_gen.generate import generate
    from t2t_multimodel.training.run_directory import RunDirectory

    data, run = trained
    problem = registry.problem("tiny_ende")
    problem.train_examples, problem.dev_examples, problem.test_examples = 40, 6, 6
    generate([problem], tmp_path / "data", vocabulary_size=420, workers=1, log=lambda line: None, progress=False)
    trainer = make(tmp_path / "data", tmp_path / "new", ("tiny_ende",), warm_start_from=str(run))
    before = {path: np.frombuffer(value, np.float32) for path, value in small_world.weights(run, 4)[0].items()}
    old_words, words = RunDirectory(run).vocabulary(), trainer.stores["tiny_ende"].vocabulary()
    assert words.digest != old_words.digest
    (old_table,) = [v.reshape(old_words.size, -1) for p, v in before.items() if p.endswith("/embedding")]
    (table,) = [v for p, v in arrays_of(trainer).items() if p.endswith("/embedding")]
    old_pieces = old_words.pieces(range(old_words.size))
    shared = [i for i, piece in enumerate(words.pieces(range(words.size))) if i > 67 and piece in old_pieces]
    assert len(shared) > 100
    for i in shared:
        np.testing.assert_array_equal(table[i], old_table[old_pieces.index(words.pieces([i])[0])])
    np.testing.assert_array_equal(
        table[words.command_id(problem.command_name)], old_table[old_words.command_id(problem.command_name)]
    )
    generate(
        [problem],
        tmp_path / "kept",
        vocabulary_from=old_words,
        workers=1,
        log=lambda line: None,
        progress=False,
    )
    kept = make(tmp_path / "kept", tmp_path / "new", ("tiny_ende",), warm_start_from=str(run))
    assert {what for part, what in said(kept) if part.startswith("text_")} == {"copied"}


def test_a_new_row_is_the_mean_of_its_parts():
    from t2t_multimodel.training.net_pairs import Rows

    rows = Rows([[2], [], [0, 1]], old_size=3)
    old, new = np.array([[1.0, 2.0], [3.0, 6.0], [7.0, 7.0]]), np.full((3, 2), -1.0)
    np.testing.assert_array_equal(rows.taken(new, old, 0), [[7, 7], [-1, -1], [2, 4]])
    np.testing.assert_array_equal(rows.taken(new.T, old.T, 1), [[7, -1, 2], [7, -1, 4]])
    assert not rows.same and Rows([[0], [1]], 2).same and not Rows([[0], [1]], 3).same
    assert str(rows) == "1 of 3 rows by name, 1 as the mean of their parts, 1 new"


@pytest.mark.slow
def test_old_problems_are_scored_before_and_after_and_the_best_is_kept(trained, tmp_path, capsys):
    data, run = trained
    hparams = dataclasses.replace(HPARAMS, train_steps=6, learning_rate=0.05, learning_rate_warmup_steps=0)
    settings = {"schedule": "train_and_evaluate", "eval_interval": 2, "skip_decoding": True, "keep_checkpoints": 1}
    metric = "tiny_image/teacher_forced_log_perplexity"
    trainer = make(data, tmp_path / "new", hparams=hparams, warm_start_from=str(run), keep_best=metric, **settings)
    trainer.run()
    shown = capsys.readouterr().out
    assert "scores before the first update and now" in shown and "tiny_image  yes" in shown
    best = trainer.best.best_step
    from t2t_multimodel.training import checkpoints

    assert checkpoints.steps(tmp_path / "new" / "checkpoints") == sorted({best, 6})
    evaluations = [line for line in small_world.log_lines(tmp_path / "new") if line.get("problem") == "tiny_image"]
    scores = {line["step"]: line[metric.split("/")[1]] for line in evaluations if line["split"] == "dev"}
    assert set(scores) == {0, 2, 4, 6} and scores[best] == min(scores.values())


@pytest.mark.slow
def test_slower_parts_move_by_a_share_of_the_update(trained, tmp_path):
    data, run = trained
    hparams = dataclasses.replace(HPARAMS, train_steps=5, dropout=0.0)
    moved = {}
    for scale in ("", "encoder=0.25"):
        scaled = dataclasses.replace(hparams, learning_rate_scale=scale)
        trainer = make(data, tmp_path / f"new{scale}", hparams=scaled, warm_start_from=str(run), keep_optimizer=True)
        before = arrays_of(trainer)
        trainer.run()
        after = arrays_of(trainer)
        moved[scale] = {path: after[path] - before[path] for path in before if path.startswith("multimodel/")}
    for path, step in moved[""].items():
        factor = 0.25 if "/encoder/" in path and not path.endswith("_state") else 1.0
        np.testing.assert_allclose(moved["encoder=0.25"][path], factor * step, rtol=1e-3, atol=1e-6)
