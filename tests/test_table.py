"""Table: every form of text is read as its owners write it; what is malformed is named, and no row is lost."""

import bz2
import gzip
import json
import lzma

import pytest
from own_files import prepared
from table_files import PAIRS, ROWS, TMX, pairs, quoted, table

from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Label, LabelSet, Numbers, Text

# ---- Text


def test_csv_with_quotes_commas_and_line_ends_in_its_cells(tmp_path):
    (tmp_path / "train.csv").write_text(quoted(ROWS), encoding="utf-8-sig", newline="")
    assert pairs(table(tmp_path, **PAIRS)) == ROWS
    (tmp_path / "train.csv").write_text(quoted(ROWS, ";"), newline="")
    with pytest.raises(UserError, match="if ',' does not separate the cells, say delimiter"):
        pairs(table(tmp_path, **PAIRS))
    assert pairs(table(tmp_path, delimiter=";", **PAIRS)) == ROWS
    (tmp_path / "train.csv").write_text("en;de\na;b\n")
    with pytest.raises(UserError, match="if ';' separates the cells, say delimiter = \";\""):
        pairs(table(tmp_path, **PAIRS))


def test_tsv_keeps_quotes_as_they_are(tmp_path):
    (tmp_path / "train.tsv").write_text('en\tde\n"a\t5" b"\n')
    assert pairs(table(tmp_path, **PAIRS)) == [('"a', '5" b"')]
    (tmp_path / "train.tsv").write_text("x y\tu v\n")
    numbered = PAIRS | {"columns": {"inputs": "2", "targets": "1"}}
    assert pairs(table(tmp_path, header=False, **numbered)) == [("u v", "x y")]


@pytest.mark.parametrize("name", ["train.jsonl", "train.ndjson", "train.json", "training.jsonl"])
def test_json_lines(name, tmp_path):
    lines = [json.dumps({"translation": {"en": en, "de": de}, "n": i}) for i, (en, de) in enumerate(ROWS)]
    (tmp_path / name).write_text("\n".join(lines) + "\n\n")
    inner = PAIRS | {"columns": {"inputs": "translation.en", "targets": "translation.de", "key": "n"}}
    problem = table(tmp_path, **inner)
    assert pairs(problem) == ROWS and [s["key"] for s in problem.samples("train")] == ["0", "1", "2"]


def test_a_json_file_with_one_list(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps([{"en": en, "de": de} for en, de in ROWS], indent=1))
    assert pairs(table(tmp_path, **PAIRS)) == ROWS


def _zst(content):
    import pyarrow

    return pyarrow.Codec("zstd").compress(content, asbytes=True)


@pytest.mark.parametrize(
    "suffix, compress", [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", _zst)]
)
def test_compressed_tables(suffix, compress, tmp_path):
    path = tmp_path / f"train.csv{suffix}"
    content = quoted(ROWS).encode()
    path.write_bytes(compress(content) + compress(b'"x","y"\n'))
    assert pairs(table(tmp_path, **PAIRS)) == [*ROWS, ("x", "y")]
    path.write_bytes(compress(content * 50)[:-7])
    with pytest.raises(UserError, match="cut short"):
        pairs(table(tmp_path, **PAIRS))
    path.write_bytes(b"no such form, of no compression at all")
    with pytest.raises(UserError, match=rf"train\.csv{suffix}: "):
        pairs(table(tmp_path, **PAIRS))


@pytest.mark.parametrize("suffix, compress", [(".bz2", bz2.compress), (".xz", lzma.compress), (".zst", _zst)])
def test_a_decompression_bomb_is_refused(suffix, compress, tmp_path, monkeypatch):
    from t2t_multimodel.data_gen.readers import compressed

    monkeypatch.setattr(compressed, "_RATIO_FROM", 1 << 18)
    (tmp_path / f"train.csv{suffix}").write_bytes(compress(b"en,de\n" + b"a,b\n" * (1 << 18)))
    with pytest.raises(UserError, match="refused as a decompression bomb"):
        for _ in table(tmp_path, **PAIRS).samples("train"):
            pass


@pytest.mark.parametrize("form", ["parquet", "feather", "stream"])
def test_parquet_and_arrow(form, tmp_path):
    import pyarrow
    import pyarrow.feather
    import pyarrow.parquet

    data = pyarrow.table({"translation": [{"en": en, "de": de} for en, de in ROWS], "other": [1.5, None, 2.0]})
    if form == "parquet":
        for i in range(2):
            pyarrow.parquet.write_table(data, tmp_path / f"train-0000{i}-of-00002.parquet")
    elif form == "feather":
        pyarrow.feather.write_feather(data, str(tmp_path / "train.feather"))
    else:
        with pyarrow.ipc.new_stream(tmp_path / "train.arrow", data.schema) as writer:
            writer.write_table(data)
    inner = PAIRS | {"columns": {"inputs": "translation.en", "targets": "translation.de"}}
    assert pairs(table(tmp_path, **inner)) == ROWS * (2 if form == "parquet" else 1)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=rf"{path.name}: can't be read"):
        pairs(table(tmp_path, **inner))


def test_tmx(tmp_path):
    (tmp_path / "train.tmx").write_text(TMX)
    good, other = table(tmp_path, **PAIRS).samples("train")
    assert (good["inputs"], good["targets"]) == ("Press OK now.", "Jetzt OK & los.")
    assert "unknown column 'de'" in other["bad"] and "train.tmx:unit 2" in other["bad"]
    (tmp_path / "train.tmx").write_text(TMX.replace('SYSTEM "tmx14.dtd"', '[<!ENTITY a "b">]'))
    with pytest.raises(UserError, match="declares entities"):
        list(table(tmp_path, **PAIRS).samples("train"))
    (tmp_path / "train.tmx").write_text(TMX[:300])
    with pytest.raises(UserError, match=r"train\.tmx:\d+: no TMX"):
        list(table(tmp_path, **PAIRS).samples("train"))


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("train.csv", 'en,de\n"a,b\nc,d\n', r"train\.csv:3: no CSV: a quote that was opened on line 2"),
        ("train.csv", "en,de\na,b,c\n", r"train\.csv:2: 3 cells, but 2 columns \(en, de\)"),
        ("train.csv", "en,en\na,b\n", r"'en' is there twice"),
        ("train.csv", "en,de\na,\n", "the text is empty"),
        ("train.csv", "english,de\na,b\n", r"train\.csv:2: unknown column 'en'"),
        ("train.csv", "", "the file is empty"),
        ("train.tsv", "en\tde\na\t" + "b" * 200 + "\n", "max_line_length"),
        ("train.jsonl", '{"en": "a", "de": "b"}\n["a", "b"]\n', r"train\.jsonl:2: no object but a list; expected"),
        ("train.jsonl", '{\n "en": "a"\n}\n', r"JSON over several lines; expected: one object a line"),
        ("train.jsonl", '{"en": 1e400, "de": NaN}\n', r"train\.jsonl:1: no JSON \(NaN"),
        ("train.jsonl", '{"en": ' + "[" * 5000 + "\n", r"max_line_length"),
        ("train.jsonl", '{"en": null, "de": "b"}\n', r"column en: text expected, got nothing"),
        ("train.json", '[{"en": "a", "de": "b"}, 3]', r"train\.json:entry 2: no object but a number"),
    ],
)
def test_what_is_malformed_is_named(name, content, said, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises((UserError, ValueError), match=said):
        prepared(table(tmp_path, max_line_length=100, **PAIRS), "train")


def test_a_class_without_columns_or_with_unknown_names(tmp_path):
    (tmp_path / "train.csv").write_text("en,de\na,b\n")
    with pytest.raises(UserError, match="which column has the inputs.*the table has the columns en, de"):
        list(table(tmp_path, inputs=Text(), targets=Text()).samples("train"))
    with pytest.raises(UserError, match="did you mean 'targets'"):
        list(table(tmp_path, **PAIRS | {"columns": {"inputs": "en", "target": "de"}}).samples("train"))


# ---- Labels, numbers, references


def test_classes_come_from_train_and_numbers_are_numbers(tmp_path):
    rows = [{"t": "good", "c": "pos", "tags": ["a", "b"], "n": 2}, {"t": "bad", "c": "neg", "tags": [], "n": 3.5}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "dev.jsonl").write_text(json.dumps(rows[0] | {"c": "new"}))
    label = table(tmp_path, columns={"inputs": "t", "targets": "c"}, inputs=Text(), targets=Label())
    assert label.targets.classes == ("neg", "pos") and len(prepared(label, "train")) == 2
    with pytest.raises(ValueError, match="'new' is not one of the 2 classes"):
        prepared(label, "dev")
    tags = table(tmp_path, columns={"inputs": "t", "targets": "tags"}, inputs=Text(), targets=LabelSet())
    assert tags.targets.labels == ("a", "b") and [s["targets"] for s in prepared(tags, "train")] == [["a", "b"], []]
    number = table(tmp_path, columns={"inputs": "t", "targets": "n"}, inputs=Text(), targets=Numbers(("n",)))
    assert [float(s["targets"][0]) for s in prepared(number, "train")] == [2.0, 3.5]


def test_several_right_answers(tmp_path):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"q": split, "a": ["x y", "z"], "more": ["w"]}))
    columns = {"inputs": "q", "targets": "a", "references": "more"}
    problem = table(tmp_path, columns=columns, inputs=Text(), targets=Text())
    assert [(s["targets"], s["key"]) for s in problem.samples("train")] == [
        ("x y", "train.jsonl:1#0"),
        ("z", "train.jsonl:1#1"),
    ]
    (dev,) = problem.samples("dev")
    assert (dev["targets"], dev["references"]) == ("x y", ["x y", "z", "w"])


@pytest.mark.parametrize(
    "columns, rows",
    [
        ({"targets": "a"}, [{"a": ["x"]}, {"a": ["y", "z"]}]),
        ({"targets": "a", "references": "r"}, [{"a": "x", "r": None}, {"a": "y", "r": "z"}]),
    ],
)
def test_the_first_row_may_have_fewer_right_answers_than_a_later_one(columns, rows, tmp_path):
    for split in ("train", "dev"):
        lines = [json.dumps(row | {"q": f"{split} {i}"}) for i, row in enumerate(rows)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    problem = table(tmp_path, columns=columns | {"inputs": "q"}, inputs=Text(), targets=Text())
    (result,) = generate([problem], tmp_path / "data", workers=1, log=lambda line: None)
    assert result.manifest["splits"]["dev"]["examples"] == 2
    assert [sample["references"] for sample in problem.samples("dev")] == [["x"], ["y", "z"]]


# ---- Splits


def test_splits_by_hash_are_disjoint_complete_and_keep_groups_together(tmp_path, capsys):
    rows = [{"en": f"sentence {i // 2}", "de": f"Satz {i}", "who": f"speaker {i % 30}"} for i in range(600)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    problem = table(tmp_path, dev_percent=10, test_percent=5.5, **PAIRS)
    found = {split: list(problem.samples(split)) for split in problem.splits}
    assert sorted(s["targets"] for f in found.values() for s in f) == sorted(row["de"] for row in rows)
    sides = [{s["inputs"] for s in f} for f in found.values()]
    assert all(a.isdisjoint(b) for i, a in enumerate(sides) for b in sides[:i])
    assert 30 < len(found["dev"]) < 90 and 10 < len(found["test"]) < 60
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "corpus.jsonl").write_text("\n".join(map(json.dumps, reversed(rows))))
    again = table(tmp_path / "copy", dev_percent=10, test_percent=5.5, **PAIRS)
    assert {s["targets"] for s in again.samples("dev")} == {s["targets"] for s in found["dev"]}
    numbered = "\n".join(json.dumps(row | {"id": f"#{i}"}) for i, row in enumerate(rows))
    (tmp_path / "corpus.jsonl").write_text(numbered)
    problem = table(tmp_path, dev_percent=20, **PAIRS | {"columns": PAIRS["columns"] | {"key": "id"}})
    assert 80 < len(list(problem.samples("dev"))) < 160, "a key is hashed whole"
    grouped = PAIRS | {"columns": PAIRS["columns"] | {"group": "who"}}
    problem = table(tmp_path, dev_percent=20, **grouped)
    speakers = [{int(s["targets"].split()[1]) % 30 for s in problem.samples(split)} for split in ("train", "dev")]
    assert speakers[0].isdisjoint(speakers[1]) and all(speakers)
    assert "too" not in capsys.readouterr().err


def test_files_say_splits_that_names_do_not(tmp_path):
    for name in ("2020.csv", "2021.csv", "2022.csv"):
        (tmp_path / name).write_text(f"en,de\nin {name},b\n")
    problem = table(tmp_path, files={"train": ("2020*", "2021*"), "dev": "2022.csv"}, **PAIRS)
    assert problem.splits == ("train", "dev") and len(pairs(problem)) == 2
    with pytest.raises(UserError, match="has no 2019.csv"):
        table(tmp_path, files={"train": "2019.csv"}, **PAIRS).splits  # noqa: B018
    (tmp_path / "dev.csv").write_text("en,de\n")
    (tmp_path / "validation.csv").write_text("en,de\n")
    with pytest.raises(UserError, match="both are called as the split dev"):
        table(tmp_path, **PAIRS).splits  # noqa: B018


def test_a_pair_of_dev_that_is_in_train_is_said(tmp_path, capsys):
    (tmp_path / "train.csv").write_text("en,de\na  b,c\nx,y\n")
    (tmp_path / "dev.csv").write_text("en,de\na b,c\n")
    list(table(tmp_path, **PAIRS).samples("train"))
    assert "mine train: 1 example is in dev too (the first: train.csv:2)" in capsys.readouterr().err
