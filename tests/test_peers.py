"""benchmarks/peers: sides take turns, only undisturbed blocks count; this project's side is served like the others."""

import io
import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

from test_benchmarks import SMALL  # noqa: E402

PEER = """
import json, sys
print("READY", flush=True)
for line in sys.stdin:
    if line.strip() == "next":
        break
    print("BLOCK " + json.dumps(json.loads(sys.argv[1]).pop(0)), flush=True)
print("RESULT " + json.dumps({"parameters": 7}), flush=True)
"""


def test_only_blocks_that_others_left_alone_count(tmp_path, monkeypatch):
    from peers import turns

    monkeypatch.setattr(turns, "_others", lambda: 0.0)
    (tmp_path / "peer.py").write_text(
        PEER.replace("json.loads(sys.argv[1])", "blocks", 1).replace(
            'print("READY"', 'blocks = json.loads(sys.argv[1])\nprint("READY"', 1
        )
    )
    blocks = [[0.5, 1.0, 0.0], [9.0, 1.0, 0.9], [0.7, 1.0, 0.1], [0.6, 1.0, 0.2]]
    sides = [turns.Side([sys.executable, tmp_path / "peer.py", json.dumps(blocks)]) for _ in range(2)]
    try:
        for side in sides:
            side.wait("READY")
        turns.take_turns(sides, 3, 60)
        assert [len(side.blocks) for side in sides] == [4, 4]  # the second round was disturbed
        assert sides[0].seconds == 0.6 and sides[0].result() == {"parameters": 7}
    finally:
        for side in sides:
            side.end()


def test_a_machine_that_others_use_is_said_and_so_is_a_side_that_ends(tmp_path, monkeypatch):
    from peers import turns

    monkeypatch.setattr(turns, "_others", lambda: 1.0)
    side = turns.Side([sys.executable, "-c", "raise ValueError('no such model')"])
    with pytest.raises(RuntimeError, match="others used the machine: of 0 blocks .* 0 were quiet, not 2"):
        turns.take_turns([side], 2, 0)
    with pytest.raises(RuntimeError, match="ended with status 1: ValueError: no such model"):
        side.wait("READY")
    side.end()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["text"], ["decode", "1"], ["decode", "2"]])
def test_this_projects_side_is_served_in_blocks(arguments, monkeypatch, capfd):
    """As the peers' sides: two calls, READY, a block for each "run", the result after "next"."""
    from peers import product

    kind, *workers = arguments
    monkeypatch.setattr(sys, "stdin", io.StringIO("run\nrun\nnext\n"))
    product.main(kind, 32, "float32", 1, *workers, rows=2, written=8, **SMALL)
    said = [line for line in capfd.readouterr().out.splitlines() if line]
    assert [line.split()[0] for line in said] == ["READY", "BLOCK", "BLOCK", "RESULT"]
    wall, processor, others = json.loads(said[1].removeprefix("BLOCK"))
    assert wall > 0 and processor >= 0 and others >= 0
    assert json.loads(said[-1].removeprefix("RESULT"))["parameters"] > 0
