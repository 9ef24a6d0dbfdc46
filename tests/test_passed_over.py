"""What a folder of classes holds besides pictures is counted and named on stderr, by reason, once."""

import json
import os

import numpy as np
import pytest
import soundfile
from own_files import make, prepared
from PIL import Image as PillowImage

from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Image
from t2t_multimodel.problems import CaptionedImages, LabelledImages, TranscribedSpeech


def save(path, form="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", (8, 8)).save(path, form)


@pytest.fixture
def pets(tmp_path):
    for name in ("cat", "dog"):
        folder = tmp_path / "train" / name
        save(folder / "ok.png")
        save(folder / "phone.jfif", "JPEG")
        save(folder / "IMG_1.HEIC")
        save(folder / "noext")
        save(folder / "more" / "nested.png")
        (folder / "link.png").symlink_to("/nowhere.png")
        (folder / "loop.png").symlink_to("loop.png")
        os.mkfifo(folder / "pipe.png")
        save(folder / ".hidden.png")
        (folder / ".DS_Store").write_bytes(b"")
    save(tmp_path / "train" / "stray.png")
    return tmp_path


def test_all_of_it_is_counted_and_named_by_reason(pets, capsys):
    problem = make(LabelledImages, pets, image=Image(8, 8, 3))
    assert [s["key"] for s in prepared(problem, "train")] == [
        f"train/{name}/{file}" for name in ("cat", "dog") for file in ("ok.png", "phone.jfif")
    ]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mine train: passed over: 15 entries: ")
    for said in (
        "1 × outside of the class folders (stray.png)",
        "2 × the ending .HEIC is not read (cat/IMG_1.HEIC, dog/IMG_1.HEIC)",
        "2 × no ending (cat/noext, dog/noext)",
        "2 × a folder inside a class (cat/more, dog/more)",
        "4 × a link to nothing (cat/link.png, cat/loop.png, dog/link.png, …)",
        "2 × not a regular file (cat/pipe.png, dog/pipe.png)",
        "2 × hidden (cat/.hidden.png, dog/.hidden.png)",
    ):
        assert said in line
    list(problem.samples("train"))
    assert capsys.readouterr().err == ""


def test_nothing_is_said_where_nothing_is_passed_over(tmp_path, capsys):
    save(tmp_path / "train" / "cat" / "1.png")
    (tmp_path / "train" / "Thumbs.db").write_bytes(b"")
    list(make(LabelledImages, tmp_path).samples("train"))
    assert capsys.readouterr().err == ""


def test_a_class_with_nothing_else_says_what_is_there(pets):
    folder = pets / "train" / "eel"
    (folder / "more").mkdir(parents=True)
    (folder / "1.png").symlink_to(folder / "nowhere")
    with pytest.raises(UserError, match=r"eel: no pictures .*; 1\.png \(a link to nothing\), more \(a folder inside"):
        list(make(LabelledImages, pets).samples("train"))


def test_names_that_are_not_utf_8_are_read_and_shown_with_escapes(tmp_path, capsys):
    folder = tmp_path / "train" / "cat"
    save(folder / "1.png")
    os.rename(folder / "1.png", os.fsencode(folder) + b"/K\xe4se.png")
    save(folder / "\x1b]0;title\x07.txt")
    (sample,) = prepared(make(LabelledImages, tmp_path), "train")
    assert sample["key"] == r"train/cat/K\xe4se.png"
    error = capsys.readouterr().err
    assert r"cat/\x1b]0;title\x07.txt" in error and "\x1b" not in error
    os.mkdir(os.fsencode(tmp_path) + b"/train/M\xf6we")
    with pytest.raises(UserError, match=r"the name of the class folder 'M\\udcf6we' is not UTF-8; rename it"):
        list(make(LabelledImages, tmp_path).samples("train"))


def test_pictures_and_recordings_that_no_list_names_are_counted(tmp_path, capsys):
    save(tmp_path / "train" / "1.png")
    save(tmp_path / "train" / "more" / "2.png")
    save(tmp_path / "train" / "more" / "3.JPG", "JPEG")
    (tmp_path / "train" / "notes.txt").write_text("")
    (tmp_path / "train" / "up").symlink_to(tmp_path)  # not followed
    for name in ("a", "b", "c", "d", "e"):
        soundfile.write(tmp_path / "train" / f"{name}.wav", np.full(100, 0.1), 16000)
    (tmp_path / "train" / "captions.json").write_text(json.dumps([{"file": "./more/2.png", "captions": ["x"]}]))
    (tmp_path / "train" / "transcripts.tsv").write_text("a.wav\thello\n")
    for base, said in (
        (CaptionedImages, "2 × not named in captions.json (1.png, more/3.JPG)"),
        (TranscribedSpeech, "4 × not named in transcripts.tsv (b.wav, c.wav, d.wav, …)"),
    ):
        problem = make(base, tmp_path)
        prepared(problem, "train")
        assert capsys.readouterr().err == f"mine train: passed over: {said}\n"
