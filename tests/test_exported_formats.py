"""ONNX, LiteRT and StableHLO answer as the run does; what differs, and what has no form in them, is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from exported_slices import make_slice, questions_for
from keras import ops

from t2t_multimodel.errors import UserError
from t2t_multimodel.exporting import litert, onnx

FORMATS = {"onnx": onnx, "litert": litert}


@pytest.fixture(params=FORMATS)
def format(request):
    """The module of a format; skipped where its packages are missing."""
    if request.param == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
    return FORMATS[request.param]


@pytest.mark.slow
def test_every_answer_is_the_model_s_own_and_others_are_refused(format, tmp_path):
    part = make_slice("image_to_label")
    questions = questions_for(part)
    about = format.write(part, tmp_path)
    found = format.compare(part, tmp_path, about, questions)
    assert found == {format.FILE: {"questions": 12, "equal": 12}}
    assert about["names"] == list("abcde")
    assert (
        tmp_path / format.FILE
    ).stat().st_size < 1.1 * part.weight_bytes + 200_000  # its graph, and the weights once

    bias = part.model.head(part.spec).bias
    likeliest = part.spec.targets.value_names.index(part.answers(questions.samples)[0])
    bias.assign(ops.one_hot((likeliest + 1) % 5, 5) * 1000.0)
    with pytest.raises(UserError, match=r"of 12 answers differ from the run's own.*it was not kept"):
        format.compare(part, tmp_path, about, questions)


@pytest.mark.slow
def test_operations_that_a_format_lacks_are_named(format, tmp_path):
    part = make_slice("audio_spectrogram_to_label")
    with pytest.raises(UserError, match="has no form for operations of this model .*; --format=saved_model has all"):
        format.write(part, tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_text_is_refused_with_the_format_that_has_it(name, tmp_path):
    with pytest.raises(UserError, match=f"image_to_text writes text, which --format={name} can't hold.*saved_model"):
        FORMATS[name].write(make_slice("image_to_text"), tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "image_to_label",
        pytest.param(
            "image_to_text",
            marks=pytest.mark.skipif("T2T_TEST_EXPORTS" not in os.environ, reason="slow; set T2T_TEST_EXPORTS=1"),
        ),
    ],
)
def test_stablehlo_answers_as_the_model_does_for_any_batch(name):
    script = Path(__file__).with_name("exported_slices.py")
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    ended = subprocess.run([sys.executable, str(script), name], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "model.stablehlo": {"questions": 12, "equal": 12},
        "inputs": {"inputs": {"dtype": "uint8", "shape": ["batch", 7, 10, 3]}},
    }
