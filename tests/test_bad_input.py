"""Mistakes that once passed unnoticed, or ended in a traceback: each is one clear line, and nothing is half-written."""

import shutil

import pytest
from own_files import make

from t2t_multimodel.cli import datagen, trainer
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import HParams, Resolved
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.modalities import Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.problems import BracketedTrees, SentencePairs
from t2t_multimodel.training.run import Run
from t2t_multimodel.training.run_directory import RunDirectory


def made(problem, folder, **options):
    (result,) = generate([problem], folder, workers=1, log=lambda line: None, progress=False, **options)
    return result.manifest


def test_malformed_lines_are_bad_records_that_may_be_left_out_and_are_listed(tmp_path):
    (tmp_path / "train.tsv").write_bytes(b"a\tb\nno tab\nc\td\nf\xfcr\tfor\ne\t \n")
    (tmp_path / "train.mrg").write_text("(S (NN a))\n(S (NN a)\n(S (NN b))\n")
    with pytest.raises(UserError, match=r"train\.tsv:2: 1 column .*--max_bad_records"):
        made(make(SentencePairs, tmp_path), tmp_path / "data")
    manifest = made(make(SentencePairs, tmp_path), tmp_path / "data", max_bad_records=3)
    assert manifest["dropped_count"] == 3 and manifest["splits"]["train"]["examples"] == 2
    assert [d["key"] for d in manifest["dropped"]] == ["train.tsv:2", "train.tsv:4", "train.tsv:5"]
    manifest = made(make(BracketedTrees, tmp_path), tmp_path / "trees", max_bad_records=1)
    assert "train.mrg:2: the tree doesn't parse" in manifest["dropped"][0]["reason"]


def test_a_first_run_that_fails_leaves_no_vocabulary_of_the_faulty_text(tmp_path):
    (tmp_path / "train.tsv").write_text("a\tb\nno tab\n")
    with pytest.raises(UserError):
        made(make(SentencePairs, tmp_path), tmp_path / "data")
    assert not (tmp_path / "data" / "vocabulary").exists()


def test_data_beside_another_vocabulary_is_refused(tmp_path):
    for name, text in (("one", "ein Wort"), ("other", "une phrase")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.tsv").write_text(f"{text} a\t{text} b\n" * 2)
        made(make(SentencePairs, tmp_path / name), tmp_path / f"data_{name}")
    shutil.rmtree(tmp_path / "data_one" / "vocabulary")
    shutil.copytree(tmp_path / "data_other" / "vocabulary", tmp_path / "data_one" / "vocabulary")
    store = ExampleStore(tmp_path / "data_one", "mine")
    with pytest.raises(UserError, match=r"is written in \w{8}; put that one back, or make the data again: t2t-datagen"):
        Run.of("multimodel", 0, "tensorflow", {"mine": store}, HParams())


def test_checkpoints_without_their_run_are_not_continued(tmp_path):
    (tmp_path / "checkpoints" / "step-000003").mkdir(parents=True)
    with pytest.raises(UserError, match=r"run\.json is missing"):
        RunDirectory(tmp_path).check_continuation(Run("multimodel", 0, "tensorflow", {}), Resolved(HParams()))


def test_a_run_and_its_data_do_not_share_a_folder(tmp_path, run_command):
    flags = ["--problem=tiny_ende", f"--data_dir={tmp_path}"]
    status, _, error = run_command(trainer.main, *flags, f"--output_dir={tmp_path}/")
    assert status == 2 and "one folder" in error
    (tmp_path / "run.json").write_text("{}")
    status, _, error = run_command(datagen.main, *flags)
    assert status == 2 and "is the run directory of a model" in error
    (tmp_path / "file").write_text("")
    status, _, error = run_command(trainer.main, *flags, f"--output_dir={tmp_path / 'file'}")
    assert status == 2 and "is a file" in error


def test_the_advised_command_has_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("T2T_USR_DIR", "/my problems")
    with pytest.raises(UserError, match=r"run: t2t-datagen --problem=x --data_dir=\S+ '--t2t_usr_dir=/my problems'"):
        ExampleStore(tmp_path, "x")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"splits": ("train")}, "its splits must be a tuple of names"),
        ({"metrics": "bleu"}, "its metrics must be a tuple of names"),
        ({"inputs": Text}, "its inputs are the class Text, no modality"),
        ({"samples": lambda self, split: None}, "must yield samples, it returns None"),
        ({"samples": lambda self, split: iter([("a", "b")])}, "of type tuple"),
        ({"samples": lambda self, split: iter([{"input": "a"}])}, "the sample has no 'inputs' and no 'targets'"),
        ({"prepare": lambda self, sample: None}, "not of type NoneType"),
    ],
)
def test_a_faulty_class_is_one_line_not_a_traceback(change, said, tmp_path):
    sound = {
        "name": "faulty",
        "inputs": Text(),
        "targets": Text(),
        "splits": ("train",),
        "samples": lambda self, split: iter([{"inputs": "a", "targets": "b"}]),
    }
    with pytest.raises(UserError, match=said):
        made(type("Faulty", (Problem,), sound | change)(), tmp_path / "data")
