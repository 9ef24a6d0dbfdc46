"""Training reads speech at several speeds and the short first, the same in every run; all recordings are read alike."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from input_data import HPARAMS, assert_same, make_input_data, stream, take
from models import program

from t2t_multimodel.data_gen.readers.recordings import read_recording
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.modalities import Audio
from t2t_multimodel.modalities.arrays import Ragged

SPEECH_RATE = 16000
SPEEDS = replace(HPARAMS, audio_speeds=(0.8, 1.0, 1.25))
SILENCE = replace(HPARAMS, audio_silence_seconds=0.5)
SORTED = replace(HPARAMS, sorted_epochs=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_input_data(tmp_path_factory.mktemp("data"))


def lengths_by_row(batches):
    """{(epoch, row): samples of the recording as it was read}."""
    return {
        (batch.epoch, int(row)): int(length)
        for batch in batches
        for row, length in zip(batch.rows, batch.arrays["inputs_length"])
    }


@pytest.mark.parametrize("bucket", [False, True])
def test_each_epoch_reads_a_recording_at_one_of_the_speeds(data, bucket):
    batches = take(stream(data, "speech", hparams=SPEEDS, bucket=bucket), 40)
    stored = stream(data, "speech")._split.input_length
    seen = {}
    for (_, row), length in lengths_by_row(batches).items():
        ratio = stored[row] / length
        speed = min(SPEEDS.audio_speeds, key=lambda each: abs(each - ratio))
        assert ratio == pytest.approx(speed, rel=0.01)
        seen.setdefault(row, set()).add(speed)
    assert max(map(len, seen.values())) == 3  # another one in another epoch
    if bucket:
        assert len({batch.arrays["inputs"].shape for batch in batches}) < 12
    for batch in batches:
        assert batch.arrays["inputs"].shape[1] >= batch.arrays["inputs_length"].max()


def test_what_is_read_follows_from_the_seed_and_goes_on_from_any_position(data):
    whole = take(stream(data, "speech", hparams=SPEEDS), 20)
    assert_same(take(stream(data, "speech", hparams=SPEEDS), 20), whole)
    first = stream(data, "speech", hparams=SPEEDS)
    take(first, 7)
    state = first.state()
    first.close()
    second = stream(data, "speech", hparams=SPEEDS)
    second.restore(state)
    assert_same(take(second, 13), whole[7:])


def test_another_speed_is_the_same_sound_faster():
    rate = 8000
    time = np.arange(rate) / rate
    sound = np.rint(8000 * np.sin(2 * np.pi * 500 * time)).astype(np.int16)
    hparams = replace(HParams(), audio_speeds=(1.25,))
    (faster,) = Audio(rate).varied({"values": Ragged.of([sound])}, hparams, [0])["values"].rows()
    assert faster.dtype == np.int16 and len(faster) == pytest.approx(rate / 1.25, abs=2)
    peak = np.argmax(np.abs(np.fft.rfft(faster * np.hanning(len(faster))))) * rate / len(faster)
    assert peak == pytest.approx(500 * 1.25, abs=3)


@pytest.mark.parametrize("bucket", [False, True])
def test_each_epoch_hears_other_silences_around_a_recording(data, bucket):
    batches = take(stream(data, "speech", hparams=SILENCE, bucket=bucket), 40)
    stored = stream(data, "speech")._split.input_length
    added = {key: length - int(stored[key[1]]) for key, length in lengths_by_row(batches).items()}
    assert all(0 <= samples <= 2 * 500 for samples in added.values())  # half a second of 1,000 samples
    assert len(set(added.values())) > len(added) // 2 and max(added.values()) > 500
    for batch in batches:
        assert batch.arrays["inputs"].shape[1] >= batch.arrays["inputs_length"].max()


def test_silence_is_as_loud_as_the_quietest_stretch_and_the_sound_is_whole():
    rate, draws = 8000, np.random.default_rng(0)
    sound = draws.normal(0, 100, rate) + 8000 * np.sin(np.arange(rate)) * (np.arange(rate) > rate // 2)
    sound = np.rint(sound).astype(np.int16)
    hparams = replace(HParams(), audio_silence_seconds=0.5)
    befores = []
    for word in draws.integers(0, 2**63, 20).tolist():
        (longer,) = Audio(rate).varied({"values": Ragged.of([sound])}, hparams, [word])["values"].rows()
        before = next(i for i in range(len(longer)) if np.array_equal(longer[i : i + rate], sound))
        around = np.concatenate([longer[:before], longer[before + rate :]]).astype(np.float64)
        assert longer.dtype == np.int16 and len(around) <= rate
        assert np.sqrt(np.mean(around**2)) == pytest.approx(100, rel=0.3)
        befores.append(before)
    assert min(befores) < 1000 < 3000 < max(befores)


def test_the_silence_of_digital_silence_and_of_one_sample():
    hparams = replace(HParams(), audio_silence_seconds=0.5)
    for sound in (np.zeros(4000, np.int16), np.array([5], np.int16)):
        (longer,) = Audio(8000).varied({"values": Ragged.of([sound])}, hparams, [2**50 - 1])["values"].rows()
        assert len(longer) > len(sound) and np.abs(longer).max() <= 9


def test_the_first_epoch_goes_from_short_to_long_and_the_next_does_not(data):
    batches = take(stream(data, "speech", hparams=SORTED), 30)
    positions = lambda batch: -(-batch.arrays["inputs"].shape[1] // 40)  # at 25 a second of 1,000 samples
    longest = {epoch: [positions(batch) for batch in batches if batch.epoch == epoch] for epoch in (0, 1)}
    assert longest[0] == sorted(longest[0]) and longest[1] != sorted(longest[1])
    rows = sorted(int(row) for b in batches if b.epoch == 0 for row in b.rows)
    assert rows == list(range(25))  # each once, as ever


def test_what_is_off_leaves_the_place_of_old_checkpoints_valid(data):
    """The digest of the order has the new settings only where they are set."""
    orders = {
        name: stream(data, "speech", hparams=h).state()["order"]
        for name, h in {"off": HPARAMS, "speeds": SPEEDS, "silence": SILENCE, "sorted": SORTED}.items()
    }
    assert len(set(orders.values())) == 4
    words = stream(data, "words").state()["order"]
    assert words == stream(data, "words", hparams=replace(HPARAMS, ctc_weight=0.3)).state()["order"]


# ---- From a microphone


@pytest.fixture(scope="module")
def spoken():
    """One second like a voice, 48 kHz: harmonics of 120 Hz that come and go."""
    time = np.arange(48000) / 48000
    voice = sum(np.sin(2 * np.pi * 120 * k * time + k) / k for k in range(1, 50))
    return 0.1 * voice * (1 + np.sin(2 * np.pi * 4 * time))


def copies(folder, spoken, rate=16000):
    """{name: path} of the recording as a file of the model's own rate, and as microphones give it."""
    import soxr

    made = {
        "as it is": (soxr.resample(spoken, 48000, rate), rate),
        "48 kHz": (spoken, 48000),
        "stereo": (np.stack([1.5 * spoken, 0.5 * spoken], axis=1), 48000),
        "quiet": (0.02 * spoken, 48000),
        "44.1 kHz": (soxr.resample(spoken, 48000, 44100), 44100),
    }
    for name, (sound, own_rate) in made.items():
        soundfile.write(folder / f"{name}.wav", sound, own_rate, subtype="PCM_16")
    if shutil.which("sox"):
        given = [folder / "48 kHz.wav", "-r", str(rate), "-c", "1", folder / "by sox.flac"]
        subprocess.run(["sox", "-D", *map(str, given)], check=True)
        made["by sox"] = None
    return {name: next(folder.glob(f"{name}.*")) for name in made}


def test_recordings_of_any_rate_channels_and_loudness_give_the_same_features(tmp_path, spoken):
    """Within a twentieth of the features' own standard deviation, on the median; as `multimodel_speech` reads them."""
    from t2t_multimodel.hparams.multimodel import multimodel_speech
    from t2t_multimodel.modalities.audio_nets import SpectrogramEncoder

    encoder = SpectrogramEncoder(Audio(SPEECH_RATE), multimodel_speech(), name="sound")
    run = program(encoder, lambda sound, length: encoder.features({"values": sound, "length": length})[0])
    features = {}
    for name, path in copies(tmp_path, spoken).items():
        sound = read_recording(path, SPEECH_RATE)[None, : SPEECH_RATE - 100]
        features[name] = run(sound.astype("float32") / 32768, np.array([sound.shape[1]], "int32"))[0]
    expected = features.pop("as it is")
    for name, found in features.items():
        assert np.median(np.abs(found - expected)) < 0.05 * expected.std(), name
