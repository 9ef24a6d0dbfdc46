"""Reads files compressed as .gz, .xz, .bz2 or .zst as a stream of bytes: never more than a block in memory."""

import bz2
import gzip
import lzma
import os

from t2t_multimodel.errors import UserError

SUFFIXES = (".gz", ".xz", ".bz2", ".zst")
_MOST_MEMORY = 1 << 28  # bytes, for the dictionary of an .xz file; those of `xz -9` take 64 MiB
_RATIO, _RATIO_FROM = 1000, 1 << 28  # more bytes than this for each compressed one, after so many: a bomb
_INPUT = 1 << 16  # bytes


def without_suffix(name):
    """The name of the file inside: "train.csv.xz" → "train.csv"; other names stay."""
    name = os.fspath(name)
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.endswith(suffix)), name)


def decompressed(file, path):
    """A binary file with the content of `file`, open at `path`; `file` itself unless its name ends in `SUFFIXES`.

    Its `read` raises EOFError for a file that is cut short; OSError, lzma.LZMAError or zlib.error for a damaged one.

    Raises:
      UserError: a .zst without pyarrow.
    """
    name = os.fspath(path)
    if name.endswith(".gz"):
        return _Limited(gzip.open(file, "rb"), file)
    if name.endswith(".xz"):
        return _Limited(_Stream(file, lambda: lzma.LZMADecompressor(memlimit=_MOST_MEMORY)), file)
    if name.endswith(".bz2"):
        return _Limited(_Stream(file, bz2.BZ2Decompressor), file)
    if name.endswith(".zst"):
        return _Limited(_Zstandard(file, name), file)
    return file


class _Limited:
    """Counts what comes out of a compressed file, and stops at a decompression bomb."""

    def __init__(self, source, file):
        self._source, self._file, self._bytes = source, file, 0

    def read(self, size):
        block = self._source.read(size)
        self._bytes += len(block)
        if self._bytes > _RATIO_FROM and self._bytes > _RATIO * max(1, os.fstat(self._file.fileno()).st_size):
            raise OSError(f"more than {_RATIO:,} bytes for each compressed one: refused as a decompression bomb")
        return block


class _Stream:
    """A file of one or more streams that a decompressor of the standard library reads."""

    def __init__(self, file, make):
        self._file, self._make, self._decompressor = file, make, make()
        self._input = b""

    def read(self, size):
        while True:
            if self._decompressor.eof:
                self._input = (self._decompressor.unused_data or self._file.read(_INPUT)).lstrip(b"\0")
                if not self._input:  # .xz files may be padded with zeros
                    if self._file.read(1):
                        raise OSError("data after the end of the compressed stream")
                    return b""
                self._decompressor = self._make()
            elif self._decompressor.needs_input and not self._input:
                self._input = self._file.read(_INPUT)
                if not self._input:
                    raise EOFError
            block = self._decompressor.decompress(self._input, size)
            self._input = b""  # the decompressor keeps what it has not used
            if block:
                return block


class _Zstandard:
    def __init__(self, file, name):
        try:
            import pyarrow
        except ImportError:
            raise UserError(f"{name}: .zst is read with pyarrow: pip install 't2t-multimodel[tables]'") from None
        self._stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")

    def read(self, size):
        try:
            return self._stream.read(size)
        except OSError as error:
            if "Truncated" in str(error):
                raise EOFError from None
            raise
