"""Reads recordings (WAV, FLAC, OGG, MP3, SPHERE and others) as int16, mono, at a given rate."""

import os

import numpy as np

from t2t_multimodel.data_gen.readers import sphere

_UNKNOWN_SIZE = 0x7FFFF000  # a WAV written to a pipe has this size or more in its header


def read_recording(path, rate):
    """Reads the recording at `path`: averages the channels and resamples to `rate` Hz.

    Returns:
      int16 `[samples]`, full scale = 32767.

    Raises:
      ValueError: a missing file, not a recording, or a damaged, truncated or empty one; the message names the file.
    """
    path = str(path)
    if not os.path.exists(path):
        raise ValueError(f"{path}: no such file")
    with open(path, "rb") as file:
        head = file.read(8)
    samples, file_rate = sphere.read_sphere(path) if head == sphere.MAGIC else _read(path, head)  # [samples, channels]
    if not len(samples):
        raise ValueError(f"{path}: the recording has no samples")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path}: the recording has samples that are not finite numbers")
    mono = samples.mean(axis=1)
    if file_rate != rate:
        import soxr

        mono = soxr.resample(mono, file_rate, rate)
    if not len(mono):
        raise ValueError(f"{path}: the recording is shorter than one sample at {rate} Hz")
    return np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)


def _read(path, head):
    import soundfile

    _refuse_cut_wav(path, head)
    try:
        return soundfile.read(path, dtype="float32", always_2d=True)
    except Exception as error:  # soundfile also raises TypeError, for a suffix of raw audio
        reason = str(error).strip().split("\n")[0].removeprefix(f"Error opening {path!r}: ")
        raise ValueError(f"{path}: can't be decoded as a recording ({reason})") from error


def _refuse_cut_wav(path, head):
    """Compares a WAV's size with its header: a truncated file reads without an error, but misses some speech."""
    if head[:4] == b"RIFF" and len(head) == 8:
        promised = int.from_bytes(head[4:], "little") + 8
        present = os.path.getsize(path)
        if present < promised - 1 and promised < _UNKNOWN_SIZE:  # some writers leave out the last padding byte
            raise ValueError(f"{path}: cut short: its header says {promised} bytes, the file has {present}")
