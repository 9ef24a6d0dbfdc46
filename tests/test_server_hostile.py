"""Hostile requests to t2t-server: each is answered with a status of the client's, and the next client is served."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import server

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
httpx = pytest.importorskip("httpx")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
AT_ONCE = 10  # requests of an example
EXAMPLES = 1000

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
VALUE = JSON | st.fixed_dictionaries({"b64": JSON}) | st.fixed_dictionaries({"picture": JSON, "question": JSON})
HPARAMS = st.dictionaries(
    st.sampled_from(["beam_size", "return_beams", "max_length", "temperature", "top_p", "seed", "alpha", "x"]),
    JSON,
    max_size=2,
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["inputs", "picture", "question", "x"]),
        "shape": JSON | st.just([1]) | st.just([1, 8, 8, 3]) | st.just([2] * 20_000),
        "datatype": st.sampled_from(["BYTES", "UINT8", "INT16", "FP32", "x"]) | JSON,
        "data": JSON | st.lists(JSON, max_size=4),
    }
)
BODY = st.one_of(
    JSON,
    st.fixed_dictionaries({"instances": st.lists(VALUE, max_size=3)}, optional={"decode_hparams": HPARAMS}),
    st.fixed_dictionaries({"inputs": st.lists(TENSOR, max_size=3)}, optional={"parameters": HPARAMS, "id": JSON}),
    st.fixed_dictionaries(
        {"problem": st.sampled_from(["words", "shades", "tones", "asked", "x"]) | JSON},
        optional={
            "input": VALUE,
            "inputs": st.lists(VALUE, max_size=2),
            "decode_hparams": HPARAMS,
            "stream": st.booleans() | JSON,
        },
    ),
)
PATH = st.sampled_from(
    ["/decode", "/explain"]
    + [f"/v1/models/{name}:predict" for name in ("words", "shades", "tones", "asked", "%00", "..%2f..")]
    + [f"/v2/models/{name}/infer" for name in ("words", "shades", "tones", "asked")]
)
CONTENT = BODY.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=50)


@pytest.fixture(scope="module")
def client():
    with server() as process, httpx.Client(base_url=process.url, timeout=30) as client:
        yield client
        assert not any("Traceback" in line for line in process.log), "".join(process.log[-40:])


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(requests=st.lists(st.tuples(PATH, CONTENT), min_size=AT_ONCE, max_size=AT_ONCE))
def test_every_request_has_an_answer_of_its_own(requests, client):
    for path, content in requests:
        response = client.post(path, content=content)
        assert response.status_code in (200, 400, 404), (path, content, response.text)
        if response.headers["content-type"].startswith("text/event-stream"):
            assert response.text.split("\n\n")[-2].startswith("event: answer\n"), (path, content, response.text)
        else:
            assert isinstance(response.json(), dict)
    assert client.post("/v1/models/words:predict", json={"instances": ["a"]}).json() == {"predictions": ["A"]}
