"""Seeded damage to every file of a run: each use has the whole result or is one line. T2T_FUZZ_SECONDS=N: longer."""

import json
import random
import shutil
import warnings
from dataclasses import replace

import pytest
from fuzz_files import mutate, rounds
from small_world import HPARAMS, make_data, make_trainer, weights

from t2t_multimodel.errors import UserError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kept_programs")]
PROBLEMS = ("tiny_ende",)
QUESTIONS = ["a red circle is big", "the moon"]
# Logs, and notes for reports: they change nothing that a run does.
NOTES = (
    "metrics.jsonl",
    "environment.json",
    "data_dir.json",
    "operative_config.gin",
    "learning_curves.png",
    "events",
    "eval",
    ".trainer.lock",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """(folder of a run of 4 updates with checkpoints of 2 and 4, {file: content}, what it answers)."""
    from t2t_multimodel import load

    folder = tmp_path_factory.mktemp("run") / "run"
    hparams = replace(HPARAMS, train_steps=4)
    settings = {"schedule": "train_and_evaluate", "eval_batches": 1, "skip_decoding": True, "save_interval": 2}
    assert make_trainer(data, folder, hparams, PROBLEMS, **settings).run() == 0
    (folder / "eval").mkdir()
    (folder / "eval" / "step-4.json").write_text(json.dumps({"tiny_ende": {"bleu": 1.0, "examples": 3}}))
    files = {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    answers = {step: load(folder, step).decode("tiny_ende", QUESTIONS) for step in (2, 4)}
    return folder, files, answers


def damaged_copies(whole, folder, default, seed):
    """Yields (seed, file, what was done) with one file of a copy in `folder` damaged."""
    _, files, _ = whole
    for seed_of_damage in rounds(default, seed):
        rng = random.Random(seed_of_damage)
        name = rng.choice(list(files))
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole[0], folder)
        said, content = mutate(files[name], rng)
        (folder / name).write_bytes(content)
        yield f"seed {seed_of_damage}: {name}: {said}", name


def is_one_line(error):
    assert "\n" not in str(error) and len(str(error)) < 2000
    return True


def test_what_is_read_is_whole_or_refused(whole, tmp_path):
    """Without building a model, so that many kinds of damage can be tried."""
    from t2t_multimodel.training import checkpoints
    from t2t_multimodel.training.metrics_log import read_metrics
    from t2t_multimodel.training.run_directory import NoData, RunDirectory

    true = RunDirectory(whole[0])
    run, hparams, digest = true.run(), true.resolved().hparams, true.vocabulary().digest
    arrays = {step: weights(whole[0], step) for step in (2, 4)}
    for case, name in damaged_copies(whole, tmp_path / "run", 150, 1):
        directory = RunDirectory(tmp_path / "run")
        notes = name.parts[0] in NOTES
        try:
            found = directory.run(), directory.resolved().hparams, directory.vocabulary().digest
            loaded = checkpoints.load_latest(directory.checkpoints, lambda line: None)
        except UserError as error:
            assert is_one_line(error) and not notes, case
        except Exception as error:
            raise AssertionError(case) from error
        else:
            its_length = {"train_steps": found[1].train_steps}  # the one value that may differ
            assert found == (run, replace(hparams, **its_length), digest), case
            state = {n: a.tobytes() for n, a in loaded.arrays.items()}, loaded.state
            assert state == arrays[loaded.step], case
            if name.parts[0] != "checkpoints":
                assert loaded.step == 4, case
        try:
            list(read_metrics(tmp_path / "run"))
            directory.environments()
            directory.data_dir()
        except NoData:
            assert name.name == "data_dir.json", case
        except Exception as error:
            raise AssertionError(case) from error


def test_a_loaded_run_answers_the_same_or_is_refused(whole, tmp_path):
    from t2t_multimodel import load

    for case, name in damaged_copies(whole, tmp_path / "run", 5, 2):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = load(tmp_path / "run")
            answers = model.decode("tiny_ende", QUESTIONS)
        except UserError as error:
            assert is_one_line(error) and name.parts[0] not in NOTES, case
        except Exception as error:
            raise AssertionError(case) from error
        else:
            assert answers == whole[2][model.step], case


def test_training_goes_on_to_the_same_weights_or_is_refused(data, whole, tmp_path):
    hparams = replace(HPARAMS, train_steps=5)
    goes_on = lambda folder: make_trainer(data, folder, hparams, PROBLEMS, save_interval=2).run()
    shutil.copytree(whole[0], tmp_path / "true")
    assert goes_on(tmp_path / "true") == 0
    true = weights(tmp_path / "true", 5)
    for case, name in damaged_copies(whole, tmp_path / "run", 3, 3):
        try:
            assert goes_on(tmp_path / "run") == 0, case
        except UserError as error:
            assert is_one_line(error) and name.parts[0] not in NOTES, case
        except Exception as error:
            raise AssertionError(case) from error
        else:
            assert weights(tmp_path / "run", 5) == true, case


def test_commands_end_with_a_result_or_one_line(data, whole, tmp_path, run_command):
    from t2t_multimodel.cli import evaluate, report

    for case, name in damaged_copies(whole, tmp_path / "run", 3, 4):
        for main, flags in (
            (report.main, ["--skip_data"]),
            (evaluate.main, [f"--data_dir={data}", "--problem=tiny_ende", "--eval_batches=1"]),
        ):
            try:
                status, out, err = run_command(main, f"--output_dir={tmp_path / 'run'}", *flags)
            except Exception as error:
                raise AssertionError(case) from error
            assert status in (0, 2), case
            if status:
                assert "error: " in err.splitlines()[-1] and name.parts[0] not in NOTES, (case, err)
