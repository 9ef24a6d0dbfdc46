"""Who may ask t2t-server, and where it can listen: tokens, addresses, ports, and bytes that are no request."""

import pytest
from served import raw, refused, server

from t2t_multimodel.errors import UserError

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
httpx = pytest.importorskip("httpx")

pytestmark = pytest.mark.timeout(120)
PREDICT = "/v1/models/words:predict"


def test_others_may_ask_with_a_token_only(tmp_path, run_command):
    from t2t_multimodel.cli import server as command

    status, _, error = run_command(command.main, "--output_dir=none", "--host=0.0.0.0")
    assert status == 2 and "--token_file" in error and "--no_auth" in error
    token = tmp_path / "token"
    token.write_text("short\n")
    status, _, error = run_command(command.main, "--output_dir=none", "--host=0.0.0.0", f"--token_file={token}")
    assert status == 2 and "16 or more" in error
    token.write_text("a-token-of-many-letters\n")
    token.chmod(0o600)
    with server("--host=0.0.0.0", f"--token_file={token}") as process:
        url = process.url.replace("0.0.0.0", "127.0.0.1")
        body = {"instances": ["a"]}
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic a-token-of-many-letters"}):
            found = httpx.post(url + PREDICT, json=body, headers=headers)
            refused(found, 401, "Authorization: Bearer")
            assert found.headers["www-authenticate"] == "Bearer"
        assert httpx.get(url + "/metrics").status_code == 401
        assert httpx.get(url + "/v2/health/ready").status_code == httpx.get(url + "/").status_code == 200
        headers = {"authorization": "Bearer a-token-of-many-letters"}
        assert httpx.post(url + PREDICT, json=body, headers=headers).json() == {"predictions": ["A"]}


def test_a_taken_port_is_said_before_anything_is_loaded(running, run_command):
    from t2t_multimodel.cli import server as command

    port = running.url.rpartition(":")[2]
    status, _, error = run_command(command.main, "--output_dir=none", f"--port={port}")
    assert status == 2 and "Address already in use" in error and len(error.splitlines()) == 1


def test_of_two_servers_begun_at_once_the_later_one_says_that_the_port_is_taken():
    """Both have their address before the model is loaded; only one can listen to it after that."""
    import uvicorn

    from t2t_multimodel.cli.server import _bound, _run

    async def app(scope, receive, send):
        pass

    with _bound("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with _bound("127.0.0.1", port) as second:
            first.listen()
            later = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
            with pytest.raises(UserError, match=f"--port={port}: another server began to listen there"):
                _run(later, second)


@pytest.mark.parametrize("flag", ["--host=..a", "--host=" + "a" * 300, "--host=a b", "--host=999.1.1.1", "--host="])
def test_what_is_no_address_is_one_line(flag, run_command):
    from t2t_multimodel.cli import server as command

    status, _, error = run_command(command.main, "--output_dir=none", "--port=0", "--no_auth", flag)
    assert status == 2 and flag in error and len(error.splitlines()) == 1


def test_a_list_of_no_problems_is_refused():
    from t2t_multimodel.cli.server import _problems

    with pytest.raises(UserError, match="names none; the run has a, b"):
        _problems(" ,,", ["a", "b"])


def test_bytes_that_are_no_http_end_nothing(running, client):
    for request in (b"\0" * 100, b"GET / HTTP/9\r\n\r\n", b"POST " + PREDICT.encode() + b" HTTP/1.1\r\n", b"\r\n" * 50):
        raw(running.url, request)
    cut = b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    raw(running.url, cut)
    assert client.post(PREDICT, json={"instances": ["a"]}).status_code == 200
