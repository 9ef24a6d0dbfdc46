"""Asks a t2t-server: each question has its answer within a time and of a limited size, or is one line.

The server may be a stranger's: its JSON is read by schema, it can't lead the client and its token to another address,
and one that sends slowly, or without end, is left.
"""

import concurrent.futures
import http.client
import json
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.json_files import ANY, Number, Whole, parse_json

MOST_BYTES = 64 << 20  # of an answer
_MOST_REFUSAL_BYTES = 10_000
_MOST_LINE_BYTES = 1 << 22
_BLOCK = 1 << 16
_MEMBER = {"name": str, "line_is_data": bool, "modality": str}
_PROBLEMS = {"problems": [{"name": str, "several_inputs": bool, "inputs": [_MEMBER]}]}
_EVENTS = {"part": {"text": str}, "answer": {"answer": str}, "error": {"status": Whole(0), "error": str}}
_SCORED = [{"answer": ANY, "score": Number()}]


class Client:
    """The server at an address; its refusals become `UserError`s. Several threads may ask at once."""

    def __init__(self, url: str, token: str = "", timeout: float = 60.0) -> None:
        """
        Args:
          token: what the server wants to be shown; "": none.
          timeout: seconds for each question; a busy server is asked again until then.

        Raises:
          UserError: `url` is no address.
        """
        try:
            parts = urllib.parse.urlsplit(url)
            known = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
            plain = url.isascii() and url.isprintable() and " " not in url
        except ValueError:  # a port that is no number, half of an IPv6 address
            known = plain = False
        if not known or not plain:
            raise UserError(f"--server={url} must be an address such as http://127.0.0.1:8501")
        self._url, self._timeout = url.rstrip("/"), timeout
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._opener = urllib.request.build_opener(_NoRedirect)

    def problem(self, name: str) -> dict[str, Any]:
        """What the server says of a problem."""
        known = {about["name"]: about for about in self._ask("/problems", None, _PROBLEMS)["problems"]}
        if name not in known:
            raise unknown_name(f"problem of {self._url}", name, known)
        return known[name]

    def decode(self, problem: str, inputs: list, decode_hparams: dict, scored: bool, first_row: int = 0) -> list:
        """The answer to each of `inputs`: a text, number or list; if `scored` a list of {"answer", "score"}.

        Args: first_row: the number of the first input; sampled answers differ by it.
        """
        asked = {"problem": problem, "inputs": inputs, "decode_hparams": decode_hparams, "first_row": first_row}
        body = json.dumps(asked).encode()
        answers = self._ask("/decode", body, {"answers": [_SCORED if scored else ANY]})["answers"]
        if len(answers) != len(inputs):
            raise UserError(f"{self._url} gave {len(answers):,} answers to {len(inputs):,} inputs; ask another server")
        return answers

    def stream(self, problem: str, value: Any, decode_hparams: dict, first_row: int = 0) -> Iterator[str]:
        """Yields the answer to one input so far, each time that there is more of it; at last the whole."""
        asked = {"problem": problem, "input": value, "decode_hparams": decode_hparams, "first_row": first_row}
        asked["stream"] = True
        end = time.monotonic() + self._timeout
        events: queue.SimpleQueue = queue.SimpleQueue()
        in_thread(self._read_events, "/decode", json.dumps(asked).encode(), end, events.put)
        while True:
            try:
                name, content = events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise UserError(f"{self._url} has no whole answer within {self._timeout:g} s (--timeout)") from None
            if isinstance(content, BaseException):
                raise content
            if name == "error":
                raise UserError(f"{self._url} refuses ({content['status']}): {content['error'][:2000]}")
            yield content["answer" if name == "answer" else "text"]
            if name == "answer":
                return

    def _read_events(self, path: str, body: bytes, end: float, put: Callable) -> None:
        """Calls `put((name, content))` for each server-sent event of an answer; an error is the content of the last."""
        try:
            while True:
                request = urllib.request.Request(self._url + path, body, self._headers)
                try:
                    response = self._opener.open(request, timeout=self._timeout + 1)
                    break
                except urllib.error.HTTPError as error:
                    status, content, wait = self._refusal(error)
                    if status not in (429, 503) or time.monotonic() + wait > end:
                        raise UserError(f"{self._url} refuses ({status}): {_said(content)}") from None
                    time.sleep(wait)
            with response:
                for name, content in _events(response, f"the answer of {self._url}{path}"):
                    put((name, content))
                    if name != "part":
                        return
            raise UserError(f"{self._url} broke off before the end of an answer; ask again")
        except (OSError, ValueError, http.client.HTTPException) as error:
            said = str(getattr(error, "reason", error)) or type(error).__name__
            put(("", UserError(f"{self._url} broke off ({said[:200]}); ask again")))
        except BaseException as error:
            put(("", error))

    def _ask(self, path: str, body: bytes | None, schema: Any) -> Any:
        end = time.monotonic() + self._timeout
        while True:
            # A thread of its own, since no timeout of a socket limits a server that sends a byte now and then.
            answer = in_thread(self._exchange, path, body)
            try:
                status, content, wait = answer.result(max(0.0, end - time.monotonic()))
            except TimeoutError:
                raise UserError(f"{self._url} has no answer within {self._timeout:g} s (--timeout)") from None
            if status == 200:
                return parse_json(content, schema, f"the answer of {self._url}{path}", "is this a t2t-server?")
            if status not in (429, 503) or time.monotonic() + wait > end:
                raise UserError(f"{self._url} refuses ({status}): {_said(content)}")
            time.sleep(wait)

    def _exchange(self, path: str, body: bytes | None) -> tuple[int, bytes, float]:
        """(status, content, seconds to wait where the server is busy)."""
        request = urllib.request.Request(self._url + path, body, self._headers)
        try:
            with self._opener.open(request, timeout=self._timeout + 1) as response:
                return 200, self._content(response, MOST_BYTES), 0.0
        except urllib.error.HTTPError as error:
            return self._refusal(error)
        except (OSError, ValueError, http.client.HTTPException) as error:
            said = str(getattr(error, "reason", error)) or type(error).__name__
            raise UserError(f"{self._url} can't be asked ({said[:200]}); is t2t-server running there?") from None

    def _refusal(self, error: urllib.error.HTTPError) -> tuple[int, bytes, float]:
        wait = error.headers.get("Retry-After", "") if error.headers else ""
        try:
            content = error.read(_MOST_REFUSAL_BYTES)
        except (OSError, ValueError, http.client.HTTPException):
            content = b""
        return error.code, content, min(float(wait), 10.0) if wait.isascii() and wait.isdigit() else 1.0

    def _content(self, response: Any, most: int) -> bytes:
        parts, size = [], 0
        while part := response.read(_BLOCK):
            parts.append(part)
            size += len(part)
            if size > most:
                raise UserError(f"{self._url} sends more than {most:,} bytes in an answer; ask for fewer at once")
        if response.length:
            raise http.client.IncompleteRead(b"".join(parts)[:20], response.length)
        return b"".join(parts)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A server that answers "elsewhere" is refused: the token is for the address that the user named."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def _events(response: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yields (name, content) of server-sent events; raises `UserError` where one is no event of a t2t-server."""
    name, data, size = "", b"", 0
    while line := response.readline(_MOST_LINE_BYTES):
        size += len(line)
        if size > MOST_BYTES or not line.endswith(b"\n"):
            raise UserError(f"{where} is cut, or has more than {MOST_BYTES:,} bytes")
        line = line.rstrip(b"\r\n")
        if line.startswith(b"event:"):
            name = line[6:].strip().decode("ascii", "replace")
        elif line.startswith(b"data:"):
            data = line[5:].strip()
        elif not line and data:
            yield name, parse_json(data, _EVENTS.get(name, _EVENTS["part"]), where, "is this a t2t-server?")
            name, data = "", b""


def in_thread(function: Callable, *arguments: Any) -> concurrent.futures.Future:
    """Calls it in a thread of its own, which the end of the process does not wait for."""
    future: concurrent.futures.Future = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _said(content: bytes) -> str:
    """What a refusal says, in one line."""
    text = content.decode("utf-8", "replace")
    try:
        return str(json.loads(text)["error"])[:2000]
    except (ValueError, KeyError, TypeError, RecursionError):
        return " ".join(text.split())[:200] or "it says no more"
