"""Bodies of requests to t2t-server: limits on all of them, large ones beside the event loop, clients that go.

The first tests read bodies without a server; the last ones ask one.
"""

import asyncio
import contextlib
import json
import socket
import struct

import pytest
from served import eventually, numbers, refused, server

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
httpx = pytest.importorskip("httpx")

from t2t_multimodel.serving.bodies import MOST_LARGE, MOST_OPEN, SMALL, Bodies  # noqa: E402
from t2t_multimodel.serving.refusals import Refused  # noqa: E402

pytestmark = pytest.mark.timeout(120)
PREDICT = "/v1/models/words:predict"
MOST = 4 * SMALL  # bytes of a body
ROOM = MOST_LARGE * MOST  # of all bodies, beyond the first SMALL bytes of each


class Upload:
    """Stands in for a Starlette request: a body that comes part by part, each when the test says so."""

    def __init__(self, *parts, length=None):
        self.headers = {} if length is None else {"content-length": str(length)}
        self._parts = parts
        self.go_on = asyncio.Event()

    async def stream(self):
        for part in self._parts:
            yield part
            await self.go_on.wait()


def run(test, max_queue=8, timeout=30):
    """Runs `test(bodies, held)`; the last of `held` is the number of bytes that are counted. At its end all is free."""

    async def in_loop():
        held = [0]
        bodies = Bodies(MOST, max_queue, timeout, held.append)
        try:
            await test(bodies, held)
            assert held[-1] == 0
            with bodies.place():
                bodies.require(ROOM)
        finally:
            bodies.stop()

    asyncio.run(in_loop())


async def read(bodies, upload, of_value=lambda value: value):
    with bodies.place() as place:
        return await place.read(upload, of_value)


@contextlib.asynccontextmanager
async def stalled(bodies, held, count, size):
    """So many uploads that stop after `size` bytes each."""
    expected = held[-1] + count * max(0, size - SMALL)
    uploads = [Upload(b" " * size) for _ in range(count)]
    tasks = [asyncio.create_task(read(bodies, upload)) for upload in uploads]
    await asyncio.sleep(0)
    assert held[-1] == expected
    yield
    for upload in uploads:
        upload.go_on.set()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, Refused) and outcome.status == 400  # blanks are no JSON


def is_later(caught):
    return caught.value.status == 429 and caught.value.headers == {"Retry-After": "1"}


def test_stalled_uploads_leave_room_for_small_requests_and_for_no_large_one():
    async def test(bodies, held):
        count = ROOM // (MOST - SMALL)
        left = ROOM - count * (MOST - SMALL)
        async with stalled(bodies, held, count, MOST):
            with pytest.raises(Refused, match="too many large requests") as caught:
                await asyncio.wait_for(read(bodies, Upload(b" " * (SMALL + left + 1))), 1)
            assert is_later(caught)
            unread = Upload(length=SMALL + left + 1)
            with pytest.raises(Refused) as caught:  # before any of it is read
                await asyncio.wait_for(read(bodies, unread), 1)
            assert is_later(caught)
            small = Upload(b'"a', b'b"', length=4)
            small.go_on.set()
            assert await read(bodies, small) == "ab"

    run(test)


def test_a_slow_client_is_not_refused_while_there_is_room():
    """What others announce and don't send takes no room."""

    async def test(bodies, held):
        announced = [asyncio.create_task(read(bodies, Upload(b" ", length=MOST))) for _ in range(3 * MOST_LARGE)]
        await asyncio.sleep(0)
        slow = Upload(b'"', b"x" * (MOST // 2), b"x" * (MOST // 4), b'"')
        answer = asyncio.create_task(read(bodies, slow))
        await asyncio.sleep(0.01)
        slow.go_on.set()
        assert await answer == "x" * (3 * MOST // 4)
        for task in announced:
            task.cancel()
        await asyncio.gather(*announced, return_exceptions=True)

    run(test)


def test_a_body_counts_until_its_request_is_answered():
    async def test(bodies, held):
        upload = Upload(b'"' + b"x" * (MOST - 2) + b'"')
        upload.go_on.set()
        with bodies.place() as place:
            assert len(await place.read(upload, lambda value: value)) == MOST - 2
            assert held[-1] == MOST - SMALL

    run(test)


def test_a_body_that_is_too_large_is_not_held_while_it_is_read_to_its_end():
    async def test(bodies, held):
        upload = Upload(b" " * MOST, b" ", length=MOST + 1)
        answer = asyncio.create_task(read(bodies, upload))
        await asyncio.sleep(0)
        assert held[-1] == MOST - SMALL
        upload.go_on.set()
        with pytest.raises(Refused, match="--max_request_bytes") as caught:
            await answer
        assert caught.value.status == 413

    run(test)


def test_requests_that_hold_nothing_are_limited_in_number():
    async def test(bodies, held):
        with contextlib.ExitStack() as places:
            for _ in range(MOST_OPEN + 8):
                places.enter_context(bodies.place())
            with pytest.raises(Refused, match="too many requests") as caught:
                places.enter_context(bodies.place())
            assert is_later(caught)

    run(test, max_queue=8)


@pytest.mark.parametrize("number", ["1", "1.5"])
def test_a_large_body_is_parsed_beside_the_event_loop(number):
    async def test(bodies, held):
        bodies.most, steps, end = 1 << 24, 0, False

        async def others():
            nonlocal steps
            while not end:
                await asyncio.sleep(0.001)
                steps += 1

        counting = asyncio.create_task(others())
        content = b"[" + b",".join([number.encode()] * 1_000_000) + b"]"
        assert await bodies.parse(bytearray(content), len) == 1_000_000
        end = True
        await counting
        assert steps > 5

    run(test)


@pytest.mark.parametrize("value, words", [(b"[],", "65,536 of {, inside"), (b'{"":1},', "65,536 of {, inside")])
def test_what_would_be_huge_in_memory_is_refused_before_it_is_parsed(value, words):
    async def test(bodies, held):
        with pytest.raises(Refused, match=words) as caught:
            await bodies.parse(bytearray(b"[" + (value * ((8 << 20) // len(value)))[:-1] + b"]"), pytest.fail)
        assert caught.value.status == 413

    run(test)


def test_where_large_bodies_wait_too_long_the_server_is_busy():
    async def test(bodies, held):
        upload = Upload(b" " * MOST)
        upload.go_on.set()
        with pytest.raises(Refused, match="busy") as caught:
            bodies.parse = lambda *_: asyncio.sleep(60)
            await read(bodies, upload)
        assert caught.value.status == 504

    run(test, timeout=0.1)


# ---- Of a server


def upload(url, length, size):
    """A connection on which `size` of `length` bytes of a body are sent."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode() + b" " * size)
    return connection


def test_a_server_answers_others_while_uploads_stall():
    most = 1 << 20
    fit = MOST_LARGE * most // (most - 1 - SMALL)
    with server(f"--max_request_bytes={most}") as process, contextlib.ExitStack() as connections:
        for _ in range(fit):
            connections.enter_context(upload(process.url, most, most - 1))
        eventually(lambda: numbers(httpx, process.url)["t2t_request_bytes"] == fit * (most - 1 - SMALL))
        large = json.dumps({"instances": ["x" * (most - 100)]}).encode()
        found = httpx.post(process.url + PREDICT, content=large, timeout=30)  # sends all before it reads
        refused(found, 429, "too many large requests")
        assert found.headers["retry-after"] == "1"
        assert httpx.get(process.url + "/v2/health/live", timeout=30).status_code == 200
        small = httpx.post(process.url + PREDICT, json={"instances": ["a"]}, timeout=30)
        assert small.json() == {"predictions": ["A"]}
        connections.close()
        eventually(lambda: numbers(httpx, process.url)["t2t_request_bytes"] == 0)
        assert httpx.post(process.url + PREDICT, content=large, timeout=30).status_code == 200
        assert not any("Traceback" in line for line in process.log), process.log


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_goes_away_during_its_upload_is_no_error_of_the_server(reset):
    with server() as process:
        said = len(process.log)
        for size in (0, 10, 100_000):
            with upload(process.url, 1 << 20, size) as connection:
                if reset:  # closed with an error for the other side
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        counted = 't2t_requests_total{problem="words",status="499"}'
        eventually(lambda: numbers(httpx, process.url).get(counted) == 3)
        assert not any('status="500"' in name for name in numbers(httpx, process.url))
        assert not [line for line in process.log[said:] if not line.startswith(("ready", "streams"))], process.log
