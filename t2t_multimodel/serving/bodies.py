"""Reads the bodies of requests: JSON of a limited size, in limited memory for all requests together, or a refusal."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import ClientDisconnect

from t2t_multimodel.serving.refusals import CLIENT_GONE, Refused

SMALL = 1 << 16  # bytes; a body up to here is counted by number alone, so that large ones keep no small one out
MOST_LARGE = 32  # bodies of the largest size that are held at once
MOST_OPEN = 2048  # requests under way at once, besides those that may wait for the model

# Of these a browser sends the first to another site only if that allows it; curl -d sends the second by default.
_TYPES = ("", "application/json", "application/x-www-form-urlencoded")
_MOST_DISCARDED = 1 << 28  # bytes; a client that sends more sees its connection closed
_MOST_LISTS, _MOST_OBJECTS = 1 << 19, 1 << 16  # in a body; in memory each is many times larger than as text
_LATER = {"Retry-After": "1"}


class Bodies:
    """The bodies of the requests to one server. Each request has a place, from its headers to its answer."""

    def __init__(self, most: int, max_queue: int, timeout: float, observe: Callable[[int], None]) -> None:
        """
        Args:
          most: bytes of a body. max_queue: inputs that may wait for the model. timeout: seconds that a body may take.
          observe: is given the number of bytes that are held, beyond the first `SMALL` of each body, as it changes.
        """
        self.most, self.timeout, self._observe = most, timeout, observe
        self._most_held, self._most_open = MOST_LARGE * most, MOST_OPEN + max_queue
        self._held = self._open = 0
        self._parser = ThreadPoolExecutor(1, "parse")  # large bodies one by one: parsed they need far more memory

    @contextlib.contextmanager
    def place(self) -> Iterator["Place"]:
        """The place of one request, which is given back at the end of the block; raises `Refused`, 429."""
        if self._open >= self._most_open:
            raise Refused(429, "too many requests are under way; try again later", _LATER)
        self._open += 1
        place = Place(self)
        try:
            yield place
        finally:
            place.resize(0)
            self._open -= 1

    def require(self, more: int) -> None:
        """Raises `Refused`, 429, where there is no room for so many bytes more."""
        if more > self._most_held - self._held:
            raise Refused(429, "too many large requests are under way; try again later", _LATER)

    def hold(self, more: int) -> None:
        """Counts bytes that are held, or (below 0) no longer."""
        self._held += more
        self._observe(self._held)

    async def parse(self, content: bytearray, read: Callable[[Any], Any]) -> Any:
        """What `read` makes of the JSON value; that of a large body in another thread."""
        if len(content) <= SMALL:
            return _parsed(content, read)
        return await asyncio.get_running_loop().run_in_executor(self._parser, _parsed, content, read)

    def stop(self) -> None:
        self._parser.shutdown(wait=False, cancel_futures=True)


class Place:
    """What one request holds of the room of `Bodies`."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies, self._size = bodies, 0

    def resize(self, size: int) -> None:
        """Notes that the body has `size` bytes by now; raises `Refused`, 429, where there is no room for it."""
        more = _counted(size) - _counted(self._size)
        if more > 0:
            self._bodies.require(more)
        self._size = size
        if more:
            self._bodies.hold(more)

    async def read(self, request: Any, read: Callable[[Any], Any]) -> Any:
        """What `read` makes of the JSON value in the body of a Starlette request.

        Args:
          read: a function that may run in another thread. The value is dropped as soon as it returns.

        Raises:
          Refused: 400, no JSON; 408, it did not arrive in time; 413, too large; 415, another type of content;
            429, no room; 499, the client went away; 504, other bodies took too long; or what `read` raises.
        """
        timeout = self._bodies.timeout
        try:
            async with asyncio.timeout(timeout):  # one that never comes would also hold up the end of the server
                content = await self._content(request)
        except TimeoutError:
            said = f"the request has not arrived within {timeout:g} s"
            raise Refused(408, said, {"Connection": "close"}) from None
        except ClientDisconnect:
            raise Refused(CLIENT_GONE, "the client went away while it sent the request") from None
        try:
            async with asyncio.timeout(timeout):
                return await self._bodies.parse(content, read)
        except TimeoutError:
            raise Refused(504, f"not read within {timeout:g} s; the server is busy") from None

    async def _content(self, request: Any) -> bytearray:
        """The bytes of the body.

        A body that is too large is read to its end and dropped: a client that is still sending would not see the
        answer. One that has no room is answered at once: uvicorn keeps the connection and drops what still comes.
        """
        most = self._bodies.most
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) <= most:
            self._bodies.require(_counted(int(declared)))
        content, size = bytearray(), 0
        async for part in request.stream():
            size += len(part)
            if size <= most:
                self.resize(size)
                content += part
                continue
            content = bytearray()
            self.resize(0)
            if size > most + _MOST_DISCARDED:
                break
        if size > most:
            raise Refused(413, f"the request has more than the {most:,} bytes that --max_request_bytes allows")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _TYPES:
            raise Refused(415, f"the content is {kind}; send JSON, with Content-Type: application/json")
        return content


def _counted(size: int) -> int:
    return max(0, size - SMALL)


def _parsed(content: bytearray, read: Callable[[Any], Any]) -> Any:
    if content.count(b"[") > _MOST_LISTS or content.count(b"{") > _MOST_OBJECTS:
        most = f"{_MOST_LISTS:,} of the mark [ or {_MOST_OBJECTS:,} of {{"
        raise Refused(413, f"the request has more than {most}, inside or outside texts")
    try:
        return read(_value(content))
    except Refused as refused:
        raise refused.with_traceback(None) from None  # else the event loop would free the value, which takes long


def _value(content: bytearray) -> Any:
    try:
        return json.loads(content, parse_int=_integer, parse_float=_float)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refused(400, f"the body is no JSON: {said}") from None


# Functions of Python, between whose calls other threads run: `json` alone would keep them waiting to its end.


def _integer(text: str) -> int:
    return int(text)


def _float(text: str) -> float:
    return float(text)
