"""Rows of other splits are left unread once it is known which they are; the samples and the examples stay the same."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest

from t2t_multimodel.data_gen.readers.tables import all_inside, read_rows
from t2t_multimodel.data_gen.serialising import serialise, serialise_all
from t2t_multimodel.modalities import Label, Text
from t2t_multimodel.problems import Table
from t2t_multimodel.vocabulary import varints

ROWS = [{"a": f"text number {i} ü" + " of a table" * (i % 3), "b": f"answer {i}"} for i in range(3000)]


def as_jsonl(folder):
    lines = [json.dumps(row) for row in ROWS]
    lines[5], lines[100] = "", "{no JSON"
    lines[200], lines[300] = json.dumps({"a": "without an answer"}), f"  {lines[300]} "
    (folder / "train.jsonl").write_text("\n".join(lines))


def as_json(folder):
    (folder / "train.json").write_text(json.dumps([*ROWS[:40], "no object", *ROWS[40:]]))


def as_parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "train.parquet", row_group_size=700)


def as_tsv(folder):
    (folder / "train.tsv").write_text("a\tb\n" + "\n".join(f"{row['a']}\t{row['b']}" for row in ROWS) + "\nalone\n")


def as_tar(folder):
    with tarfile.open(folder / "train.tar", "w") as archive:
        for i, row in enumerate(ROWS[:300]):
            for ending, text in row.items():
                content = b"\xff" if i == 7 else text.encode()
                member = tarfile.TarInfo(f"{i}.{'txt' if ending == 'a' else 'cls'}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


FORMS = [as_jsonl, as_json, as_parquet, as_tsv, as_tar]


def problem_of(folder, form):
    problem = Table()
    problem.name, problem.directory = "pairs", str(folder)
    problem.columns = {"inputs": "txt", "targets": "cls"} if form is as_tar else {"inputs": "a", "targets": "b"}
    problem.inputs, problem.targets = Text(), Text()
    problem.dev_percent, problem.test_percent = 5.0, 3.0
    return problem


@pytest.mark.parametrize("form", FORMS)
def test_a_later_pass_yields_the_same_samples(tmp_path, form):
    form(tmp_path)
    first = {split: list(problem_of(tmp_path, form).read_samples(split)) for split in ("train", "dev", "test")}
    for before in first:
        problem = problem_of(tmp_path, form)
        list(problem.read_samples(before))
        (table,) = problem._tables["train"]
        assert problem._row_splits.wanted(table, "dev") is not None, "nothing was learned"
        assert {split: list(problem.read_samples(split)) for split in first} == first
    bad = [[sample["key"] for sample in samples if "bad" in sample] for samples in first.values()]
    assert bad[1] == bad[2] == [], "what can't be read is reported once, in train"
    assert len(bad[0]) == {as_jsonl: 2, as_parquet: 0}.get(form, 1)
    assert all(len(samples) > len(bad[0]) for samples in first.values())


@pytest.mark.parametrize("form", FORMS)
def test_a_reader_yields_the_rows_that_are_wanted(tmp_path, form):
    form(tmp_path)
    (path,) = tmp_path.iterdir()
    rows = list(read_rows(path))
    wanted = np.random.default_rng(3).integers(0, 10, len(rows)) == 0
    expected = [row for row, kept in zip(rows, wanted) if kept]
    assert list(read_rows(path, wanted=wanted.astype(np.uint8).tobytes())) == expected


def test_other_rows_are_not_read(tmp_path, monkeypatch):
    from t2t_multimodel.data_gen.readers.tables import json_rows

    as_jsonl(tmp_path)
    problem = problem_of(tmp_path, as_jsonl)
    dev, decoded = list(problem.read_samples("dev")), []
    monkeypatch.setattr(json_rows, "decode", lambda line, decode=json_rows.decode: decoded.append(line) or decode(line))
    assert list(problem.read_samples("dev")) == dev
    assert len(decoded) == len(dev)


def test_a_changed_table_is_read_again(tmp_path):
    as_jsonl(tmp_path)
    problem = problem_of(tmp_path, as_jsonl)
    before = list(problem.read_samples("dev"))
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in reversed(ROWS)))
    os.utime(path, ns=(1, 1))
    samples = [sample["inputs"] for sample in problem.read_samples("dev")]
    assert samples == [s["inputs"] for s in problem_of(tmp_path, as_jsonl).read_samples("dev")]
    assert samples != [sample.get("inputs") for sample in before]


def test_a_pass_that_ends_early_teaches_nothing_and_workers_get_none(tmp_path):
    as_jsonl(tmp_path)
    problem = problem_of(tmp_path, as_jsonl)
    (table,) = problem._tables["train"]
    next(iter(problem.read_samples("train")))
    assert problem._row_splits.wanted(table, "dev") is None
    list(problem.read_samples("train"))
    assert problem._row_splits.wanted(table, "dev") is not None
    assert pickle.loads(pickle.dumps(problem))._row_splits.wanted(table, "dev") is None


def test_a_tar_is_not_read_for_the_names_of_its_pictures(tmp_path):
    assert all_inside("train-0.tar", ["jpg"])
    for column in ("txt", "json.image", "__key__", "seg.txt"):
        assert not all_inside("train-0.tar", ["jpg", column])
    assert not all_inside("train.parquet", ["jpg"])


def test_samples_with_labels_are_the_same_in_a_later_pass(tmp_path):
    as_parquet(tmp_path)
    problem = problem_of(tmp_path, as_parquet)
    problem.targets = Label(tuple(row["b"] for row in ROWS))
    first = list(problem.read_samples("train"))
    assert first and list(problem.read_samples("train")) == first
    assert {sample["targets"] for sample in first} <= {row["b"] for row in ROWS}


def test_examples_are_serialised_together_as_alone():
    random = np.random.default_rng(5)
    lengths = [1, 2, 3, 127, 128, 129, 16_383, 16_384, 20_000]
    ids = [varints(random.integers(2, 40_000, n).tolist()) for n in lengths]
    columns = {
        "inputs": ids,
        "inputs/ä": [random.integers(0, 256, (n, 2)).astype(np.uint8) for n in lengths],
        "targets": [0, 1, 127, 128, 300, 16_384, 2**31, 2**40, 5],
        "key": [f"train.jsonl:{'ü' * n}" for n in lengths],
        "references": [["one"], ["", "two"], ["ü" * 200] * 3] * 3,
    }
    assert serialise_all(columns) == [serialise(dict(zip(columns, row))) for row in zip(*columns.values())]


@pytest.mark.parametrize("empty", [b"", [], "", -1, np.zeros(0, np.int16)])
def test_examples_with_an_empty_value_are_serialised_as_alone(empty):
    other = {bytes: b"\x05", list: ["a"], str: "a", int: 4}.get(type(empty), np.ones(3, np.int16))
    columns = {"targets": [other, empty], "key": ["a", "b"]}
    assert serialise_all(columns) == [serialise(dict(zip(columns, row))) for row in zip(*columns.values())]
