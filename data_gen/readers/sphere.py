"""NIST SPHERE recordings (.wv1, .sph): a text header of 1024 bytes, then PCM, or PCM compressed by shorten.

libsndfile reads PCM. Compressed files, as on most older discs of the Linguistic Data Consortium, are decoded with PyAV
(the extra `wsj`), since FFmpeg supports shorten. The package `sphfile` returns noise for such files.
"""

import os
import re
from typing import NamedTuple

from t2t_multimodel.regular_files import open_regular

MAGIC = b"NIST_1A\n"
_LINE = re.compile(r"(\S+)\s+-(?:i|r|s\d+)(?:\s+(.*))?")  # a text may be empty
_RATES = range(1000, 400_001)  # Hz; a wrong rate in a damaged header would be resampled to gigabytes


class SphereHeader(NamedTuple):
    size: int  # of the header, bytes
    samples: int  # of each channel
    channels: int
    rate: int  # Hz
    sample_bytes: int
    coding: str  # "pcm", "ulaw", "pcm,embedded-shorten-v1.09", …

    @property
    def compressed(self):
        return "embedded" in self.coding


def read_sphere(path):
    """Reads the SPHERE file at `path`.

    Returns:
      float32 `[samples, channels]` from -1 to 1, and the rate in Hz.

    Raises:
      ValueError: not a SPHERE file, a damaged header, a truncated file, an unsupported compression; the message names
        the file, and the line of the header or the byte.
    """
    header = read_header(path)
    samples = _decoded(path, header) if header.compressed else _plain(path, header)
    if len(samples) != header.samples:
        raise ValueError(
            f"{path}: cut short or damaged: its header says {header.samples} samples, {len(samples)} are there"
        )
    return samples, header.rate


def read_header(path):
    """The `SphereHeader` of a file; raises `ValueError` with file and line."""
    try:
        file = open_regular(path)
    except OSError as error:
        raise ValueError(f"{path}: can't be read ({error.strerror or error})") from None
    with file:
        start = file.read(16)
        if not start.startswith(MAGIC):
            raise ValueError(f"{path}: no SPHERE file: it begins with {start[:8]!r}, not with {MAGIC!r}")
        if not start[8:].strip().isdigit():
            raise ValueError(f"{path}: damaged SPHERE header: byte 9 on is {start[8:]!r}, the header's size expected")
        size = int(start[8:])
        text = (start + file.read(max(size - len(start), 0))).decode("latin-1")
    fields = {}
    lines = text.split("\n")
    for number, line in enumerate(lines[2:], 3):
        if line.strip() == "end_head":
            break
        field = _LINE.fullmatch(line.strip())
        if line.strip() and not line.startswith(";") and not field:
            raise ValueError(
                f"{path}: damaged SPHERE header: line {number} is {line[:60]!r}, expected: a name, -i, -r or -s and "
                "digits, a value"
            )
        if field:
            fields[field[1]] = field[2] or ""
    else:
        raise ValueError(f"{path}: damaged SPHERE header: no end_head in its {size} bytes")
    return SphereHeader(
        size,
        _number(path, fields, "sample_count"),
        _number(path, fields, "channel_count", 1),
        _number(path, fields, "sample_rate", valid=_RATES),
        _number(path, fields, "sample_n_bytes", 2),
        fields.get("sample_coding", "pcm"),
    )


def _number(path, fields, name, default=None, valid=range(2**48)):
    value = fields.get(name, default)
    if value is None:
        raise ValueError(f"{path}: damaged SPHERE header: it lacks {name}")
    whole = re.sub(r"\.0*$", "", str(value))  # a rate may be a real number
    if not whole.isdecimal() or int(whole) not in valid:
        expected = f"a whole number from {valid[0]} to {valid[-1]}" if valid == _RATES else "a whole number"
        raise ValueError(f"{path}: damaged SPHERE header: {name} is {value!r}, {expected} expected")
    return int(whole)


def _plain(path, header):
    import soundfile

    present = (os.path.getsize(path) - header.size) // (header.channels * header.sample_bytes or 1)
    if present < header.samples:
        raise ValueError(f"{path}: cut short: its header says {header.samples} samples, {max(present, 0)} are there")
    try:
        return soundfile.read(path, dtype="float32", always_2d=True)[0]
    except Exception as error:  # errors of libsndfile and of its wrapper
        raise ValueError(f"{path}: libsndfile can't read this SPHERE file ({_reason(path, error)})") from error


def _decoded(path, header):
    import numpy as np

    try:
        import av
    except ImportError:
        raise ValueError(
            f"{path}: compressed ({header.coding}), which takes PyAV: pip install 't2t-multimodel[wsj]', or uncompress "
            "the discs with sph2pipe -p -f sph"
        ) from None
    try:
        with av.open(path, format="nistsphere") as container:
            frames, samples = [], 0
            for frame in container.decode(audio=0):
                frames.append(frame.to_ndarray())  # int16 [channels, samples]
                samples += frames[-1].shape[-1]
                if samples > header.samples:  # a damaged file may go on for ever
                    break
    except Exception as error:  # FFmpeg's errors, and others for a file without a valid stream
        raise ValueError(f"{path}: can't be uncompressed ({header.coding}: {_reason(path, error)})") from error
    if not frames:
        raise ValueError(f"{path}: cut short: its header says {header.samples} samples, 0 are there")
    return np.concatenate(frames, axis=1).T.astype(np.float32) / 32768.0


def _reason(path, error):
    said = str(error).strip().split("\n")[0].removeprefix(f"Error opening {str(path)!r}: ").strip()
    return said or type(error).__name__
