"""Promise: an argument of the wrong kind of a public function is one line that names it, not an answer or a bug."""

from types import SimpleNamespace

import numpy as np
import pytest

import t2t_multimodel as t2t
from t2t_multimodel import registry
from t2t_multimodel.decode_hparams import decode_settings
from t2t_multimodel.errors import UserError
from t2t_multimodel.input.padding import samples_of_values
from t2t_multimodel.mixture import Mixture, parse
from t2t_multimodel.modalities import Audio, Image, Label, LabelSet, Numbers, Text
from t2t_multimodel.modalities.base import fault_of
from t2t_multimodel.predictor import Predictor
from t2t_multimodel.problem import Problem, declaration_faults
from t2t_multimodel.testing import check_modality, check_problem
from t2t_multimodel.training.run_directory import RunDirectory

TRAIN = {"problems": "tiny_ende", "hparams": "multimodel_tiny", "data_dir": "nowhere", "output_dir": "nowhere"}
WRONG = [
    (t2t.generate_data, {"problems": "tiny_ende", "data_dir": 3}, "data_dir"),
    (t2t.generate_data, {"problems": "tiny_ende", "data_dir": b"d"}, "data_dir"),
    (t2t.generate_data, {"problems": "tiny_ende", "data_dir": ""}, "data_dir"),
    (t2t.generate_data, {"problems": "tiny_ende", "data_dir": "a\0b"}, "data_dir"),
    (t2t.generate_data, {"problems": 3, "data_dir": "d"}, "problems"),
    (t2t.generate_data, {"problems": None, "data_dir": "d"}, "problems"),
    (t2t.generate_data, {"problems": [["tiny_ende"]], "data_dir": "d"}, "problems"),
    (t2t.generate_data, {"problems": "tiny_ende", "data_dir": "d", "workers": 0}, "workers"),
    (t2t.generate_data, {"problems": "tiny_ende", "data_dir": "d", "workers": "2"}, "workers"),
    (t2t.generate_data, {"problems": "tiny_ende", "data_dir": "d", "vocabulary_size": 1.5}, "vocabulary_size"),
    (t2t.generate_data, {"problems": "tiny_ende", "data_dir": "d", "overwrite": "no"}, "overwrite"),
    (t2t.generate_data, {"problems": "tiny_ende", "data_dir": "d", "seed": -1}, "seed"),
    (t2t.train, TRAIN | {"problems": {"tiny_ende", "tiny_enfr"}}, "problems is a set"),
    (t2t.train, TRAIN | {"output_dir": None}, "output_dir"),
    (RunDirectory, {"output_dir": 3}, "output_dir"),
    (RunDirectory, {"output_dir": "a\0b"}, "output_dir"),
    (t2t.train, TRAIN | {"overrides": 3}, "overrides"),
    (t2t.train, TRAIN | {"overrides": {3: 4}}, "overrides"),
    (t2t.train, TRAIN | {"hparams": 3}, "hparams set"),
    (t2t.train, TRAIN | {"hparams": ["x"]}, "hparams set"),
    (t2t.train, TRAIN | {"model": 3}, "model"),
    (t2t.train, TRAIN | {"schedule": "trian"}, "schedule"),
    (t2t.train, TRAIN | {"eval_interval": 0}, "eval_interval"),
    (t2t.train, TRAIN | {"save_interval": float("nan")}, "save_interval"),
    (t2t.train, TRAIN | {"keep_checkpoints": True}, "keep_checkpoints"),
    (t2t.train, TRAIN | {"seed": 10**30}, "seed"),
    (t2t.train, TRAIN | {"skip_decoding": 1}, "skip_decoding"),
    (t2t.evaluate, {"run": 3}, "run"),
    (t2t.evaluate, {"run": "nowhere", "step": "newest"}, "step"),
    (t2t.evaluate, {"run": "nowhere", "split": 3}, "split"),
    (t2t.evaluate, {"run": "nowhere", "decode_hparams": "beam_size=4"}, "decode_hparams"),
    (t2t.load, {"output_dir": None}, "output_dir"),
    (t2t.load, {"output_dir": "nowhere", "step": -1}, "step"),
    (registry.problem, {"name": 3}, "problem"),
    (registry.problem, {"name": ["a"]}, "problem"),
    (registry.hparams_sets.get, {"name": None}, "hparams set"),
    (registry.metrics.get, {"name": b"bleu"}, "metric"),
    (decode_settings, {"asked": {"beam_size": True}}, "beam_size"),
    (decode_settings, {"asked": {"alpha": float("nan")}}, "alpha"),
    (decode_settings, {"asked": {"constrained": 1.0}}, "constrained"),
    (parse, {"text": 3}, "problems"),
    (parse, {"text": ["tiny_ende"]}, "problems"),
    (check_problem, {"problem": 3}, "problem must be a Problem class"),
    (check_problem, {"problem": None}, "problem must be a Problem class"),
    (check_problem, {"problem": "tiny_ende", "prepared": 0}, "prepared"),
    (check_problem, {"problem": "tiny_ende", "read": "all"}, "read"),
    (check_problem, {"problem": "tiny_ende", "worker": 1}, "worker"),
    (check_modality, {"modality": Text(), "samples": 3}, "samples must be a list"),
    (check_modality, {"modality": Text(), "samples": "abc"}, "samples must be a list"),
    (check_modality, {"modality": Text(), "samples": {"a": 1}}, "samples must be a list"),
    (check_modality, {"modality": Text(), "samples": ["a"], "junk": 3}, "junk must be a list"),
    (
        check_modality,
        {"modality": Text(), "samples": ["a"], "hparams": {"hidden_size": 8}},
        "hparams must be an HParams",
    ),
]


@pytest.mark.parametrize("function, arguments, named", WRONG, ids=lambda value: None)
def test_a_wrong_argument_is_named_in_one_line(function, arguments, named):
    with pytest.raises(UserError, match=named) as caught:
        function(**arguments)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"problem": 3, "inputs": ["a"]}, "problem"),
        ({"problem": "p", "inputs": "a red circle"}, "inputs must be a list"),
        ({"problem": "p", "inputs": b"a"}, "inputs must be a list"),
        ({"problem": "p", "inputs": {"a": 1}}, "inputs must be a list"),
        ({"problem": "p", "inputs": 3}, "inputs must be a list"),
        ({"problem": "p", "inputs": ["a"], "long_inputs": "cut"}, "long_inputs"),
        ({"problem": "p", "inputs": ["a"], "first_row": -1}, "first_row"),
        ({"problem": "p", "inputs": ["a"], "first_row": 0.5}, "first_row"),
    ],
    ids=lambda value: None,
)
def test_so_is_one_of_decode(arguments, named):
    with pytest.raises(UserError, match=named):
        Predictor.decode(object.__new__(Predictor), **arguments)


@pytest.mark.parametrize("modality", [Text(), Image(8, 8, 3), Audio(8000)], ids=lambda m: m.modality_name)
@pytest.mark.parametrize("value", [3, 0, None, b"x", 1.5, [], np.zeros(3)], ids=repr)
def test_an_input_of_the_wrong_kind_is_named_by_its_place(modality, value):
    spec = SimpleNamespace(name="p", inputs=modality)
    content = isinstance(value, bytes) and not modality.is_text  # of a file; it is none of a picture or a recording
    with pytest.raises(UserError, match=f"p: input 1: {'.*not|.*decoded' if content else 'it must be'}"):
        samples_of_values(spec, [value])


@pytest.mark.parametrize(
    "modality, named",
    [
        (Image("a", 8, 3), "height that is a whole number"),
        (Image(8, 8.5, 3), "width that is a whole number"),
        (Image(8, 8, True), "channels that is a whole number"),
        (Audio("8000"), "rate that is a whole number"),
        (Audio(8000, max_seconds=float("nan")), "max_seconds that is a finite number"),
        (Label(3), "classes that is a tuple"),
        (Label("abc"), "classes that is a tuple"),
        (Label({"a"}), "classes that is a tuple"),  # of another order in every process
        (Label(("a\nb", "c")), "without line ends"),
        (LabelSet("abc"), "labels that is a tuple"),
        (Numbers(names="abc"), "names that is a tuple"),
        (Numbers(huber="x"), "huber that is a finite number"),
        (Text(3), "language that is a string"),
    ],
    ids=str,
)
def test_a_modality_declared_with_a_value_of_the_wrong_kind_is_a_fault(modality, named):
    problem = Problem()
    problem.inputs = problem.targets = modality
    assert any(named in fault for fault in declaration_faults(problem))


def test_one_declared_with_whole_numbers_and_sequences_of_other_kinds_is_not():
    for modality in (Image(np.int64(8), 8, 3), Audio(8000, max_seconds=5), Label(["a", "b"]), Label(range(10))):
        assert fault_of(modality) == ""


@pytest.mark.parametrize("wrong", [3, None, "x", ["a"]], ids=str)
def test_what_is_registered_as_something_that_it_is_not_is_one_line(wrong):
    with pytest.raises(UserError):
        registry.register_mixture(wrong)
    if wrong is not None:
        for register in (registry.register_hparams, registry.register_optimizer, registry.register_metric):
            with pytest.raises(UserError):
                register(wrong)


@pytest.mark.parametrize("problems", [3, None, "tiny_ende", [["a"]], [("a", "x")], [("a", float("nan"))], []], ids=str)
def test_the_problems_of_a_mixture_are_names_or_pairs(problems):
    with pytest.raises(UserError, match="mixture 'm'"):
        Mixture("m", "a test's", problems)


def test_whole_numbers_of_numpy_are_whole_numbers():
    with pytest.raises(UserError, match="nowhere"):  # and not seed
        t2t.train(**TRAIN, seed=np.int64(3), eval_batches=np.int32(0))
