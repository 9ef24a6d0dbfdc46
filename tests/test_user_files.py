"""What is no regular file, or is larger than its limit, is one line at once: no wait, no gigabytes of memory."""

import contextlib
import gzip
import json
import os

import numpy as np
import pytest
import soundfile
from own_files import make, prepared
from PIL import Image as PillowImage

from t2t_multimodel.cli import datagen
from t2t_multimodel.data_gen.readers import pictures, recordings
from t2t_multimodel.data_gen.readers.lines import read_lines
from t2t_multimodel.data_gen.readers.members import read_content, tar_members, zip_members
from t2t_multimodel.data_gen.readers.pictures import read_picture
from t2t_multimodel.data_gen.readers.recordings import read_recording
from t2t_multimodel.data_gen.readers.sgm import read_sgm, resolved
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

pytestmark = pytest.mark.timeout(60)  # a reader that waits for a writer fails


def odd_files(folder):
    """{what it is: a path that is no regular file}"""
    (folder / "is_a_folder").mkdir(parents=True)
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder / "loop")
    return {
        "a pipe": folder / "pipe",
        "a device": "/dev/zero",
        "a folder": folder / "is_a_folder",
        "Too many levels": folder / "loop",
        "File name too long": folder / ("n" * 300),
        "null byte": "a\0b",
        "no such file|No such file": folder / "missing",
        "not a file name": "\ud800",
    }


READERS = {
    "lines": lambda path: list(read_lines(path)),
    "sgm": read_sgm,
    "picture": lambda path: read_picture(path, 8, 8, 3),
    "recording": lambda path: read_recording(path, 8000),
    "member": read_content,
    "tar": lambda path: list(tar_members(path)),
    "zip": zip_members,
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_reads_regular_files_only(reader, tmp_path):
    for reason, path in odd_files(tmp_path / "odd").items():
        with pytest.raises((UserError, ValueError), match=reason) as error:
            READERS[reader](path)
        assert "\n" not in str(error.value)


PROBLEMS = [
    (SentencePairs, "train.tsv", {}),
    (BracketedTrees, "train.mrg", {}),
    (CaptionedImages, "train/captions.json", {}),
    (TranscribedSpeech, "train/transcripts.tsv", {}),
    (ParallelText, "train.en", {"sides": ("en", "de")}),
]


@pytest.mark.parametrize("base, name, attributes", PROBLEMS)
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder", "Too many levels"])
def test_a_list_that_is_no_regular_file_is_named(base, name, attributes, kind, tmp_path):
    path = tmp_path / "corpus" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(odd_files(tmp_path / "odd")[kind])
    (tmp_path / "corpus" / "train.de").write_text("a\n")
    wanted = f"{name}: .*({kind}|regular file)"
    if (base, kind) == (ParallelText, "a folder"):
        wanted = "train.de: its other side, the same name with .en, is not there"
    with pytest.raises(UserError, match=wanted) as error:
        prepared(make(base, tmp_path / "corpus", **attributes), "train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["train", "train/captions.json"])
def test_a_split_that_is_a_file_is_named(name, tmp_path):
    (tmp_path / "train").write_text("")
    for base in (LabelledImages, CaptionedImages, TranscribedSpeech):
        with pytest.raises(UserError, match="train is no folder; expected: train/"):
            list(make(base, tmp_path).samples("train"))


@pytest.mark.parametrize("name", ["n" * 300 + ".png", "a\0.png", "\ud800.png", "", "pipe.png", "loop.png"])
def test_a_listed_picture_that_can_not_be_is_a_bad_record(name, tmp_path):
    (tmp_path / "train").mkdir()
    os.mkfifo(tmp_path / "train" / "pipe.png")
    (tmp_path / "train" / "loop.png").symlink_to("loop.png")
    (tmp_path / "train" / "captions.json").write_text(json.dumps([{"file": name, "captions": ["x"]}]))
    problem = make(CaptionedImages, tmp_path)
    problem.source_files()
    with pytest.raises((ValueError, UserError), match="captions.json"):
        prepared(problem, "train")


@pytest.mark.parametrize("name", ["n" * 300 + ".wav", "pipe.wav", "loop.wav"])
def test_a_listed_recording_that_can_not_be_is_a_bad_record(name, tmp_path):
    (tmp_path / "train").mkdir()
    os.mkfifo(tmp_path / "train" / "pipe.wav")
    (tmp_path / "train" / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "train" / "transcripts.tsv").write_text(f"{name}\thello\n")
    problem = make(TranscribedSpeech, tmp_path)
    problem.source_files()
    with pytest.raises(ValueError, match="transcripts.tsv of train names"):
        prepared(problem, "train")


@pytest.mark.parametrize("content, reason", [("[" * 200_000, "nested too deep"), ("[" + "9" * 5000 + "]", "digits")])
def test_a_list_of_captions_that_no_parser_takes_is_one_line(content, reason, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "captions.json").write_text(content)
    with pytest.raises(UserError, match=rf"captions\.json: not valid JSON for captions \(.*{reason}"):
        list(make(CaptionedImages, tmp_path).samples("train"))
    with pytest.raises(UserError, match="more than 100 bytes, the most that max_captions_bytes allows"):
        list(make(CaptionedImages, tmp_path, max_captions_bytes=100).samples("train"))


@pytest.mark.parametrize("value", [0, None, ["a.png"]])
def test_what_is_no_path_is_not_opened(value):
    for modality in (Audio(), Image()):  # a number would be a file that is open already
        with pytest.raises(ValueError, match=f"it must be a path, bytes or an array, not {type(value).__name__}"):
            modality.from_line(value)


# ---- Limits


class Endless:
    """A compressed file without an end, as far as one looks: counts what is read."""

    def __init__(self):
        self.read_bytes = 0

    def read(self, size):
        assert self.read_bytes < 1 << 26, "read on and on"
        self.read_bytes += size
        return b"x" * size


def test_a_line_without_an_end_is_refused_before_it_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(gzip, "open", lambda file, mode: Endless())
    (tmp_path / "train.tsv.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"tsv\.gz:1: a line of more than 1,048,576 characters, .* max_line_length"):
        list(read_lines(tmp_path / "train.tsv.gz"))


@pytest.mark.parametrize("form", ["plain", "gz"])
def test_a_line_over_the_limit_is_one_bad_record_and_the_next_ones_are_read(form, tmp_path):
    content = "a\tb\n" + "ä" * 3_000_000 + "\tb\nc\td\n" + "x" * 60 + "\ty\ne\tf"
    path = tmp_path / "lines.gz" if form == "gz" else tmp_path / "lines"
    path.write_bytes(gzip.compress(content.encode()) if form == "gz" else content.encode())
    read = dict(read_lines(path, malformed=lambda reason: f"bad: {reason}", max_line_length=50))
    assert (read[1], read[3], read[5]) == ("a\tb", "c\td", "e\tf") and len(read) == 5
    assert all(f"{path}:{number}: a line of more than 50 characters" in read[number] for number in (2, 4))


def test_the_limit_on_lines_is_an_attribute_of_the_problem(tmp_path):
    (tmp_path / "train.tsv").write_text("a\tb\n" + "x" * 100 + "\ty\n")
    assert len(prepared(make(SentencePairs, tmp_path), "train")) == 2
    with pytest.raises(UserError, match=r"train\.tsv:2: a line of more than 99 characters, .* max_line_length"):
        prepared(make(SentencePairs, tmp_path, max_line_length=99), "train")
    (tmp_path / "train.mrg").write_text("(S (NN a))\n(S (NN " + "x" * 100 + "))\n")
    with pytest.raises(UserError, match=r"train\.mrg:2: a line of more than 99 characters"):
        prepared(make(BracketedTrees, tmp_path, max_line_length=99), "train")
    for side in ("en", "de"):
        (tmp_path / f"train.{side}").write_text("a\n" + "x" * 100 + "\n")
    with pytest.raises(UserError, match=r"train\.en:2: a line of more than 99 characters"):
        prepared(make(ParallelText, tmp_path, sides=("en", "de"), max_line_length=99), "train")


def test_captions_and_segments_are_held_to_the_limit_on_lines(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "captions.json").write_text(json.dumps([{"file": "1.png", "captions": ["x" * 100]}]))
    with pytest.raises(UserError, match="1.png: a caption of more than the 99 characters that max_line_length allows"):
        prepared(make(CaptionedImages, tmp_path, max_line_length=99), "train")
    for side, language in (("src", "en"), ("ref", "de")):
        content = '<doc docid="a"><seg id="1">a</seg><seg id="2">' + "x" * 100 + "</seg></doc>"
        (tmp_path / f"train-{side}.{language}.sgm").write_text(content)
    with pytest.raises(
        UserError, match=r"de\.sgm:segment 2: longer than the 99 characters that max_line_length allows"
    ):
        prepared(make(ParallelText, tmp_path, sides=("en", "de"), max_line_length=99), "train")


def test_a_tag_without_an_end_takes_no_time(tmp_path):
    (tmp_path / "t.sgm").write_text('<doc docid="a"><seg ' + "9" * 300_000 + ">x</seg></doc>")
    with pytest.raises(UserError, match=r"t\.sgm:1: <seg 9+… has more than 1,000 characters"):
        read_sgm(tmp_path / "t.sgm")
    assert resolved("&#" + "9" * 5000 + "; &#65; &amp;") == "&#" + "9" * 5000 + "; A &"


def test_a_test_set_that_is_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("t2t_multimodel.data_gen.readers.sgm.MAX_BYTES", 1000)
    (tmp_path / "t.sgm.gz").write_bytes(gzip.compress(bytes(10_000)))
    with pytest.raises(UserError, match=r"t\.sgm\.gz: more than 1,000 bytes"):
        read_sgm(tmp_path / "t.sgm.gz")


def test_a_recording_longer_than_the_limit_is_refused_by_its_header(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.flac", np.zeros(16000), 8000)  # silence: 2 s in some hundred bytes
    assert len(read_recording(tmp_path / "a.flac", 8000)) == 16000
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"a\.flac: 2 seconds of sound or more, more than max_seconds = 1 allows"):
        read_recording(tmp_path / "a.flac", 8000, max_seconds=1)


def test_a_recording_whose_header_hides_its_length_is_refused_while_it_is_decoded(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.flac", np.zeros(80_000), 8000)
    monkeypatch.setattr(recordings, "_BLOCK", 4096)
    monkeypatch.setattr(
        recordings,
        "_too_long",
        lambda n, rate, most, real=recordings._too_long: "" if n == 80_000 else real(n, rate, most),
    )
    with pytest.raises(ValueError, match="max_seconds = 1 allows"):
        read_recording(tmp_path / "a.flac", 8000, max_seconds=1)


def test_the_limit_on_recordings_is_an_attribute_of_the_modality(tmp_path):
    (tmp_path / "train").mkdir()
    soundfile.write(tmp_path / "train" / "a.wav", np.full(16000, 0.1), 8000)
    (tmp_path / "train" / "transcripts.tsv").write_text("a.wav\thello\n")
    assert len(prepared(make(TranscribedSpeech, tmp_path, audio=Audio(rate=8000)), "train")) == 1
    with pytest.raises(ValueError, match="max_seconds = 1 allows"):
        prepared(make(TranscribedSpeech, tmp_path, audio=Audio(rate=8000, max_seconds=1.0)), "train")
    with pytest.raises(ValueError, match="max_seconds = 1 allows"):
        Audio(rate=8000, max_seconds=1.0).from_line(str(tmp_path / "train" / "a.wav"))
    assert Audio().to_json() == {"modality": "audio"} and recordings.MAX_SECONDS == Audio().max_seconds


def test_a_picture_with_more_pixels_than_the_limit_is_refused_undecoded(tmp_path, monkeypatch):
    PillowImage.new("1", (20_000, 15_000)).save(tmp_path / "large.png")  # 300 million pixels in some kilobytes
    monkeypatch.setattr(PillowImage.Image, "load", lambda *_: pytest.fail("decoded"))
    before = PillowImage.MAX_IMAGE_PIXELS
    with pytest.raises(
        ValueError, match=r"large\.png: .*20,000 × 15,000 pixels, more than the 180,000,000 .*max_pixels"
    ):
        read_picture(tmp_path / "large.png", 8, 8, 3)
    assert PillowImage.MAX_IMAGE_PIXELS == before


def test_the_limit_on_pictures_is_an_attribute_of_the_modality(tmp_path):
    path = tmp_path / "train" / "a" / "1.png"
    path.parent.mkdir(parents=True)
    PillowImage.new("RGB", (100, 100)).save(path)
    assert len(prepared(make(LabelledImages, tmp_path, image=Image(8, 8, 3)), "train")) == 1
    with pytest.raises(ValueError, match="more than the 9,999 that max_pixels allows"):
        prepared(make(LabelledImages, tmp_path, image=Image(8, 8, 3, max_pixels=9_999)), "train")
    with pytest.raises(ValueError, match="more than the 9,999 that max_pixels allows"):
        Image(8, 8, 3, max_pixels=9_999).from_line(str(path))
    assert Image().to_json() == {"modality": "image"} and pictures.MAX_PIXELS == Image().max_pixels


def test_a_picture_is_never_a_program(tmp_path):
    with contextlib.suppress(OSError):
        PillowImage.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    with pytest.raises(ValueError, match="PostScript"):
        read_picture(tmp_path / "a.eps", 8, 8, 3)


def test_a_log_of_a_process_goes_to_no_place_that_somebody_planted(tmp_path):
    """In the folder of a stranger's suite or search: not through a link, and a pipe is not waited for."""
    from t2t_multimodel.regular_files import opened_to_write

    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "pipe", "folder"):
        with pytest.raises(OSError):
            opened_to_write(tmp_path / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_of_a_long_log_the_end_is_read(tmp_path):
    from t2t_multimodel.regular_files import last_lines

    (tmp_path / "log").write_bytes(b"x" * 100_000 + b"\n\xff one\n two \n")
    assert last_lines(tmp_path / "log", 100)[1:] == ["\N{REPLACEMENT CHARACTER} one", "two"]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError):
        last_lines(tmp_path / "pipe")


def test_a_class_without_what_its_base_leaves_to_it_is_one_line(user_folder, run_command, tmp_path):
    lines = (
        "from t2t_multimodel.modalities import Text",
        "from t2t_multimodel.problems.file_problem import FileProblem",
        "from t2t_multimodel.registry import register_problem",
        "@register_problem",
        "class Unfinished(FileProblem):",
        '    """Nothing yet."""',
        "    inputs = targets = Text()",
        '    splits = {"train": None}',
        '    directory = "."',
    )
    folder = user_folder({"unfinished.py": "\n".join(lines) + "\n"})
    os.mkdir(os.path.join(folder, "train"))
    given = ["--problem=unfinished", f"--t2t_usr_dir={folder}", f"--data_dir={tmp_path / 'data'}"]
    status, _, error = run_command(datagen.main, *given)
    assert status == 2 and error.splitlines()[-1].endswith("Unfinished must define read_samples(split)")
