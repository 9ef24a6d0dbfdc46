"""Answers that are sent while they are written, as server-sent events; each has a place until its client has it all."""

import asyncio
import functools
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from starlette.responses import StreamingResponse

from t2t_multimodel.errors import UserError
from t2t_multimodel.serving.refusals import CLIENT_GONE, Refused

_ALONE, _SHARED = 1, 8  # ids written at once: where nothing else waits for the model, and where something does
_log = logging.getLogger("t2t_multimodel.serving")


class Streams:
    """The streams of one server. Their parts are written between the batches of the other requests."""

    def __init__(self, executor: Any, most: int, timeout: float, busy: Callable[[], bool], observe: Callable) -> None:
        """
        Args:
          executor: has the one thread that uses the model. most: streams at once. timeout: seconds that one may take.
          busy: whether other requests want the model. observe: is given the number of streams when it changes.
        """
        self._executor, self._most, self._timeout = executor, most, timeout
        self._busy, self._observe = busy, observe
        self._count = 0

    def begin(self, write: Callable[..., Iterator[str]]) -> "Stream":
        """Takes a place for a stream, which `Stream.close` gives back.

        Args:
          write: function of `pace`, as `Predictor.stream` takes it, to an iterator over the text so far.

        Raises:
          Refused: 429, all places are taken.
        """
        if self._count >= self._most:
            raise Refused(429, f"{self._most} answers are being streamed; try again later", {"Retry-After": "1"})
        self._changed(1)
        end = asyncio.get_running_loop().time() + self._timeout
        return Stream(functools.partial(write, pace=self._pace), self._executor, end, self._timeout, self._freed)

    def _pace(self) -> int:
        return _SHARED if self._count > 1 or self._busy() else _ALONE

    def _freed(self) -> None:
        self._changed(-1)

    def _changed(self, by: int) -> None:
        self._count += by
        self._observe(self._count)


class Stream:
    """The answer to one input as it is written: iterate over `texts()`, then `close()`."""

    def __init__(self, write: Callable, executor: Any, end: float, timeout: float, freed: Callable[[], None]) -> None:
        self._write, self._executor, self._end, self._timeout = write, executor, end, timeout
        self._freed: Callable[[], None] | None = freed

    async def texts(self) -> AsyncIterator[str]:
        """The text so far, again and again; the last is the answer.

        Raises:
          Refused: 400, the model does not take the input; 504, it was not written in time.
        """
        try:
            parts = await self._in_executor(self._write)
            while (text := await self._in_executor(next, parts, None)) is not None:
                yield text
        except TimeoutError:
            raise Refused(504, f"not written within {self._timeout:g} s; the server is busy") from None
        except UserError as error:
            raise Refused(400, str(error)) from None

    async def _in_executor(self, function: Callable, *arguments: Any) -> Any:
        async with asyncio.timeout_at(self._end):
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    def close(self) -> None:
        """Gives the place back; what is being written at the moment is not waited for."""
        if self._freed is not None:
            self._freed()
            self._freed = None


class EventStream(StreamingResponse):
    """A `Stream` as server-sent events: `part` {"text"} as it grows, then `answer` {"answer"} or `error` {"status",
    "error"}.
    """

    media_type = "text/event-stream"

    def __init__(self, stream: Stream, where: str, note: Callable[[int], None]) -> None:
        """
        Args:
          where: what the log calls the request. note: is given the status that it ended with.
        """
        self._stream, self._where = stream, where
        self._note: Callable[[int], None] | None = note
        self._events = self._made()
        super().__init__(self._events, headers={"X-Accel-Buffering": "no"})  # nginx would keep them back

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # also where the client has gone
            self._end(CLIENT_GONE)
            await self._events.aclose()

    def _end(self, status: int) -> None:
        """Gives the place back and notes the status, once; before the last event, whose client may look."""
        self._stream.close()
        if self._note is not None:
            self._note(status)
            self._note = None

    async def _made(self) -> Any:
        answer = ""
        try:
            async for answer in self._stream.texts():
                yield _event("part", {"text": answer})
            self._end(200)
            yield _event("answer", {"answer": answer})
        except Refused as refused:
            self._end(refused.status)
            yield _event("error", {"status": refused.status, "error": str(refused)})
        except Exception as error:
            _log.error("%s", self._where, exc_info=error)
            self._end(500)
            yield _event("error", {"status": 500, "error": "an error in the server; its log has more"})


def _event(name: str, content: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(content)}\n\n"
