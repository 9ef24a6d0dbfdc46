"""t2t-query asks a server that is broken, slow or hostile: one line, in time, and the token goes nowhere else."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from t2t_multimodel.cli import query
from t2t_multimodel.errors import UserError
from t2t_multimodel.serving import client

pytestmark = pytest.mark.timeout(60)
ABOUT = {"name": "words", "several_inputs": False, "inputs": [{"name": "x", "line_is_data": True, "modality": "text"}]}


def reply(body, status="200 OK", *headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


PROBLEMS = reply({"problems": [ABOUT]})


@contextlib.contextmanager
def stranger(*replies):
    """(address, requests) of a server that gives each connection the next reply, the last one again and again.

    A reply is bytes, or a function of the connection.
    """
    requests, given = [], list(replies)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                answer = given.pop(0) if len(given) > 1 else given[0]
                threading.Thread(target=respond, args=(connection, answer), daemon=True).start()

        def respond(connection, answer):
            with connection, contextlib.suppress(OSError):
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65536)
                requests.append(head)
                answer(connection) if callable(answer) else connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # to close before all was read would take back what was sent
                    pass

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
        listener.shutdown(socket.SHUT_RDWR)  # accept() ends


def endless(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"[" * 65536)


def byte_by_byte(connection):
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + b" " * 90000:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def asked(url, tmp_path, run_command, *flags):
    """(status, standard error) of t2t-query over two lines; where it fails it leaves nothing."""
    (tmp_path / "in.txt").write_text("a\nb\n")
    files = [f"--decode_from_file={tmp_path}/in.txt", f"--decode_to_file={tmp_path}/out.txt"]
    status, _, error = run_command(query.main, f"--server={url}", "--problem=words", *files, "--timeout=2", *flags)
    assert not status or [path.name for path in tmp_path.iterdir() if path.suffix != ".token"] == ["in.txt"]
    return status, error


@pytest.mark.parametrize(
    "answer, words",
    [
        (endless, "sends more than 1,048,576 bytes"),
        (byte_by_byte, "no answer within 2 s"),
        (lambda connection: time.sleep(8), "no answer within 2 s"),
        (b"", "is t2t-server running there?"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "is t2t-server running there?"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000 + b"\r\n", "is t2t-server running there?"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[", "is t2t-server running there?"),
        (reply(b"<html>"), "no JSON"),
        (reply(b"\xff\xfe"), "not UTF-8"),
        (reply(b"[" * 100_000), "nested too deeply"),
        (reply([]), "expected an object"),
        (reply({"problems": {"words": 1}}), "problems: expected a list"),
        (reply({"problems": [{"name": ["words"]}]}), "expected a string"),
        (reply({"problems": []}), "unknown problem"),
        (reply({"error": "\x1b]0;x\x07"}, "403 No"), r"refuses (403): \x1b]0;x\x07"),
        (reply(b"[[", "500 No"), "refuses (500): [["),
        (reply(b"", "404 No"), "refuses (404): it says no more"),
        (reply(b"", "503 No", "Retry-After: \xb2"), "refuses (503)"),
        (reply(b"", "429 No", "Retry-After: 99"), "refuses (429)"),
    ],
)
def test_what_is_no_server_of_ours_is_one_line(answer, words, tmp_path, run_command, monkeypatch):
    monkeypatch.setattr(client, "MOST_BYTES", 1 << 20)
    with stranger(answer) as (url, _):
        status, error = asked(url, tmp_path, run_command)
    assert status == 2 and len(error.splitlines()) == 1, error
    assert words in error, error


@pytest.mark.parametrize(
    "answers, flags, words",
    [
        ({"answers": ["A"]}, [], "1 answers to 2 inputs"),
        ({"answers": {"a": 1}}, [], "answers: expected a list"),
        ({}, [], "answers is missing"),
        ({"answers": ["A", "B"]}, ["--write_scores"], "expected a list"),
        ({"answers": [[], [{"answer": "A", "score": "high"}]]}, ["--write_scores"], "score: expected a finite number"),
        (b'{"answers": ["A", "\\ud800"]}', [], "half of a surrogate pair"),
        (b'{"answers": ["A", NaN]}', [], "not a finite number"),
    ],
)
def test_wrong_answers_are_one_line(answers, flags, words, tmp_path, run_command):
    with stranger(PROBLEMS, reply(answers)) as (url, _):
        status, error = asked(url, tmp_path, run_command, *flags)
    assert status == 2 and words in error and len(error.splitlines()) == 1, error


def test_the_token_goes_to_the_named_server_alone(tmp_path, run_command):
    (tmp_path / "my.token").write_text("secret-of-the-user\n")
    with stranger(PROBLEMS) as (elsewhere, seen):
        with stranger(reply(b"", "302 Found", f"Location: {elsewhere}/problems")) as (url, requests):
            status, error = asked(url, tmp_path, run_command, f"--token_file={tmp_path}/my.token")
    assert status == 2 and "refuses (302)" in error
    assert b"secret-of-the-user" in requests[0] and not seen


@pytest.mark.parametrize("content", ["", "two\nlines", "a" * 5000, "schlüssel"])
def test_a_token_that_is_none_is_not_shown(content, tmp_path, run_command):
    (tmp_path / "my.token").write_text(content)
    status, error = asked("http://127.0.0.1:1", tmp_path, run_command, f"--token_file={tmp_path}/my.token")
    assert status == 2 and "must hold one line" in error and (not content or content not in error)


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "http://[", "http://a:x", "http://a:99999", "http://a b", "http://a\n", "file:///x"]
)
def test_addresses_that_are_none(url, tmp_path, run_command):
    status, error = asked(url, tmp_path, run_command)
    assert status == 2 and "must be an address" in error


def test_the_output_can_be_written_before_the_first_question(tmp_path, run_command):
    (tmp_path / "in.txt").write_text("a\n")
    with stranger(PROBLEMS, reply({"answers": ["A"]})) as (url, requests):
        for target in (tmp_path, tmp_path / "none" / "out.txt", tmp_path / "in.txt"):
            files = [f"--decode_from_file={tmp_path}/in.txt", f"--decode_to_file={target}"]
            assert run_command(query.main, f"--server={url}", "--problem=words", *files)[0] == 2
    assert not requests and (tmp_path / "in.txt").read_text() == "a\n"


def test_ctrl_c_ends_it_while_the_server_is_slow(tmp_path):
    (tmp_path / "in.txt").write_text("a\n")
    with stranger(PROBLEMS, lambda connection: time.sleep(50)) as (url, requests):
        flags = [f"--server={url}", "--problem=words", f"--decode_from_file={tmp_path}/in.txt"]
        child = subprocess.Popen(
            [sys.executable, "-m", "t2t_multimodel.cli.query", *flags, f"--decode_to_file={tmp_path}/out.txt"],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        while len(requests) < 2:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=30)  # not the 60 s of --timeout
    assert child.returncode == 130 and "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def sse(*events):
    content = "".join(f"event: {name}\ndata: {json.dumps(content)}\n\n" for name, content in events)
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + content.encode()


@pytest.mark.parametrize(
    "answer, said",
    [
        (sse(("part", {"text": "a"})), "broke off before the end of an answer"),
        (sse(("part", {"text": 3})), "is this a t2t-server?"),
        (sse(("error", {"status": 504, "error": "too slow"})), r"refuses \(504\): too slow"),
        (sse(("answer", {"text": "a"})), "is this a t2t-server?"),
        (b"HTTP/1.1 200 OK\r\n\r\ndata: " + b"[" * (5 << 20), "is cut, or has more than"),
        (byte_by_byte, "no whole answer within"),
        (reply({"error": "another"}, "400 Bad Request"), r"refuses \(400\): another"),
    ],
    ids=["cut", "of numbers", "an error", "no answer", "without a line end", "slow", "refused"],
)
def test_streams_of_a_stranger_end_in_one_line(answer, said):
    with stranger(answer) as (url, _):
        with pytest.raises(UserError, match=said):
            list(client.Client(url, timeout=2).stream("words", "a", {}))
