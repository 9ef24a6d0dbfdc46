"""Timed blocks: several calls of a function, with what the rest of the machine did meanwhile.

On a machine that others use, wall time says something only of the blocks that they left alone: `others` is how many
processors were busy with anything but this process and its workers, by /proc/stat.
"""

import json
import os
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")
BLOCK_SECONDS = 0.1  # at least one call


def serve(function, result, workers=()):
    """Speaks with `turns.py` over standard input and output: "run" is one block, "next" is the end.

    Args:
      function: what is timed. result: a function that gives what is told at the end, {name: value}.
      workers: ids of the processes that compute for this one.
    """
    for _ in range(2):
        function()
    start = time.perf_counter()
    function()
    calls = max(1, round(BLOCK_SECONDS / (time.perf_counter() - start)))
    print("READY", flush=True)
    for line in sys.stdin:
        if line.strip() == "next":
            break
        function()  # what the others left in the caches is theirs
        print("BLOCK " + json.dumps(block(function, calls, workers)), flush=True)
    print("RESULT " + json.dumps(result()), flush=True)


def block(function, calls, workers=()):
    """(wall seconds a call, processor seconds a call, processors that others used meanwhile)."""
    all_busy, own, start = busy(), _own(workers), time.perf_counter()
    for _ in range(calls):
        function()
    wall, own = time.perf_counter() - start, _own(workers) - own
    return wall / calls, own / calls, max(0.0, (busy() - all_busy - own) / wall)


def busy():
    """Seconds that all processors together were busy since the machine started."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, interrupt, soft_interrupt, stolen = map(int, file.readline().split()[1:9])
    return (user + nice + system + interrupt + soft_interrupt + stolen) / TICK


def _own(workers):
    return time.process_time() + sum(map(_seconds_of, workers))


def _seconds_of(process):
    with open(f"/proc/{process}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK
