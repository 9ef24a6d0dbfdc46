"""What the header of a recording says of its own size: decoders read a file that was cut short without an error."""

import os
import struct

from t2t_multimodel.data_gen.readers import mp3

_UNKNOWN = 0x7F000000  # a RIFF or AIFF file written to a pipe has this size or more in its header
_TAIL = 1 << 17  # bytes; the last page of an OGG file, of at most 65,307, and what may follow it
_WAVE_64 = b"riff\x2e\x91\xcf\x11"
_OF_AVR = ((">H", 12), (">H", 14), (">I", 26))  # where its channels, bits and samples are


def why_cut(file):
    """Why the recording in an open binary file is not all there, a clause; "" if it is, or its form does not say.

    Of RIFF, RF64, Wave64, AIFF, AU, AVR and CAF the sizes in the header count, of MP3 the size in the encoder's first
    frame. OGG, VOC, and MP3 without that size, are made of parts that say how long they are: such a file is cut where
    its last part is. Between two parts it may end: an OGG that was recorded from a stream has no mark of its end.
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
        elif head[:4] == b"2BIT":
            channels, bits, samples = (struct.unpack_from(form, head, at)[0] for form, at in _OF_AVR)
            promised = 128 + samples * (2 if channels else 1) * bits // 8
        elif head[:20] == b"Creative Voice File\x1a":
            promised = _of_voc(file, head, present)
        elif head[:4] == b"OggS":
            return "it ends inside of a page" if _ogg_is_cut(file, present) else ""
        else:
            first = mp3.start(file, head)
            promised = mp3.promised(file, first)
            if not promised and mp3.frames(file, first).cut:
                return "it ends inside of a frame"
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


def _of_voc(file, head, present):
    """Bytes up to the end of the last block; of a type of 0, which ends the file, or a length that is there or not."""
    at = struct.unpack_from("<H", head, 20)[0]
    while at + 4 <= present:
        file.seek(at)
        kind, low, high = struct.unpack("<BHB", file.read(4))
        if kind == 0:
            return 0
        at += 4 + low + (high << 16)
    return at


def _ogg_is_cut(file, present):
    """Whether the last page is not all there; its header has the lengths of its segments."""
    file.seek(max(0, present - _TAIL))
    tail = file.read(_TAIL)
    at = tail.rfind(b"OggS")
    if at < 0 or at + 27 > len(tail):
        return True
    segments = tail[at + 26]
    lengths = tail[at + 27 : at + 27 + segments]
    return len(lengths) < segments or at + 27 + segments + sum(lengths) > len(tail)
