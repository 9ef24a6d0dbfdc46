"""A run answers with the vocabulary that it was trained with, or not at all."""

import json
import shutil

import pytest
from small_run import arguments

from t2t_multimodel.cli import decoder, evaluate, report, trainer
from t2t_multimodel.errors import UserError
from t2t_multimodel.training.run_directory import RunDirectory

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def other_vocabulary(tmp_path_factory):
    """A whole vocabulary of other texts."""
    from own_files import make

    from t2t_multimodel.data_gen.generate import generate
    from t2t_multimodel.problems import SentencePairs

    folder = tmp_path_factory.mktemp("other")
    (folder / "train.tsv").write_text("une phrase a\tune phrase b\n" * 2)
    generate([make(SentencePairs, folder)], folder / "data", workers=1, log=lambda line: None, progress=False)
    return folder / "data" / "vocabulary"


def exchange(run, other):
    shutil.rmtree(run / "vocabulary")
    shutil.copytree(other, run / "vocabulary")


def remove(run, other):
    shutil.rmtree(run / "vocabulary")


def remove_model(run, other):
    (run / "vocabulary" / "bpe.model").unlink()


def damage(run, other):
    path = run / "vocabulary" / "bpe.model"
    path.write_bytes(path.read_bytes()[:-40])


def make_a_pipe(run, other):
    import os

    (run / "vocabulary" / "vocabulary.json").unlink()
    os.mkfifo(run / "vocabulary" / "vocabulary.json")


def test_its_digest_and_size_are_in_run_json(small_run):
    from t2t_multimodel.vocabulary import Vocabulary

    known = json.loads((small_run["output_dir"] / "run.json").read_text())["vocabulary"]
    kept = Vocabulary.load(small_run["output_dir"] / "vocabulary")
    assert known == {"digest": kept.digest, "size": kept.size}


def test_a_run_json_without_it_is_checked_by_its_problems(small_run, other_vocabulary, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(small_run["output_dir"], run)
    values = json.loads((run / "run.json").read_text())
    known = values.pop("vocabulary")
    values.pop("digest")
    (run / "run.json").write_text(json.dumps(values))
    assert RunDirectory(run).vocabulary().digest == known["digest"]
    exchange(run, other_vocabulary)
    with pytest.raises(UserError, match="is not the one that"):
        RunDirectory(run).vocabulary()


@pytest.mark.parametrize("how", [exchange, remove, remove_model, damage, make_a_pipe])
def test_every_use_of_a_run_with_another_vocabulary_is_one_line(
    small_run, other_vocabulary, tmp_path, run_command, monkeypatch, how
):
    import t2t_multimodel

    run = tmp_path / "run"
    shutil.copytree(small_run["output_dir"], run)
    how(run, other_vocabulary)
    with pytest.raises(UserError, match="vocabulary"):
        t2t_multimodel.load(run)
    flags = {"t2t_usr_dir": small_run["t2t_usr_dir"], "output_dir": run}
    (tmp_path / "in.txt").write_text("1\n")
    data, problem = {"data_dir": small_run["data_dir"]}, {"problem": "report_words"}
    train = {"hparams_set": "report_small", "train_steps": 6, "problem": small_run["problem"]} | data
    for main, more in (
        (decoder.main, {"decode_from_file": tmp_path / "in.txt"} | problem),
        (evaluate.main, problem | data),
        (report.main, problem | data),
        (report.main, {"skip_data": "true"}),
        (trainer.main, train),
        (trainer.main, train | {"schedule": "evaluate"}),
    ):
        status, out, err = run_command(main, *arguments(flags | more))
        assert status == 2, (main, out, err)
        assert "Traceback" not in err and "vocabulary" in err.splitlines()[-1]
