"""TensorFlow Serving answers from an export as the run does; needs its program, named by TENSORFLOW_MODEL_SERVER."""

import json
import os
import socket
import subprocess
import time

import httpx
import pytest
from small_exports import make

from t2t_multimodel import load
from t2t_multimodel.exporting.export import export

BINARY = os.environ.get("TENSORFLOW_MODEL_SERVER", "")
SENTENCES = ["a star", "the old ring rolls into the square", "Ångström"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BINARY, reason="name TensorFlow Serving's program by TENSORFLOW_MODEL_SERVER=PATH"),
]


def test_it_answers_as_the_run_does(tmp_path):
    run = make(tmp_path / "made")
    export(run, "tiny_ende", tmp_path / "models" / "tiny_ende", decode_hparams={"max_length": 12})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ["--model_name=tiny_ende", f"--model_base_path={tmp_path / 'models' / 'tiny_ende'}"]
    with open(tmp_path / "log.txt", "wb") as log:
        server = subprocess.Popen([BINARY, f"--rest_api_port={port}", "--port=0", *flags], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}/v1/models/tiny_ende"
        wait_until_available(server, url, tmp_path / "log.txt")
        answer = httpx.post(f"{url}:predict", json={"instances": SENTENCES}, timeout=120)
        told = [each["outputs"] for each in answer.json()["predictions"]]
    finally:
        server.terminate()
        server.wait(60)
    assert told == load(run).decode("tiny_ende", SENTENCES, max_length=12)


def wait_until_available(server, url, log):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text(errors="replace")
        try:
            states = httpx.get(url).json().get("model_version_status", [])
        except (httpx.TransportError, json.JSONDecodeError):
            states = []
        if any(each["state"] == "AVAILABLE" for each in states):
            return
        time.sleep(0.2)
    raise AssertionError(log.read_text(errors="replace"))
