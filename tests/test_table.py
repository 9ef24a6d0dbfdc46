"""Table: every form of a table is read as its owners write it; what is malformed is named, and no row is lost."""

import bz2
import gzip
import io
import json
import lzma
import tarfile

import numpy as np
import pytest
from own_files import make, prepared

from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Audio, Image, Label, LabelSet, Numbers, Text
from t2t_multimodel.problems import Table

PAIRS = {"columns": {"inputs": "en", "targets": "de"}, "inputs": Text("English"), "targets": Text("German")}
ROWS = [("the dog", "der Hund"), ('say "no"', "sag\tnein"), ("a, b", "a\nb")]


def table(folder, **attributes):
    return make(Table, folder, **attributes)


def pairs(problem, split="train"):
    return [(sample["inputs"], sample["targets"]) for sample in prepared(problem, split)]


def png(seed=0, size=(8, 6)):
    from PIL import Image as Picture

    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    content = io.BytesIO()
    Picture.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def wav(seconds=1.0, rate=8000, seed=0):
    import soundfile

    content = io.BytesIO()
    soundfile.write(content, np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate)), rate, format="WAV")
    return content.getvalue()


def quoted(rows, mark=","):
    cells = (['"' + cell.replace('"', '""') + '"' for cell in row] for row in [("en", "de"), *rows])
    return "".join(mark.join(row) + "\r\n" for row in cells)


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


TMX = """<?xml version="1.0"?><!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="en-US"><seg>Press <bpt i="1">&lt;b&gt;</bpt>OK<ept i="1">&lt;/b&gt;</ept>
 now.</seg></tuv><tuv xml:lang="DE"><seg>Jetzt OK &amp; los.</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Yes</seg></tuv><tuv xml:lang="fr"><seg>Oui</seg></tuv></tu>
</body></tmx>"""


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


# ---- Pictures and recordings

BIRDS = {"columns": {"inputs": "file_name", "targets": "label"}, "inputs": Image(6, 8, 3), "targets": Label()}


def test_folders_named_by_class(tmp_path, capsys):
    for name in ("owl", "wren"):
        (tmp_path / name).mkdir()
        for i in range(4):
            (tmp_path / name / f"{i}.png").write_bytes(png(i + 10 * (name == "owl")))
    (tmp_path / "owl" / "notes.doc").write_text("")
    problem = table(tmp_path, dev_percent=30, **BIRDS)
    assert problem.targets.classes == ("owl", "wren")
    assert len(prepared(problem, "train")) + len(prepared(problem, "dev")) == 8
    assert "passed over: 1 × no picture or recording (owl/notes.doc)" in capsys.readouterr().err


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.jsonl"])
def test_an_imagefolder_with_metadata(metadata, tmp_path, capsys):
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "1.png").write_bytes(png())
        text = (
            "file_name,label\n1.png,owl\n" if metadata.endswith("csv") else '{"file_name": "1.png", "label": "owl"}\n'
        )
        (tmp_path / split / metadata).write_text(text)
    problem = table(tmp_path, **BIRDS)
    assert problem.splits == ("train", "dev") and len(prepared(problem, "dev")) == 1
    capsys.readouterr()
    list(problem.samples("train"))
    assert "1 example is in dev too" in capsys.readouterr().err  # the same picture


@pytest.mark.parametrize(
    "file, said",
    [
        ("gone.png", "no such file"),
        ("../outside.png", "outside of"),
        (r"sub\1.png", "backslashes: write sub/1.png"),
        ("broken.png", "can't be decoded as a picture"),
    ],
)
def test_a_picture_that_can_not_be_read_is_named_with_its_row(file, said, tmp_path):
    folder = tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    (tmp_path / "data" / "outside.png").write_bytes(png())
    (tmp_path / "outside.png").write_bytes(png())
    (folder / "train" / "broken.png").write_bytes(png()[:50])
    file = f"../{file}" if said == "outside of" else file
    (folder / "train" / "metadata.jsonl").write_text(json.dumps({"file_name": file, "label": "owl"}))
    problem = table(folder, **BIRDS)
    (sample,) = problem.samples("train")
    with pytest.raises(ValueError, match=rf"{said}.*\(metadata\.jsonl:1\)"):
        problem.prepare(sample)


def test_pictures_and_sound_whose_bytes_are_in_parquet(tmp_path):
    """As Hugging Face's hub has them: data/train-….parquet, and names of classes in the schema."""
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "data").mkdir()
    features = {"image": {"_type": "Image"}, "label": {"names": ["owl", "wren"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    data = pyarrow.table({"image": [{"bytes": png(i), "path": f"{i}.png"} for i in range(3)], "label": [1, 0, 1]})
    pyarrow.parquet.write_table(
        data.replace_schema_metadata(metadata), tmp_path / "data" / "train-00000-of-00001.parquet"
    )
    problem = table(tmp_path, **BIRDS | {"columns": {"inputs": "image", "targets": "label"}})
    assert [s["targets"] for s in prepared(problem, "train")] == ["wren", "owl", "wren"]
    sound = pyarrow.table({"audio": [{"bytes": wav(0.5), "path": None}], "text": ["hi"]})
    pyarrow.parquet.write_table(sound, tmp_path / "train.parquet")
    columns = {"inputs": "audio", "targets": "text"}
    (sample,) = prepared(table(tmp_path, columns=columns, inputs=Audio(rate=8000), targets=Text()), "train")
    assert len(sample["inputs"]) == 4000


def test_a_data_set_of_save_to_disk(tmp_path):
    import pyarrow

    data = pyarrow.table({"en": ["a"], "de": ["b"]})
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for name in ("data-00000-of-00001.arrow", "cache-1234.arrow"):
            with pyarrow.ipc.new_stream(tmp_path / split / name, data.schema) as writer:
                writer.write_table(data)
        (tmp_path / split / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
        (tmp_path / split / "dataset_info.json").write_text("{}")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    problem = table(tmp_path, **PAIRS)
    assert problem.splits == ("train", "test") and pairs(problem) == [("a", "b")]
    (tmp_path / "train" / "state.json").write_text('{"_data_files": [{"filename": "../../etc/passwd"}]}')
    with pytest.raises(UserError, match="no file beside it"):
        table(tmp_path, **PAIRS).splits  # noqa: B018


def tar(path, members):
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def test_webdataset(tmp_path):
    members = {
        "a/1.png": png(),
        "a/1.cls": b"3\n",
        "a/1.json": b'{"who": {"n": "x"}}',
        "a/2.png": png(1),
        "a/2.cls": b"5",
    }
    for i in range(2):
        tar(tmp_path / f"train-{i:06}.tar", members)
    problem = table(tmp_path, **BIRDS | {"columns": {"inputs": "png", "targets": "cls"}})
    samples = prepared(problem, "train")
    assert [s["targets"] for s in samples] == ["3", "5"] * 2 and samples[0]["key"] == "train-000000.tar:a/1"
    named = table(tmp_path, **BIRDS | {"columns": {"inputs": "png", "targets": "json.who.n"}})
    assert [("bad" in s, s.get("targets")) for s in named.samples("train")][:2] == [(False, "x"), (True, None)]
    path = tmp_path / "train-000001.tar"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UserError, match="cut off"):
        list(problem.samples("train"))


SPEECH = {"inputs": Audio(rate=8000), "targets": Text("English")}


def test_kaldi_with_segments_and_no_command_is_run(tmp_path):
    import soundfile

    (tmp_path / "train").mkdir()
    (tmp_path / "long.wav").write_bytes(wav(3.0))
    (tmp_path / "train" / "wav.scp").write_text(f"r1 ../long.wav\nr2 touch {tmp_path}/ran |\n")
    (tmp_path / "train" / "segments").write_text("u1 r1 0.5 1.25\nu2 r1 1.25 -1\nu3 r2 0 1\nu4 r1 2 9\n")
    (tmp_path / "train" / "text").write_text("u1 one two\nu2 three\nu3 four\nu4 five\n")
    problem = table(tmp_path, columns={"inputs": "audio", "targets": "text"}, **SPEECH)
    one, two, command, beyond = problem.samples("train")
    whole, _ = soundfile.read(tmp_path / "long.wav", dtype="int16")
    assert np.array_equal(problem.prepare(one)["inputs"], whole[4000:10000])
    assert np.array_equal(problem.prepare(two)["inputs"], whole[10000:])
    assert "commands of data are not run" in command["bad"] and not (tmp_path / "ran").exists()
    with pytest.raises(ValueError, match="from 2 to 9 s is no part of a recording of 3 s"):
        problem.prepare(beyond)


def test_a_manifest_of_nemo(tmp_path):
    (tmp_path / "1.wav").write_bytes(wav(2.0))
    rows = [{"audio_filepath": "1.wav", "offset": 0.5, "duration": 1.0, "text": "hi"}]
    (tmp_path / "train_manifest.json").write_text("\n".join(map(json.dumps, rows)))
    columns = {"inputs": "audio_filepath", "targets": "text", "start": "offset", "duration": "duration"}
    (sample,) = prepared(table(tmp_path, columns=columns, **SPEECH), "train")
    assert len(sample["inputs"]) == 8000


def test_common_voice(tmp_path):
    (tmp_path / "clips").mkdir()
    for split in ("train", "dev", "test"):
        (tmp_path / "clips" / f"{split}.wav").write_bytes(wav(0.2, seed=len(split)))
        (tmp_path / f"{split}.tsv").write_text(f'client_id\tpath\tsentence\nx\t{split}.wav\tHe said "no.\n')
    (tmp_path / "invalidated.tsv").write_text("client_id\tpath\tsentence\n")
    problem = table(tmp_path, columns={"inputs": "path", "targets": "sentence"}, media_folder="clips", **SPEECH)
    assert problem.splits == ("train", "dev", "test")
    assert [s["targets"] for s in prepared(problem, "test")] == ['He said "no.']


def test_several_inputs(tmp_path):
    (tmp_path / "1.png").write_bytes(png())
    (tmp_path / "train.csv").write_text("file,question,answer\n1.png,which bird,an owl\n")
    columns = {"inputs": {"picture": "file", "question": "question"}, "targets": "answer"}
    problem = table(tmp_path, columns=columns, inputs={"picture": Image(6, 8, 3), "question": Text()}, targets=Text())
    (sample,) = prepared(problem, "train")
    assert sample["inputs"]["picture"].shape == (6, 8, 3) and sample["inputs"]["question"] == "which bird"
