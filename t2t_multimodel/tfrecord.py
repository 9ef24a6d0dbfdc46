"""The frame of a TFRecord: the length and the two checksums (CRC32C) around the content of each record.

A record in a file is: the length of the content (8 bytes, little-endian), the checksum of these 8 bytes (4), the
content, the checksum of the content (4). Every reader of stores checks both.
"""

import functools
import struct

import google_crc32c
import numpy as np

BEFORE, AFTER = 12, 4  # bytes of a record before and behind its content
_MASK = 0xA282EAD8


def contents_of(records, sizes):
    """`[content_of(record, size) …]` of lists of both, faster."""
    contents = [record[BEFORE:-AFTER] for record in records]
    checksums = np.fromiter(map(google_crc32c.value, contents), np.uint32, len(contents))
    masked = ((checksums >> 15) | (checksums << 17)) + np.uint32(_MASK)
    whole = (
        list(map(len, contents)) == sizes
        and b"".join([record[:BEFORE] for record in records]) == b"".join(map(_header, sizes))
        and b"".join([record[-AFTER:] for record in records]) == masked.astype("<u4").tobytes()
    )
    return contents if whole else list(map(content_of, records, sizes))


def content_of(record, size):
    """The content of a whole `record` (bytes), which the index says is `size` bytes long; None if it is damaged."""
    content = record[BEFORE:-AFTER]
    if len(content) != size or record[:BEFORE] != _header(size) or record[-AFTER:] != _checksum(content):
        return None
    return content


def records(file, size):
    """Yields (offset of the content, content) of a binary `file` of `size` bytes; (offset, None) at a damaged record,
    which is the last one."""
    at = 0
    while at < size:
        header = file.read(BEFORE)
        length = int.from_bytes(header[:8], "little")
        whole = len(header) == BEFORE and header == _header(length) and at + BEFORE + length + AFTER <= size
        content = file.read(length) if whole else b""
        if not whole or file.read(AFTER) != _checksum(content):
            yield at + BEFORE, None
            return
        yield at + BEFORE, content
        at += BEFORE + length + AFTER


def _checksum(content):
    """TFRecord's masked CRC32C, 4 bytes."""
    crc = google_crc32c.value(content)
    return ((((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF).to_bytes(4, "little")


@functools.lru_cache(1 << 14)  # texts have few lengths
def _header(size):
    length = struct.pack("<Q", size)
    return length + _checksum(length)
