"""Server-sent events of t2t-server, by real clients: word by word, errors as events, places, the drain."""

import contextlib
import json
import signal
import threading

import pytest
from served import SPECS, eventually, numbers, server

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
httpx = pytest.importorskip("httpx")

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def running():
    with server("--max_batch=3", "--timeout=4", delay=0.1) as process:
        yield process


@pytest.fixture(scope="module")
def client(running):
    with httpx.Client(base_url=running.url, timeout=30) as client:
        yield client


def body(text, problem="words", **more):
    return {"problem": problem, "input": text, "stream": True} | more


@contextlib.contextmanager
def streamed(client, text, **more):
    """The response, whose events `events` yields as they come."""
    with client.stream("POST", "/decode", json=body(text, **more)) as response:
        assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
        yield response


def events(response):
    name = None
    for line in response.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_an_answer_comes_word_by_word_then_whole(client):
    before = numbers(client).get('t2t_requests_total{problem="words",status="200"}', 0)
    with streamed(client, "one two ü\n<b>", decode_hparams={"temperature": 0.5}) as response:
        found = list(events(response))
    parts = [("part", {"text": text}) for text in ("ONE", "ONE TWO", "ONE TWO Ü\n<B>")]
    assert found == [*parts, ("answer", {"answer": "ONE TWO Ü\n<B>"})]
    assert numbers(client)['t2t_requests_total{problem="words",status="200"}'] == before + 1


def test_the_first_word_is_there_before_the_last_is_written(client):
    with streamed(client, "many " * 20) as response:
        found = events(response)
        assert next(found) == ("part", {"text": "MANY"})
        assert numbers(client)["t2t_streams"] == 1


def test_what_is_known_before_the_first_word_is_a_status(client):
    for wrong, status, words in (
        (body("a", decode_hparams={"return_beams": 2}), 400, "leave out beam_size and return_beams"),
        (body("a", decode_hparams={"beam_size": 4}), 400, "leave out beam_size and return_beams"),
        (body("a" * 3, stream=1), 400, "true or false"),
        (body("a", first_row=-1), 400, "first_row is a whole number"),
        ({"problem": "words", "inputs": ["a"], "stream": True}, 400, "one input"),
        (body(" "), 400, "the text is empty"),
        (body("x " * 51), 400, "longer (51)"),
        (body("a", problem="word"), 404, "did you mean 'words'"),
        (body([[[0] * 3] * 8] * 8, problem="shades"), 400, "not written word by word"),
    ):
        response = client.post("/decode", json=wrong)
        assert response.status_code == status and words in response.json()["error"], response.text
    eventually(lambda: numbers(client)["t2t_streams"] == 0)


def test_what_goes_wrong_later_is_an_event_with_a_status(client, running):
    with streamed(client, "one break two") as response:
        *parts, last = events(response)
    assert parts == [("part", {"text": "ONE"})]
    assert last == ("error", {"status": 500, "error": "an error in the server; its log has more"})
    with streamed(client, "slow " * 49) as response:
        last = list(events(response))[-1]
    assert last == ("error", {"status": 504, "error": "not written within 4 s; the server is busy"})
    now = numbers(client)
    assert all(now[f't2t_requests_total{{problem="words",status="{status}"}}'] == 1 for status in (500, 504))
    assert any("the model is broken" in line for line in running.log)


def test_a_client_that_goes_away_frees_its_place(client):
    with contextlib.ExitStack() as open_ones:
        reading = [events(open_ones.enter_context(streamed(client, "many " * 30))) for _ in range(3)]
        assert all(next(found) == ("part", {"text": "MANY"}) for found in reading)
        response = client.post("/decode", json=body("a"))
        assert response.status_code == 429 and response.headers["retry-after"] == "1"
        found = client.post("/decode", json={"problem": "words", "input": "between the parts"})
        assert found.json() == {"answer": "BETWEEN THE PARTS"}  # others do not wait for the end of the streams
        assert numbers(client)["t2t_streams"] == 3
    eventually(lambda: numbers(client)["t2t_streams"] == 0)
    assert numbers(client)['t2t_requests_total{problem="words",status="499"}'] >= 3
    with streamed(client, "again") as response:
        assert list(events(response))[-1] == ("answer", {"answer": "AGAIN"})


def test_sigterm_waits_for_the_end_of_a_stream():
    with server(delay=0.1) as process, httpx.Client(base_url=process.url, timeout=30) as client:
        found, begun = [], threading.Event()

        def read():
            with streamed(client, "one two three four five six seven eight nine ten") as response:
                for event in events(response):
                    found.append(event)
                    begun.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert begun.wait(20)
        process.send_signal(signal.SIGTERM)
        reader.join(30)
        assert process.wait(30) == 0
    assert found[-1] == ("answer", {"answer": "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE TEN"})


def test_the_description_says_how_to_ask(client):
    post = client.get("/openapi.json").json()["paths"]["/decode"]["post"]
    assert "text/event-stream" in post["responses"]["200"]["content"]
    assert post["requestBody"]["content"]["application/json"]["schema"]["properties"]["stream"]["type"] == "boolean"
    streams = {about["name"]: about["streams"] for about in client.get("/problems").json()["problems"]}
    assert streams == {name: name != "shades" for name in SPECS}
