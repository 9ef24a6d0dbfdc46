"""Runs with int8 weights: loaded, scored, shared by workers, exported and published; and where they are refused."""

import json

import pytest
from small_run import arguments

import t2t_multimodel
from t2t_multimodel.cli import decoder, evaluate
from t2t_multimodel.errors import UserError
from t2t_multimodel.exporting.export import export
from t2t_multimodel.models.int8 import weights_of
from t2t_multimodel.training.warm_start import Source

INPUTS = ["0", "1", "3", "2", "1 and 3", "00"]
INT8 = {"quantize": "int8"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(small_run):
    return t2t_multimodel.load(small_run["output_dir"], quantize="int8")


def test_a_run_is_chosen_as_it_is_loaded(model, small_run):
    assert weights_of(model.model) and all("int8" in str(weight.codes.dtype) for weight in weights_of(model.model))
    answers = model.decode("report_words", INPUTS, max_length=8)
    assert answers == model.decode("report_words", INPUTS, max_length=8, quantize="int8")
    with pytest.raises(UserError, match="loaded with quantize=int8, so it can't answer with none; leave it out"):
        model.decode("report_words", INPUTS, quantize="none")
    floats = t2t_multimodel.load(small_run["output_dir"])
    assert not weights_of(floats.model)
    with pytest.raises(UserError, match="loaded with quantize=none, so it can't answer with int8"):
        floats.decode("report_words", INPUTS, quantize="int8")
    with pytest.raises(UserError, match="quantize"):
        t2t_multimodel.load(small_run["output_dir"], quantize="int3")


def test_the_commands_decode_and_score_with_them(model, small_run, tmp_path, run_command):
    flags = {name: small_run[name] for name in ("t2t_usr_dir", "output_dir")} | {"decode_hparams": "quantize=int8"}
    (tmp_path / "in.txt").write_text("\n".join(INPUTS) + "\n")
    asked = arguments(flags, problem="report_words", decode_from_file=tmp_path / "in.txt")
    asked[asked.index("--decode_hparams=quantize=int8")] += ",max_length=8"
    status, out, error = run_command(decoder.main, *asked)
    assert status == 0, error
    assert out.removesuffix("\n").split("\n") == model.decode("report_words", INPUTS, max_length=8)
    scored = arguments(flags, problem="report_words", data_dir=small_run["data_dir"], eval_batches=1)
    status, out, error = run_command(evaluate.main, *scored)
    assert status == 0 and "greedy, int8 weights" in out


def test_workers_share_them(model, small_run, monkeypatch):
    inputs = INPUTS * 3  # several batches
    with t2t_multimodel.load(small_run["output_dir"], workers=2, quantize="int8") as both:
        monkeypatch.setattr(both._answerer, "do", None)  # this process leaves all to the workers
        assert both.decode("report_words", inputs, max_length=8) == model.decode("report_words", inputs, max_length=8)


def test_exports_hold_them(model, small_run, tmp_path):
    run, size = small_run["output_dir"], {}
    for how in ("none", "int8"):
        done = export(run, "report_words", tmp_path / how, format="hub", decode_hparams={"quantize": how}, questions=8)
        size[how] = (done.folder / "model.safetensors").stat().st_size
        assert json.loads((done.folder / "config.json").read_text())["format_version"] == (2 if how == "int8" else 1)
    assert size["int8"] < 0.75 * size["none"]  # with as many names, and weights of 8 features
    published = t2t_multimodel.load(done.folder)
    assert published.quantize == "int8"
    assert published.decode("report_words", INPUTS, max_length=8) == model.decode("report_words", INPUTS, max_length=8)
    with pytest.raises(UserError, match="int8 weights, too coarse to train on"):
        Source.open(str(done.folder))
    done = export(run, "report_tones", tmp_path / "saved", decode_hparams=INT8, questions=8)
    assert done.compared == {"serving_default": {"questions": 8, "equal": 8}}
    with pytest.raises(UserError, match="--format=litert has floats only; .* saved_model or hub or stablehlo"):
        export(run, "report_tones", tmp_path / "lite", format="litert", decode_hparams=INT8)
