"""Promise: trivial answers cost little memory, however large the data; and scores are kept where they fail."""

import json
import tracemalloc

import numpy as np
import pytest
from input_data import make_input_data
from stores import write_store

from t2t_multimodel.cli import baselines, evaluate
from t2t_multimodel.errors import UserError
from t2t_multimodel.input import store as store_module
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.modalities import Audio, Label
from t2t_multimodel.training import evaluation


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_input_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", ["words", "shapes", "speech", "captions"])
def test_examples_one_after_the_other_are_those_of_one_call(data, name, monkeypatch):
    split = ExampleStore(data, name).split("train")
    rows = np.arange(len(split))[::-1]
    monkeypatch.setattr(store_module, "_BYTES_AT_ONCE", 2 * split.stored_bytes(rows[:1]))
    monkeypatch.setattr(store_module, "_EXAMPLES_AT_ONCE", 3)
    expected = split.examples(rows)
    np.testing.assert_equal(list(split.each(rows)), expected)
    targets = list(split.each(rows, ("targets",)))
    np.testing.assert_equal(targets, [{n: e[n] for n in e if n != "inputs"} for e in expected])


def test_recordings_are_not_all_in_memory(tmp_path, monkeypatch):
    sound = np.random.default_rng(1).integers(-9999, 9999, 100_000).astype(np.int16)
    recordings = [{"inputs": sound, "targets": "ab"[i % 3 == 0]} for i in range(60)]
    write_store(tmp_path, "long", Audio(1000), Label(("a", "b")), {"train": recordings, "test": recordings})
    assert baselines.baselines(tmp_path, "long")["accuracy_top1"] == (pytest.approx(2 / 3), "most_frequent")
    monkeypatch.setattr(store_module, "_BYTES_AT_ONCE", 2**20)
    split = ExampleStore(tmp_path, "long").split("train")
    tracemalloc.start()
    try:
        assert sum(1 for _ in split.each(np.arange(60), ("targets",))) == 60
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 * sound.nbytes / 2


@pytest.mark.parametrize("limit, most, looked_at", [("MOST_EXAMPLES", 4, 4), ("MOST_BYTES", 1, 1), (None, 0, 30)])
def test_of_large_data_an_even_sample_is_looked_at(data, limit, most, looked_at, monkeypatch):
    split = ExampleStore(data, "shapes").split("train")
    if limit:
        monkeypatch.setattr(baselines, limit, most)
    rows = baselines._sample(split)
    assert len(rows) == looked_at and rows[0] == 0
    assert looked_at == 1 or rows[-1] == len(split) - 1 and np.ptp(np.diff(rows)) <= 1


def test_scores_are_written_before_trivial_answers_are_looked_for(tmp_path, monkeypatch, capsys):
    def fails(*arguments):
        raise UserError("the train split is gone")

    scores = {"tiny_image": {"accuracy_top1": 0.5, "examples": 2, "split": "dev"}}
    monkeypatch.setattr(evaluation, "evaluate_run", lambda *arguments, **options: scores)
    monkeypatch.setattr(baselines, "baselines", fails)
    flags = [f"--output_dir={tmp_path}", f"--data_dir={tmp_path}", "--problem=tiny_image", "--step=7"]
    assert evaluate.main(flags) == 2
    assert "the train split is gone" in capsys.readouterr().err
    (written,) = (tmp_path / "eval").iterdir()
    assert json.loads(written.read_text())["tiny_image"] == scores["tiny_image"]
