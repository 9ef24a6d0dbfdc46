"""Reads recordings (WAV, FLAC, OGG, MP3, SPHERE and others) as int16, mono, at a given rate."""

import contextlib
import io
import re
import tempfile

import numpy as np

from t2t_multimodel.data_gen.readers import mp3, sphere
from t2t_multimodel.data_gen.readers.promised import why_cut
from t2t_multimodel.regular_files import open_regular

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".sph", ".wv1")
MAX_SECONDS = 3600.0  # the default of `Audio.max_seconds`
_HIGHEST_RATE = 192_000  # Hz; a recording has no more samples than the longest one at this rate
_BLOCK = 1 << 18  # frames decoded at once
_OF_BYTES = re.compile(r"Error opening <_io\.BytesIO[^>]*>: ")  # what soundfile calls a recording that is no file
# Forms of soundfile that do not say how long a recording is, so that a cut one could not be told from a whole one.
_NO_LENGTH = ("IRCAM", "MAT4", "MAT5", "MPC2K", "PAF", "PVF", "RAW", "SD2", "SDS", "WVE", "XI")
_FRAME = 1152  # samples of an MP3 frame; encoders count their own first one or not


def read_recording(path, rate, max_seconds=MAX_SECONDS, *, content=None, seconds=None):
    """Reads the recording at `path`: averages the channels and resamples to `rate` Hz.

    Args:
      path: the file; with `content`, the name of the recording in errors.
      max_seconds: a longer recording, or part of one, is refused, by its header and while it is decoded. Of MP3 and
        SPHERE, which are always decoded as a whole, the whole of a part may have an hour, or `max_seconds`.
      content: the bytes of the recording, if it is not a file.
      seconds: (start, end) of the part that is read, in seconds; an end of None is the recording's.

    Returns:
      int16 `[samples]`, full scale = 32767.

    Raises:
      ValueError: a missing file, not a regular one, not a recording, a damaged, truncated, empty or too long one; the
        message names the file.
    """
    path = str(path)
    try:
        with _opened(path, content) as file:
            head = file.read(8)
            cut = why_cut(file) if head != sphere.MAGIC else ""
            if not cut and (head[:2] > b"\xff\xe0" or head[:3] == b"ID3"):
                content = mp3.with_length(file) or content
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: can't be read ({error.strerror or error})") from None
    if cut:
        raise ValueError(f"{path}: cut short: {cut}")
    if head == sphere.MAGIC:
        with _as_file(path, content) as there:
            try:
                check_length(path, sphere.read_header(there), _of_whole(max_seconds, seconds))
                samples, file_rate = sphere.read_sphere(there)  # [samples, channels]
            except ValueError as error:
                raise ValueError(str(error).replace(there, path)) from error
        mono = _part(path, samples.mean(axis=1), file_rate, max_seconds, seconds)
    else:
        mono, file_rate = _read(path, content, max_seconds, seconds)
    if not len(mono):
        raise ValueError(f"{path}: the recording has no samples")
    if not np.isfinite(mono).all():
        raise ValueError(f"{path}: the recording has samples that are not finite numbers")
    if file_rate != rate:
        import soxr

        mono = soxr.resample(mono, file_rate, rate)
    if not len(mono):
        raise ValueError(f"{path}: the recording is shorter than one sample at {rate} Hz")
    return np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)


def _opened(path, content):
    return open_regular(path) if content is None else io.BytesIO(content)


@contextlib.contextmanager
def _as_file(path, content):
    """The path of a file with `content`, for what reads files only; without content, `path`."""
    if content is None:
        yield path
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name


def _of_whole(max_seconds, seconds):
    """The most seconds of a recording that is decoded as a whole, for the part `seconds` of it."""
    return max_seconds if seconds is None else max(max_seconds, MAX_SECONDS)


def _part(path, mono, rate, max_seconds, seconds):
    """The samples from `seconds[0]` to `seconds[1]`; a part may end one frame of MP3 after the recording."""
    if seconds is None:
        return mono
    start, end = _frames(path, seconds, rate, len(mono))
    if too_long := _too_long(end - start, rate, max_seconds):
        raise ValueError(f"{path}: {too_long}")
    return mono[start:end]


def _frames(path, seconds, rate, frames):
    """(first frame, frame after the last) of the part of a recording with so many frames."""
    start = round(seconds[0] * rate)
    end = frames if seconds[1] is None else round(seconds[1] * rate)
    if not 0 <= start < end or end > frames + max(_FRAME, rate // 20):
        till = "the end" if seconds[1] is None else f"{seconds[1]:g}"
        raise ValueError(f"{path}: from {seconds[0]:g} to {till} s is no part of a recording of {frames / rate:g} s")
    return start, min(end, frames)


def _read(path, content, max_seconds, seconds):
    """(float32 `[samples]`, the mean of the channels; the rate), decoded block by block.

    `content` is what is decoded instead of the file's own; None: the file. `seconds`: the part, as in `read_recording`.
    """
    import soundfile

    blocks, frames = [], 0
    try:
        with soundfile.SoundFile(path if content is None else io.BytesIO(content)) as sound:
            promised, rate = sound.frames, sound.samplerate
            if sound.format in _NO_LENGTH:
                raise ValueError(f"{sound.format} does not say how long it is; convert it to WAV or FLAC")
            if seconds is not None and sound.format != "MP3" and promised < 1 << 60:
                return _read_part(path, sound, max_seconds, seconds), rate
            most = _of_whole(max_seconds, seconds)
            too_long = _too_long(promised if promised < 1 << 60 else 0, rate, most)
            size = _BLOCK
            if sound.format == "MP3":  # its decoder does not go on just where a block ended
                sound.seek(0)  # as `soundfile.read` does; the first samples differ without it
                size = -1
            while not too_long and len(block := sound.read(size, dtype="float32", always_2d=True)):
                blocks.append(block.mean(axis=1))
                frames += len(block)
                too_long = _too_long(frames, rate, most)
    except Exception as error:  # soundfile also raises TypeError, for a suffix of raw audio
        if isinstance(error, ValueError) and str(error).startswith(f"{path}: "):
            raise
        reason = str(error).strip().split("\n")[0].removeprefix(f"Error opening {path!r}: ")
        reason = _OF_BYTES.sub("", reason)
        raise ValueError(f"{path}: can't be decoded as a recording ({reason})") from error
    if too_long:
        raise ValueError(f"{path}: {too_long}")
    if frames + _FRAME < promised < 1 << 60:
        raise ValueError(f"{path}: cut short: its header says {promised:,} samples, {frames:,} are there")
    mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return _part(path, mono, rate, max_seconds, seconds), rate


def _read_part(path, sound, max_seconds, seconds):
    """The part of an open recording; no other part is decoded."""
    start, end = _frames(path, seconds, sound.samplerate, sound.frames)
    if too_long := _too_long(end - start, sound.samplerate, max_seconds):
        raise ValueError(too_long)
    sound.seek(start)
    part = sound.read(end - start, dtype="float32", always_2d=True).mean(axis=1)
    if len(part) < end - start:
        raise ValueError(f"cut short: {start + len(part):,} of {sound.frames:,} samples are there")
    return part


def check_length(path, header, max_seconds):
    """Raises `ValueError` for a SPHERE file, by its header, that is longer than `max_seconds`."""
    if too_long := _too_long(header.samples, header.rate, max_seconds):
        raise ValueError(f"{path}: {too_long}")


def _too_long(samples, rate, max_seconds):
    """Why a recording is refused by its length; "" if it is not."""
    if samples > max_seconds * min(rate, _HIGHEST_RATE):
        what = f"{samples / rate:,.0f} seconds" if samples > max_seconds * rate else f"{samples:,} samples"
        return f"{what} of sound or more, more than max_seconds = {max_seconds:,.0f} allows (at {rate:,} Hz)"
    return ""
