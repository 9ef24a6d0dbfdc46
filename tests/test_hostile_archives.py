"""Archives with impossible names, times, links, sizes or damage: one line with the archive, and nothing is left."""

import gzip
import io
import os
import stat
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2t_multimodel.data_gen.extract import extract, unpacked
from t2t_multimodel.data_gen.readers.members import read_content, tar_members, zip_members
from t2t_multimodel.errors import UserError

pytestmark = pytest.mark.timeout(120)


def tar(path, headers=None, **fields):
    """A tar with one file "a", whose header has these pax fields and attributes."""
    member = tarfile.TarInfo("a")
    member.size = 1
    member.pax_headers = headers or {}
    for name, value in fields.items():
        setattr(member, name, value)
    with tarfile.open(path, "w") as archive:
        archive.addfile(member, io.BytesIO(b"x"))
    return path


def zipped(path, name="a", content=b"text", mode=0, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        about = zipfile.ZipInfo(name)
        about.external_attr, about.compress_type = mode << 16, compression
        archive.writestr(about, content)
    return path


def refused(path, reason=""):
    with pytest.raises(UserError, match=reason) as error:
        extract(path, path.parent / "out")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not [entry for entry in os.listdir(path.parent) if "out" in entry]


@pytest.mark.parametrize(
    "headers, reason",
    [
        ({"path": "a" * 300}, "'aaa.*…' has a name that is too long for a file"),
        ({"path": "ä" * 200}, "has a name that is too long"),
        ({"path": "/".join(["a" * 200] * 30)}, "has a name that is too long"),
        ({"path": "a/" * 1500 + "b"}, "has a name in more than 200 folders"),
        ({"path": "a\0b"}, "control character"),
        ({"path": ""}, "or an empty one"),
        ({"mtime": "1e30"}, r"has the time 1e\+30, which is no date"),
        ({"mtime": "nan"}, "has the time nan, which is no date"),
        ({"mtime": "-inf"}, "has the time -inf, which is no date"),
        ({"mtime": "-1e18"}, "which is no date"),
        ({"size": "-1"}, "has 0 bytes, and -1 by its header"),
        ({"size": "9" * 30}, "no archive, or a damaged one"),
        ({"size": "x"}, "no archive, or a damaged one"),
        ({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, "no archive, or a damaged one"),
    ],
)
def test_a_tar_with_an_impossible_header_is_refused(headers, reason, tmp_path):
    refused(tar(tmp_path / "a.tar", headers), reason)


def test_a_time_before_1970_is_kept(tmp_path):
    extract(tar(tmp_path / "a.tar", {"mtime": "-5"}), tmp_path / "out")
    assert (tmp_path / "out" / "a").stat().st_mtime == -5


@pytest.mark.parametrize("target", ["", "x" * 9000, "x" * 300, "a\0b"])
def test_a_link_to_nothing_or_to_an_impossible_name_is_refused(target, tmp_path):
    refused(
        zipped(tmp_path / "a.zip", content=target.encode(), mode=stat.S_IFLNK | 0o777), "refused: member 'a' is a link"
    )
    if "\0" not in target:
        refused(tar(tmp_path / "a.tar", type=tarfile.SYMTYPE, linkname=target, size=0), "refused: member 'a' is a link")


def test_a_link_of_gigabytes_is_refused_unread(tmp_path):
    path = zipped(tmp_path / "a.zip", content=bytes(50_000_000), mode=stat.S_IFLNK | 0o777)
    refused(path, "is a link to nothing, or to a name of thousands of bytes")


def test_a_header_of_gigabytes_is_refused_unread(tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 20_000_000
    (tmp_path / "a.tgz").write_bytes(gzip.compress(header.tobuf() + bytes(20_000_768), 1))
    refused(tmp_path / "a.tgz", "a header of 20,000,256 bytes")


@pytest.mark.parametrize(
    "place, value, reason",
    [
        ((8, 6), b"\x01\x00", "member 'a' is encrypted"),
        ((10, 8), b"\x63\x00", "That compression method is not supported"),
        ((20, 18), b"\xff" * 8, "has 4 bytes, and 4,294,967,295 by its header|no archive, or a damaged one"),  # sizes
        ((16, 14), b"\x00" * 4, "no archive, or a damaged one"),  # checksum
    ],
)
def test_a_zip_with_an_impossible_entry_is_refused(place, value, reason, tmp_path):
    path = zipped(tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    for start, at in zip((content.find(b"PK\1\2"), 0), place):
        content[start + at : start + at + len(value)] = value
    path.write_bytes(content)
    refused(path, reason)


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_damage_in_any_compression_is_one_line(compression, tmp_path):
    path = zipped(tmp_path / "a.zip", content=os.urandom(2000), compression=compression)
    content = bytearray(path.read_bytes())
    content[100:140] = bytes(40)
    path.write_bytes(content)
    refused(path, "no archive, or a damaged one")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.tar")
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "loop.tgz").symlink_to("loop.tgz")
    for name, reason in (
        ("pipe.tar", "a pipe"),
        ("folder.zip", "a folder"),
        ("loop.tgz", "Too many levels"),
        ("missing.tar", "No such file"),
        ("n" * 300 + ".tar", "File name too long"),
    ):
        refused(tmp_path / name, reason)
        with pytest.raises(UserError, match=reason):
            unpacked(tmp_path / name)


# ---- Any damage


def whole(form):
    files = {"a.txt": b"text" * 50, "b/c.txt": bytes(range(256)), "d.txt": b""}
    content = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return content.getvalue()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(text), {"mtime": "1.5", "comment": "ä"}
            archive.addfile(member, io.BytesIO(text))
    return gzip.compress(content.getvalue()) if form == "tgz" else content.getvalue()


WHOLE = {form: whole(form) for form in ("zip", "tar", "tgz")}


@settings(max_examples=150, deadline=None)
@given(form=st.sampled_from(list(WHOLE)), data=st.data())
def test_any_damage_ends_whole_or_in_one_line(form, data, tmp_path_factory):
    content = bytearray(WHOLE[form])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / f"a.{form}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        extract(path, folder / "out")
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error) and not (folder / "out").exists()
    try:
        members = {"zip": zip_members, "tar": tar_members, "tgz": lambda path: ()}[form](path)
        for member in members:
            read_content(member)
    except (UserError, ValueError) as error:
        assert str(path) in str(error) and "\n" not in str(error)
