"""Problems over people's own pictures and recordings: every kind is read, and what is broken is named."""

import json

import numpy as np
import pytest
import soundfile
from own_files import make, prepared
from PIL import Image as PillowImage

from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Audio, Image
from t2t_multimodel.problems import CaptionedImages, LabelledImages, TranscribedSpeech

# ---- Labelled pictures


def save_picture(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(np.asarray(array)).save(path, **options)
    return path


def gradient(height, width):
    return np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)


@pytest.fixture
def birds(tmp_path):
    for split in ("train", "dev"):
        for i, name in enumerate(("wren", "owl")):
            save_picture(tmp_path / split / name / "1.png", np.full((20, 10, 3), 100 * i, np.uint8))
            save_picture(tmp_path / split / name / "2.JPG", gradient(8, 8))
    (tmp_path / "train" / "owl" / ".hidden.png").write_text("not a picture")
    (tmp_path / "train" / "owl" / "notes.txt").write_text("not a picture")
    return tmp_path


def test_pictures_in_folders_by_class(birds):
    problem = make(LabelledImages, birds, image=Image(16, 12, 3))
    assert problem.splits == ("train", "dev")
    assert problem.targets.classes == ("owl", "wren")
    samples = prepared(problem, "train")
    assert [(s["targets"], s["key"]) for s in samples] == [
        ("owl", "train/owl/1.png"),
        ("owl", "train/owl/2.JPG"),
        ("wren", "train/wren/1.png"),
        ("wren", "train/wren/2.JPG"),
    ]
    assert (samples[0]["inputs"] == 100).all() and (samples[2]["inputs"] == 0).all()
    grey = samples[1]["inputs"]
    assert grey.shape == (16, 12, 3) and (grey[..., 0] == grey[..., 2]).all() and grey[15, 11, 0] > grey[0, 0, 0] + 200
    assert problem.metric_names == ("accuracy_top1", "accuracy_top5")
    assert len(problem.source_files()) == 8


def test_colour_becomes_grey_where_the_feature_is(birds):
    picture = prepared(make(LabelledImages, birds, image=Image(4, 4, 1)), "dev")[0]["inputs"]
    assert picture.shape == (4, 4, 1) and (picture == 100).all()


def test_a_picture_of_the_right_size_is_not_touched(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    save_picture(tmp_path / "train" / "a" / "1.png", pixels)
    assert (prepared(make(LabelledImages, tmp_path, image=Image(9, 7, 3)), "train")[0]["inputs"] == pixels).all()


@pytest.mark.parametrize(
    "pixels, options, suffix, expected",
    [
        (np.full((4, 4), 257 * 70, np.uint16), {}, ".png", 70),  # 16 bits a pixel
        (np.stack([np.zeros((4, 4), np.uint8)] * 4, -1), {}, ".png", 255),  # black, but transparent
        (np.full((4, 4), 30, np.uint8), {"transparency": 30}, ".png", 255),
        (np.array([[0, 0, 9, 9]] * 4, np.uint8) > 5, {}, ".png", [[0, 0, 255, 255]] * 4),  # one bit a pixel
        (np.full((4, 4), 50, np.uint8), {}, ".gif", 50),
    ],
)
def test_pictures_of_every_kind(pixels, options, suffix, expected, tmp_path):
    save_picture(tmp_path / "train" / "a" / f"1{suffix}", pixels, **options)
    picture = prepared(make(LabelledImages, tmp_path, image=Image(4, 4, 3)), "train")[0]["inputs"]
    assert (picture == np.broadcast_to(np.asarray(expected)[..., None], (4, 4, 3))).all()


def test_photographs_are_turned_upright(tmp_path):
    exif = PillowImage.Exif()
    exif[0x0112] = 3  # taken upside down
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4] = 255
    save_picture(tmp_path / "train" / "a" / "1.png", pixels, exif=exif)
    picture = prepared(make(LabelledImages, tmp_path, image=Image(8, 8, 3)), "train")[0]["inputs"]
    assert (picture[:4] == 0).all() and (picture[4:] == 255).all()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_a_jpeg_decoded_at_part_of_its_size_is_the_same_picture(orientation, fit, tmp_path):
    """Against the same pixels as a PNG, which is always decoded whole; upright or on its side."""
    waves = np.sin(np.arange(300)[:, None] / 23) * np.cos(np.arange(500)[None, :] / 31)
    pixels = np.stack([127 + 120 * waves, np.tile(np.linspace(0, 255, 500), (300, 1)), 127 - 90 * waves], -1)
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    for suffix, options in ((".jpg", {"quality": 95, "subsampling": 0}), (".png", {})):
        save_picture(tmp_path / "train" / "a" / f"1{suffix}", pixels.astype(np.uint8), exif=exif, **options)
    problem = make(LabelledImages, tmp_path, image=Image(40, 56, 3, fit=fit))
    small, whole = (sample["inputs"].astype(float) for sample in prepared(problem, "train"))
    assert np.abs(small - whole).max() < 8 and np.sqrt(np.mean((small - whole) ** 2)) < 1.5


def test_the_middle_is_cut_out_where_the_feature_says_crop(tmp_path):
    """Thirds of red, green and blue: the middle of a wide picture is green, of a tall one too."""
    thirds = np.repeat(np.eye(3, dtype=np.uint8) * 255, 30, axis=0)  # [90, 3]
    save_picture(tmp_path / "train" / "a" / "1.png", np.tile(thirds, (30, 1, 1)))
    save_picture(tmp_path / "train" / "a" / "2.png", np.tile(thirds[:, None], (1, 30, 1)))
    cropped = prepared(make(LabelledImages, tmp_path, image=Image(10, 10, 3, fit="crop")), "train")
    stretched = prepared(make(LabelledImages, tmp_path, image=Image(10, 10, 3)), "train")
    for sample in cropped:
        assert (sample["inputs"][1:-1, 1:-1] == (0, 255, 0)).all()
    for sample in stretched:
        assert {tuple(sample["inputs"][i, i]) for i in (0, 9)} == {(255, 0, 0), (0, 0, 255)}
    with pytest.raises(ValueError, match="'stretch' or 'crop', not 'squeeze'"):
        Image(10, 10, 3, fit="squeeze")


@pytest.mark.parametrize(
    "content", [b"", b"this is text", b"\x89PNG\r\n\x1a\n", "half a picture", "pixels as floating-point numbers"]
)
def test_a_picture_that_cannot_be_decoded_is_named(content, birds):
    broken = birds / "train" / "owl" / ("3.tif" if "floating" in str(content) else "3.png")
    if content == "half a picture":
        whole = save_picture(broken, np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)).read_bytes()
        content = whole[: len(whole) // 2]
    elif content == "pixels as floating-point numbers":
        content = save_picture(broken, np.ones((4, 4), np.float32)).read_bytes()
    broken.write_bytes(content)
    problem = make(LabelledImages, birds)
    (sample,) = [s for s in problem.samples("train") if s["inputs"] == str(broken)]
    with pytest.raises(ValueError, match=f"{broken}: can't be decoded as a picture"):
        problem.prepare(sample)


def test_a_class_that_train_lacks(birds):
    save_picture(birds / "dev" / "gull" / "1.png", gradient(8, 8))
    with pytest.raises(UserError, match=r"dev/gull: a class that train lacks; train has owl, wren"):
        list(make(LabelledImages, birds).samples("dev"))


def test_a_class_without_pictures_says_what_is_there(birds):
    (birds / "train" / "gull").mkdir()
    with pytest.raises(UserError, match=r"gull: no pictures \(\*\.png, .*\); it is empty"):
        list(make(LabelledImages, birds).samples("train"))
    (birds / "train" / "gull" / "1.heic").write_bytes(b"")
    with pytest.raises(UserError, match=r"files there end in \.heic"):
        list(make(LabelledImages, birds).samples("train"))


def test_pictures_without_class_folders(tmp_path):
    save_picture(tmp_path / "train" / "1.png", gradient(8, 8))
    with pytest.raises(UserError, match="no class folders in .*train"):
        make(LabelledImages, tmp_path).targets  # noqa: B018


# ---- Captioned pictures


@pytest.fixture
def windows(tmp_path):
    entries = [{"file": "1.png", "captions": ["a dog", "one dog"]}, {"file": "more/2.png", "captions": ["a cat"]}]
    for split in ("train", "dev"):
        for entry in entries:
            save_picture(tmp_path / split / entry["file"], gradient(8, 8))
        (tmp_path / split / "captions.json").write_text(json.dumps(entries))
    return tmp_path


def test_every_caption_is_an_example_in_train_and_a_reference_in_dev(windows):
    problem = make(CaptionedImages, windows, image=Image(8, 8, 3))
    train, dev = prepared(problem, "train"), prepared(problem, "dev")
    assert [s["targets"] for s in train] == ["a dog", "one dog", "a cat"]
    assert [(s["targets"], s["references"]) for s in dev] == [("a dog", ["a dog", "one dog"]), ("a cat", ["a cat"])]
    first = prepared(make(CaptionedImages, windows, every_caption=False), "train")
    assert [s["targets"] for s in first] == ["a dog", "a cat"]
    assert problem.metric_names == ("bleu", "exact_match")
    assert len(problem.source_files()) == 6


def test_a_caption_of_a_missing_picture(windows):
    (windows / "train" / "more" / "2.png").unlink()
    problem = make(CaptionedImages, windows)
    with pytest.raises(ValueError, match=r"2\.png: no such file \(captions.json of train names more/2.png\)"):
        prepared(problem, "train")


@pytest.mark.parametrize(
    "content, reason",
    [
        (b'[{"file": "1.png",\n "captions": [}]', r"captions\.json:2: not valid JSON"),
        (b'{"1.png": ["a dog"]}', "a list of entries expected, got dict"),
        ('[{"file": "1.png", "captions": ["Käse"]}]'.encode("latin-1"), "captions.json: not UTF-8"),
        (None, r"captions\.json: no such file; expected"),
    ],
)
def test_broken_lists_of_captions_are_named(content, reason, windows):
    path = windows / "train" / "captions.json"
    path.write_bytes(content) if content else path.unlink()
    with pytest.raises(UserError, match=reason):
        list(make(CaptionedImages, windows).samples("train"))


@pytest.mark.parametrize(
    "entry, reason",
    [
        ({"captions": ["b"]}, 'not of the form {"file": "0007.png", "captions": ["…"]}'),
        (["2.png", "b"], 'not of the form {"file": "0007.png", "captions": ["…"]}'),
        ({"file": "2.png", "captions": []}, "2.png: captions must be a list of at least one string"),
        ({"file": "2.png", "captions": "a dog"}, "2.png: captions must be a list of at least one string"),
        ({"file": "2.png", "captions": ["a", " "]}, "2.png: a caption is ' ', a string with words expected"),
    ],
)
def test_a_malformed_entry_is_a_bad_record(entry, reason, windows, tmp_path):
    path = windows / "train" / "captions.json"
    first, second = json.loads(path.read_text())
    path.write_text(json.dumps([first, entry, second]))
    problem = make(CaptionedImages, windows, image=Image(8, 8, 3))
    bad = {"key": "captions.json:entry 2", "bad": f"{path}:entry 2: {reason}"}
    samples = list(problem.samples("train"))
    assert samples.pop(2) == bad and [sample["targets"] for sample in samples] == ["a dog", "one dog", "a cat"]
    assert len(problem.source_files()) == 6
    silent = {"workers": 1, "vocabulary_size": 400, "log": lambda line: None}
    with pytest.raises(UserError, match=r"split 'train': bad record .*/captions\.json:entry 2: "):
        generate([problem], tmp_path / "data", **silent)
    (result,) = generate([problem], tmp_path / "data", max_bad_records=1, **silent)
    assert [dropped["reason"] for dropped in result.manifest["dropped"]] == [bad["bad"]]


# ---- Recordings


def tone(frequency, rate, seconds=0.5):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


def speech(folder, name, samples, rate, **options):
    (folder / "train").mkdir(exist_ok=True)
    soundfile.write(folder / "train" / name, samples, rate, **options)
    (folder / "train" / "transcripts.tsv").write_text(f"{name}\thello there\n")
    return make(TranscribedSpeech, folder)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("suffix, channels", [(".wav", 1), (".flac", 2), (".ogg", 3)])
def test_any_rate_and_any_channels_become_one_channel_at_the_declared_rate(rate, suffix, channels, tmp_path):
    samples = np.stack([tone(440, rate)] + [np.zeros(rate // 2)] * (channels - 1), -1)
    (sample,) = prepared(speech(tmp_path, f"a{suffix}", samples, rate), "train")
    sound = sample["inputs"]
    assert sample["targets"] == "hello there" and len(sound) == pytest.approx(8000, abs=2)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert np.argmax(spectrum) * 16000 / len(sound) == pytest.approx(440, abs=3)
    assert np.abs(sound[1000:-1000]).max() / 32768 == pytest.approx(0.5 / channels, rel=0.1)


def test_a_recording_at_the_declared_rate_is_not_touched(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 1000).astype(np.int16)
    (sample,) = prepared(speech(tmp_path, "a.wav", samples, 16000), "train")
    assert (sample["inputs"] == samples).all()


def test_loud_floating_point_sound_is_clipped(tmp_path):
    (sample,) = prepared(speech(tmp_path, "a.wav", np.array([2.0, -2.0, 0.5]), 16000, subtype="FLOAT"), "train")
    assert sample["inputs"].tolist() == [32767, -32768, 16384]


@pytest.mark.parametrize(
    "name, damage, reason",
    [
        ("a.flac", lambda content: content[: len(content) // 2], "can't be decoded as a recording"),
        ("a.wav", lambda content: content[: len(content) // 2], "cut short: its header says 16044 bytes"),
        ("a.wav", lambda content: b"this is text", "can't be decoded as a recording"),
        ("a.wav", lambda content: b"", "can't be decoded as a recording"),
        ("a.raw", lambda content: content, "can't be decoded as a recording"),
        ("a.wav", None, "no such file"),
    ],
)
def test_a_recording_that_cannot_be_decoded_is_named(name, damage, reason, tmp_path):
    problem = speech(tmp_path, "a.flac" if name == "a.flac" else "a.wav", tone(440, 16000), 16000)
    path = tmp_path / "train" / name
    (tmp_path / "train" / "transcripts.tsv").write_text(f"{name}\thello\n")
    if damage:
        path.write_bytes(damage((tmp_path / "train" / ("a.flac" if name == "a.flac" else "a.wav")).read_bytes()))
    else:
        path.unlink()
    with pytest.raises(ValueError) as error:
        prepared(problem, "train")
    assert str(error.value).startswith(f"{path}: {reason}")
    assert f"transcripts.tsv of train names {name}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("samples, reason", [([], "has no samples"), ([0.1, np.nan], "not finite")])
def test_recordings_without_sound(samples, reason, tmp_path):
    problem = speech(tmp_path, "a.wav", np.array(samples), 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match=reason):
        prepared(problem, "train")


def test_a_wav_written_into_a_pipe_is_read(tmp_path):
    problem = speech(tmp_path, "a.wav", tone(440, 16000), 16000)
    path = tmp_path / "train" / "a.wav"
    content = bytearray(path.read_bytes())
    content[4:8] = b"\xff\xff\xff\xff"  # the size was not known when the header was written
    path.write_bytes(content)
    assert len(prepared(problem, "train")[0]["inputs"]) == 8000


def test_broken_transcripts_are_named(tmp_path):
    problem = speech(tmp_path, "a.wav", tone(440, 8000), 8000)
    path = tmp_path / "train" / "transcripts.tsv"
    path.write_text("a.wav\thello\na.wav\n")
    with pytest.raises(UserError, match=r"transcripts\.tsv:2: 1 column between tabs, expected 2: file ⇥ text"):
        prepared(problem, "train")
    path.unlink()
    with pytest.raises(UserError, match=r"no such file: .*transcripts\.tsv; expected: train/transcripts\.tsv"):
        list(problem.samples("train"))


def test_the_declared_rate_is_the_features(tmp_path):
    speech(tmp_path, "a.wav", tone(440, 16000), 16000)
    problem = make(TranscribedSpeech, tmp_path, audio=Audio(rate=8000, form="waveform"))
    assert len(prepared(problem, "train")[0]["inputs"]) == pytest.approx(4000, abs=2)
    assert problem.inputs.form == "waveform" and problem.metric_names == ("cer", "wer")
