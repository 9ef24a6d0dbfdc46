"""What the header of a recording says of its own size: decoders read a file that was cut short without an error."""

import os
import struct

_UNKNOWN = 0x7F000000  # a RIFF or AIFF file written to a pipe has this size or more in its header
_TAIL = 1 << 17  # bytes; the last page of an OGG file, of at most 65,307, and what may follow it
_WAVE_64 = b"riff\x2e\x91\xcf\x11"
_LAYER_3_SIDE_BYTES = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}  # (MPEG-1, mono)


def why_cut(file):
    """Why the recording in an open binary file is not all there, a clause; "" if it is, or its form does not say.

    Of RIFF, RF64, Wave64, AIFF, AU and CAF the sizes in the header count, of MP3 the size in the encoder's first frame,
    of OGG whether the last page says that it is the last.
    """
    present = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(64)
    try:
        if head[:4] in (b"RIFF", b"RIFX", b"FORM", b"RF64", b"BW64"):
            promised = _of_chunks(file, head, present)
        elif head[:8] == _WAVE_64:
            promised = struct.unpack_from("<Q", head, 16)[0]
        elif head[:4] == b".snd":
            start, size = struct.unpack_from(">II", head, 4)
            promised = start + size if size != 0xFFFFFFFF else 0
        elif head[:4] == b"caff":
            promised = _of_caf(file, present)
        elif head[:4] == b"OggS":
            return _of_ogg(file, present)
        else:
            promised = _of_mp3(file, head)
    except (struct.error, OverflowError):
        return ""  # the decoder says what is wrong
    return f"its header says {promised} bytes, the file has {present}" if present < promised else ""


def _of_chunks(file, head, present):
    """Bytes of a file of chunks: by the size in its first line, or by that of the chunk of sound."""
    order = ">" if head[:4] in (b"FORM", b"RIFX") else "<"
    if head[:4] in (b"RF64", b"BW64"):
        size = struct.unpack_from("<Q", head, 20)[0]
        return size + 8 if head[12:16] == b"ds64" and present < size + 8 - 1 else 0
    size = struct.unpack_from(order + "I", head, 4)[0]
    if 0 < size < _UNKNOWN and present < size + 8 - 1:  # some writers leave out the last padding byte
        return size + 8
    at = 12
    while at + 8 <= present:
        file.seek(at)
        name, size = struct.unpack(order + "4sI", file.read(8))
        if name in (b"data", b"SSND", b"BODY"):
            return at + 8 + size if size < _UNKNOWN else 0
        at += 8 + size + size % 2
    return 0


def _of_caf(file, present):
    at = 8
    while at + 12 <= present:
        file.seek(at)
        name, size = struct.unpack(">4sq", file.read(12))
        if name == b"data" or size < 0:
            return at + 12 + size if size >= 0 else 0
        at += 12 + size
    return at if at > present else 0


def _of_ogg(file, present):
    file.seek(max(0, present - _TAIL))
    tail = file.read(_TAIL)
    at = tail.rfind(b"OggS")
    segments = tail[at + 26] if 0 <= at and at + 27 <= len(tail) else None
    if segments is None or at + 27 + segments > len(tail):
        return "it ends inside of a page"
    if at + 27 + segments + sum(tail[at + 27 : at + 27 + segments]) > len(tail):
        return "it ends inside of a page"
    return "" if tail[at + 5] & 4 else "its last page does not say that it is the last"


def _of_mp3(file, head):
    """By the first frame, where encoders write how many bytes there are ("Xing" or "Info", flags, frames, bytes)."""
    start = 0
    if head[:3] == b"ID3":  # tags, before the sound; seven bits a byte
        start = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))
    file.seek(start)
    frame = file.read(64)
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return 0
    if frame[36:40] == b"VBRI":
        return start + struct.unpack_from(">I", frame, 46)[0]
    at = 4 + _LAYER_3_SIDE_BYTES[frame[1] >> 3 & 3 == 3, frame[3] >> 6 == 3]
    if frame[at : at + 4] not in (b"Xing", b"Info"):
        return 0
    (flags,) = struct.unpack_from(">I", frame, at + 4)
    return start + struct.unpack_from(">I", frame, at + 8 + 4 * (flags & 1))[0] if flags & 2 else 0
