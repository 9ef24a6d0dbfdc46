"""benchmarks/quality_a_minute.py: points, table and figure are what both sides logged; nothing is made twice."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import common  # noqa: E402
import quality_a_minute as quality  # noqa: E402
from peers import curves, marian  # noqa: E402

from t2t_multimodel import registry  # noqa: E402
from t2t_multimodel.data_gen.generate import generate  # noqa: E402
from t2t_multimodel.input.store import ExampleStore  # noqa: E402

OWN, OTHER = quality.SIDES


def curve(side, length, scores, seed=0, others=0.0):
    """A training of `length` minutes with an evaluation after each equal part of it."""
    minutes = np.linspace(0, length, len(scores) + 1)[1:]
    points = [{"minutes": m, "updates": round(100 * m), "bleu": b} for m, b in zip(minutes, scores)]
    where = {"machine": "a processor", "cpus": 2, "date": "2026-11-30"}
    return {
        "side": side,
        "seed": seed,
        "length": length,
        "others": others,
        "parameters": 1000,
        "points": points,
        "seconds_in_all": 70.0,
        "environment": where,
    }


def test_bleu_between_evaluations():
    points = curve(OWN, 2.0, [10.0, 40.0])["points"]
    assert [curves.bleu_at(points, minutes) for minutes in (0.5, 1, 1.5, 2)] == [5, 10, 25, 40]
    assert curves.bleu_at(points, 2.1) == 40  # planned for 2.1 minutes and ready a little before
    assert curves.bleu_at(points, 4) is None


def test_the_table_says_who_is_ahead():
    found = [curve(OWN, 2.0, [20.0, 60.0]), curve(OTHER, 2.0, [30.0, 60.02], others=0.7)]
    found += [curve(side, 1.0, [bleu], seed) for side, bleu in ((OWN, 50.0), (OTHER, 44.0)) for seed in (0, 1)]
    found[-1]["points"][-1]["bleu"] = 46.0
    rows = curves.rows(found, quality.SIDES, (0.5, 1, 2, 4))
    said = {(minutes, what): (ahead, round(gain, 2)) for minutes, what, _, ahead, gain in rows}
    assert said == {
        (0.5, "on the way"): (OTHER, -5.0),
        (1, "a training of that length"): (OWN, 5.0),
        (1, "on the way"): (OTHER, -10.0),
        (2, "a training of that length"): ("equal", -0.02),
        (2, "on the way"): ("equal", -0.02),
    }
    page = curves.page({"tiny_ende": found}, quality.SIDES, (0.5, 1, 2, 4))
    assert f"| 1 | a training of that length | 50.0 (50.0 to 50.0) | 45.0 (44.0 to 46.0) | {OWN} | 5.0 |" in page
    assert "beside 1 of 6 trainings: no clean timing" in page and "a processor, 2 processors, 2026-11-30" in page


def test_a_training_of_another_length_than_planned_is_no_row_of_it():
    found = [curve(OWN, 1.0, [50.0]), curve(OTHER, 1.0, [40.0])]
    found[1]["points"][-1]["minutes"] = 1.3
    assert [what for _, what, *_ in curves.rows(found, quality.SIDES, (1,))] == ["on the way"]
    assert "Trainings that took over a tenth longer or shorter than planned: 1;" in curves.about(found, quality.SIDES)


def test_the_points_of_a_log():
    records = [
        {"step": 20, "split": "train", "problem": "tiny_ende", "loss": 7.1},
        {"step": 20, "split": "train", "train_seconds": 3.0},
        {"step": 20, "split": "dev", "problem": "tiny_ende", "bleu": 8.0449, "train_seconds": 3.0},
        {"step": 60, "split": "train", "train_seconds": 5.0},
    ]
    assert quality.points_of_log(records, "dev") == [{"minutes": 0.05, "updates": 20, "bleu": 8.045}]
    assert quality.speed_of(quality.points_of_log(records, "train")) == pytest.approx(20, rel=1e-3)


def test_both_sides_read_the_same_ids(tmp_path):
    """What is exported is what the store holds, and the answers of the other side are scored by this project."""
    data_dir, problem = tmp_path / "data", registry.problem("tiny_ende")
    problem.train_examples, problem.dev_examples, problem.test_examples = 40, 6, 6
    generate([problem], data_dir, vocabulary_size=400, workers=1, log=lambda line: None, progress=False)
    quality.export(data_dir, "tiny_ende", tmp_path / "examples.npz")
    data, store = marian.read(tmp_path / "examples.npz"), ExampleStore(data_dir, "tiny_ende")
    assert data["size"] == store.vocabulary().size and len(data["train"]) == len(store.split("train"))
    stored = store.split("dev").examples(np.arange(len(data["dev"])))
    for example, pair in zip(stored, data["dev"]):
        for ids, side in zip(pair, ("inputs", "targets")):
            assert ids.tolist() == [*example[side], marian.END]
    right = [targets.tolist() for _, targets in data["dev"]]
    wrong = [[marian.END, *targets] for targets in right]
    lines = [{"updates": 10, "seconds": 3.0, "answers": wrong}, {"updates": 20, "seconds": 6.0, "answers": right}]
    points = quality.points_of_answers(lines, data_dir, "tiny_ende")
    assert points == [{"minutes": 0.05, "updates": 10, "bleu": 0}, {"minutes": 0.1, "updates": 20, "bleu": 100}]


def test_batches_hold_every_example_once_an_epoch():
    random = np.random.default_rng(0)
    examples = [(np.full(random.integers(2, 30), i), np.full(random.integers(2, 30), i)) for i in range(500)]
    settings = marian.SETTINGS | {"batch_tokens": 200, "window": 4}
    stream, seen, epoch = marian.batches(examples, settings, random), [], []
    while len(epoch) < len(examples):
        batch = next(stream)
        epoch += [int(inputs[0]) for inputs, _ in batch]
        seen.append(2 * len(batch) * max(max(map(len, pair)) for pair in batch))
    assert sorted(epoch) == list(range(500))
    assert max(seen) <= 200 and np.mean(seen) > 150
    padded = marian.padded([[5, 6], [7]])
    assert padded.tolist() == [[5, 6], [7, marian.PAD]]


def test_the_rate_ends_at_zero_and_points_with_the_last_update():
    settings = marian.SETTINGS | {"warmup": 10, "learning_rate": 0.5}
    rates = [marian.learning_rate(settings, update, 100) for update in range(101)]
    assert rates[0] == pytest.approx(0.05) and max(rates) == max(rates[9:11]) < 0.5 and rates[100] == 0
    assert marian.stops_of(100, 3) == {33, 67, 100} and marian.stops_of(200, 0) == {50, 100, 150, 200}
    assert marian._change("layers=3") == ("layers", 3) and marian._change("dropout=0.1") == ("dropout", 0.1)
    with pytest.raises(SystemExit, match="no setting 'layer'; there are: hidden, layers"):
        marian._change("layer=3")


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """What both sides were asked to train, [(side, updates, evaluations, seed)]; they do 10 updates a second."""
    asked = []

    def train(work, side, updates, evaluations, seed):
        asked.append((side, updates, evaluations, seed))
        stops = sorted(marian.stops_of(updates, evaluations))
        better = 1.0 if side == OWN else 0.5
        points = [quality.point(stop, stop / 10, better * stop if evaluations else None) for stop in stops]
        return {"points": points, "parameters": 9, "settings": {}}

    monkeypatch.setattr(quality.Work, "train", train)
    monkeypatch.setattr(quality.Work, "make_data", lambda work: work.folder.mkdir(parents=True, exist_ok=True))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("")
    return asked


def test_what_is_finished_is_not_made_again(tmp_path, capsys, monkeypatch, planned):
    monkeypatch.setenv("REAL8_DIR", str(tmp_path / "nowhere"))
    folders = [f"--folder={tmp_path}/work", f"--environment={tmp_path}", f"--docs={tmp_path}/docs"]
    quality.main([*folders, "--minutes=0.5,1", "--problems=tiny_ende,real_ende"])
    short = [(side, quality.SPEED_UPDATES, 0, 0) for side in quality.SIDES]
    trainings = [(side, round(600 * minutes), round(4 * minutes), 0) for minutes in (0.5, 1) for side in quality.SIDES]
    assert sorted(planned) == sorted([*short, *trainings])
    said = capsys.readouterr().out
    assert f"real_ende is passed over: there is no folder {tmp_path}/nowhere; set REAL8_DIR" in said
    line = [json.loads(text) for text in said.splitlines() if text.startswith('{"benchmark"')][-1]
    gains = {figure["what"]: figure["value"] for figure in line["figures"]}
    assert gains["tiny_ende, 1 minutes, a training of that length: BLEU more than MarianMT"] == 300
    before = len(planned)
    quality.main([*folders, "--minutes=0.5,1,2", "--problems=tiny_ende"])
    assert planned[before:] == [(side, 1200, 8, 0) for side in quality.SIDES]
    docs = tmp_path / "docs"
    (kept,) = json.loads((docs / "quality_a_minute.json").read_text()).values()
    assert [c["length"] for c in kept] == [0.5, 0.5, 1, 1, 2, 2] and not list(tmp_path.glob("work/*/*.part"))
    assert (
        "| 2 | a training of that length | 1200.0 | 600.0 | this project | 600.0 |"
        in (docs / "quality_a_minute.md").read_text()
    )
    assert (docs / "quality_a_minute.png").stat().st_size > 1000
    # Another problem joins those that are there.
    (tmp_path / "nowhere").mkdir()
    quality.main([*folders, "--minutes=1", "--problems=real_ende"])
    assert list(json.loads((docs / "quality_a_minute.json").read_text())) == ["tiny_ende", "real_ende"]


def test_it_runs_only_where_folder_and_environment_are_named(tmp_path, capsys):
    for arguments in ([], [f"--folder={tmp_path}"], [f"--folder={tmp_path}", "--environment=nowhere"]):
        with pytest.raises(SystemExit) as ended:
            quality.main(arguments)
        assert ended.value.code == common.NOT_RUN
        assert capsys.readouterr().err.startswith("not run: takes ")
