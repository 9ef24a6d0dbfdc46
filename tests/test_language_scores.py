"""A problem that is scored by perplexity and bits per character alone, through every command; and sampled answers."""

import json
import math

import pytest

from t2t_multimodel import load
from t2t_multimodel.cli import datagen, decoder, evaluate, report, trainer
from t2t_multimodel.cli.decoder import decode_lines
from t2t_multimodel.experiments import measure
from t2t_multimodel.metrics import get, totals
from t2t_multimodel.training.evaluation import evaluate_run
from t2t_multimodel.tuning.objective import Objective

pytestmark = pytest.mark.slow

CODE = '''
"""A user's folder: a problem that only its probabilities are known of, and a small hparams set."""
from dataclasses import replace
from t2t_multimodel.modalities import Text
from t2t_multimodel.hparams.multimodel import multimodel_tiny
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_hparams, register_problem

@register_problem
class ScoredTales(Problem):
    """The beginning of a tale → how it goes on."""
    inputs, targets = Text(), Text()
    vocabulary_size = 400
    metrics = ("perplexity", "bits_per_character")
    def samples(self, split):
        names = ["fox", "hen", "owl", "cat"]
        for i in range({"train": 48}.get(split, 8)):
            yield {"inputs": f"the {names[i % 4]}", "targets": f"sees {names[i // 4 % 4]} {i}", "key": f"{split}{i}"}

@register_hparams
def scored_tales_small():
    """As small as the model can be."""
    return replace(multimodel_tiny(), hidden_size=8, num_heads=2, encoder_blocks=1, attention_blocks=0, mixer_blocks=0,
                   decoder_blocks=1, num_experts=2, experts_per_token=2, expert_filter_size=8, batch_examples=8)
'''
TALES = "scored_tales"


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    """{flag: value} of a finished run, made by the commands, which was stopped early by its perplexity."""
    folder = tmp_path_factory.mktemp("tales")
    (folder / "mine").mkdir()
    (folder / "mine" / "tales.py").write_text(CODE, encoding="utf-8")
    flags = {"t2t_usr_dir": folder / "mine", "problem": TALES, "data_dir": folder / "data"}
    assert datagen.main(arguments(flags, workers=1)) == 0
    flags["output_dir"] = folder / "run"
    more = {"hparams_set": "scored_tales_small", "train_steps": 4, "log_interval": 1, "eval_interval": 2}
    more |= {"early_stopping_metric": f"{TALES}/perplexity", "early_stopping_patience": 3}
    assert trainer.main([*arguments(flags, **more), "--skip_decoding"]) == 0
    return flags


def arguments(flags, **values):
    return [f"--{name}={value}" for name, value in {**flags, **values}.items()]


def test_eval_reports_them_without_decoding(where, run_command):
    status, out, error = run_command(evaluate.main, *arguments(where))
    assert status == 0, error
    headline = [line.split() for line in out.splitlines()][2]
    assert headline[:2] == [TALES, "perplexity"] and headline[-2:] == ["test", "8"]
    scores = json.loads((where["output_dir"] / "eval" / "step-4.json").read_text())[TALES]
    assert scores["perplexity"] == pytest.approx(math.exp(scores["teacher_forced_log_perplexity"]))
    assert f"{scores['bits_per_character']:.3f}" in out and "decoding" not in scores
    characters = sum(len(f"sees {name} {i}") for name, i in zip(["fox"] * 4 + ["hen"] * 4, range(8)))
    evaluate_run(where["output_dir"], [TALES], where["data_dir"], examples=(kept := {}))
    rows = [example["teacher_forced"] for example in kept[TALES]]
    bits = -sum(row.log_probability for row in rows) / math.log(2)
    assert scores["bits_per_character"] == pytest.approx(bits / characters)
    assert [example["prediction"] for example in kept[TALES]] == [None] * 8


def test_training_and_its_report_show_them(where, run_command):
    records = [json.loads(line) for line in (where["output_dir"] / "metrics.jsonl").read_text().splitlines()]
    scored = [record for record in records if record["split"] == "dev"]
    assert [record["step"] for record in scored] == [2, 4] and all("perplexity" in record for record in scored)
    for more in ([], ["--skip_data"]):
        flags = {name: value for name, value in where.items() if name not in ("problem", "data_dir")}
        status, out, error = run_command(report.main, *arguments(flags), *more)
        assert status == 0, error
        text = (where["output_dir"] / "report.md").read_text()
        assert f"{TALES} | perplexity" in text and "bits_per_character" in text


def test_a_suite_compares_them_by_example(where):
    class Trained:
        def __init__(self, flags):
            from t2t_multimodel.input.store import ExampleStore
            from t2t_multimodel.training.evaluation import Evaluator
            from t2t_multimodel.training.run_directory import RunDirectory

            model, run, hparams, _ = RunDirectory(flags["output_dir"]).load_model()
            self.stores, self.evaluator = (
                {TALES: ExampleStore(flags["data_dir"], TALES)},
                Evaluator(model, run, hparams),
            )

    measured = measure.test_scores(Trained(where))[TALES]
    assert measured["examples"] == 8 and {"perplexity", "bits_per_character"} <= measured["sums"].keys()
    for name in ("perplexity", "bits_per_character"):
        assert get(name).value_of(totals(measured["sums"][name])) == pytest.approx(measured["scores"][name])


def test_tuning_can_aim_at_them():
    objective = Objective("perplexity", {TALES: ("perplexity", "bits_per_character")})
    assert objective.direction == "minimize" and not objective.needs_decoding
    assert objective.value({TALES: {"perplexity": 7.5}}) == 7.5


def test_sampled_answers_are_the_same_again(where, run_command, tmp_path):
    """By number and input of a line, whatever else is decoded."""
    model = load(where["output_dir"])
    how = {"temperature": 1.0, "top_p": 0.95, "max_length": 12}
    inputs = ["the fox"] * 5 + ["the owl"]
    answers = model.decode(TALES, inputs, **how)
    assert len(set(answers[:5])) == 5
    assert model.decode(TALES, ["the fox", "a longer tale of the hen"], **how)[0] == answers[0]
    assert model.decode(TALES, inputs[4:], first_row=4, **how) == answers[4:]
    assert model.decode(TALES, inputs, seed=1, **how) != answers
    (tmp_path / "in.txt").write_text("".join(f"{line}\n" for line in inputs))
    settings = ",".join(f"{name}={value}" for name, value in how.items())
    flags = where | {"decode_from_file": tmp_path / "in.txt", "decode_hparams": settings}
    status, out, error = run_command(decoder.main, *arguments(flags))
    assert status == 0 and out == "".join(f"{line}\n" for line in decode_lines(lambda _: lambda: answers, inputs)), (
        error
    )
    flags["decode_hparams"] = "temperature=1,beam_size=4"
    status, _, error = run_command(decoder.main, *arguments(flags))
    assert status == 2 and "set beam_size=1 to sample" in error
