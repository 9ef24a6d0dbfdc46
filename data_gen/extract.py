"""Unpacks downloaded archives (.zip, .tar, .tar.gz) safely: the whole archive into one folder, or nothing.

    folder = unpacked(fetch("https://example.org/menus.tar.gz"))     # in a problem's `samples` or `source_files`

An archive is refused, not read in part, if it holds what only an attack needs: absolute names, "..", links out of the
folder, devices, the same name twice, or more files or bytes than `Limits` allows.
"""

import gzip
import hashlib
import os
import pathlib
import posixpath
import re
import shutil
import stat
import tarfile
import tempfile
import time
import zipfile
from dataclasses import dataclass

from t2t_multimodel.data_gen import files
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.errors import UserError
from t2t_multimodel.regular_files import require_regular

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_BLOCK = 1 << 20
_MOST_PADDING = 64 << 20  # bytes after a tar's end; programs pad with a few kilobytes
_MOST_HEADER = 1 << 20  # bytes of one header; a long name has a few kilobytes
_LONGEST_NAME, _LONGEST_PATH = 255, 4000  # bytes of a part of a name, and of a whole name or a link
_DEEPEST = 200  # folders inside each other
_LATEST = 1 << 36  # seconds from 1970; later is no time of a file


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold; more is refused as a decompression bomb."""

    files: int = 2_000_000  # members of any kind
    total_bytes: int = 1 << 40  # of all files, unpacked
    ratio: int = 200  # unpacked bytes per byte of the archive; text has about 5
    ratio_from: int = 64 << 20  # unpacked bytes from which the ratio is checked


def archives_in(folder):
    """The `Path`s of the archives in `folder` (not in its subfolders), sorted."""
    return sorted(path for path in pathlib.Path(folder).iterdir() if path.name.endswith(SUFFIXES) and path.is_file())


def unpacked(archive, limits=Limits()):  # noqa: B008 (it is frozen)
    """The folder with the content of `archive`, in the download folder; each archive is unpacked once.

    Raises:
      UserError: as `extract` does; or another process is unpacking.
      MissingCorpus: in a dry run, if it is not unpacked yet.
    """
    _require(archive)
    archive = pathlib.Path(archive).resolve()
    about = archive.stat()
    digest = hashlib.sha256(f"{archive}\0{about.st_size}\0{about.st_mtime_ns}".encode()).hexdigest()[:8]
    place = corpora.download_folder() / "unpacked" / f"{archive.name}-{digest}"
    if not place.is_dir():
        if not corpora.may_write():
            raise corpora.MissingCorpus(f"{archive} is not unpacked yet; without --dry_run it is, into {place}")
        with files.only_one(place.parent):
            files.sweep(place.parent)
            if not place.is_dir():
                extract(archive, place, limits)
    return place


def extract(archive, folder, limits=Limits()):  # noqa: B008
    """Unpacks `archive` into `folder`, which must not exist: completely, or not at all.

    Files lose their permissions and owners and keep their times. Links inside the folder are created after all files,
    so that nothing is written through a link.

    Raises:
      UserError: not an archive, a damaged one, or a refused member; the message names archive and member.
    """
    archive, folder = pathlib.Path(archive), pathlib.Path(folder)
    _require(archive)
    members = _zip_members if archive.name.endswith(".zip") else _tar_members
    if not archive.name.endswith(SUFFIXES):
        raise UserError(f"{archive}: an archive's name ends in {', '.join(SUFFIXES)}")
    if folder.exists():
        raise UserError(f"{folder} is there already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = pathlib.Path(tempfile.mkdtemp(prefix=f"{files.INCOMPLETE}{folder.name}.", dir=folder.parent))
    try:
        _Unpacking(archive, beside, limits).run(members(archive))
        beside.chmod(0o755)
        os.sync()
        os.rename(beside, folder)
    except UserError:
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise UserError(f"{archive}: two members are in each other's way ({_one_line(error)})") from error
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile) or not error.errno:
            raise _damaged(archive, error) from error
        raise UserError(f"{archive}: can't be unpacked into {folder} ({error.strerror})") from error
    except Exception as error:  # on damaged archives tarfile and zipfile raise nearly anything
        raise _damaged(archive, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@dataclass(frozen=True)
class _Member:
    name: str
    kind: str  # "file", "folder", "link" (symbolic), "same" (a hard link), or a description of another kind
    target: str = ""  # of links
    open: object = None  # files: () → a binary file
    time: float = 0.0
    size: int = 0  # of files, as the header says


class _Unpacking:
    """Unpacks one archive into the folder `root`."""

    def __init__(self, archive, root, limits):
        self._archive, self._root, self._limits = archive, root, limits
        self._bytes = 0
        self._most_bytes = min(limits.total_bytes, max(limits.ratio_from, limits.ratio * archive.stat().st_size))

    def run(self, members):
        links, seen = [], set()
        for number, member in enumerate(members, 1):
            if number > self._limits.files:
                raise UserError(f"{self._archive}: more than {self._limits.files:,} members: refused as a bomb")
            path = self._path(member.name, member)
            if path == self._root:
                continue  # "./"
            if not -_LATEST < member.time < _LATEST:  # not a number fails too
                raise self._refused(member, f"has the time {member.time}, which is no date")
            if path in seen and member.kind != "folder":
                raise self._refused(member, "is there twice")
            seen.add(path)
            if member.kind == "folder":
                path.mkdir(parents=True, exist_ok=True)
            elif member.kind == "file":
                self._write(member, path)
            elif member.kind == "link":
                if not 0 < len(os.fsencode(member.target)) <= _LONGEST_PATH:
                    raise self._refused(member, "is a link to nothing, or to a name of thousands of bytes")
                inside = posixpath.join(posixpath.dirname(posixpath.normpath(member.name)), member.target)
                self._path(posixpath.normpath(inside), member, member.target)
                links.append((member, path))
            elif member.kind == "same":
                self._copy(member, path)
            else:
                raise self._refused(member, f"is {member.kind}")
        for member, path in links:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(member.target)
        root = os.path.realpath(self._root)
        for member, path in links:  # after all links exist, since a link may point to a link
            try:
                end = os.path.realpath(path)
            except OSError:
                end = ""
            if end != root and not end.startswith(root + os.sep):
                raise self._refused(member, f"is a link out of the archive, to {member.target!r}")

    def _path(self, name, member, target=None):
        """The `Path` of a member's name or a link's target; raises for an unsafe name."""
        said = "is a link" if target is not None else "has a name"
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or (target or "").startswith("/"):
            raise self._refused(member, f"{said} that is absolute")
        if ".." in name.split("/"):
            raise self._refused(member, f"{said} that leads out of the archive")
        if not name or "\\" in name or any(ord(character) < 32 for character in name):
            raise self._refused(member, f"{said} with a backslash or control character, or an empty one")
        parts = pathlib.PurePosixPath(name).parts
        if len(os.fsencode(name)) > _LONGEST_PATH or any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
            raise self._refused(member, f"{said} that is too long for a file")
        if len(parts) > _DEEPEST:
            raise self._refused(member, f"{said} in more than {_DEEPEST} folders")
        return self._root.joinpath(*parts)

    def _write(self, member, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, open(path, "xb") as file:
            while block := source.read(_BLOCK):
                self._count(len(block))
                file.write(block)
            if file.tell() != member.size:
                raise self._refused(member, f"has {file.tell():,} bytes, and {member.size:,} by its header")
        os.utime(path, (member.time, member.time))

    def _copy(self, member, path):
        source = self._path(posixpath.normpath(member.target), member, member.target)
        if not source.is_file() or source.is_symlink():
            raise self._refused(member, f"is a hard link to {member.target!r}, which is no file before it")
        self._count(source.stat().st_size)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, path)

    def _count(self, size):
        self._bytes += size
        if self._bytes > self._most_bytes:
            raise UserError(
                f"{self._archive}: more than {self._most_bytes:,} bytes come out of {self._archive.stat().st_size:,}: "
                "refused as a bomb"
            )

    def _refused(self, member, reason):
        name = member.name if len(member.name) <= 100 else f"{member.name[:100]}…"
        return UserError(f"{self._archive}: refused: member {name!r} {reason}")


def _tar_members(archive):
    with _LastRead(archive) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            kinds = {"file": member.isreg(), "folder": member.isdir(), "link": member.issym(), "same": member.islnk()}
            kind = next((kind for kind, is_it in kinds.items() if is_it), "a device, a pipe or something unknown")
            opened, changed = (lambda m=member: tar.extractfile(m)), float(member.mtime)
            yield _Member(member.name, kind, member.linkname, opened, changed, member.size)
            tar.members = []  # tarfile would keep every header in memory
        if len(file.last) != tarfile.BLOCKSIZE or any(file.last):  # tarfile takes this for the end
            raise tarfile.ReadError("it ends in the middle, or has damage between two members")
        for _ in range(_MOST_PADDING // _BLOCK):
            if not file.read(_BLOCK):  # read to the end, so that gzip checks its checksum
                return
        raise tarfile.ReadError("there is data after its end")


class _LastRead:
    """A tar file, decompressed if it is a gzip file, that remembers the last bytes read."""

    def __init__(self, archive):
        with open(archive, "rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        self._file = gzip.open(archive, "rb") if compressed else open(archive, "rb")
        self.last = b""
        self.seek, self.tell = self._file.seek, self._file.tell

    def read(self, size=-1):
        if size > max(_MOST_HEADER, _BLOCK):  # tarfile reads a header whole
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self.last = self._file.read(size)
        return self.last

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()


def _zip_members(archive):
    with zipfile.ZipFile(archive) as whole:
        for member in whole.infolist():
            kind = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", 0: "file"}.get(
                stat.S_IFMT(member.external_attr >> 16), "a device, a pipe or something unknown"
            )
            if member.is_dir() and kind == "file":
                kind = "folder"
            if member.flag_bits & 1:
                kind = "encrypted"
            target = ""
            if kind == "link" and member.file_size <= _LONGEST_PATH:  # a longer one is refused, as an empty one is
                target = os.fsdecode(whole.read(member))
            made = time.mktime((*member.date_time, 0, 0, -1)) if kind == "file" else 0.0
            yield _Member(member.orig_filename, kind, target, lambda m=member: whole.open(m), made, member.file_size)


def _require(archive):
    try:
        require_regular(archive)
    except OSError as error:
        raise UserError(f"{archive}: can't be read ({error.strerror})") from None


def _damaged(archive, error):
    return UserError(f"{archive}: no archive, or a damaged one ({_one_line(error)}); get it again")


def _one_line(error):
    return (str(error).strip() or type(error).__name__).split("\n")[0]
