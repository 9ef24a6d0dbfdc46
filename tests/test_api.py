"""The Python API: five lines from data to answers, whichever way problems and hyper-parameters are given."""

import importlib.util
import shutil
import signal
import subprocess
import sys

import pytest
from small_world import HPARAMS, make_data

import t2t_multimodel as t2t
from t2t_multimodel import api
from t2t_multimodel.errors import UserError
from t2t_multimodel.mixture import Mixture
from t2t_multimodel.problem import Problem
from t2t_multimodel.problems import tiny8


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return t2t.train("tiny_image", HPARAMS, data, tmp_path_factory.mktemp("run"), overrides={"train_steps": 2})


@pytest.mark.slow
def test_a_run_is_scored_and_loaded_as_an_object_and_as_a_path(data, run):
    scores = t2t.evaluate(run, eval_batches=1)
    assert 0 <= scores["tiny_image"]["accuracy_top1"] <= 1 and scores["tiny_image"]["split"] == "test"
    assert t2t.evaluate(str(run.path), "tiny_image", data, eval_batches=1) == scores
    assert t2t.load(run).problems == t2t.load(run.path).problems == ["tiny_image"]


@pytest.mark.slow
def test_it_goes_on_with_more_steps_and_only_as_the_same_run(data, run):
    again = t2t.train("tiny_image", HPARAMS, data, run, overrides={"train_steps": 3}, schedule="train")
    assert t2t.load(again).step == 3
    sources = again.resolved().sources
    assert (sources["train_steps"], sources["hidden_size"], sources["adam_beta1"]) == (
        "overrides",
        "HParams",
        "default",
    )
    with pytest.raises(UserError, match="another run .*dropout: 0.1 → 0.2 .HParams → overrides."):
        t2t.train("tiny_image", HPARAMS, data, run, overrides={"train_steps": 3, "dropout": 0.2})


@pytest.mark.slow
@pytest.mark.parametrize("told, raised", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_is_raised_when_the_step_is_saved(data, tmp_path, monkeypatch, told, raised):
    from t2t_multimodel.training.loss_window import LossWindow

    add, before = LossWindow.add, signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(LossWindow, "add", lambda *arguments: (signal.raise_signal(told), add(*arguments)))
    try:
        with pytest.raises(raised):
            t2t.train("tiny_image", HPARAMS, data, tmp_path / "run", schedule="train")
        assert t2t.load(tmp_path / "run").step == 1
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


class Count(Problem):
    """A problem that nobody registered."""


class Named(Problem):
    """One that has a name."""

    name = "my_problem"


class OfNamed(Named):
    """Derived from one that has a name."""


@pytest.mark.parametrize(
    "problems, weights",
    [
        ("tiny_ende,tiny_image:2", {"tiny_ende": 1, "tiny_image": 2}),
        (["tiny_ende", "tiny_image:2"], {"tiny_ende": 1, "tiny_image": 2}),
        (Mixture("mine", "", ("tiny_ende", ("tiny_image", 3))), {"tiny_ende": 0.25, "tiny_image": 0.75}),
        (tiny8.TinyEnde, {"tiny_ende": 1}),
        (tiny8.TinyEnde(), {"tiny_ende": 1}),
        ([Count, Named(), OfNamed, "tiny_ende"], {"count": 1, "my_problem": 1, "of_named": 1, "tiny_ende": 1}),
        (("tiny_ende", "tiny_ende"), {"tiny_ende": 2}),
    ],
)
def test_problems_may_be_given_as_names_mixtures_and_problems(problems, weights):
    assert dict(api._mixture(problems).problems) == weights


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda data, to: t2t.train("tiny_imag", HPARAMS, data, to), ["tiny_imag", "tiny_image"]),
        (lambda data, to: t2t.train([], HPARAMS, data, to), ["problems is empty"]),
        (lambda data, to: t2t.train({"tiny_image": 2}, HPARAMS, data, to), ["dict", "Mixture"]),
        (lambda data, to: t2t.train(3, HPARAMS, data, to), ["names", "not 3"]),
        (lambda data, to: t2t.train("tiny_image", "multimodel_tinny", data, to), ["multimodel_tiny"]),
        (lambda data, to: t2t.train("tiny_image", {"hiden_size": 8}, data, to), ["hiden_size", "hidden_size"]),
        (lambda data, to: t2t.train("tiny_image", HPARAMS, data, to, overrides={"dropout": 2.0}), ["dropout=2.0"]),
        (lambda data, to: t2t.train("tiny_image", HPARAMS, data, data), ["one folder"]),
        (lambda data, to: t2t.train("tiny_image", HPARAMS, data, to, schedule="trian"), ["trian", "'train'"]),
        (
            lambda data, to: t2t.train("tiny_image", HPARAMS, data, to, save_interval=0),
            ["save_interval must be", "not 0"],
        ),
        (lambda data, to: t2t.train("tiny_image", HPARAMS, data, to, model="multimodl"), ["multimodel"]),
        (lambda data, to: t2t.train("tiny_image", HPARAMS, to / "none", to), ["t2t-datagen --problem=tiny_image"]),
        (lambda data, to: t2t.evaluate(to), ["holds no run"]),
        (lambda data, to: t2t.generate_data("tiny_imag", to), ["tiny_imag", "tiny_image"]),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(data, tmp_path, call, words):
    with pytest.raises(UserError) as error:
        call(data, tmp_path / "run")
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value), error.value
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_data_of_a_run_may_be_gone(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "data_dir.json").unlink()
    with pytest.raises(UserError, match="give data_dir"):
        t2t.evaluate(tmp_path / "run")
    with pytest.raises(UserError, match="tiny_imag.*tiny_image"):
        t2t.evaluate(run, "tiny_imag")


def test_to_import_it_is_light():
    code = "import sys, t2t_multimodel; print([m for m in ('keras', 'tensorflow', 'jax') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


@pytest.mark.slow
def test_the_example_goes_from_a_class_to_answers(repository, tmp_path):
    spec = importlib.util.spec_from_file_location("train_in_python", repository / "examples" / "train_in_python.py")
    example = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = example  # its problem is looked up by its module
    spec.loader.exec_module(example)
    scores = example.main(tmp_path, 3)
    assert set(scores) == {"spelled_digits"} and scores["spelled_digits"]["examples"] == 40
    del sys.modules[spec.name]
