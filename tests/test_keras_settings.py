"""Promise: settings of Keras in the user's home folder or environment change no command, or are one line."""

import os
import subprocess
import sys

import pytest

from t2t_multimodel import startup
from t2t_multimodel.errors import UserError

SAID = """
from t2t_multimodel import startup
startup.set_environment()
import keras
print(keras.config.floatx(), keras.config.image_data_format(), keras.config.epsilon(), keras.config.is_nnx_enabled())
"""


@pytest.fixture
def without_keras(monkeypatch):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_HOME", raising=False)


@pytest.mark.parametrize(
    "content",
    [
        '{"floatx": "float64"}',
        '{"floatx": "bfloat16"}',
        '{"floatx": 3}',
        '{"image_data_format": "channels_first"}',
        '{"epsilon": "x"}',
        '{"nnx_enabled": true}',
        "[]",
        "{",
        "\xff",
        "[" * 100_000,
    ],
    ids=lambda content: content[:20],
)
def test_unusual_settings_are_passed_over(content, tmp_path, monkeypatch, without_keras):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_bytes(content.encode("latin-1"))
    startup.set_environment()
    assert os.environ["KERAS_HOME"] == str(tmp_path / ".keras" / "t2t_multimodel")
    (tmp_path / ".keras" / "t2t_multimodel").mkdir()
    (tmp_path / ".keras" / "t2t_multimodel" / "keras.json").write_bytes(b"{")
    monkeypatch.delenv("KERAS_HOME")
    startup.set_environment()
    assert os.environ["KERAS_HOME"] == "/dev/null/keras"


def test_a_settings_file_that_is_a_pipe_or_a_folder_is_passed_over(tmp_path, monkeypatch, without_keras):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".keras").mkdir()
    os.mkfifo(tmp_path / ".keras" / "keras.json")
    startup.set_environment()
    assert os.environ["KERAS_HOME"].endswith("t2t_multimodel")


@pytest.mark.parametrize("content", [None, "{}", '{"floatx": "float32", "backend": "torch", "epsilon": 1e-07}'])
def test_usual_settings_stay_with_keras(content, tmp_path, monkeypatch, without_keras):
    monkeypatch.setenv("HOME", str(tmp_path))
    if content:
        (tmp_path / ".keras").mkdir()
        (tmp_path / ".keras" / "keras.json").write_text(content)
    startup.set_environment()
    assert "KERAS_HOME" not in os.environ


@pytest.mark.parametrize("backend", ["torch", "tensorflw", "TensorFlow", "numpy", "\x1b[31m"])
def test_an_unknown_backend_is_one_line(backend, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(UserError, match="unknown backend .*tensorflow.*KERAS_BACKEND") as caught:
        startup.set_environment()
    assert "\x1b" not in str(caught.value)


def test_keras_with_other_settings_is_one_line(monkeypatch):
    import keras

    monkeypatch.setattr(keras.config, "floatx", lambda: "float64")
    with pytest.raises(UserError, match=r"floatx='float64'; call keras.config.set_floatx\('float32'\)"):
        startup.set_environment()


@pytest.mark.slow
def test_keras_itself_starts_in_a_strange_home(tmp_path):
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text('{"floatx": "float64", "image_data_format": "channels_first"}')
    environment = {**os.environ, "HOME": str(tmp_path), "KERAS_NNX_ENABLED": "1", "KERAS_MAX_EPOCHS": "x"}
    done = subprocess.run([sys.executable, "-c", SAID], env=environment, capture_output=True, text=True)
    assert done.stdout == "float32 channels_last 1e-07 False\n", done.stderr
