"""The four commands in a row, as a user types them: data, training, continuing, scores, decoding."""

import json

import pytest

from t2t_multimodel.cli import datagen, decoder, demo, evaluate, trainer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kept_programs")]  # their run is made by the first of them
CODE = '''
"""A user's folder: one small problem, one small hparams set."""
from dataclasses import replace
from t2t_multimodel.modalities import Text
from t2t_multimodel.hparams.multimodel import multimodel_tiny
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_hparams, register_problem

@register_problem
class CommandWords(Problem):
    """Digits → their names."""
    inputs, targets = Text(), Text()
    vocabulary_size = 400
    def samples(self, split):
        names = ["zero", "one", "two", "three", "four", "five", "six", "seven"]
        for i in range({"train": 64}.get(split, 8)):
            yield {"inputs": f"{i % 8} {i // 8}", "targets": f"{names[i % 8]} {names[i // 8]}", "key": f"{split}{i}"}

@register_hparams
def command_words_small():
    """As small as the model can be."""
    return replace(multimodel_tiny(), hidden_size=8, num_heads=2, encoder_blocks=2, attention_blocks=1, mixer_blocks=1,
                   decoder_blocks=1, num_experts=2, experts_per_token=2, expert_filter_size=8, batch_examples=8)
'''


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    """{flag: value} of a finished run of 3 steps, made by the commands."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "mine").mkdir()
    (folder / "mine" / "command_words.py").write_text(CODE, encoding="utf-8")
    flags = {"t2t_usr_dir": folder / "mine", "problem": "command_words", "data_dir": folder / "data"}
    assert datagen.main(arguments(flags, workers=1)) == 0
    flags["output_dir"] = folder / "run"
    assert trainer.main(training(flags)) == 0
    return flags


def arguments(flags, *more, **values):
    return [f"--{name}={value}" for name, value in {**flags, **values}.items()] + list(more)


def training(flags, **values):
    values = {"hparams_set": "command_words_small", "train_steps": 3, "eval_batches": 1, "log_interval": 1} | values
    return arguments(flags, **values)


def test_a_run_directory_holds_what_the_documentation_says(where):
    run = where["output_dir"]
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["step-000003"]
    for name in ("hparams.json", "operative_config.gin", "metrics.jsonl", "learning_curves.png", "vocabulary"):
        assert (run / name).exists(), name
    assert list((run / "events").iterdir())
    assert json.loads((run / "hparams.json").read_text())["train_steps"] == {"value": 3, "source": "--train_steps"}


def test_a_second_datagen_does_nothing_and_says_so(where, run_command):
    data = {name: where[name] for name in ("t2t_usr_dir", "problem", "data_dir")}
    status, out, _ = run_command(datagen.main, *arguments(data))
    assert status == 0 and "nothing to do" in out


def test_eval_prints_a_table_and_writes_the_scores(where, run_command):
    status, out, _ = run_command(evaluate.main, *arguments(where))
    assert status == 0
    table = [line.split() for line in out.splitlines()]
    assert ["command_words", "bleu"] == table[2][:2] and table[2][-2:] == ["test", "8"]
    scores = json.loads((where["output_dir"] / "eval" / "step-3.json").read_text())["command_words"]
    assert scores["examples"] == 8 and 0 <= scores["exact_match"] <= 1 and "teacher_forced_accuracy" in scores


def test_scores_of_other_problems_stay(tmp_path):
    for scores in ({"a": {"bleu": 1.0}, "b": {"bleu": 2.0}}, {"b": {"bleu": 3.0}}):
        path = evaluate.write_scores(scores, tmp_path, 3)
    assert json.loads(path.read_text()) == {"a": {"bleu": 1.0}, "b": {"bleu": 3.0}}
    path.write_text("{")
    evaluate.write_scores({"b": {"bleu": 3.0}}, tmp_path, 3)
    assert json.loads(path.read_text()) == {"b": {"bleu": 3.0}}, "a damaged file is written again"


def test_the_decoder_answers_line_by_line_and_keeps_blank_ones(where, run_command, tmp_path):
    (tmp_path / "in.txt").write_text("1 2\n\n3 4\n1 2\n")
    flags = arguments(where, f"--decode_from_file={tmp_path / 'in.txt'}", "--decode_hparams=beam_size=2")
    assert run_command(decoder.main, *flags)[0] == 0
    _, shown, _ = run_command(decoder.main, *flags)
    assert run_command(decoder.main, *flags, f"--decode_to_file={tmp_path / 'out.txt'}")[0] == 0
    lines = (tmp_path / "out.txt").read_text().split("\n")
    assert len(lines) == 5 and lines[1] == "" and lines[0] == lines[3] and shown.endswith("\n".join(lines))


def test_an_input_longer_than_any_in_training_is_an_error_or_a_warning(where, run_command, tmp_path):
    (tmp_path / "in.txt").write_text("1 2 " * 100 + "\n")
    flags = arguments(where, f"--decode_from_file={tmp_path / 'in.txt'}")
    status, out, error = run_command(decoder.main, *flags)
    assert (status, out) == (2, "") and "input 1 is longer" in error
    status, out, error = run_command(decoder.main, *flags, "--long_inputs=warn")
    assert status == 0 and out.count("\n") == 1 and "t2t-decoder: warning: " in error.splitlines()[-1]


def test_typing_is_answered_until_end_of_file(where, run_command, monkeypatch):
    typed = iter(["1 2", ""])

    def type_a_line(prompt):
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", type_a_line)
    status, out, _ = run_command(decoder.main, *arguments(where), "--decode_interactive")
    assert status == 0 and out.count("\n") == 2


@pytest.mark.parametrize(
    "main, more, words",
    [
        (trainer.main, ["--hparams=dropout=0.5"], ["dropout: 0.0 → 0.5", "--output_dir"]),
        (trainer.main, ["--seed=5"], ["seed: 0 → 5"]),
        (trainer.main, ["--data_dir=nowhere"], ["t2t-datagen --problem=command_words --data_dir=nowhere"]),
        (trainer.main, ["--early_stopping_metric=blue", "--early_stopping_patience=1"], ["blue", "bleu"]),
        (evaluate.main, ["--split=tset"], ["tset", "test"]),
        (evaluate.main, ["--step=7"], ["step 7", "3"]),
        (evaluate.main, ["--output_dir=nowhere"], ["nowhere holds no run"]),
        (evaluate.main, ["--decode_hparams=beam_width=4"], ["beam_width", "beam_size"]),
        (decoder.main, ["--problem=command_word", "--decode_interactive"], ["command_word", "command_words"]),
    ],
)
def test_a_mistake_about_a_run_is_one_line(main, more, words, where, run_command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    # … and changes nothing.
    before = {p: p.stat().st_mtime_ns for p in where["output_dir"].rglob("*")}
    flags = training(where) if main is trainer.main else arguments(where)
    status, _, error = run_command(main, *flags, *more)
    message = error.splitlines()[-1]
    assert status == 2 and ": error: " in message and all(word in message for word in words), error
    assert {p: p.stat().st_mtime_ns for p in where["output_dir"].rglob("*")} == before
    assert list(tmp_path.iterdir()) == []


def test_the_demo_goes_all_the_way(where, run_command, monkeypatch, tmp_path):
    """The demonstration itself takes minutes; this is its path, on the small problem."""
    monkeypatch.setattr(demo, "MIXTURE", "command_words")
    monkeypatch.setattr(demo, "HPARAMS_SET", "command_words_small")
    monkeypatch.setattr(demo, "SHOWN", ("command_words",))
    status, out, error = run_command(
        demo.main, f"--t2t_usr_dir={where['t2t_usr_dir']}", f"--output_dir={tmp_path}", "--train_steps=1"
    )
    assert status == 0, error
    assert "trivial" in out and "\n  right  " in out and "together " in out
    assert (tmp_path / "run" / "learning_curves.png").exists() and (tmp_path / "run" / "eval" / "step-1.json").exists()


def test_the_printed_command_continues_the_run(where, run_command):
    """Last in this file: the run of the others then has a step more."""
    status, out, error = run_command(trainer.main, *training(where))
    assert status == 0 and f"--output_dir={where['output_dir']}" in out.splitlines()[-1], error
    assert run_command(trainer.main, *training(where, train_steps=4))[0] == 0
    records = [json.loads(line) for line in (where["output_dir"] / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "gradient_norm" in r] == [1, 2, 3, 4]
