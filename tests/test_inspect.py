"""t2t-inspect shows what is stored as it is: text, pictures, sound, lengths; and proves that text survives."""

import io
import re

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from t2t_multimodel.cli import inspect_data
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.modalities import Audio, Image, Label, Text, drawings
from t2t_multimodel.problem import Problem

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
RATE = 8000


class Words(Problem):
    """Words to more words."""

    name = "inspect_words"
    inputs, targets = Text("English"), Text("German")
    splits = ("train", "dev")

    def samples(self, split):
        for i in range(10 if split == "train" else 3):
            texts = [f"ein\u202e Wort\n{split} $x_{i}$", "zwei"]
            yield {"inputs": "word " * (i + 1) + split, "targets": texts[0], "references": texts, "key": f"{split}/{i}"}


class Colours(Problem):
    """A picture of one colour to its name."""

    name = "inspect_colours"
    inputs, targets = Image(4, 6, 3), Label((*COLOURS, "never"))
    splits = ("train",)

    def samples(self, split):
        for i, (name, colour) in enumerate(3 * list(COLOURS.items())):
            picture = np.full((4, 6, 3), colour, np.uint8)
            picture[0, 0] = i
            yield {"inputs": picture, "targets": name, "key": f"{name}{i}"}


class Tones(Problem):
    """A tone, half of its recordings too loud, to its pitch."""

    name = "inspect_tones"
    inputs, targets = Audio(RATE), Text()
    splits = ("train",)

    def samples(self, split):
        for i in range(4):
            wave = 40000 * np.sin(2 * np.pi * 1000 * np.arange(RATE * (i + 1) // 4) / RATE) * (i % 2)
            yield {"inputs": np.clip(wave, -32768, 32767).astype(np.int16), "targets": "1000", "key": f"tone{i}"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect") / "data"
    generate([Words(), Colours(), Tones()], folder, workers=1, log=lambda line: None, progress=False)
    return folder


@pytest.fixture
def inspect(data, run_command, monkeypatch, user_folder, tmp_path):
    """inspect("words", flags…) → (status, output, error, folder of the files)."""
    from t2t_multimodel import registry

    for problem in (Words, Colours, Tones):
        registry.problems.add(problem.name, problem)

    def run(name, *flags):
        where = [f"--problem=inspect_{name}", f"--data_dir={data}", f"--output_dir={tmp_path / 'out'}"]
        return *run_command(inspect_data.main, *where, *flags), tmp_path / "out"

    return run


def test_text_is_shown_beside_its_ids_and_pieces(inspect):
    status, out, error, folder = inspect("words", "-n", "2", "--split=dev")
    assert status == 0, error
    form = r"dev \d: key 'dev/(\d)'\n    inputs     '(.*)'\n    ids        ([\d ]+) \((\d+)\)\n    pieces"
    shown = re.findall(form, out)
    assert len(shown) == 2 and all(text == "word " * (int(i) + 1) + "dev" for i, text, _, _ in shown)
    assert all(len(ids.split()) == int(count) for _, _, ids, count in shown)
    assert r"'ein\u202e Wort\ndev $x_" in out and "\u202e" not in out  # nothing turns the terminal's text round
    assert out.count("    reference  'zwei'") == 2
    assert sorted(p.name for p in folder.iterdir()) == ["inspect_words-lengths.png"]


def test_pictures_stand_on_a_contact_sheet_as_they_are_stored(inspect):
    status, out, error, folder = inspect("colours", "-n", "9")
    assert status == 0, error
    sheet = np.asarray(PillowImage.open(folder / "inspect_colours-train-inputs.png").convert("RGB"))
    for colour in COLOURS.values():
        assert (sheet == colour).all(-1).mean() > 0.02, "each colour fills three large pictures"
    assert "picture, 4 × 6 × 3; values 0 to 255" in out and "(class 2 of 4)" in out
    assert "4 classes; the most frequent is 'red' 3 times the target, the rarest 'never' 0" in out
    assert "warning: 1 classes are never the target: 'never'" in out


def test_sound_becomes_wav_files_and_spectrograms(inspect, data):
    status, out, error, folder = inspect("tones", "-n", "4", "--hparams=max_audio_seconds=0.8")
    assert status == 0, error
    stored = ExampleStore(data, "inspect_tones").split("train").examples(np.arange(4))
    for number, example in enumerate(stored, 1):
        samples, rate = soundfile.read(folder / f"inspect_tones-train-inputs-{number}.wav", dtype="int16")
        assert rate == RATE and (samples == example["inputs"]).all()
    assert out.count("warning: it is silent") == 2 and out.count("of the samples are at full scale") == 2
    assert "leaves out 1 of the 4 training examples (25.0%)" in out and "max_audio_seconds=1 (it is 0.8)" in out
    assert PillowImage.open(folder / "inspect_tones-train-inputs-spectrograms.png").size[1] > 800


def test_a_spectrogram_shows_the_pitch_at_its_level():
    tone = (16384 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.int16)
    level = drawings.spectrogram(tone, RATE)
    frequency = level.mean(0).argmax() * (RATE / 2) / (level.shape[1] - 1)
    assert abs(frequency - 1000) < 25 and abs(level.max() + 6.0) < 0.3  # half of full scale is -6 dB
    assert drawings.spectrogram(tone[:10], RATE).shape == (1, level.shape[1])


def test_what_an_hparams_set_would_leave_out_is_what_training_leaves_out(inspect, data):
    from t2t_multimodel.input.batching import BatchStream

    status, out, _, _ = inspect("words", "-n", "0", "--hparams=max_input_length=5")
    store = ExampleStore(data, "inspect_words")
    longest = store.split("train").input_length.max()
    left_out = BatchStream(store, "train", HParams(max_input_length=5), seed=0).left_out
    assert 0 < left_out < 10 and status == 0
    assert f"warning: multimodel_base leaves out {left_out} of the 10 training examples ({left_out / 10:.1%})" in out
    assert f"all are kept with max_input_length={longest} (it is 5)" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("train ", "dev "))]
    assert [" ".join(row[:2]) for row in rows] == ["train inputs", "train targets", "dev inputs", "dev targets"]
    assert rows[0][-1] == str(left_out) and "leaves out none" in inspect("words", "-n", "0")[1]


HOSTILE = "\u2581 \ue000\ue0001 <command_00> </s> \x01\t👩\u200d👩\u200d👧 e\u0301\ufeff\U0010ffff\u202e\u2028 ﷽\r\n\n "


def test_a_text_goes_to_ids_and_back(inspect):
    status, out, error, folder = inspect("words", f"--text={HOSTILE}")
    assert (status, error) == (0, "") and out.splitlines()[-1] == "equal    yes" and not folder.exists()
    assert out.splitlines()[0] == f"text     {HOSTILE!r} ({len(HOSTILE)} characters, {len(HOSTILE.encode())} bytes)"
    assert out.splitlines()[3] == f"decoded  {HOSTILE!r}" and all(line.isprintable() for line in out.splitlines())


@settings(max_examples=30, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_on_standard_input_comes_back(text, data):
    from t2t_multimodel.vocabulary import Vocabulary

    vocabulary = Vocabulary.load(data / "vocabulary")
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert all(isinstance(piece, str) for piece in vocabulary.pieces(vocabulary.encode(text)))


def test_standard_input_counts_to_the_last_byte(inspect, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("für\r\n\n".encode())))
    status, out, _, _ = inspect("words", "--text=-")
    assert status == 0 and out.startswith(r"text     'für\r\n\n' (6 characters, 7 bytes)")


def test_a_text_that_comes_back_changed_is_status_1(inspect, monkeypatch):
    from t2t_multimodel.vocabulary import Vocabulary

    monkeypatch.setattr(Vocabulary, "decode", lambda self, ids: "something else")
    status, out, _, _ = inspect("words", "--text=a")
    assert status == 1 and out.endswith("decoded  'something else'\nequal    no\n")


@pytest.mark.parametrize(
    "name, flag, words",
    [
        ("words", "--text=\udc80", ["--text=", "no text in this locale"]),
        ("colours", "--text=a", ["neither side of inspect_colours is text"]),
        ("words", "--split=tset", ["tset", "dev, train"]),
        ("words", "--hparams_set=multimodel_tinny", ["multimodel_tiny"]),
        ("words", "--hparams=max_input_lenght=3", ["max_input_length"]),
        ("words", "--data_dir=nowhere", ["t2t-datagen --problem=inspect_words --data_dir=nowhere"]),
        ("words", "--n=-1", ["n"]),
    ],
)
def test_a_mistake_is_one_line(name, flag, words, inspect):
    status, _, error, _ = inspect(name, flag)
    assert status == 2 and error.startswith("t2t-inspect: error: ") and error.count("\n") == 1
    assert all(word in error for word in words), error


def test_files_go_beside_the_data_unless_told(data, inspect, run_command):
    assert run_command(inspect_data.main, "--problem=inspect_words", f"--data_dir={data}", "-n", "1")[0] == 0
    assert (data / "inspect" / "inspect_words-lengths.png").exists()
