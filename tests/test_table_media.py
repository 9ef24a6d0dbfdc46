"""Table with pictures and recordings: in files, in Parquet, Arrow and tar, and as parts of recordings."""

import json

import numpy as np
import pytest
from own_files import prepared
from table_files import PAIRS, pairs, png, table, tar, wav

from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Audio, Image, Label, Text

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
