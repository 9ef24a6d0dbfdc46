"""Seeded damage to files, for tests that a reader notices all of it: bytes of any file, and values of JSON.

`mutate` is the whole interface: content → (what was done, damaged content). The same `random.Random` does the same
damage. T2T_FUZZ_SECONDS=N in the environment makes the tests go on for N seconds; without it they are short.
"""

import json
import os
import time

_HUGE = (2**31, 2**63, 2**64, -(2**63), 10**30, 1e308, -1, 0)
_DEEP = 100_000  # far beyond what a recursive reader can take
_WRONG = (
    None,
    True,
    False,
    "",
    "x",
    "/dev/zero",
    "../../../etc/passwd",
    "\x1b]0;pwned\x07",
    "a\0b",
    "x" * 5000,
    [],
    {},
    [[]],
    {"x": 1},
)


def mutate(content, rng):
    """(description, other bytes than `content`); JSON is damaged as bytes or as values, everything else as bytes."""
    kinds = [_of_bytes]
    try:
        value = json.loads(content)
        kinds += [_of_json, _of_json]
    except (ValueError, RecursionError):
        value = None
    for _ in range(100):
        kind = rng.choice(kinds)
        said, damaged = kind(content, rng) if kind is _of_bytes else kind(value, rng)
        if damaged != content and not (kind is _of_json and _same_json(damaged, value)):
            return said, damaged
    return "emptied", b"" if content else b"\0"


def rounds(default, seed=0):
    """Yields seeds for `mutate`: `default` of them, or as many as fit into T2T_FUZZ_SECONDS."""
    seconds, start, number = float(os.environ.get("T2T_FUZZ_SECONDS", 0)), time.monotonic(), 0
    while number < default if not seconds else time.monotonic() - start < seconds:
        yield seed * 1_000_003 + number
        number += 1


def _of_bytes(content, rng):
    at = rng.randrange(len(content)) if content else 0
    end = min(len(content), at + rng.choice((1, 2, 8, 64, 1024)))
    block = content[at:end]
    kinds = {
        f"bit of byte {at} flipped": lambda: (
            content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
        ),
        f"byte {at} another one": lambda: content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :],
        f"cut at byte {at}": lambda: content[:at],
        f"bytes {at} to {end} removed": lambda: content[:at] + content[end:],
        f"bytes {at} to {end} twice": lambda: content[:end] + content[at:],
        f"bytes {at} to {end} zero": lambda: content[:at] + bytes(len(block)) + content[end:],
        f"bytes {at} to {end} random": lambda: content[:at] + rng.randbytes(len(block)) + content[end:],
        f"random bytes put in at {at}": lambda: content[:at] + rng.randbytes(rng.choice((1, 8, 64))) + content[at:],
        "more behind its end": lambda: content + rng.randbytes(rng.choice((1, 16, 512))),
        "emptied": lambda: b"",
    }
    if not content:
        return "filled with garbage", rng.randbytes(16)
    said = rng.choice(sorted(kinds))
    return said, kinds[said]()


def _of_json(value, rng):
    """One value somewhere in it is another one, missing, or too many; or the whole is another thing."""
    whole = rng.random()
    if whole < 0.05:
        opening = rng.choice(("[", '{"a":'))
        return f"{_DEEP} {opening}", (opening * _DEEP).encode()
    if whole < 0.10:
        other = rng.choice(_WRONG)
        return f"the whole is {str(other)[:20]!r}", json.dumps(other).encode()
    copy = json.loads(json.dumps(value))
    places = list(_places(copy))
    if not places:
        other = rng.choice(_WRONG)
        return f"the whole is {str(other)[:20]!r}", json.dumps(other).encode()
    container, key = rng.choice(places)
    said = f"{key!r}"
    kinds = ["other", "other", "number", "near", "deep", "missing", "more"]
    kind = rng.choice(kinds)
    if kind == "near":
        kind, said = _near(container, key, rng, said)
    if kind == "other":
        container[key] = rng.choice(_WRONG)
        said += f" is {str(container[key])[:20]!r}"
    elif kind == "number":
        container[key] = rng.choice((*_HUGE, float("nan"), float("inf"), -float("inf"), 0.5))
        said += f" is {container[key]}"
    elif kind == "missing":
        del container[key]
        said += " is missing"
    elif kind == "more":
        if isinstance(container, dict):
            container[f"{key}_"] = container[key]
        else:
            container.insert(key, container[key])
        said += " is there twice"
    elif kind == "deep":
        container[key] = "DEEP"
        text = json.dumps(copy).replace('"DEEP"', "[" * _DEEP + "]" * _DEEP)
        return said + " is deep", text.encode()
    return said, json.dumps(copy, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _near(container, key, rng, said):
    """Changes a value a little, so that only its meaning is wrong; ("done" or another kind of damage, description)."""
    value = container[key]
    if isinstance(value, bool):
        container[key] = not value
    elif isinstance(value, int):
        container[key] = value + rng.choice((-1, 1))
    elif isinstance(value, str) and value:
        at = rng.randrange(len(value))
        container[key] = value[:at] + rng.choice("0aZ/\n") + value[at + 1 :]
    elif isinstance(value, list) and len(value) > 1:
        container[key] = value[::-1]
    else:
        return "other", said
    return "done", f"{said} is {str(container[key])[:40]!r} instead of {str(value)[:40]!r}"


def _places(value):
    """Yields (container, key) of every value inside `value`."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def _same_json(content, value):
    try:
        return json.loads(content) == value
    except (ValueError, RecursionError):
        return False
