"""What is done to sound: masks, loudness, mean and variance, frames side by side; it stays within a recording."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from models import HPARAMS, SPECTROGRAM, make_batch, make_model, program, randomise, to_numpy
from test_speech_model import JOINT, SPEECH

from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import override
from t2t_multimodel.layers.sound import Frames, Waveform
from t2t_multimodel.modalities.audio_nets import SpectrogramEncoder

RECORDING = replace(HPARAMS, audio_normalize="recording", audio_preemphasis=0.97)
MASKS = dict(audio_time_masks=2, audio_time_mask_milliseconds=80.0, audio_bin_masks=1, audio_bin_mask_width=3)


def frames(rows=64, length=40, bins=8, seed=0):
    """A spectrogram [rows, length, bins] and its padding mask; rows are of different lengths."""
    random = np.random.default_rng(seed)
    mask = (np.arange(length)[None] < random.integers(10, length + 1, rows)[:, None]).astype("float32")
    return (1.0 + random.uniform(size=(rows, length, bins))).astype("float32"), mask


def test_masks_are_as_many_and_as_wide_as_asked_and_draw_anew():
    layer = Frames(replace(HPARAMS, **MASKS, audio_time_mask_share=0.5), 10.0)
    x, mask = frames()
    run = program(layer, lambda x, mask: layer(x, mask, training=True))
    first = run(x, mask)[..., 0]
    hidden = (first != x) & (mask[..., None] > 0)
    in_time = hidden.all(axis=2).sum(axis=1)  # frames that are hidden whole
    assert (in_time <= np.minimum(2 * 8, 2 * np.floor(0.5 * mask.sum(axis=1)))).all() and in_time.max() > 8
    shown = ~hidden.all(axis=2) & (mask > 0)
    bands = np.array([row[there].mean(axis=0) if there.any() else np.zeros(8) for row, there in zip(hidden, shown)])
    assert set(np.unique(bands)) <= {0.0, 1.0} and bands.sum(axis=1).max() == 3  # whole bands, of at most 3 bins
    mean = (x * mask[..., None]).sum(axis=1) / mask.sum(axis=1)[:, None]
    np.testing.assert_allclose(first[hidden], np.broadcast_to(mean[:, None], x.shape)[hidden], rtol=1e-5)
    if keras.backend.backend() == "tensorflow":
        assert (
            run(x, mask)[..., 0] != first
        ).any()  # the state of the seed is in checkpoints, so a resumed run is exact
    assert [v.path for v in layer.variables if "mask_seed" in v.path]
    np.testing.assert_array_equal(to_numpy(layer(x, mask))[..., 0], x)  # not in evaluation


def test_every_bin_has_mean_0_and_variance_1_over_the_recording():
    layer = Frames(RECORDING, 10.0)
    x, mask = frames()
    normal = to_numpy(layer(x * np.arange(1, 9, dtype="float32") - 3.0, mask))[..., 0]
    real = mask.astype(bool)
    for row, there in zip(normal, real):
        np.testing.assert_allclose(row[there].mean(axis=0), 0.0, atol=1e-4)
        np.testing.assert_allclose(row[there].std(axis=0), 1.0, atol=1e-2)
        assert not row[~there].any()


def test_frames_side_by_side_are_features_in_their_order():
    layer = Frames(replace(HPARAMS, audio_stack=3), 10.0)
    x, mask = frames(rows=2, length=40)
    stacked = to_numpy(layer(x, mask))
    assert stacked.shape == (2, 14, 8, 3)
    whole = np.pad(x * mask[..., None], [[0, 0], [0, 2], [0, 0]])
    np.testing.assert_array_equal(stacked[:, 5, :, 1], whole[:, 16])


@pytest.mark.parametrize("decibels", [-40.0, -20.0, 6.0])
def test_quiet_and_loud_recordings_are_read_alike(decibels):
    """Int16 steps included, as they come from a microphone."""
    rate, random = 16000, np.random.default_rng(0)
    time = np.arange(rate) / rate
    sound = 0.3 * np.sin(2 * np.pi * 300 * time) * np.sin(2 * np.pi * 3 * time) + 0.01 * random.normal(size=rate)
    quiet = np.rint(np.clip(sound * 10 ** (decibels / 20), -1, 1) * 32767) / 32768.0
    layer, lengths = Waveform(replace(RECORDING, audio_dither=1.0)), np.array([rate], "int32")
    read = [to_numpy(layer(s[None].astype("float32"), lengths)) for s in (sound, quiet)]
    assert np.sqrt(np.mean(np.square(read[0] - read[1]))) < 0.06 * np.sqrt(np.mean(np.square(read[0])))


def test_pre_emphasis_is_a_difference_and_ends_with_the_recording():
    layer = Waveform(replace(HPARAMS, audio_preemphasis=0.5))
    read = to_numpy(layer(np.array([[1.0, 1.0, 2.0, 0.0, 0.0]], "float32"), np.array([3], "int32")))
    assert read.tolist() == [[1.0, 0.5, 1.5, 0.0, 0.0]]


def test_dither_is_noise_in_training_only():
    layer, silence = Waveform(replace(HPARAMS, audio_dither=2.0)), np.zeros((1, 4000), "float32")
    noisy = to_numpy(layer(silence, np.array([3000], "int32"), training=True))[0]
    assert noisy[:3000].std() * 32768 == pytest.approx(2.0, rel=0.1) and not noisy[3000:].any()
    assert not to_numpy(layer(silence, np.array([3000], "int32"))).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    "stack, strides, bins, positions", [(1, (2,), (1,), 10), (3, (2, 1), (2, 2), 7), (2, (1,), (3, 1), 19)]
)
def test_the_positions_and_bins_of_strides(stack, strides, bins, positions):
    hparams = replace(HPARAMS, audio_stack=stack, audio_strides=strides, audio_bin_strides=bins)
    encoder = randomise(SpectrogramEncoder(SPECTROGRAM, hparams, name="sound"))
    rate, hop = SPECTROGRAM.rate, encoder.hop
    sound = np.random.default_rng(0).uniform(-1, 1, (2, 37 * hop)).astype("float32")
    lengths = np.array([37 * hop, 20 * hop], "int32")
    sound *= np.arange(sound.shape[1]) < lengths[:, None]
    x, mask, _ = encoder({"values": sound, "length": lengths})
    real = to_numpy(mask).sum(axis=1)
    each = stack * np.prod([strides[min(i, len(strides) - 1)] for i in range(HPARAMS.audio_blocks)])
    assert real.tolist() == [-(-37 // each), -(-20 // each)] and real[0] == positions
    assert not to_numpy(x)[1, int(real[1]) :].any()
    # What lies behind a recording changes nothing of it.
    longer = np.pad(sound, [[0, 0], [0, rate]])
    again = to_numpy(encoder({"values": longer, "length": lengths})[0])[1, : int(real[1])]
    np.testing.assert_allclose(again, to_numpy(x)[1, : int(real[1])], atol=1e-3)


@pytest.mark.slow
def test_the_defaults_are_the_papers_structure():
    """No weight, no seed, no step more: what is off is not there."""
    by_default = {v.path: tuple(v.shape) for v in make_model(HPARAMS, [SPEECH]).variables}
    assert not [path for path in by_default if "mask_seed" in path or "dither" in path or "ctc" in path]
    changed = make_model(replace(JOINT, **MASKS, audio_dither=1.0), [SPEECH])
    new = {v.path for v in changed.variables} - set(by_default)
    assert {"mask_seed", "dither_seed"} <= {path.split("/")[-2] for path in new if "seed" in path} | {
        name for path in new for name in ("mask_seed", "dither_seed") if name in path
    }
    loss, _ = changed.loss(make_batch(SPEECH), SPEECH, training=True)
    assert np.isfinite(float(loss))


@pytest.mark.parametrize(
    "values",
    [
        {"audio_normalize": "loud"},
        {"audio_strides": ()},
        {"audio_strides": (0,)},
        {"audio_speeds": (0.1, 1.0)},
        {"audio_time_mask_share": 1.5},
        {"audio_stack": 0},
        {"ctc_weight": 1.0},
        {"sorted_epochs": -1},
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_refused(values):
    with pytest.raises(UserError, match=next(iter(values))):
        override(HPARAMS, values, "--hparams")
