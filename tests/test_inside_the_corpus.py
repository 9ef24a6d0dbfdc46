"""A picture or recording outside of a problem's folder is a bad record, however named, unless the class allows it."""

import json

import numpy as np
import pytest
import soundfile
from own_files import make, prepared
from PIL import Image as PillowImage

from t2t_multimodel.problems import CaptionedImages, LabelledImages, TranscribedSpeech


@pytest.fixture
def corpus(tmp_path):
    """A folder with a split, and files outside of it, beside it and with links to them in it."""
    (tmp_path / "corpus" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "corpus" / "shared").mkdir()
    for folder in (tmp_path, tmp_path / "corpus" / "train", tmp_path / "corpus" / "shared"):
        PillowImage.new("RGB", (8, 8)).save(folder / "a.png")
        soundfile.write(folder / "a.wav", np.full(100, 0.1), 8000)
    (tmp_path / "corpusother").mkdir()
    PillowImage.new("RGB", (8, 8)).save(tmp_path / "corpusother" / "a.png")
    for suffix in ("png", "wav"):
        (tmp_path / "corpus" / "train" / f"link.{suffix}").symlink_to(tmp_path / f"a.{suffix}")
        (tmp_path / "corpus" / "train" / f"within.{suffix}").symlink_to(f"../shared/a.{suffix}")
    (tmp_path / "corpus" / "train" / "up").symlink_to(tmp_path)
    return tmp_path / "corpus"


OUTSIDE = ["../../a", "{outside}/a", "link", "up/a", "cat/../../../a", "up/corpus/../a"]
INSIDE = ["a", "./a", "../shared/a", "cat/../a", "within", "{outside}/corpus/train/a", "up/corpus/train/a"]


def captions(corpus, name, **attributes):
    name = name.format(outside=corpus.parent) + ".png"
    (corpus / "train" / "captions.json").write_text(json.dumps([{"file": name, "captions": ["x"]}]))
    return make(CaptionedImages, corpus, **attributes)


def speech(corpus, name, **attributes):
    (corpus / "train" / "transcripts.tsv").write_text(f"{name.format(outside=corpus.parent)}.wav\thello\n")
    return make(TranscribedSpeech, corpus, **attributes)


@pytest.mark.parametrize("made", [captions, speech])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_file_outside_is_refused_unless_the_class_allows_it(made, name, corpus):
    with pytest.raises(ValueError, match=r"outside of .*corpus; .*allow_outside_files = True .* names ") as error:
        prepared(made(corpus, name), "train")
    assert "\n" not in str(error.value)
    assert len(prepared(made(corpus, name, allow_outside_files=True), "train")) == 1


@pytest.mark.parametrize("made", [captions, speech])
@pytest.mark.parametrize("name", INSIDE)
def test_a_file_inside_is_read_however_it_is_named(made, name, corpus):
    assert len(prepared(made(corpus, name), "train")) == 1


def test_a_folder_whose_name_begins_alike_is_outside(corpus):
    with pytest.raises(ValueError, match="outside of"):
        prepared(captions(corpus, "../../corpusother/a"), "train")


def test_a_folder_that_is_a_link_itself_is_no_way_out(corpus):
    (corpus.parent / "here").symlink_to(corpus)
    problem = captions(corpus, "a")
    assert len(prepared(make(CaptionedImages, corpus.parent / "here"), "train")) == len(prepared(problem, "train")) == 1


def test_a_link_out_of_a_class_folder_is_refused_unless_the_class_allows_it(corpus):
    (corpus / "train" / "cat" / "1.png").symlink_to(corpus.parent / "a.png")
    for name in ("shared", "train/up"):
        (corpus / name).rename(corpus.parent / f"moved_{name[:1]}")
    with pytest.raises(ValueError, match="1.png: is .*a.png, outside of .*allow_outside_files"):
        prepared(make(LabelledImages, corpus), "train")
    assert len(prepared(make(LabelledImages, corpus, allow_outside_files=True), "train")) == 1
