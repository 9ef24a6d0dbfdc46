"""A recording that was cut short is a bad record in every form, and a whole one never is."""

import io
import struct

import numpy as np
import pytest
import soundfile

from t2t_multimodel.data_gen.readers import mp3
from t2t_multimodel.data_gen.readers.promised import why_cut
from t2t_multimodel.data_gen.readers.recordings import read_recording

RATE, SAMPLES = 8000, 16000
FORMS = [
    "mp3",
    "aiff",
    "flac",
    "wav",
    "au",
    "w64",
    "rf64",
    "caf",
    "svx",
    "voc",
    "avr",
    "ogg VORBIS",
    "ogg OPUS",
    "aiff FLOAT",
]


def written(folder, form, samples=None, rate=RATE):
    suffix, _, subtype = form.partition(" ")
    path = folder / f"whole.{suffix}"
    samples = 0.5 * np.sin(2 * np.pi * 440 * np.arange(SAMPLES) / RATE) if samples is None else samples
    soundfile.write(path, samples, rate, subtype=subtype or None)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_recording_is_refused_wherever_it_is_cut(form, tmp_path):
    path = written(tmp_path, form)
    content = path.read_bytes()
    assert len(read_recording(path, RATE)) == SAMPLES
    for kept in (0.999, 0.99, 0.9, 0.5, 0.1):
        path.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(ValueError, match=f"{path}: (cut short: |can't be decoded as a recording)") as error:
            read_recording(path, RATE)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", FORMS)
def test_what_follows_a_whole_recording_does_not_matter(form, tmp_path):
    path = written(tmp_path, form)
    content = path.read_bytes()
    assert why_cut(io.BytesIO(content + b"TAG" + bytes(125))) == ""  # as taggers leave it behind MP3s


def test_tags_before_an_mp3_are_not_counted(tmp_path):
    content = written(tmp_path, "mp3").read_bytes()
    tags = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)
    assert why_cut(io.BytesIO(tags + content)) == ""
    assert why_cut(io.BytesIO((tags + content)[:-10])).startswith("its header says")


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_size_that_was_not_known_when_the_header_was_written_says_nothing(size, tmp_path):
    for form, place, order in (("wav", 4, "<"), ("aiff", 4, ">"), ("au", 8, ">")):
        if form == "au" and size != 0xFFFFFFFF:
            continue
        content = bytearray(written(tmp_path, form).read_bytes())
        content[place : place + 4] = struct.pack(order + "I", size)
        assert why_cut(io.BytesIO(content)) == ""


def test_a_size_of_the_whole_that_is_not_known_leaves_that_of_the_sound(tmp_path):
    content = bytearray(written(tmp_path, "wav").read_bytes())
    content[4:8] = b"\xff\xff\xff\xff"
    assert why_cut(io.BytesIO(content[:-100])) == "its header says 32044 bytes, the file has 31944"


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RF64", b"FORM\0", b"caff", b"OggS", b".snd", b"ID3", b"\xff\xfb"])
def test_what_is_too_short_for_its_header_is_left_to_the_decoder(content, tmp_path):
    assert isinstance(why_cut(io.BytesIO(content)), str)
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match="cut short|can't be decoded"):
        read_recording(tmp_path / "a.wav", RATE)


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_decoding_in_blocks_gives_the_samples_of_decoding_at_once(form, channels, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (300_001, channels))
    path = written(tmp_path, form, noise, 16000)
    whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
    expected = np.clip(np.rint(whole.mean(axis=1) * 32768.0), -32768, 32767)
    assert np.array_equal(read_recording(path, 16000), expected)


def bare(content):
    """The MP3 without its first frame, in which encoders write its length."""
    return content[mp3._frame_bytes(content[:4]) :]


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_that_does_not_say_its_length_is_cut_where_its_last_frame_is(rate, channels, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (rate, channels))
    content = bare(written(tmp_path, "mp3", noise, rate).read_bytes())
    cuts = [why_cut(io.BytesIO(content[:kept])) for kept in range(1000, len(content), 13)]
    assert cuts.count("it ends inside of a frame") > 0.95 * len(cuts)
    for tag in (b"", b"TAG" + bytes(125), b"APETAGEX" + bytes(100), bytes(500)):
        assert why_cut(io.BytesIO(content + tag)) == ""


def test_an_mp3_that_does_not_say_its_length_is_read_to_its_end(tmp_path):
    """Its first frames have few bits a second, the last ones many: a guess from the first ones would be wrong."""
    noise = np.random.default_rng(0).normal(0, 0.3, 3 * RATE)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)
    for samples in (np.concatenate([tone, noise]), np.concatenate([noise, tone]), 0 * tone + tone):
        path = written(tmp_path, "mp3", samples)
        whole = read_recording(path, RATE)
        path.write_bytes(bare(path.read_bytes()))
        found = read_recording(path, RATE)
        assert len(whole) <= len(found) < len(whole) + 3 * 1152  # the encoder's own first samples are in it


@pytest.mark.parametrize("form", ["ogg VORBIS", "ogg OPUS"])
def test_an_ogg_that_was_recorded_from_a_stream_has_no_mark_of_its_end(form, tmp_path):
    path = written(tmp_path, form)
    content = bytearray(path.read_bytes())
    last = content.rfind(b"OggS")
    content[last + 5] &= ~4
    assert why_cut(io.BytesIO(content)) == ""
    assert why_cut(io.BytesIO(content[:-1])) == "it ends inside of a page"


@pytest.mark.parametrize("form", ["ircam", "paf", "pvf", "wve", "mat"])
def test_a_form_that_does_not_say_how_long_it_is_is_refused_by_name(form, tmp_path):
    path = tmp_path / f"a.{form}"
    soundfile.write(path, np.zeros(800), RATE, format={"mat": "MAT5"}.get(form, form.upper()))
    with pytest.raises(ValueError, match="does not say how long it is; convert it to WAV or FLAC"):
        read_recording(path, RATE)
