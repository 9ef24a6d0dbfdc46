"""A log stops no run: what can't be read of it is dropped and said, and what can't be written is said."""

import json
import os
import random
import subprocess
import sys

import pytest

from t2t_multimodel.training import metrics_log
from t2t_multimodel.training.clock import seconds_logged
from t2t_multimodel.training.metrics_log import (
    EVALUATION_EVENTS_FOLDER,
    EVENTS_FOLDER,
    METRICS_FILE,
    MetricsLog,
    read_metrics,
)
from t2t_multimodel.training.reporting import Progress, draw_learning_curves


def line(step, **values):
    return json.dumps({"step": step, "split": "train", "problem": "p", "loss": 1.5, **values}).encode() + b"\n"


GOOD = [line(1), line(2, learning_rate=1e-3), line(3, loss="nan"), line(4, note="text", other=None)]
DAMAGED = {
    "a byte that is not UTF-8": GOOD[0].replace(b"loss", b"lo\xffs"),
    "half a line": b'{"step": 2, "spl\n',
    "nothing": b"\n",
    "zeros": bytes(4096) + b"\n",
    "no object": b"[1, 2]\n",
    "no step": b'{"split": "train"}\n',
    "no split": b'{"step": 3}\n',
    "a step of text": line("3"),
    "a step of true": line(True),
    "half a step": line(2.5),
    "a negative step": line(-1),
    "a huge step": line(10**30),
    "a step of many digits": b'{"step": ' + b"9" * 10_000 + b', "split": "train"}\n',
    "NaN": b'{"step": 3, "split": "train", "loss": NaN}\n',
    "Infinity": b'{"step": 3, "split": "train", "loss": -Infinity}\n',
    "a huge number": line(3, loss=1e300),
    "a loss of text": line(3, loss="much"),
    "a loss that is a list": line(3, loss=[1.0]),
    "a value that is an object": line(3, other={"a": 1}),
    "a value that is true": line(3, other=True),
    "seconds of text": line(3, train_seconds="nan"),
    "shares of text": line(3, share_planned="x", share_actual="y"),
    "a split that is a number": line(3, split=3),
    "a problem that is a list": line(3, problem=["p"]),
    "half of a surrogate pair": b'{"step": 3, "split": "train", "problem": "\\ud800"}\n',
    "depth": b'{"step": 3, "split": "train", "x": ' + b"[" * 100_000 + b"\n",
    "a line of 3 MB": b'{"step": 3, "split": "train", "x": "' + b"x" * 3_000_000 + b'"}\n',
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_line_is_dropped_with_a_notice_and_all_others_stay(tmp_path, how):
    path = tmp_path / METRICS_FILE
    path.write_bytes(GOOD[0] + DAMAGED[how] + b"".join(GOOD[1:]))
    said = []
    assert [r["step"] for r in read_metrics(tmp_path, said.append)] == [1, 2, 3, 4]
    assert said == [f"{path}: 1 line can't be read and left out, the first is line 2"]
    with MetricsLog(tmp_path, 3, warn=said.append) as log:
        log.write(4, {"loss": 1.0}, problem="p")
    assert said[1:] == [f"{path}: 1 line can't be read and dropped, the first is line 2"]
    assert path.read_bytes().startswith(b"".join(GOOD[:3])), "whole lines keep their bytes"
    assert [r["step"] for r in read_metrics(tmp_path, pytest.fail)] == [1, 2, 3, 4]
    assert seconds_logged(read_metrics(tmp_path), 4) == 0.0
    draw_learning_curves(tmp_path)


@pytest.mark.parametrize("append_only", [False, True])
def test_a_line_that_a_kill_cut_short_swallows_no_other(tmp_path, append_only):
    path = tmp_path / METRICS_FILE
    path.write_bytes(GOOD[0] + GOOD[1][:-7])
    with MetricsLog(tmp_path, 2, append_only=append_only, warn=lambda said: None) as log:
        log.write(3, {"loss": 1.0}, problem="p")
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 3]


def test_a_whole_log_is_not_rewritten(tmp_path):
    path = tmp_path / METRICS_FILE
    path.write_bytes(b"".join(GOOD))
    before = path.stat()
    MetricsLog(tmp_path, 4, warn=pytest.fail).close()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def endless(path):
    path.symlink_to("/dev/zero")


def linked(path):
    (path.parent / "elsewhere").write_text("not ours\n")
    path.symlink_to(path.parent / "elsewhere")


def huge(path):
    path.touch()
    os.truncate(path, 1 << 42)


@pytest.mark.parametrize("name", [METRICS_FILE, EVENTS_FOLDER])
@pytest.mark.parametrize("how", [os.mkfifo, os.mkdir, endless, linked, huge])
def test_whatever_stands_in_the_place_of_a_log_training_goes_on(tmp_path, name, how):
    if name == EVENTS_FOLDER and how is os.mkdir:
        return  # it is one
    how(tmp_path / name)
    said = []
    with MetricsLog(tmp_path, 2, warn=said.append) as log:
        for step in (3, 4):
            log.write(step, {"loss": 1.0}, problem="p")
    assert len(said) == 1 and str(tmp_path / name) in said[0] and "goes on" in said[0]
    assert not (tmp_path / "elsewhere").exists() or (tmp_path / "elsewhere").read_text() == "not ours\n"
    assert len(list(read_metrics(tmp_path, said.append))) == (0 if name == METRICS_FILE else 2)


def test_a_picture_that_can_not_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / METRICS_FILE).write_bytes(b"".join(GOOD))
    (tmp_path / "learning_curves.png").mkdir()
    with pytest.raises(OSError):  # which the trainer says and passes over
        draw_learning_curves(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["learning_curves.png", METRICS_FILE]


def test_progress_to_nowhere_is_silent(tmp_path):
    class Gone:
        def __init__(self, terminal):
            self.isatty = lambda: terminal
            self.encoding = "utf-8"

        def write(self, text):
            raise BrokenPipeError

        flush = write

    for stream in (Gone(False), Gone(True), open(tmp_path / "closed", "w")):
        getattr(stream, "close", lambda: None)()
        with Progress(3, ["p"], stream=stream, seconds_between=0) as progress:
            for step in (1, 2, 3):
                progress.update(step, {"p": 1.0}, 10)
            progress.say("text")


WRITER = """
import sys
from t2t_multimodel.training.metrics_log import MetricsLog
folder, split, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with MetricsLog(folder, 0, append_only=split != "train") as log:
    for step in range(1, count + 1):
        log.write(step, {"loss": 1.0, "text": "x" * 20_000 if step % 50 == 0 else ""}, problem=split, split=split)
"""


def test_evaluations_beside_a_training_run_only_add_lines(tmp_path):
    """Two evaluations write while training starts over (which rewrites the log) and writes too: each line is there."""
    said = ["dev", "test"]
    children = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name, "400"]) for name in said]
    for start in range(0, 400, 20):  # a resume at each of these steps; what an evaluation says of later ones goes
        with MetricsLog(tmp_path, 10**6) as log:
            for step in range(start + 1, start + 21):
                log.write(step, {"loss": 1.0}, problem="train")
        with open(tmp_path / METRICS_FILE, "ab") as file:
            file.write(b'{"damaged": "line"}\n')  # so that the next one rewrites the log
    assert [child.wait() for child in children] == [0, 0]
    steps = {name: [] for name in (*said, "train")}
    for record in read_metrics(tmp_path):
        steps[record["problem"]].append(record["step"])
    assert steps == {name: list(range(1, 401)) for name in steps}


def test_evaluations_have_events_of_their_own(tmp_path):
    """TensorBoard reads only the newest file of a folder: theirs must not end the curves of training."""
    with MetricsLog(tmp_path, 0) as training, MetricsLog(tmp_path, 5, append_only=True) as evaluation:
        training.write(1, {"loss": 1.0}, problem="p")
        evaluation.write(5, {"loss": 1.0}, problem="p", split="dev")
    for folder in (EVENTS_FOLDER, EVALUATION_EVENTS_FOLDER):
        assert len(list((tmp_path / folder).iterdir())) == 1


def test_any_damage_leaves_records_that_can_be_used(tmp_path):
    rng, content = random.Random(3), b"".join(GOOD * 5)
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        (tmp_path / METRICS_FILE).write_bytes(damaged[: rng.randrange(len(damaged))])
        for record in read_metrics(tmp_path):
            assert isinstance(record["step"], int) and isinstance(record["split"], str)
            assert metrics_log._is_value("loss", record.get("loss", 0.0))
