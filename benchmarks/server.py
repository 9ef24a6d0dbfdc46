"""t2t-server: requests a second and their time, by clients on the same processors; and how long it takes to be ready.

    python benchmarks/server.py --output_dir=run [--compile_cache=DIR] [--problem=tiny_ende] [--seconds=10]

Each client sends one sentence, waits for its answer and sends the next. Answers are compared with those of a request
that was alone. The first start fills the cache of programs, the second is the one that is measured.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

from common import not_run

WORDS = "the a red blue green small big circle star ring cross is above below beside sleeps shines hangs".split()
CLIENTS = (1, 8, 32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", help="a run directory with the problem")
    parser.add_argument("--compile_cache", default="")
    parser.add_argument("--problem", default="tiny_ende")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--starts", type=int, default=2)
    flags = parser.parse_args()
    if not flags.output_dir:
        not_run("needs a trained run; give --output_dir=RUN")
    with tempfile.TemporaryDirectory() as temporary:
        cache = flags.compile_cache or os.path.join(temporary, "cache")
        for start in range(flags.starts):
            process, port, seconds = started(flags, cache)
            print(json.dumps({"start": start + 1, "seconds to ready": round(seconds, 1)}), flush=True)
            try:
                if start + 1 == flags.starts:
                    asyncio.run(measure(flags, port))
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
            finally:
                process.kill()


def started(flags, cache):
    """(process, port, seconds until it was ready) of a server."""
    command = [sys.executable, "-m", "t2t_multimodel.cli.server", f"--output_dir={flags.output_dir}", "--port=0"]
    begin = time.monotonic()
    process = subprocess.Popen([*command, f"--compile_cache={cache}"], stdout=subprocess.PIPE, text=True)
    port = None
    for line in process.stdout:
        if line.startswith("listening"):
            port = int(line.split(";")[0].rstrip("/").rpartition(":")[2])
        if line.startswith("ready"):
            seconds = time.monotonic() - begin
        if line.startswith("streams"):
            return process, port, seconds
    raise SystemExit("the server ended")


async def measure(flags, port):
    generator = random.Random(1)
    sentences = [" ".join(generator.choices(WORDS, k=generator.randrange(3, 9))) for _ in range(200)]
    right = {}
    await client(port, flags.problem, sentences, lambda i, answer, _: right.__setitem__(i, answer), once=True)
    for count in CLIENTS:
        times, wrong = [], []

        def note(i, answer, seconds, times=times, wrong=wrong):
            times.append(seconds)
            if answer != right[i]:
                wrong.append(i)

        begin = time.monotonic()
        end = begin + flags.seconds
        await asyncio.gather(
            *(client(port, flags.problem, sentences, note, seed=seed, end=end) for seed in range(count))
        )
        times.sort()
        figures = {
            "clients": count,
            "requests/s": round(len(times) / (time.monotonic() - begin)),
            "p50 ms": round(1e3 * times[len(times) // 2], 1),
            "p99 ms": round(1e3 * times[int(0.99 * len(times))], 1),
            "wrong answers": len(wrong),
            "of": len(times),
        }
        print(json.dumps(figures), flush=True)


async def client(port, problem, sentences, note, seed=0, end=None, once=False):
    """Asks one sentence after the other; `note(number, answer, seconds)`."""
    generator = random.Random(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    order = iter(range(len(sentences))) if once else iter(lambda: generator.randrange(len(sentences)), None)
    for i in order:
        if end is not None and time.monotonic() > end:
            break
        body = json.dumps({"instances": [sentences[i]]}).encode()
        head = f"POST /v1/models/{problem}:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        begin = time.monotonic()
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        content = await reader.readexactly(length)
        assert answer.split()[1] == b"200", content
        note(i, json.loads(content)["predictions"][0], time.monotonic() - begin)
    writer.close()


if __name__ == "__main__":
    main()
