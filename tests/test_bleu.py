"""t2t-bleu: sacrebleu's score of files, and the curve of a run."""

import json

import pytest
import sacrebleu

from t2t_multimodel.cli import bleu

TRANSLATED = ["the cat sits on the mat", "a dog barks loudly at night", "It rains."]
RIGHT = ["the cat sat on the mat", "a dog barks loudly at the night", "it rains ."]


@pytest.fixture
def files(tmp_path):
    for name, lines in (("out", TRANSLATED), ("right", RIGHT), ("second", TRANSLATED)):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return tmp_path


def test_files_are_scored_as_sacrebleu_does(files, run_command):
    status, out, _ = run_command(bleu.main, f"--translation={files / 'out'}", f"--reference={files / 'right'}")
    wanted = sacrebleu.corpus_bleu(TRANSLATED, [RIGHT]).score
    assert status == 0 and 20 < wanted < 80
    score, signature = out.splitlines()
    assert score.startswith(f"BLEU = {wanted:.2f} ") and "tok:13a" in signature and "case:mixed" in signature

    more = [f"--reference={files / 'second'}", "--tokenize=char", "--lowercase"]
    _, out, _ = run_command(bleu.main, f"--translation={files / 'out'}", f"--reference={files / 'right'}", *more)
    assert out.startswith("BLEU = 100.00 ") and "nrefs:2|case:lc" in out and "tok:char" in out


@pytest.mark.parametrize(
    "flags, reason",
    [
        ([], "give either"),
        (["--translation={}/out"], "--reference must be given"),
        (["--reference={}/out"], "--translation must be given"),
        (["--translation={}/out", "--reference={}/short"], "short has 1 lines, "),
        (["--translation={}/empty", "--reference={}/empty"], "is empty"),
        (["--translation={}/out", "--reference={}/none"], "can't be read"),
        (["--translation={}/out", "--reference={}/right", "--output_dir={}"], "give either"),
        (["--output_dir={}"], "holds no run"),
    ],
)
def test_errors_are_one_line(flags, reason, files, run_command):
    (files / "short").write_text("one\n")
    (files / "empty").write_text("")
    status, out, error = run_command(bleu.main, *(flag.format(files) for flag in flags))
    assert (status, out) == (2, "") and error.count("\n") == 1 and reason in error


def test_the_curve_of_a_run(tmp_path, run_command, monkeypatch):
    from t2t_multimodel.training import run_directory

    class Run:
        problems = {"a": None, "b": None, "c": None}
        problem = problems.__getitem__

    monkeypatch.setattr(run_directory.RunDirectory, "run", lambda self: Run())
    records = [
        {"step": 10, "split": "dev", "problem": "a", "bleu": 12.34, "decoding": "greedy"},
        {"step": 20, "split": "dev", "problem": "a", "bleu": 30.0, "decoding": "greedy"},
        {"step": 20, "split": "dev", "problem": "b", "bleu": 7.0},
        {"step": 30, "split": "dev", "problem": "a", "bleu": 29.0, "decoding": "greedy"},
        {"step": 30, "split": "dev", "problem": "c", "accuracy_top1": 0.5},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    status, out, _ = run_command(bleu.main, f"--output_dir={tmp_path}", "--problem=a")
    assert status == 0
    assert [line.split() for line in out.splitlines()[2:]] == [
        ["a", "dev", "10", "12.3", "greedy"],
        ["a", "dev", "20", "30.0", "best", "greedy"],
        ["a", "dev", "30", "29.0", "greedy"],
    ]
    status, out, _ = run_command(bleu.main, f"--output_dir={tmp_path}")
    assert len(out.splitlines()) == 6
    status, _, error = run_command(bleu.main, f"--output_dir={tmp_path}", "--problem=c")
    assert status == 2 and "problem with BLEU" in error
