"""benchmarks/against_peers.py: sides take turns, only quiet blocks count, and a peer that does not run is named."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import against_peers  # noqa: E402
import common  # noqa: E402
from peers import turns  # noqa: E402

# A side that tells blocks of a given time, every third of them disturbed; a peer's step then does so of products.
SIDE = """
import json, sys
for seconds in {seconds}:
    blocks = 0
    print("READY", flush=True)
    for line in sys.stdin:
        if line.strip() == "next":
            break
        blocks += 1
        disturbed = blocks % 3 == 0
        print("BLOCK", json.dumps([9.0 if disturbed else seconds, seconds, float(disturbed)]), flush=True)
    if not blocks:
        sys.exit("nothing was timed")
print("RESULT", json.dumps({{"parameters": 7}}), flush=True)
"""


@pytest.fixture
def peers(tmp_path, monkeypatch):
    """A folder of scripts, an environment and this project's side; the machine counts as idle."""
    folder, environment = tmp_path / "peers", tmp_path / "environment"
    for made in (folder, environment / "bin"):
        made.mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    steps = {"peer_step": [0.3, 2.0], "peer_decode": [0.3], "other_step": [0.4], "other_decode": [0.05]}
    for name, seconds in steps.items():
        (folder / f"{name}.py").write_text(SIDE.format(seconds=seconds))
    (folder / "tuned.sh").write_text('#!/bin/sh\ntouch "$(dirname "$0")/made"\nexec "$@"\n')
    (folder / "tuned.sh").chmod(0o755)
    product = tmp_path / "product.py"
    product.write_text(SIDE.format(seconds=[0.1]))
    monkeypatch.setattr(against_peers, "PRODUCT", product)
    monkeypatch.setattr(turns, "_others", lambda: 0.0)
    return folder, environment


def run(capsys, peers, *more):
    against_peers.main([f"--peers={peers[0]}", f"--environment={peers[1]}", *more])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"benchmark"')]


def test_every_peer_is_a_row(capsys, peers):
    step, greedy, beam = run(capsys, peers, "--parts=text_128,greedy,beam", "--rounds=4")
    rows = {figure["what"].partition(", against ")[2]: figure for figure in step["figures"]}
    assert set(rows) == {"PyTorch", "PyTorch, tuned", "PyTorch, compiled", "MarianMT"}
    # The median of the quiet blocks: what others disturbed took nine seconds.
    assert rows["PyTorch, tuned"]["value"] == 3.0 and rows["MarianMT"]["value"] == 4.0
    assert rows["PyTorch, tuned"]["at_least"] == against_peers.MARKS["text_128"]["PyTorch, tuned"]
    assert step["parameters"] == dict.fromkeys(["product", *rows], 7)
    assert step["quiet_blocks"] == dict.fromkeys(["product", *rows], "4 of 5")
    names = lambda line: [figure["what"].partition(", against ")[2] for figure in line["figures"]]
    quick = ["CTranslate2, float32", "CTranslate2, int8"]
    assert names(greedy) == ["PyTorch", "PyTorch, tuned", "PyTorch, compiled", *quick] and names(beam) == quick
    assert beam["figures"][0]["value"] == 0.5
    assert not (peers[0] / "made").exists()  # what the scripts write beside themselves is in a copy


def test_a_peer_that_does_not_run_is_named(capsys, peers):
    (peers[0] / "other_step.py").write_text("import transformers_of_tomorrow\n")
    (line,) = run(capsys, peers, "--parts=text_128", "--rounds=1")
    assert "transformers_of_tomorrow" in line["missing"]["MarianMT"] and len(line["figures"]) == 3
    for name in ("peer_step", "other_step"):
        (peers[0] / f"{name}.py").write_text("raise SystemExit('no torch here')\n")
    with pytest.raises(SystemExit, match="no peer runs: .*no torch here"):
        run(capsys, peers, "--parts=text_128", "--rounds=1")


def test_a_busy_machine_ends_it(peers, monkeypatch):
    monkeypatch.setattr(turns, "_others", lambda: 1.0)
    with pytest.raises(SystemExit, match="others used the machine: .*run it again when the machine is idle"):
        run(None, peers, "--parts=beam", "--rounds=1", "--patience=0.2")


def test_it_runs_only_where_an_environment_is_named(capsys, peers):
    for arguments in ([], [f"--peers={peers[0]}"], [f"--peers={peers[0]}", "--environment=nowhere"]):
        with pytest.raises(SystemExit) as ended:
            against_peers.main(arguments)
        assert ended.value.code == common.NOT_RUN
        assert capsys.readouterr().err.startswith("not run: ")
    with pytest.raises(SystemExit, match="no part 'bean'; there are: text_128"):
        run(capsys, peers, "--parts=bean")
