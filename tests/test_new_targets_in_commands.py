"""Numbers, label sets and time series go through every command: made, verified, trained on, shown, scored, decoded."""

import json

import pytest
from conftest import REPOSITORY
from small_run import arguments

from t2t_multimodel import load, registry
from t2t_multimodel.cli import datagen, decoder, evaluate, inspect_data, report, trainer
from t2t_multimodel.experiments.measure import test_scores as scores_by_example

pytestmark = pytest.mark.slow

CODE = '''
"""A problem for each kind, and a model as small as can be."""
from dataclasses import replace
import numpy as np
from t2t_multimodel.hparams.multimodel import multimodel_tiny
from t2t_multimodel.modalities import Image, LabelSet, Numbers
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_hparams, register_problem
from kind_series import Forecast, TimeSeries


class Made(Problem):
    def samples(self, split):
        rng = np.random.default_rng(len(split))
        for i in range(24 if split == "train" else 6):
            yield self.made(rng) | {"key": f"{split}-{i}"}


@register_problem
class KindPrice(Made):
    """Numbers → numbers."""
    inputs, targets = Numbers(("area", "rooms")), Numbers(("price",))
    def made(self, rng):
        area, rooms = rng.normal(size=2)
        return {"inputs": [area, float("nan") if rooms > 1 else rooms], "targets": [area + rooms]}


@register_problem
class KindTags(Made):
    """Pictures → label sets."""
    inputs, targets = Image(8, 8, 3), LabelSet(("dark", "red"))
    def made(self, rng):
        picture = np.full((8, 8, 3), rng.integers(0, 256, 3), np.uint8)
        held = [name for name, there in zip(("dark", "red"), picture[0, 0, :2] < 128) if there]
        return {"inputs": picture, "targets": held}


@register_problem
class KindForecast(Made):
    """Time series → forecasts."""
    inputs, targets = TimeSeries(("heat",)), Forecast(("heat",), horizon=2)
    def made(self, rng):
        series = np.sin(np.arange(rng.integers(6, 10)) + rng.normal())[:, None].astype(np.float32)
        return {"inputs": series[:-2], "targets": series[-2:]}


@register_hparams
def kind_small():
    return replace(multimodel_tiny(), hidden_size=8, num_heads=2, encoder_blocks=1, use_experts=False, batch_examples=8,
                   image_stem_filters=(4, 4), image_residual_filters=(0,))
'''
KINDS = ("kind_price", "kind_tags", "kind_forecast")


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    """{flag: value} of a run of four updates."""
    registry.load()
    before = [each.snapshot() for each in registry.ALL]
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "mine").mkdir()
    (folder / "mine" / "kinds.py").write_text(CODE, encoding="utf-8")
    series = REPOSITORY / "examples" / "more_modalities" / "time_series.py"
    (folder / "mine" / "kind_series.py").write_text(series.read_text(encoding="utf-8"), encoding="utf-8")
    flags = {"t2t_usr_dir": folder / "mine", "problem": ",".join(KINDS), "data_dir": folder / "data"}
    assert datagen.main(arguments(flags, workers=1)) == 0
    flags["output_dir"] = folder / "run"
    more = {"hparams_set": "kind_small", "train_steps": 4, "eval_interval": 2, "log_interval": 1, "save_interval": 2}
    assert trainer.main(arguments(flags, **more)) == 0
    yield flags
    for each, snapshot in zip(registry.ALL, before):
        each.restore(snapshot)


def test_the_data_is_whole_and_shown(where, run_command, tmp_path):
    data = {name: where[name] for name in ("t2t_usr_dir", "problem", "data_dir")}
    status, out, error = run_command(datagen.main, *arguments(data), "--verify")
    assert status == 0 and out.count("every byte as it was written") == 3, error
    status, out, error = run_command(inspect_data.main, *arguments(data, output_dir=tmp_path))
    assert status == 0, error
    for said in ("area ", "standard deviation", "of 2 labels", "time_series"):
        assert said in out


def test_they_are_scored(where, run_command):
    status, out, error = run_command(evaluate.main, *arguments(where))
    assert status == 0, error
    for said in ("mae", "r2", "f1_micro", "average_precision"):
        assert said in out
    logged = [json.loads(line) for line in (where["output_dir"] / "metrics.jsonl").read_text().splitlines()]
    assert {"mae", "teacher_forced_loss"} <= {name for line in logged for name in line}


@pytest.mark.parametrize("name, line", [("kind_price", "0.5 1.5"), ("kind_tags", "{png}"), ("kind_forecast", "{csv}")])
def test_files_are_decoded_to_a_line_each(where, name, line, run_command, tmp_path):
    from PIL import Image as PillowImage

    PillowImage.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text("1\n0.5\n\n-1\n")
    line = line.format(png=tmp_path / "a.png", csv=tmp_path / "a.csv")
    (tmp_path / "in.txt").write_text(f"{line}\n\n{line}\n", encoding="utf-8")
    flags = where | {"problem": name, "decode_from_file": tmp_path / "in.txt", "decode_to_file": tmp_path / "out.txt"}
    del flags["data_dir"]
    status, _, error = run_command(decoder.main, *arguments(flags))
    assert status == 0, error
    first, blank, second = (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines()
    assert first == second != "" and blank == ""


def test_a_bad_input_is_one_line(where, run_command, tmp_path):
    (tmp_path / "in.txt").write_text("0.5 wide\n", encoding="utf-8")
    flags = where | {"problem": "kind_price", "decode_from_file": tmp_path / "in.txt"}
    status, _, error = run_command(decoder.main, *arguments(flags))
    assert status == 2 and "kind_price: input 1: " in error.splitlines()[-1] and "Traceback" not in error


def test_a_report_shows_them(where, run_command, tmp_path):
    status, _, error = run_command(report.main, *arguments(where), f"--report={tmp_path / 'page.html'}")
    assert status == 0, error
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert all(name in page for name in KINDS)


def test_a_suite_can_compare_them(where):
    from types import SimpleNamespace

    from t2t_multimodel.input.store import ExampleStore
    from t2t_multimodel.training.evaluation import Evaluator
    from t2t_multimodel.training.run_directory import RunDirectory

    model, run, hparams, _ = RunDirectory(where["output_dir"]).load_model()
    stores = {name: ExampleStore(where["data_dir"], name) for name in KINDS}
    measured = scores_by_example(SimpleNamespace(stores=stores, evaluator=Evaluator(model, run, hparams)))
    assert json.loads(json.dumps(measured)).keys() == set(KINDS)


def test_in_python(where):
    model = load(where["output_dir"])
    (price,) = model.decode("kind_price", [[0.5, float("nan")]])
    assert price.shape == (1,)
