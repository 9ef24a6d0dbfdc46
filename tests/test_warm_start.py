"""A run that starts from a trained one: what it takes over, what it refuses, what stays frozen, what is kept."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import small_world

from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Label
from t2t_multimodel.problems.tiny8 import TinyImage
from t2t_multimodel.training import checkpoints

SMALL = {"encoder_blocks": 1, "decoder_blocks": 1, "mixer_blocks": 0}
# Without clipping, whose scale depends on which weights are trained.
HPARAMS = dataclasses.replace(small_world.HPARAMS, train_steps=4, clip_norm=0.0, weight_decay=0.1, **SMALL)
LONGER = dataclasses.replace(HPARAMS, train_steps=6)
# The words have weights, and are hardly ever drawn: so that a training step of them need not be made.
BOTH = (("tiny_image", 1.0), ("tiny_ende", 1e-9))
LOSS = "teacher_forced_log_perplexity"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(data folder, a run of 4 updates on pictures, with words)."""
    folder = tmp_path_factory.mktemp("warm_start")
    small_world.make_data(folder / "data")
    make(folder / "data", folder / "run").run()
    return folder / "data", folder / "run"


@pytest.fixture(scope="module")
def goes_on(trained, tmp_path_factory):
    """A run that goes on from the trained one with its optimizer, to step 6."""
    data, run = trained
    folder = tmp_path_factory.mktemp("goes_on") / "run"
    trainer = make(data, folder, hparams=LONGER, warm_start_from=str(run), keep_optimizer=True)
    assert trainer.step == 4
    trainer.run()
    return folder


def make(data, output, problems=BOTH, hparams=HPARAMS, **settings):
    return small_world.make_trainer(data, output, hparams, problems, **{"save_interval": 1} | settings)


def arrays_of(trainer):
    return {v.path: np.asarray(v).copy() for v in trainer.train_step.variables()}


def saved(run, step):
    return checkpoints.load(run / "checkpoints", step).arrays


def said(trainer):
    return {(part, what): why for part, _, what, why in trainer.warm_start.table}


def error_of(data, output, *arguments, **settings):
    with pytest.raises(UserError) as error:
        make(data, output, *arguments, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.slow
def test_shared_parts_are_copied_and_what_is_missing_is_new(trained, tmp_path):
    data, run = trained
    trainer = make(data, tmp_path / "new", ("tiny_image", "tiny_speech"), warm_start_from=f"{run}@2")
    before, now = saved(run, 2), arrays_of(trainer)
    taken = [path for path in now if path in before and path.startswith("multimodel/")]
    taken = [path for path in taken if not path.endswith("seed_generator_state") and "/text_" not in path]
    assert any("/encoder/" in path for path in taken) and any("/image_" in path for path in taken)
    assert all(now[path].tobytes() == before[path].tobytes() for path in taken)
    parts = said(trainer)
    assert parts["encoder", "copied"] == ""
    assert parts["audio_spectrogram_8000", "new"] == "the trained run has no such part"
    assert not np.any(now["adam/iteration"]) and trainer.step == 0  # the optimizer begins anew
    assert not (tmp_path / "new").exists()
    only_speech = make(data, tmp_path / "new", ("tiny_speech",), warm_start_from=str(run))
    assert said(only_speech)["image_32x32x3", "left out"] == "this model has no such part"


@pytest.mark.slow
def test_with_the_optimizer_it_goes_on_as_if_never_stopped(trained, goes_on, tmp_path):
    data, run = trained
    shutil.copytree(run, tmp_path / "whole")
    make(data, tmp_path / "whole", hparams=LONGER).run()  # the same run, continued
    assert small_world.weights(goes_on, 6)[0] == small_world.weights(tmp_path / "whole", 6)[0]
    note = json.loads((goes_on / "warm_start.json").read_text())
    assert (note["step"], note["first_step"], note["problems"]) == (4, 4, ["tiny_ende", "tiny_image"])
    started = {"warm_start_from": str(run), "keep_optimizer": True}
    assert make(data, goes_on, hparams=LONGER, **started).step == 6  # the same command continues, it starts no more
    assert make(data, goes_on, hparams=LONGER).step == 6
    assert "started with --keep_optimizer; leave" in error_of(data, goes_on, hparams=LONGER, warm_start_from=str(run))
    other = error_of(data, goes_on, hparams=LONGER, warm_start_from=f"{run}@2", keep_optimizer=True)
    assert f"started from {run}, step 4, not from {run}@2; leave --warm_start_from" in other
    assert "goes on from step 4, and train_steps is 4" in error_of(data, tmp_path / "short", **started)
    assert "is not the same" in error_of(data, tmp_path / "other", ("tiny_speech",), LONGER, **started)
    adafactor = dataclasses.replace(LONGER, optimizer="adafactor")
    assert "trained with optimizer=adam" in error_of(data, tmp_path / "other", hparams=adafactor, **started)


@pytest.mark.slow
def test_frozen_parts_keep_their_bits_and_slower_ones_move_by_a_share(trained, goes_on, tmp_path):
    data, run = trained
    scales = {"freeze": "encoder/block0", "learning_rate_scale": "body=0.5 experts=0.25"}
    hparams = dataclasses.replace(LONGER, train_steps=5, **scales)
    make(data, tmp_path / "new", hparams=hparams, warm_start_from=str(run), keep_optimizer=True).run()
    before, after, free = saved(run, 4), saved(tmp_path / "new", 5), saved(goes_on, 5)
    moved = {0.0: 0, 0.25: 0, 0.5: 0, 1.0: 0}
    for path, start in before.items():
        if path.startswith(("multimodel/encoder/block0", "adam/multimodel_encoder_block0")):
            if not path.endswith("seed_generator_state"):
                assert after[path].tobytes() == start.tobytes(), path
                moved[0.0] += free[path].tobytes() != start.tobytes()
        elif path.startswith("multimodel/") and start.dtype == np.float32:
            factor = 0.25 if "/encoder/experts" in path else 0.5 if "/encoder/" in path else 1.0
            step = free[path] - start
            moved[factor] += np.abs(step).max() > 1e-4
            np.testing.assert_allclose(after[path] - start, factor * step, rtol=5e-3, atol=2e-6, err_msg=path)
    assert min(moved.values()) > 0 and moved[0.0] > 40


def test_a_slower_variable_moves_by_a_share_of_its_update():
    """By itself, so that it is quick on both backends."""
    import keras

    from t2t_multimodel.training.optimizer import make_optimizer
    from t2t_multimodel.training.parts import _scale_updates

    moved = []
    for scale in (1.0, 0.25):
        variables = [keras.Variable(np.ones(3, np.float32), name=name) for name in ("slow", "other")]
        optimizer = make_optimizer(HPARAMS, variables)
        _scale_updates(optimizer, {id(variables[0]): scale})
        optimizer.apply([keras.ops.full((3,), 2.0)] * 2, variables)
        moved.append([np.asarray(keras.ops.convert_to_numpy(v)) - 1.0 for v in variables])
    assert np.all(moved[0][0] < -1e-4)
    np.testing.assert_allclose(moved[1][0], 0.25 * moved[0][0], rtol=1e-3)
    np.testing.assert_array_equal(moved[1][1], moved[0][1])


@pytest.mark.slow
def test_what_can_not_start_is_said_in_one_line(trained, tmp_path):
    data, run = trained
    new, start = tmp_path / "new", {"warm_start_from": str(run)}
    other = dataclasses.replace(HPARAMS, hidden_size=16, image_stem_filters=(4, 6), audio_mel_bins=16)
    asked = 'image_stem_filters: (4, 4) → (4, 6)); give --hparams="hidden_size=8,image_stem_filters=(4,4)"'
    assert asked in error_of(data, new, hparams=other, **start)
    assert "no checkpoint of step 7" in error_of(data, new, warm_start_from=f"{run}@7")
    assert "holds no run" in error_of(data, new, warm_start_from=str(tmp_path / "none"))
    mapped = error_of(data, new, warm_start_map="tiny_imag=tiny_image", **start)
    assert "did you mean 'tiny_image'" in mapped
    assert "'tiny_ende'" in error_of(data, new, warm_start_map="tiny_image=tiny_end", **start)
    assert "is not new_problem=old_problem" in error_of(data, new, warm_start_map="tiny_image", **start)
    frozen = dataclasses.replace(HPARAMS, freeze="encodr")
    assert "did you mean 'encoder'" in error_of(data, new, hparams=frozen, **start)
    everything = dataclasses.replace(HPARAMS, freeze="body,image,label")
    assert "leaves nothing of tiny_image to train" in error_of(data, new, ("tiny_image",), everything, **start)
    assert "was not started from another one" in error_of(data, run, warm_start_from=str(tmp_path))
    assert "is the run itself" in error_of(data, tmp_path / "run", warm_start_from=str(copied(run, tmp_path)))
    faster = dataclasses.replace(HPARAMS, learning_rate=1.0)
    changed = error_of(data, run, hparams=faster)
    assert f"--warm_start_from={run}" in changed and "--keep_optimizer" in changed
    assert not new.exists()


def copied(run, folder):
    """A copy of a run in `folder`/run, without its checkpoints."""
    shutil.copytree(run, folder / "run")
    shutil.rmtree(folder / "run" / "checkpoints")
    return folder / "run"


@pytest.mark.slow
def test_rows_of_another_vocabulary_are_found_by_name(trained, tmp_path):
    from t2t_multimodel import registry
    from t2t_multimodel.data_gen.generate import generate
    from t2t_multimodel.training.run_directory import RunDirectory

    data, run = trained
    problem = registry.problem("tiny_ende")
    problem.train_examples, problem.dev_examples, problem.test_examples = 40, 6, 6
    quiet = {"workers": 1, "log": lambda line: None, "progress": False}
    generate([problem], tmp_path / "data", vocabulary_size=420, **quiet)
    trainer = make(tmp_path / "data", tmp_path / "new", ("tiny_ende",), warm_start_from=str(run))
    old_words, words = RunDirectory(run).vocabulary(), trainer.stores["tiny_ende"].vocabulary()
    assert words.digest != old_words.digest
    (old_table,) = [value for path, value in saved(run, 4).items() if path.endswith("/embedding")]
    (table,) = [value for path, value in arrays_of(trainer).items() if path.endswith("/embedding")]
    old_pieces = old_words.pieces(range(old_words.size))
    pieces = words.pieces(range(words.size))
    shared = [i for i, piece in enumerate(pieces) if i > 67 and piece in old_pieces]
    assert len(shared) > 100
    for i in shared:
        np.testing.assert_array_equal(table[i], old_table[old_pieces.index(pieces[i])])
    new = next(i for i, piece in enumerate(pieces) if i > 67 and piece not in old_pieces)
    parts = old_words.encode(pieces[new].replace("\u2581", " "))
    np.testing.assert_allclose(table[new], old_table[parts].mean(axis=0), rtol=1e-5)
    commands = [vocabulary.command_id(problem.command_name) for vocabulary in (words, old_words)]
    np.testing.assert_array_equal(table[commands[0]], old_table[commands[1]])
    generate([problem], tmp_path / "kept", vocabulary_from=old_words, **quiet)
    kept = make(tmp_path / "kept", tmp_path / "new", ("tiny_ende",), warm_start_from=str(run))
    assert {what for part, what in said(kept) if part.startswith("text_")} == {"copied"}


@pytest.mark.slow
def test_classes_are_found_by_name_and_new_heads_begin_from_old_ones(trained, tmp_path):
    from t2t_multimodel.data_gen.generate import generate

    data, run = trained
    problem = OtherImage()
    generate([problem], tmp_path, workers=1, log=lambda line: None, progress=False)
    start = {"warm_start_from": str(run)}
    trainer = make(tmp_path, tmp_path / "new", ("other_image",), warm_start_map="other_image=tiny_image", **start)
    now, before = arrays_of(trainer), saved(run, 4)
    heads = (next(path for path in arrays if path.startswith("multimodel/label_")) for arrays in (now, before))
    new_head, old_head = ("/".join(path.split("/")[:2]) for path in heads)
    assert new_head != old_head
    for name, axis in (("output", 1), ("bias", 0)):
        rows, old_rows = (np.moveaxis(a, axis, 0) for a in (now[f"{new_head}/{name}"], before[f"{old_head}/{name}"]))
        assert len(rows) == 49
        np.testing.assert_array_equal(rows[:48], old_rows[::-1])
    part = new_head.split("/")[1]
    assert said(trainer)[part, "resized"] == "48 of 49 rows by name, 1 new; from that of tiny_image"
    assert said(trainer)[part, "copied"] == "from that of tiny_image"
    without = make(tmp_path, tmp_path / "new", ("other_image",), **start)
    assert {what for name, what in said(without) if name == part} == {"new"}


class OtherImage(TinyImage):
    """The same pictures, with the classes in another order and one more."""

    name = "other_image"
    train_examples, dev_examples, test_examples = 20, 4, 4
    targets = Label((*reversed(TinyImage.targets.classes), "dragon"))


def test_a_new_row_is_the_mean_of_its_parts():
    from t2t_multimodel.training.net_pairs import Rows

    rows = Rows([[2], [], [0, 1]], old_size=3)
    old, new = np.array([[1.0, 2.0], [3.0, 6.0], [7.0, 7.0]]), np.full((3, 2), -1.0)
    np.testing.assert_array_equal(rows.taken(new, old, 0), [[7, 7], [-1, -1], [2, 4]])
    np.testing.assert_array_equal(rows.taken(new.T, old.T, 1), [[7, -1, 2], [7, -1, 4]])
    assert not rows.same and Rows([[0], [1]], 2).same and not Rows([[0], [1]], 3).same
    assert str(rows) == "1 of 3 rows by name, 1 as the mean of their parts, 1 new"
    assert rows.fits((5, 2), old, 0) and rows.fits((2, 5), old.T, 1)
    assert not rows.fits((5, 3), old, 0) and not rows.fits((5, 2), old[:2], 0) and not rows.fits((5, 2), old[0], 0)


def test_a_control_symbol_that_got_a_name_since_is_the_same_row():
    """Data of another problem was made into the folder after the training."""
    from types import SimpleNamespace as Some

    from t2t_multimodel.modalities import Text
    from t2t_multimodel.training.net_pairs import _rows
    from t2t_multimodel.vocabulary import COMMAND_PIECES

    class Words:
        size = 6

        def __init__(self, **commands):
            self.commands = commands

        def pieces(self, ids):
            return ["<pad>", "</s>", "<unk>", *COMMAND_PIECES[:2], "a"]

        encode = None  # no part of a piece is asked for

    text, of = Text(vocabulary_size=6), [(Some(name="old", command_id=3), "targets")]
    source = Some(vocabulary=Words(old=3), run=Some(problems={}))
    assert _rows(text, text, of, source, Words(old=3, another=4), {}).same
    new = [(Some(name="another", command_id=4), "targets")]
    assert str(_rows(text, text, new, source, Words(old=3, another=4), {})) == "5 of 6 rows by name, 1 new"


class Second:
    """The second of two processes; the first one says `steps`, and that it missed none."""

    several, first = True, False

    def __init__(self, *steps):
        self.steps, self.compared = list(steps), {}

    def told(self, doing, value):
        return self.steps.pop(0)

    def gathered(self, doing, value):
        self.missed = value

    def same(self, doing, values):
        self.compared |= values


@pytest.mark.slow
def test_processes_start_from_the_same_step_of_a_run_that_is_in_training(trained, tmp_path):
    from t2t_multimodel.training.saving import newest
    from t2t_multimodel.training.warm_start import open_source

    data, run = trained
    trainer = make(data, tmp_path / "run", warm_start_from=str(run))
    digests = set()
    for step in (3, 4):
        second = Second(step)
        assert open_source(trainer.settings, trainer.run_record, second).checkpoint.step == step
        digests |= {*second.compared.values()}
    assert len(digests) == 2
    second = Second(1, True, 4, False)  # that of step 1 was removed meanwhile
    assert newest(run / "checkpoints", second).step == 4


@pytest.mark.slow
def test_a_published_folder_or_a_strangers_run_is_a_start_too(trained, tmp_path):
    from t2t_multimodel.exporting.slice import load_slice
    from t2t_multimodel.training import published
    from t2t_multimodel.training.run_directory import RunDirectory

    data, run = trained
    part = load_slice(RunDirectory(run), "tiny_ende", None, {})
    (tmp_path / "published").mkdir()
    published.write(tmp_path / "published", part.run, part.hparams, part.model, part.vocabulary, part.step)
    start = {"warm_start_from": str(tmp_path / "published")}
    trainer = make(data, tmp_path / "new", **start)
    now, before = arrays_of(trainer), saved(run, 4)
    taken = [name for name in now if name.startswith("multimodel/") and ("/text_" in name or "/decoder/" in name)]
    assert taken and all(now[name].tobytes() == before[name].tobytes() for name in taken if "_state" not in name)
    assert said(trainer)["image_32x32x3", "new"]
    assert published.vocabulary_of(tmp_path / "published").digest == RunDirectory(run).vocabulary().digest
    assert "holds step 4 alone, not 3" in error_of(data, tmp_path / "new", warm_start_from=f"{tmp_path}/published@3")
    said_of_it = error_of(data, tmp_path / "new", ("tiny_ende",), LONGER, keep_optimizer=True, **start)
    assert "published folders have none" in said_of_it
    file = tmp_path / "published" / published.WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:-1])
    assert "model.safetensors is damaged" in error_of(data, tmp_path / "new", **start)

    for change, what in (("nan", "are not finite"), ("rows", "there, ")):
        arrays = dict(before)
        (name,) = [name for name in arrays if name.startswith("multimodel/") and name.endswith("/embedding")]
        arrays[name] = np.full_like(arrays[name], np.nan) if change == "nan" else arrays[name][:9, :, None]
        stranger = tmp_path / change
        shutil.copytree(run, stranger, ignore=shutil.ignore_patterns("step-*"))
        checkpoints.save(stranger / "checkpoints", 4, arrays, {"step": 4})
        if change == "nan":
            assert what in error_of(data, tmp_path / "new", warm_start_from=str(stranger))
        else:
            found = said(make(data, tmp_path / "new", warm_start_from=str(stranger)))
            assert any(what in why for (_, state), why in found.items() if state == "new")


@pytest.mark.slow
def test_the_best_stays_through_a_kill_and_what_is_forgotten_is_said(trained, tmp_path, capsys):
    data, run = trained
    scores = {0: 3.0, 2: 2.0, 4: 2.5, 6: 3.5}
    settings = {"schedule": "train_and_evaluate", "eval_interval": 2, "skip_decoding": True, "keep_checkpoints": 1}
    settings |= {"save_interval": 1, "warm_start_from": str(run), "keep_best": f"tiny_image/{LOSS}"}

    class Killed(BaseException):
        pass

    def trainer(dies_at=None):
        made = make(data, tmp_path / "new", ("tiny_image",), LONGER, **settings)

        def evaluate(*_, **__):
            if made.step == dies_at:
                raise Killed
            return {LOSS: scores[made.step]}

        made.evaluator.evaluate = evaluate
        return made

    steps = lambda: checkpoints.steps(tmp_path / "new" / "checkpoints")
    with pytest.raises(Killed):
        trainer(dies_at=4).run()
    assert steps() == [2, 3]
    last = trainer()
    assert last.step == 3 and last.best.best_step == 2
    assert last.run() == 0
    assert steps() == [2, 6]
    shown = capsys.readouterr().out
    assert f"best tiny_image/{LOSS}: 2 at step 2, which is kept" in shown
    assert "scores before the first update and now" in shown and "worse than before: tiny_image" in shown
    assert "not scored, since this run does not have them: tiny_ende" in shown
    lines = [line for line in small_world.log_lines(tmp_path / "new") if line["split"] == "dev"]
    assert [(line["step"], line[LOSS]) for line in lines] == list(scores.items())
