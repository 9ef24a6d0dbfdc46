"""How long an MP3 file should be: by the size that its encoder wrote, or by its frames, one after the other."""

import os
import struct
from typing import NamedTuple

_LAYER_3_SIDE_BYTES = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}  # (MPEG-1, mono)
_MOST_FRAMES = 2_000_000  # some ten hours of sound
_LARGEST = 1 << 30  # bytes, that are held in memory
_RATES = ((11025, 12000, 8000), None, (22050, 24000, 16000), (44100, 48000, 32000))  # Hz, by the bits of the version
_KBITS = {  # of a second, by (MPEG-1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KBITS[False, 3] = _KBITS[False, 2]


def start(file, head):
    """Where the first frame is, behind a tag (ID3); `head` is the first bytes of the file."""
    if head[:3] != b"ID3":
        return 0
    return 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))  # seven bits a byte


def promised(file, first):
    """Bytes of the file by its first frame, where encoders write them ("Xing" or "Info", flags, frames, bytes); or 0.

    Raises:
      struct.error: the frame is not all there.
    """
    file.seek(first)
    frame = file.read(64)
    if not _frame_bytes(frame):
        return 0
    if frame[36:40] == b"VBRI":
        return first + struct.unpack_from(">I", frame, 46)[0]
    at = _length_at(frame)
    if frame[at : at + 4] not in (b"Xing", b"Info"):
        return 0
    (flags,) = struct.unpack_from(">I", frame, at + 4)
    return first + struct.unpack_from(">I", frame, at + 8 + 4 * (flags & 1))[0] if flags & 2 else 0


class Frames(NamedTuple):
    """The frames of a file."""

    count: int
    end: int  # bytes, up to the end of the last one
    cut: bool  # whether the last one is not all there
    same_rate: bool  # whether all of them have as many bits a second


def frames(file, first):
    """The `Frames` of an open file from byte `first` on. What follows them, such as tags, is not read."""
    present, at, kind, count, rates = file.seek(0, os.SEEK_END), first, None, 0, set()
    while at < present:
        file.seek(at)
        head = file.read(4)
        if kind and len(head) < 4 and kind.startswith(head[:2]):
            return Frames(count, at, True, len(rates) < 2)
        size = _frame_bytes(head)
        if not size or kind not in (None, head[:2]):
            break
        kind, at, count = head[:2], at + size, count + 1
        if count > _MOST_FRAMES:
            break
        rates.add(head[2] >> 4)
    return Frames(count, at, at > present, len(rates) < 2)


def with_length(file):
    """The content of an open file with a first frame that says how long it is; None where that is not needed.

    Decoders guess the length of a file without that from its first frames, and read no more, which loses the end of one
    with a varying number of bits a second.
    """
    file.seek(0)
    first = start(file, file.read(10))
    try:
        if promised(file, first):
            return None
    except struct.error:
        return None
    found = frames(file, first)
    if found.same_rate or found.end - first > _LARGEST:
        return None
    file.seek(first)
    content = file.read(found.end - first)
    for bits in range(1, 15):
        head = bytes([content[0], content[1] | 1, bits << 4 | content[2] & 0x0C, content[3]])
        if (size := _frame_bytes(head)) >= 64:
            break
    at = _length_at(head)
    frame = bytearray(size)
    frame[:4], frame[at : at + 16] = head, b"Xing" + struct.pack(">III", 3, found.count, size + len(content))
    return bytes(frame) + content


def _length_at(head):
    """Where in a first frame the encoder writes the length."""
    return 4 + _LAYER_3_SIDE_BYTES[head[1] >> 3 & 3 == 3, head[3] >> 6 == 3]


def _frame_bytes(head):
    """Bytes of the frame with this header; 0 if it is none, or does not say."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate == 3 or bits in (0, 15):
        return 0
    per_second, rate = 1000 * _KBITS[version == 3, layer][bits - 1], _RATES[version][rate]
    if layer == 1:
        return (12 * per_second // rate + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * per_second // rate + padding
