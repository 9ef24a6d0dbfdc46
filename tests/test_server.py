"""t2t-server, asked by real clients: whose answer is whose, what is refused and how; none is lost at its end."""

import base64
import collections
import http.client
import io
import json
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from served import picture, recording, refused, server

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
httpx = pytest.importorskip("httpx")

pytestmark = pytest.mark.timeout(120)
PREDICT = "/v1/models/words:predict"


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


# ---- Answers in three forms


def test_a_sentence_in_the_form_of_tensorflow_serving(client):
    for path in (PREDICT, "/v1/models/words/versions/7:predict"):
        found = client.post(path, json={"instances": ["one", {"inputs": "two"}, b64("drei ü".encode())]})
        assert found.json() == {"predictions": ["ONE", "TWO", "DREI Ü"]}
    assert client.post(PREDICT, json={"inputs": ["one"]}).json() == {"outputs": ["ONE"]}
    status = client.get("/v1/models/words").json()["model_version_status"][0]
    assert status["state"] == "AVAILABLE" and status["version"] == "7"
    assert client.get("/v1/models/words/metadata").json()["model_spec"]["name"] == "words"


def test_curl_and_urllib_need_no_header(running):
    request = urllib.request.Request(running.url + PREDICT, b'{"instances": ["one"]}')  # form-urlencoded, as curl -d
    with urllib.request.urlopen(request) as response:
        assert json.load(response) == {"predictions": ["ONE"]}


def test_pictures_sound_and_several_inputs(client):
    def ask(problem, *instances):
        return client.post(f"/v1/models/{problem}:predict", json={"instances": list(instances)}).json()

    assert ask("shades", b64(picture(0)), b64(picture(255, 20, "JPEG"))) == {"predictions": ["dark", "light"]}
    assert ask("shades", [[[200] * 3] * 8] * 8) == {"predictions": ["light"]}
    assert ask("tones", b64(recording(0.5)), b64(recording(1, 16000))) == {
        "predictions": ["4000 samples", "8000 samples"]
    }
    asked = {"picture": b64(picture(0)), "question": "why"}
    assert ask("asked", asked) == {"predictions": ["dark WHY"]}


def test_the_open_inference_protocol(client):
    tensor = {"name": "inputs", "shape": [2], "datatype": "BYTES", "data": ["one", "two"]}
    found = client.post("/v2/models/words/infer", json={"id": "x", "inputs": [tensor]}).json()
    outputs = [{"name": "outputs", "shape": [2], "datatype": "BYTES", "data": ["ONE", "TWO"]}]
    assert found == {"model_name": "words", "model_version": "7", "id": "x", "outputs": outputs}
    pixels = {"name": "inputs", "shape": [1, 8, 8, 3], "datatype": "UINT8", "data": [255] * 192}
    found = client.post("/v2/models/shades/infer", json={"inputs": [pixels]}).json()
    assert found["outputs"][0]["data"] == ["light"]
    scored = client.post("/v2/models/words/infer", json={"inputs": [tensor], "parameters": {"return_beams": 2}}).json()
    assert [output["shape"] for output in scored["outputs"]] == [[2, 2], [2, 2]]
    assert scored["outputs"][1]["data"] == [0, -1, 0, -1]
    assert client.get("/v2/health/live").status_code == client.get("/v2/models/words/ready").status_code == 200
    assert client.get("/v2/models/asked").json()["inputs"][1]["name"] == "question"


@pytest.mark.parametrize("shape, kind", [([1], []), ([1], {}), ([1], None), ([2] * 20_000, "FP32")])
def test_a_tensor_of_no_kind_or_of_too_many_dimensions_is_refused(shape, kind, client):
    tensor = {"name": "inputs", "shape": shape, "datatype": kind, "data": []}
    refused(client.post("/v2/models/words/infer", json={"inputs": [tensor]}), 400, "datatype" if shape == [1] else "8")


def test_plain_json_with_scores(client):
    asked = {"problem": "words", "input": "one", "decode_hparams": {"return_beams": 2}}
    beams = [{"answer": "ONE", "score": 0.0}, {"answer": "ONE 1", "score": -1.0}]
    assert client.post("/decode", json=asked).json() == {"answer": "ONE", "beams": beams}
    assert client.post("/decode", json={"problem": "words", "inputs": ["a", "b"]}).json() == {"answers": ["A", "B"]}


def test_what_the_model_looked_at(client):
    """On request: attention over words, pictures or sound, and the experts used; under the checks of `/decode`."""
    found = client.post("/explain", json={"problem": "words", "input": "one two"}).json()
    assert found.pop("milliseconds") >= 0
    assert found == {
        "answer": "ONE TWO",
        "pieces": ["ONE", "TWO", "⏎"],
        "attention": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        "positions": ["one", "two", "⏎"],
        "experts": {"encoder": [0.5, 0.25, 0.25], "decoder": [0.5, 0.25, 0.25]},
    }
    found = client.post("/explain", json={"problem": "tones", "input": b64(recording(0.5))}).json()
    picture_of_sound = Image.open(io.BytesIO(base64.b64decode(found["sound"]["spectrogram"].partition(",")[2])))
    assert found["sound"]["seconds"] == 0.5 and picture_of_sound.width > 30 and len(found["attention"][0]) == 5
    rows = np.asarray(picture_of_sound, np.int64).sum(axis=1)
    tone = 0.3 * 8000 / (2 * np.pi)  # of `recording`, in Hz; the highest row is 4,000 Hz
    assert abs(4000 * (1 - rows.argmax() / len(rows)) - tone) < 100
    found = client.post("/explain", json={"problem": "shades", "input": b64(picture(200))}).json()
    seen = Image.open(io.BytesIO(base64.b64decode(found["picture"]["image"].partition(",")[2])))
    assert np.asarray(seen).tolist() == [[[200] * 3] * 8] * 8 and found["attention"] is None
    for body, status, words in (
        ({"problem": "words", "input": "x " * 51}, 400, "longer (51)"),
        ({"problem": "words", "inputs": ["a"]}, 400, "unknown field"),
        ({"problem": "words"}, 400, "the body is"),
        ({"problem": "word", "input": "a"}, 404, "did you mean"),
        ({"problem": "words", "input": "a", "decode_hparams": {"return_beams": 2}}, 400, "leave out return_beams"),
    ):
        refused(client.post("/explain", json=body), status, words)
    assert "/explain" in client.get("/openapi.json").json()["paths"]


def test_the_description_names_every_route(client):
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1") and "/v2/models/{problem}/infer" in document["paths"]
    assert {about["name"] for about in client.get("/problems").json()["problems"]} == {
        "words",
        "shades",
        "captions",
        "tones",
        "melody",
        "asked",
    }


# ---- Refusals


@pytest.mark.parametrize(
    "body, words",
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"3", "instances"),
        (b'{"instances": []}', "an input at least"),
        (b'{"instances": ["a"], "signature_name": "train"}', "serving_default"),
        (b'{"instances": ["a"], "more": 1}', "unknown field 'more'"),
        (b'{"instances": [3]}', "must be a string"),
        (b'{"instances": [" "]}', "the text is empty"),
        (b'{"instances": ["\\ud800"]}', "not valid Unicode"),
        (b'{"instances": ["a", {"b64": "!"}]}', "no base64"),
        (b'{"instances": ["a", "%s"]}' % (b"x " * 51), "input 2 of 2: words: the input is longer (51)"),
        (b'{"instances": ["a"], "decode_hparams": {"beam": 2}}', "decode hparam 'beam'; did you mean"),
        (b'{"instances": ["a"], "decode_hparams": {"beam_size": 3}}', "beam_size is one of 1, 4"),
        (b'{"instances": ["a"], "decode_hparams": {"return_beams": 5}}', "return_beams is at most 4"),
        (b'{"instances": ["a"], "decode_hparams": {"max_length": 65}}', "max_length is at most 64"),
        (b'{"instances": ["a"], "decode_hparams": {"alpha": NaN}}', "alpha=nan"),
        (b'{"instances": ["a"], "decode_hparams": {"problem": "x"}}', "decode hparam 'problem'"),
        (b'{"instances": ["a"], "decode_hparams": {"self": 1}}', "decode hparam 'self'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(body, words, client):
    refused(client.post(PREDICT, content=body, headers={"content-type": "application/json"}), 400, words)


def test_a_text_is_never_taken_for_a_path(client, tmp_path):
    (tmp_path / "secret.png").write_bytes(picture(255))
    found = client.post("/v1/models/shades:predict", json={"instances": [str(tmp_path / "secret.png")]})
    refused(found, 400, "the bytes of a file")
    asked = {"picture": str(tmp_path / "secret.png"), "question": "why"}
    refused(client.post("/v1/models/asked:predict", json={"instances": [asked]}), 400, "the bytes of a file")


def test_damaged_media_are_refused(client):
    for problem, content in (
        ("shades", b"x"),
        ("shades", picture(0)[:40]),
        ("tones", b"RIFF"),
        ("tones", b"NIST_1A\n"),
    ):
        found = client.post(f"/v1/models/{problem}:predict", json={"instances": [b64(content)]})
        refused(found, 400, "can't be decoded" if content != b"NIST_1A\n" else "SPHERE header")
    refused(client.post("/v1/models/tones:predict", json={"instances": [b64(recording(9))]}), 400, "max_seconds")


def test_unknown_names_paths_and_methods(client):
    refused(client.post("/v1/models/word:predict", json={"instances": ["a"]}), 404, "did you mean 'words'?")
    refused(client.post("/v1/models/words/versions/8:predict", json={"instances": ["a"]}), 404, "version 7 alone")
    refused(client.get("/v3"), 404, "no such path")
    refused(client.get("/decode"), 405, "another method")


def test_another_content_is_refused(client):
    found = client.post(PREDICT, content=b"a", headers={"content-type": "multipart/form-data; boundary=x"})
    refused(found, 415, "send JSON")


def test_a_request_that_is_too_large_is_refused_and_its_client_sees_why(running, client):
    body = b'{"instances": ["' + b"x" * (9 << 20) + b'"]}'
    refused(client.post(PREDICT, content=body), 413, "8,388,608 bytes that --max_request_bytes allows")
    request = urllib.request.Request(running.url + PREDICT, body)
    with pytest.raises(urllib.error.HTTPError) as error:  # reads nothing before it has sent all
        urllib.request.urlopen(request)
    assert error.value.code == 413
    refused(client.post(PREDICT, json={"instances": ["a"] * 257}), 413, "at most 256 inputs")


def test_pages_of_other_sites_may_not_ask(client):
    body = {"instances": ["a"]}
    refused(client.post(PREDICT, json=body, headers={"origin": "http://evil.example"}), 403, "other sites")
    refused(client.post(PREDICT, json=body, headers={"host": "evil.example"}), 403, "localhost")
    found = client.post(PREDICT, json=body, headers={"origin": str(client.base_url).rstrip("/")})
    assert found.status_code == 200 and "access-control-allow-origin" not in found.headers


def test_an_error_of_the_model_is_no_one_elses(client, running):
    with ThreadPoolExecutor(12) as threads:
        texts = ["break the model" if i % 4 == 0 else f"text {i}" for i in range(12)]
        found = list(threads.map(lambda text: client.post(PREDICT, json={"instances": [text]}), texts))
    assert [response.status_code for response in found] == [500 if i % 4 == 0 else 200 for i in range(12)]
    assert "broken" not in found[0].text and found[0].json()["error"]
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_an_error_of_the_model_leaves_the_connection_open(running):
    connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=30)
    for text, status in [("break the model", 500), ("one", 200)]:
        connection.request("POST", PREDICT, json.dumps({"instances": [text]}))
        if status == 500:
            opened = connection.sock
        response = connection.getresponse()
        assert response.status == status and not response.will_close and response.read()
    assert connection.sock is opened
    connection.close()


# ---- Many at once


def test_good_and_bad_requests_together(client):
    """Everybody gets the answer to what they asked, whatever the others send."""

    def ask(i):
        text = " ".join(["long"] * 60) if i % 5 == 0 else f"text {i}"
        return i, client.post(PREDICT, json={"instances": [text]})

    with ThreadPoolExecutor(16) as threads:
        for i, response in threads.map(ask, range(200)):
            if i % 5 == 0:
                refused(response, 400, "longer (60)")
            else:
                assert response.json() == {"predictions": [f"TEXT {i}"]}


def numbers(client):
    lines = client.get("/metrics").text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


@pytest.mark.slow
def test_a_busy_server_gathers_refuses_and_gives_up():
    with server("--max_queue=8", "--max_batch=4", "--timeout=2", delay=0.3) as busy:
        with httpx.Client(base_url=busy.url, timeout=30) as client:
            with ThreadPoolExecutor(24) as threads:
                asked = [{"instances": [f"text {i}"]} for i in range(24)]
                found = list(threads.map(lambda body: client.post(PREDICT, json=body), asked))
            statuses = collections.Counter(response.status_code for response in found)
            assert set(statuses) == {200, 429} and statuses[429] >= 8, statuses
            assert all(r.headers["retry-after"] == "1" for r in found if r.status_code == 429)
            now = numbers(client)
            assert now['t2t_requests_total{problem="words",status="429"}'] == statuses[429]
            answered, batches = now["t2t_batch_inputs_sum"], now["t2t_batch_inputs_count"]
            assert answered == statuses[200] and batches < answered  # so some were decoded together
            assert now['t2t_batch_inputs_bucket{le="4.0"}'] == batches
    with server("--timeout=1", delay=1.5) as slow, httpx.Client(base_url=slow.url, timeout=30) as client:
        refused(client.post(PREDICT, json={"instances": ["a"]}), 504, "no answer within 1 s")


def test_a_request_that_never_ends_holds_up_neither_others_nor_the_end():
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{"
    with server("--timeout=1") as process:
        host, port = process.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as slow:
            slow.sendall(head.encode())
            found = httpx.post(process.url + PREDICT, json={"instances": ["a"]}, timeout=20)
            assert found.json() == {"predictions": ["A"]}
            said = b"".join(iter(lambda: slow.recv(65536), b"")).decode()  # the body may come after the head
            assert said.startswith("HTTP/1.1 408") and "has not arrived within 1 s" in said
        with socket.create_connection((host, int(port)), timeout=20) as slow:
            slow.sendall(head.encode())
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def test_a_client_that_reads_no_answer_does_not_hold_up_the_end():
    with server("--timeout=1") as process:
        host, port = process.url.removeprefix("http://").split(":")
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.settimeout(20)
            deaf.connect((host, int(port)))
            deaf.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4000)
            time.sleep(0.5)  # the answers fill what the system keeps for the client, and the server waits for it
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
    assert "1 × a client that does not read its answers was left" in process.log[-1]
    assert not any("Traceback" in line for line in process.log)


@pytest.mark.slow
def test_sigterm_loses_no_answer():
    with server("--drain_seconds=1", delay=0.05) as process:
        told, lost, answered = threading.Event(), [], []

        def ask(seed):
            for i in range(1000):
                if told.is_set():  # what begins later may be refused
                    return
                text = f"text {seed} {i}"
                try:
                    found = httpx.post(process.url + PREDICT, json={"instances": [text]}, timeout=30)
                    answered.append(found.json() == {"predictions": [text.upper()]})
                except (httpx.HTTPError, ValueError) as error:
                    lost.append(repr(error))

        with ThreadPoolExecutor(8) as threads:
            asking = [threads.submit(ask, seed) for seed in range(8)]
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            told.set()
            time.sleep(0.3)
            assert httpx.get(process.url + "/v2/health/ready").status_code == 503  # load balancers see it
            for each in asking:
                each.result()
        assert process.wait(30) == 0
        assert not lost and answered and all(answered)
    assert "every request that was taken on is answered" in process.log[-1]


@pytest.mark.slow
def test_two_thousand_requests_leave_nothing_behind(running, client):
    def memory():
        with open(f"/proc/{running.pid}/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))

    def ask(i):
        if i % 7 == 0:
            return client.post(PREDICT, json={"instances": [f"x{i} " * 60]})
        if i % 11 == 0:
            return client.post("/v1/models/shades:predict", json={"instances": [b64(picture(i % 256, 64))]})
        return client.post(PREDICT, json={"instances": [f"text {i}"], "decode_hparams": {"alpha": i / 100}})

    def many(first):
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(ask, range(first, first + 500)))

    many(0)
    before = memory()
    for first in (500, 1000, 1500):
        many(first)
    assert memory() < before + 16  # MiB
    assert numbers(client)["t2t_waiting_inputs"] == 0
