"""The older classes for files: compressed, in the forms of their owners, and what belongs to another form is named."""

import bz2
import json
import lzma

import pytest
from own_files import make, prepared
from table_files import png, wav

from t2t_multimodel.cli import decoder
from t2t_multimodel.data_gen.readers.lines import read_columns
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Audio, Image
from t2t_multimodel.problems import (
    BracketedTrees,
    CaptionedImages,
    LabelledImages,
    ParallelText,
    SentencePairs,
    TranscribedSpeech,
)

TREE = "( (S (NP-SBJ (DT the) (NN dog))\n     (VP (VBZ barks))\n     (. .)) )\n"


def test_trees_over_several_lines(tmp_path):
    """As the Penn Treebank's .mrg files have them, beside trees of one line."""
    (tmp_path / "train.mrg").write_text("\n" + TREE + "\n(S (NN a))\n" + TREE)
    samples = prepared(make(BracketedTrees, tmp_path), "train")
    assert [s["inputs"] for s in samples] == ["the dog barks .", "a", "the dog barks ."]
    assert [s["key"] for s in samples] == ["train.mrg:2", "train.mrg:6", "train.mrg:7"]
    (tmp_path / "train.mrg").write_text(TREE.replace("(VP", "(VP (") + TREE)
    bad, good = make(BracketedTrees, tmp_path).samples("train")
    assert "train.mrg:1: the tree" in bad["bad"] and good["inputs"] == "the dog barks ."


def coco(files):
    images = [{"id": i, "file_name": file} for i, file in enumerate(files)]
    return {
        "images": images,
        "annotations": [{"id": 9 - i, "image_id": i, "caption": f"an owl {i} "} for i in (1, 0, 1)],
    }


def test_captions_in_the_form_of_coco(tmp_path):
    (tmp_path / "train").mkdir()
    for name in ("a.png", "b.png", "without.png"):
        (tmp_path / "train" / name).write_bytes(png(len(name)))
    (tmp_path / "train" / "captions.json.xz").write_bytes(
        lzma.compress(json.dumps(coco(["a.png", "b.png", "without.png"])).encode())
    )
    samples = prepared(make(CaptionedImages, tmp_path, image=Image(4, 4, 3)), "train")
    assert [s["targets"] for s in samples] == ["an owl 0", "an owl 1", "an owl 1"]


@pytest.mark.parametrize(
    "content, said",
    [
        ('{"a.png": ["an owl"]}', r'got dict; expected: \[\{"file": "0007.png"'),
        ('{"images": [{"id": 1}], "annotations": []}', r"not in the form of COCO: images\[0\]: file_name is missing"),
        ('{"file": "a"}\n{"file": "b"}\n', "JSON Lines are read by Table"),
        (json.dumps(coco([])), "is of the image 1, which is not in images"),
    ],
)
def test_captions_in_another_form(content, said, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "captions.json").write_text(content)
    with pytest.raises(UserError, match=said):
        list(make(CaptionedImages, tmp_path).samples("train"))


def test_names_of_columns_among_pairs(tmp_path):
    (tmp_path / "train.tsv").write_text("English\tGerman\na\tb\nsource\ttext\n")
    bad, *good = make(SentencePairs, tmp_path, languages=("English", "German")).samples("train")
    assert "train.tsv:1: names of columns (English ⇥ German)" in bad["bad"] and "Table" in bad["bad"] and len(good) == 2
    (tmp_path / "x.tsv").write_text("file\ttext\n")
    with pytest.raises(UserError, match=r"x\.tsv:1: names of columns"):
        list(read_columns(tmp_path / "x.tsv", ("file", "words")))


def test_a_path_with_backslashes(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "transcripts.tsv").write_text("clips\\1.wav\thello\n")
    problem = make(TranscribedSpeech, tmp_path)
    (sample,) = problem.samples("train")
    with pytest.raises(ValueError, match="backslashes: write clips/1.wav"):
        problem.prepare(sample)


def test_compressed_pairs_trees_and_transcripts(tmp_path):
    (tmp_path / "train.tsv.bz2").write_bytes(bz2.compress(b"a\tb\n"))
    assert [s["key"] for s in prepared(make(SentencePairs, tmp_path), "train")] == ["train.tsv.bz2:1"]
    (tmp_path / "train.tsv").write_text("a\tb\n")
    with pytest.raises(UserError, match="the same text twice"):
        list(make(SentencePairs, tmp_path).samples("train"))
    (tmp_path / "train.mrg.xz").write_bytes(lzma.compress(TREE.encode()))
    assert len(prepared(make(BracketedTrees, tmp_path), "train")) == 1
    for side in ("en", "de"):
        (tmp_path / f"train.{side}.xz").write_bytes(lzma.compress(b"a\nb\n"))
    assert len(prepared(make(ParallelText, tmp_path, sides=("en", "de")), "train")) == 2
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "1.wav").write_bytes(wav(0.1))
    (tmp_path / "train" / "transcripts.tsv.bz2").write_bytes(bz2.compress(b"1.wav\thello\n"))
    assert len(prepared(make(TranscribedSpeech, tmp_path, audio=Audio(rate=8000)), "train")) == 1


def test_the_decoder_reads_compressed_files(tmp_path):
    (tmp_path / "in.txt.xz").write_bytes(lzma.compress("a\n\nö\n".encode()))
    assert list(decoder.read_lines(str(tmp_path / "in.txt.xz"))) == ["a", "", "ö"]


# ---- Examples of dev in train


def same_text(folder):
    (folder / "train.tsv").write_text("a b\tc\nx\ty\na b\td\n")
    (folder / "dev.tsv").write_text("a  b\tc\n")
    return SentencePairs


def same_tree(folder):
    for split in ("train", "dev"):
        (folder / f"{split}.mrg").write_text(TREE)
    return BracketedTrees


def same_picture(folder):
    for place in ("train/owl", "train/wren", "dev/owl"):
        (folder / place).mkdir(parents=True)
        (folder / place / f"{place[0]}.png").write_bytes(png(place == "train/wren"))
    return LabelledImages


def same_recording(folder):
    for split in ("train", "dev"):
        (folder / split).mkdir()
        (folder / split / f"{split}.wav").write_bytes(wav(0.1))
        (folder / split / "transcripts.tsv").write_text(f"{split}.wav\tin {split}\n")
    return TranscribedSpeech


def same_captioned_picture(folder):
    for split in ("train", "dev"):
        (folder / split).mkdir()
        (folder / split / f"{split}.png").write_bytes(png())
        (folder / split / "captions.json").write_text(json.dumps([{"file": f"{split}.png", "captions": [split]}]))
    return CaptionedImages


@pytest.mark.parametrize("fill", [same_text, same_tree, same_picture, same_recording, same_captioned_picture])
def test_an_example_of_dev_in_train_is_said_by_every_class(fill, tmp_path, capsys):
    problem = make(fill(tmp_path), tmp_path)
    for _ in range(2):
        list(problem.samples("train"))
    assert capsys.readouterr().err.count("mine train: 1 example is in dev too") == 1
