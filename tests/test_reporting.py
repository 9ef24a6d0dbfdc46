"""Curves of a resumed run do not double, tables line up, and the progress shows step, losses, speed, time left."""

import io
import json
import re
import struct
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2t_multimodel.training import reporting
from t2t_multimodel.training.loss_window import LossWindow
from t2t_multimodel.training.metrics_log import EVENTS_FOLDER, MetricsLog, read_metrics
from t2t_multimodel.training.reporting import Progress, format_seconds, format_table

PROBLEMS = ("tiny_ende", "tiny_image")


def log_steps(folder, steps, resume_step=0):
    with MetricsLog(folder, resume_step) as log:
        for step in steps:
            log.write(step, {"tokens_per_second": 1000.0})
            for problem in PROBLEMS:
                log.write(step, {"loss": 5.0 / step}, problem=problem)


def events(folder):
    """Every event of the TensorBoard files in the order of their names, read by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for path in sorted((folder / EVENTS_FOLDER).iterdir()):
        yield from EventFileLoader(str(path)).Load()


def test_a_record_is_one_line_of_json_with_its_problem(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(7, {"bleu": 12.5, "examples": 100, "bleu_signature": "é"}, problem="tiny_ende", split="dev")
        log.write(8, {"learning_rate": 1e-3})
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == {
        "step": 7,
        "split": "dev",
        "problem": "tiny_ende",
        "bleu": 12.5,
        "examples": 100,
        "bleu_signature": "é",
    }
    assert json.loads(lines[1]) == {"step": 8, "split": "train", "learning_rate": 0.001}


def test_after_a_resume_no_step_comes_twice(tmp_path):
    log_steps(tmp_path, range(1, 21))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "cut by a k')  # a kill in the middle of a line
    log_steps(tmp_path, range(11, 31), resume_step=10)
    for problem in (None, *PROBLEMS):
        steps = [record["step"] for record in read_metrics(tmp_path) if record.get("problem") == problem]
        assert steps == list(range(1, 31))


def test_a_new_run_in_an_old_folder_starts_an_empty_log(tmp_path):
    log_steps(tmp_path, [1, 2])
    log_steps(tmp_path, [1])
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 1, 1]


def test_values_that_are_not_finite_stay_readable_json(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(1, {"loss": float("nan")}, problem="p")

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    line = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=refuse)["loss"] == "nan"


def test_tensorboard_reads_the_events_and_forgets_what_a_resume_repeats(tmp_path):
    log_steps(tmp_path, range(1, 6))
    log_steps(tmp_path, range(4, 8), resume_step=3)
    read = list(events(tmp_path))
    values = [(e.step, v.tag) for e in read for v in e.summary.value]
    assert (7, "tiny_image/train/loss") in values and (1, "run/train/tokens_per_second") in values
    restarts = [e.step for e in read if e.HasField("session_log")]
    assert restarts == [4]  # TensorBoard drops what it read for steps from there on


def test_a_batch_without_known_targets_is_no_loss_of_zero():
    """Also where a checkpoint was made between the batches, and by a version that did not count them."""

    def report(loss, weight):
        return {"loss": loss, "cross_entropy": loss, "weight": weight, "load_balance_loss": 1.0}

    batches = [SimpleNamespace(problem=name, input_tokens=2, target_tokens=1) for name in ("years", "unknown")]
    window, lines = LossWindow(), {}
    window.add(batches, [report(3.0, 1.0), report(0.0, 0.0)], 1.0)
    state = json.loads(json.dumps(window.state()))
    del state["sums"]["years"]["without_targets"]
    window = LossWindow()
    window.restore(state)
    window.add(batches[:1], [report(0.0, 0.0)], 1.0)
    assert window.latest[0] == {}
    window.add(batches, [report(5.0, 1.0), report(0.0, 0.0)], 1.0)
    assert window.latest[0] == {"years": 5.0}
    stream = SimpleNamespace(shares=lambda: {"years": (0.6, 0.6), "unknown": (0.4, 0.4)}, examples_seen=Counter())
    log = SimpleNamespace(write=lambda step, values, problem=None: lines.update({problem: values}))
    window.write(log, 3, stream, 0.1, 1.0)
    assert (lines["years"]["cross_entropy"], lines["years"]["load_balance_loss"]) == (4.0, 1.0)
    assert "loss" not in lines["unknown"] and lines["unknown"]["microbatches"] == 2


def test_events_need_no_tensorflow(tmp_path):
    code = (
        "import sys; from t2t_multimodel.training.metrics_log import MetricsLog\n"
        f"log = MetricsLog({str(tmp_path)!r}); log.write(1, {{'loss': 1.0}}); log.close()\n"
        "print([m for m in ('tensorflow', 'jax', 'keras') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_away_from_a_terminal_progress_is_plain_lines():
    stream = io.StringIO()
    with Progress(20, PROBLEMS, start_step=10, stream=stream, seconds_between=0) as progress:
        for step in range(11, 21):
            progress.update(step, {PROBLEMS[step % 2]: 3.0}, tokens=100)
        progress.say("checkpoint saved")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11 and lines[-1] == "checkpoint saved" and "\r" not in stream.getvalue()
    assert re.fullmatch(r"step 20/20  [\d,]+ tokens/s, 0:00 left  loss ende 3.00  image 3.00", lines[-2])


def test_progress_shows_how_many_programs_are_compiled_until_all_are():
    stream = io.StringIO()
    progress = Progress(3, ["p"], stream=stream, seconds_between=0)
    for there in range(3):
        progress.programs(there, 3, show=True)
    progress.update(1)
    progress.programs(3, 3)
    progress.update(2)
    lines = stream.getvalue().splitlines()
    assert lines[:3] == [f"step 0/3  programs {there}/3" for there in range(3)]
    assert "left, programs 2/3" in lines[3] and "programs" not in lines[4]


def test_on_a_terminal_progress_is_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with Progress(20, PROBLEMS, stream=stream) as progress:
        for step in range(1, 21):
            progress.update(step, {"tiny_ende": 2.0, "tiny_image": 1.0}, tokens=100)
    shown = stream.getvalue()
    assert "step 20/20" in shown and "tokens/s" in shown and "left" in shown
    assert "ende 2.00" in shown and "image 1.00" in shown


def test_progress_forgets_a_loss_that_was_not_finite():
    stream = io.StringIO()
    progress = Progress(3, ["p"], stream=stream, seconds_between=0)
    for step, loss in enumerate((float("inf"), 2.0, 2.0), 1):
        progress.update(step, {"p": loss})
    assert stream.getvalue().splitlines()[-1].endswith("p 2.00")


@pytest.mark.slow
def test_learning_curves_are_a_picture_with_a_panel_for_each_problem(tmp_path):
    assert reporting.draw_learning_curves(tmp_path) is None  # nothing logged
    log_steps(tmp_path, range(1, 21))
    sizes = []
    for problems in (1, 6):
        with MetricsLog(tmp_path, resume_step=20) as log:
            for number in range(problems):
                log.write(20, {"bleu": 50.0, "cer": "nan"}, problem=f"other_{number}", split="dev")
        path = reporting.draw_learning_curves(tmp_path, {"other_0": "cer"})
        header = path.read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        sizes.append(struct.unpack(">II", header[16:24]))
    assert sizes[1][1] > sizes[0][1]  # eight panels need a second row
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_curves_take_the_headline_that_they_are_told():
    records = [{"step": 5, "split": "dev", "problem": "p", "bleu": 9.0, "exact_match": 0.25, "examples": 4}]
    assert reporting.learning_curves(records, {})[1:] == ({"p": ([5], [9.0])}, {"p": "bleu"})
    assert reporting.learning_curves(records, {"p": "exact_match"})[1:] == ({"p": ([5], [0.25])}, {"p": "exact_match"})


def test_tables_line_up():
    table = format_table([("problem", "bleu", "n"), ("tiny_ende", 99.1234, 1000), ("x", None, 3), ("y", 0.5, None)])
    assert table.splitlines() == [
        "problem     bleu      n",
        "---------  -----  -----",
        "tiny_ende  99.12  1,000",
        "x                     3",
        "y            0.5",
    ]


@pytest.mark.parametrize("seconds, text", [(0, "0:00"), (75.4, "1:15"), (3675, "1:01:15")])
def test_times_read_like_a_clock(seconds, text):
    assert format_seconds(seconds) == text


@given(st.lists(st.tuples(st.text("ab ", max_size=5), st.one_of(st.none(), st.integers(), st.floats())), max_size=5))
def test_any_table_has_a_line_a_row(rows):
    assert len(format_table([("a", "b"), *rows]).split("\n")) == len(rows) + 2


@given(st.lists(st.from_regex(r"[a-z]{1,4}(_[a-z]{1,4}){0,2}", fullmatch=True), min_size=1, max_size=5, unique=True))
def test_short_names_stay_different(names):
    short = reporting.short_names(names)
    assert list(short) == names and len(set(short.values())) == len(names) and all(short.values())
