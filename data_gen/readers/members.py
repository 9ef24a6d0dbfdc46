"""Reads files inside tar and zip archives without unpacking, so no member name becomes a path.

The parent process lists the members (it reads headers only) and the workers read them: a sample holds a `TarMember`, a
`ZipMember` or a path, and `read_content` returns the bytes of any of them.
"""

import array
import dataclasses
import functools
import os
import tarfile
import zipfile
from typing import NamedTuple

from t2t_multimodel.errors import UserError
from t2t_multimodel.regular_files import open_regular, require_regular

_MOST_KEPT_MEMBERS = 3_000_000  # of all tars: their names and places take about 200 MB
MOST_BYTES = 1 << 28  # of one member; a header that claims more is damaged or an attack


class TarMember(NamedTuple):
    """A file inside an uncompressed tar, found by its offset."""

    archive: str
    name: str  # for errors
    offset: int  # of its first byte, in the archive
    size: int

    def __str__(self):
        return f"{self.archive}: {self.name}"


class ZipMember(NamedTuple):
    """A file inside a zip, found by its name."""

    archive: str
    name: str

    def __str__(self):
        return f"{self.archive}: {self.name}"


def tar_members(archive, inside=None):
    """Yields the `TarMember`s of an uncompressed tar in its order, files only; reads only headers, and each once.

    Args:
      archive: the tar.
      inside: a `TarMember` of it that is itself a tar; then its members are yielded.

    Raises:
      UserError: not a tar, a compressed tar (its members have no offsets), or a truncated one.
    """
    archive = str(archive)
    version = version_of(archive)
    kept = _kept_tars.get((archive, inside))
    if kept and kept.version == version:
        for name, offset, size in zip(kept.names.split("\0"), kept.offsets, kept.sizes):
            yield TarMember(archive, name, offset, size)
        return
    names, offsets, sizes = [], array.array("q"), array.array("q")
    for member in _read_tar_members(archive, inside):
        names.append(member.name)
        offsets.append(member.offset)
        sizes.append(member.size)
        yield member
    if version == version_of(archive):
        _keep(archive, inside, _KeptTar(version, "\0".join(names), offsets, sizes))


def _read_tar_members(archive, inside):
    what = str(inside) if inside else archive
    start, size = (inside.offset, inside.size) if inside else (0, None)
    try:
        with open_regular(archive) as file:
            end = os.fstat(file.fileno()).st_size
            part = file if inside is None else _Part(file, start, size)
            with tarfile.open(fileobj=part, mode="r:") as tar:
                for member in tar:
                    offset = start + member.offset_data
                    if not 0 <= offset <= offset + member.size <= end:
                        raise UserError(f"{what}: cut off at byte {end:,} within {member.name}; get it again")
                    if member.isreg():
                        yield TarMember(archive, member.name, offset, member.size)
                part.seek(tar.offset)
                if not part.read(1):  # a complete tar has blocks of zeros after its last member
                    raise UserError(f"{what}: cut off, the mark of its end is missing; get it again")
    except tarfile.TarError as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"{what}: can't be read as an uncompressed tar ({reason}); if it is cut off, get it again; "
            "if it is compressed, uncompress it"
        ) from error
    except OSError as error:
        raise UserError(f"{archive}: can't be read ({error.strerror or error})") from error
    except (ValueError, OverflowError) as error:  # numbers in a damaged header
        raise UserError(f"{what}: can't be read as a tar ({error}); get it again") from error


def zip_members(archive):
    """The `ZipMember`s of a zip, files only, sorted by name.

    Raises:
      UserError: no zip, or a damaged one.
    """
    archive = str(archive)
    return [ZipMember(archive, name) for name in sorted(_opened_zip(archive).namelist()) if not name.endswith("/")]


def read_content(place):
    """The bytes of a `TarMember`, a `ZipMember`, or the file at a path.

    Raises:
      ValueError: it can't be read, is damaged, or claims more than 256 MB; the message names archive and member.
    """
    try:
        if isinstance(place, TarMember):
            return _read_tar_member(place)
        if isinstance(place, ZipMember):
            return _read_zip_member(place)
        with open_regular(place) as file:
            _check_size(place, os.fstat(file.fileno()).st_size)
            return file.read(MOST_BYTES)
    except OSError as error:
        raise ValueError(f"{place}: can't be read ({error.strerror or error})") from error


def _read_tar_member(member):
    _check_size(member, member.size)
    with open(member.archive, "rb", buffering=0) as file:
        content = os.pread(file.fileno(), member.size, member.offset)
    if len(content) != member.size:
        raise ValueError(f"{member}: the archive is cut off, {len(content):,} of {member.size:,} bytes are there")
    return content


def _read_zip_member(member):
    archive = _opened_zip(member.archive)
    try:
        size = archive.getinfo(member.name).file_size
    except KeyError:
        raise ValueError(f"{member}: no such file in the archive") from None
    _check_size(member, size)
    try:
        return archive.read(member.name)
    except Exception as error:  # on damaged members zipfile and its decompressors raise nearly anything
        raise ValueError(f"{member}: can't be read ({error or type(error).__name__})") from error


def _check_size(member, size):
    if size > MOST_BYTES:
        raise ValueError(f"{member}: {size:,} bytes, more than the {MOST_BYTES:,} that one file may have")


def _opened_zip(archive):
    try:
        require_regular(archive)
        status = os.stat(archive)
        return _kept_zip(archive, status.st_size, status.st_mtime_ns)
    except Exception as error:  # on damaged lists of members zipfile raises nearly anything
        raise UserError(f"{archive}: can't be read as a zip ({error}); if it is cut off, get it again") from error


@functools.lru_cache(maxsize=4)  # the list of a large archive's members takes a second to read
def _kept_zip(archive, size, changed):
    return zipfile.ZipFile(archive)


@dataclasses.dataclass(frozen=True)
class _KeptTar:
    """The members of a tar that was read to its end: a name and 16 bytes for each."""

    version: tuple  # of the tar
    names: str  # with "\0" between them
    offsets: array.array
    sizes: array.array


_kept_tars: dict = {}  # {(tar, member of it that is a tar, or None): `_KeptTar`}


def _keep(archive, inside, tar):
    _kept_tars.pop((archive, inside), None)
    has_room = sum(len(kept.offsets) for kept in _kept_tars.values()) + len(tar.offsets) <= _MOST_KEPT_MEMBERS
    if has_room and tar.names.count("\0") == len(tar.offsets) - 1:  # no name has a "\0", and there is a member
        _kept_tars[archive, inside] = tar


def version_of(path):
    """(size, time of the last change) of a file; None if there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


class _Part:
    """The bytes `start` to `start + size` of a file, as a file object with the methods that `tarfile` calls."""

    def __init__(self, file, start, size):
        self._file, self._start, self._size, self._position = file, start, size, 0

    def read(self, size=-1):
        left = max(self._size - self._position, 0)
        self._file.seek(self._start + self._position)
        content = self._file.read(left if size is None or size < 0 else min(size, left))
        self._position += len(content)
        return content

    def seek(self, position):
        self._position = position
        return position

    def tell(self):
        return self._position
