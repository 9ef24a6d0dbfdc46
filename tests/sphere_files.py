"""NIST SPHERE files as LDC's discs have them, byte for byte: 1024 bytes of header, then PCM or shorten's bit stream."""

import numpy as np

BYTE_ORDERS = {"01": "<i2", "10": ">i2"}  # sample_byte_format, as the header names them


def sphere_bytes(samples, *, coding="pcm", byte_format="01", rate=16000, more=(), without=()):
    """The bytes of a one-channel `.wv1` file.

    Args:
      samples: int16 `[samples]`.
      coding: "pcm", or "pcm,embedded-shorten-v1.09".
      more: further header lines; those of the same name are replaced.
      without: names of header lines to leave out.
    """
    samples = np.asarray(samples, np.int16)
    lines = [
        "database_id -s4 wsj0",
        "database_version -s3 1.0",
        "utterance_id -s8 01ic0201",
        "channel_count -i 1",
        f"sample_count -i {len(samples)}",
        f"sample_rate -i {rate}",
        f"sample_min -i {samples.min() if len(samples) else 0}",
        f"sample_max -i {samples.max() if len(samples) else 0}",
        "sample_n_bytes -i 2",
        f"sample_byte_format -s2 {byte_format}",
        "sample_sig_bits -i 16",
        f"sample_coding -s{len(coding)} {coding}",
    ]
    replaced = {line.split()[0] for line in more} | set(without)
    lines = [line for line in lines if line.split()[0] not in replaced] + list(more)
    header = "\n".join(["NIST_1A", "   1024", *lines, "end_head", ""]).encode("ascii").ljust(1024)
    if "shorten" in coding:
        return header + shorten(samples)
    return header + samples.astype(BYTE_ORDERS[byte_format]).tobytes()


def shorten(samples, block=256):
    """A shorten stream, format version 2, of one channel of 16-bit samples; every block by first differences."""
    out = _Bits()
    for value in (3, 1, block, 0, 0, 0):  # 16 bits, high byte first; channels; block; no LPC, no mean, no skipped bytes
        out.number(value)
    before = 0
    for start in range(0, len(samples), block):
        part = np.asarray(samples[start : start + block], np.int64)
        if len(part) < block:
            out.rice(5, 2)  # FN_BLOCKSIZE, of the last block
            out.number(len(part))
        differences = np.diff(part, prepend=before)
        before = int(part[-1])
        width = max(int(np.abs(differences).mean()).bit_length(), 1)
        out.rice(1, 2)  # FN_DIFF1
        out.rice(width, 3)
        for difference in differences.tolist():
            out.rice(2 * difference if difference >= 0 else 2 * ~difference + 1, width + 1)
    out.rice(4, 2)  # FN_QUIT
    bits = "".join(out.bits)
    bits += "0" * (-len(bits) % 32)
    return b"ajkg\x02" + int(bits, 2).to_bytes(len(bits) // 8, "big")


class _Bits:
    def __init__(self):
        self.bits = []

    def rice(self, value, width):
        """The high part of `value` as so many zeros and a one, then its `width` low bits."""
        self.bits.append("0" * (value >> width) + "1")
        if width:
            self.bits.append(f"{value & ((1 << width) - 1):0{width}b}")

    def number(self, value):
        """The number of bits of `value`, then these."""
        width = value.bit_length()
        self.rice(width, 2)
        self.rice(value, width)
