"""Users' files with seeded damage: readers give samples, bad records or one line; longer by T2T_FUZZ_SECONDS=120.

A picture or recording with a changed pixel or sample is read; nothing else than `UserError` and `ValueError` is raised.
"""

import io
import json
import random

import numpy as np
import pytest
import soundfile
from fuzz_files import rounds
from own_files import make
from PIL import Image as PillowImage

from t2t_multimodel.data_gen.readers.pictures import read_picture
from t2t_multimodel.data_gen.readers.recordings import read_recording
from t2t_multimodel.data_gen.readers.treebanks import read_treebank_file
from t2t_multimodel.data_gen.readers.trees import parse_tree
from t2t_multimodel.errors import UserError
from t2t_multimodel.problems import BracketedTrees, CaptionedImages, ParallelText, SentencePairs, TranscribedSpeech

pytestmark = pytest.mark.slow

CAPTIONS = [{"file": "a.png", "captions": ["a dog", "one dog"]}, {"file": "b.png", "captions": ["a cat"]}]
TEXTS = {
    "train.mrg": b"(S (NP (DT the) (NN dog)) (VP (V ran)))\n( (X y))\n",
    "train.tsv": "a\tb\nc\té\n".encode(),
    "train.en": "a\né\n".encode(),
    "train/captions.json": json.dumps(CAPTIONS).encode(),
    "train/transcripts.tsv": b"a.wav\thello\nb.wav\tthere\n",
    "train-src.en.sgm": b'<doc docid="a"><seg id="1">x &amp; y</seg>\n<seg id=2>z</seg></doc>',
}
JUNK = [
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"(",
    b")",
    b"\n",
    b"\r",
    b"\t",
    b" ",
    "\u00a0".encode(),
    b"[",
    b"{",
    b'"',
    b",",
    b"../",
]
JUNK += [
    b"\\ud800",
    b"\\u0000",
    b"/",
    b"1e999",
    b"NaN",
    b"null",
    b"<seg",
    b"<doc",
    b"&#99999999999;",
    b"\x1b]0;",
    b"9" * 5000,
]


def problems(folder):
    return {
        "train.mrg": [make(BracketedTrees, folder), make(BracketedTrees, folder, words_in_tree=False)],
        "train.tsv": [make(SentencePairs, folder)],
        "train.en": [make(ParallelText, folder, sides=("en", "de"))],
        "train/captions.json": [make(CaptionedImages, folder)],
        "train/transcripts.tsv": [make(TranscribedSpeech, folder)],
        "train-src.en.sgm": [make(ParallelText, folder, sides=("en", "de"))],
    }


def ends_well(read):
    try:
        read()
    except (UserError, ValueError) as error:
        assert "\n" not in str(error), error


def read_all(problem):
    problem.source_files()
    for sample in problem.samples("train"):
        if "bad" not in sample:
            ends_well(lambda sample=sample: problem.prepare(sample))
        else:
            assert "\n" not in sample["bad"] and "\n" not in sample["key"]


@pytest.mark.parametrize("name", TEXTS)
def test_damaged_text_gives_samples_bad_records_or_one_line(name, tmp_path):
    (tmp_path / "train").mkdir()
    PillowImage.new("RGB", (8, 8)).save(tmp_path / "train" / "a.png")
    soundfile.write(tmp_path / "train" / "a.wav", np.full(100, 0.1), 16000)
    for other in ("train.de", "train-ref.de.sgm"):
        if other.split(".")[0] == name.split(".")[0]:
            (tmp_path / other).write_bytes(TEXTS[name])
    random_ = random.Random(name)
    for _ in rounds(200):
        content = bytearray(TEXTS[name])
        for _ in range(random_.randrange(1, 5)):
            start = random_.randrange(len(content) + 1)
            content[start : start + random_.choice((0, 0, 1, 3))] = random_.choice(JUNK) * random_.choice((1, 1, 1, 50))
        (tmp_path / name).write_bytes(content)
        for problem in problems(tmp_path)[name]:
            ends_well(lambda problem=problem: read_all(problem))
        if name == "train.mrg":
            ends_well(lambda: [parse_tree(tree.text) for tree in read_treebank_file(tmp_path / name)])


def pictures():
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    for form in ("png", "jpeg", "webp", "gif", "bmp", "tiff", "ppm"):
        content = io.BytesIO()
        PillowImage.fromarray(pixels).save(content, form)
        yield form, content.getvalue()


def recordings(folder):
    tone = 0.5 * np.sin(np.arange(4000) / 3)
    for form in ("wav", "aiff", "flac", "ogg", "mp3", "au", "caf", "w64", "rf64"):
        soundfile.write(folder / f"whole.{form}", tone, 8000)
        yield form, (folder / f"whole.{form}").read_bytes()


@pytest.mark.filterwarnings("ignore")  # Pillow's, on strange tags
@pytest.mark.parametrize("kind", ["picture", "recording"])
def test_damaged_pictures_and_recordings_are_read_or_named(kind, tmp_path):
    whole = dict(pictures() if kind == "picture" else recordings(tmp_path))
    random_ = random.Random(kind)
    for _ in rounds(800):
        form = random_.choice(sorted(whole))
        content = bytearray(whole[form])
        for _ in range(random_.choice((1, 1, 2, 4, 16))):
            place = random_.randrange(min(len(content), random_.choice((64, 200, len(content)))))
            content[place] = random_.choice((0, 255, 127, 128, random_.randrange(256)))
        if random_.random() < 0.2:
            del content[random_.randrange(len(content)) :]
        path = tmp_path / f"damaged.{form}"
        path.write_bytes(content)
        try:
            read_picture(path, 16, 16, 3) if kind == "picture" else read_recording(path, 8000)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
