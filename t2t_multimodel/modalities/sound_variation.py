"""What training hears instead of a stored recording: another speed, and silence before and after it."""

import numpy as np

from t2t_multimodel.mixture.randomness import random_words

_FRAME_SECONDS = 0.02  # the quietest stretch of this length says how loud a recording's silence is
_SIXTEEN_BITS = 2**16 - 1


def longest(lengths, rate, hparams):
    """How many samples `vary` may make of recordings of these `lengths`; None: the hparams ask for no variation."""
    silence, slowest = hparams.audio_silence_seconds, min(hparams.audio_speeds)
    if not silence and set(hparams.audio_speeds) == {1.0}:
        return None
    return np.ceil(lengths * max(1.0, 1.0 / slowest)).astype(np.int64) + 2 * int(silence * rate)


def vary(sound, rate, hparams, word):
    """The recording as one epoch hears it.

    Args:
      sound: int16 [samples]. rate: in Hz.
      word: a uniform 64-bit number, from which follow the speed, one of `audio_speeds`, which changes the pitch too
        (Ko et al. 2015), and the two silences, each of 0 to `audio_silence_seconds`.
    """
    sound = _at_speed(sound, rate, hparams.audio_speeds[word % len(hparams.audio_speeds)])
    if not hparams.audio_silence_seconds:
        return sound
    most = int(hparams.audio_silence_seconds * rate)
    before, after = (most * (word >> shift & _SIXTEEN_BITS) // _SIXTEEN_BITS for shift in (16, 32))
    silence = _silence(sound, rate, before + after, word)
    return np.concatenate([silence[:before], sound, silence[before:]])


def _at_speed(sound, rate, speed):
    if speed == 1.0:
        return sound
    import soxr

    # (Not as int16, to which soxr adds other noise each time.)
    faster = soxr.resample(sound.astype(np.float32), rate * speed, rate)
    faster = np.clip(np.rint(faster), -32768, 32767).astype(np.int16)
    return faster if len(faster) else sound


def _silence(sound, rate, samples, word):
    """Noise as loud as the quietest stretch of `sound`: a room is not silent, a step would be heard."""
    frame = max(1, int(_FRAME_SECONDS * rate))
    frames = sound[: len(sound) // frame * frame] if len(sound) >= frame else sound
    frames = frames.astype(np.float64).reshape(-1, min(frame, len(frames)))
    loudness = np.sqrt(np.square(frames).mean(axis=1).min())
    uniform = random_words(samples, "silence", word) / 2.0**63 - 1.0  # of variance 1/3
    return np.clip(np.rint(uniform * np.sqrt(3.0) * loudness), -32768, 32767).astype(np.int16)
