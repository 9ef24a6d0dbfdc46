"""Archives and downloads from elsewhere: what is harmless arrives whole, all else is refused and leaves nothing."""

import functools
import gzip
import io
import os
import stat
import tarfile
import urllib.error
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2t_multimodel.data_gen import download
from t2t_multimodel.data_gen.download import fetch
from t2t_multimodel.data_gen.extract import Limits, extract, unpacked
from t2t_multimodel.data_gen.files import sha256_of
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.data_gen.readers.corpora import MissingCorpus
from t2t_multimodel.errors import UserError
from t2t_multimodel.problems import ParallelText


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "_folders", dict(corpora._folders))
    corpora.set_folders(tmp_path / "data", tmp_path / "manual", tmp_path / "downloads")
    return tmp_path


def file(name, content=b"text"):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def link(name, target):
    return special(name, tarfile.SYMTYPE, target)


def tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return path


def zipped(path, members):
    """`members`: {name: content}, or (name, content, mode) for one with a Unix mode."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            about = zipfile.ZipInfo(name)
            about.filename = about.orig_filename = name  # as written by another program: nothing is put right
            about.external_attr = mode << 16
            about.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(about, content)
    return path


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(archive, reason, limits=Limits()):  # noqa: B008
    """`extract` says why, in a line, and neither writes inside its folder nor anywhere else."""
    before = {path: path.lstat().st_mtime_ns for path in archive.parent.rglob("*")}
    with pytest.raises(UserError, match=reason) as error:
        extract(archive, archive.parent / "out", limits)
    assert str(archive) in str(error.value) and "\n" not in str(error.value)
    assert {path: path.lstat().st_mtime_ns for path in archive.parent.rglob("*")} == before


# ---- What is harmless

segment = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\:"), min_size=1, max_size=8)
name = st.lists(segment.filter(lambda s: s not in (".", "..")), min_size=1, max_size=3).map("/".join)
contents = st.dictionaries(name, st.binary(max_size=50), max_size=6).filter(
    lambda names: not any(a != b and b.startswith(a + "/") for a in names for b in names)
)


@settings(max_examples=60, deadline=None)
@given(files=contents, form=st.sampled_from(["zip", "tar", "tar.gz", "tgz"]))
def test_any_files_come_back(files, form, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    path = folder / f"archive.{form}"
    if form == "zip":
        zipped(path, [(name, content, 0) for name, content in files.items()])
    else:
        tar(path, [file(name, content) for name, content in files.items()], "w:gz" if "gz" in form else "w")
    extract(path, folder / "out")
    assert tree(folder / "out") == files
    assert sorted(os.listdir(folder)) == sorted([path.name, "out"])


def test_folders_and_links_inside_are_made(tmp_path):
    folder = tarfile.DIRTYPE
    members = [
        special("./", folder),
        special("a/empty", folder),
        file("./a/b.txt"),
        link("a/l", "b.txt"),
        link("a/empty/up", "../b.txt"),
        special("h", tarfile.LNKTYPE, "a/b.txt"),
    ]
    extract(tar(tmp_path / "a.tar", members), tmp_path / "out")
    assert tree(tmp_path / "out") == dict.fromkeys(["a/b.txt", "a/l", "a/empty/up", "h"], b"text")
    assert (tmp_path / "out" / "a" / "l").is_symlink() and (tmp_path / "out" / "a" / "empty").is_dir()


def test_unpacked_once_under_the_download_folder(folders):
    archive = tar(folders / "texts.tar", [file("a.txt")])
    place = unpacked(archive)
    assert tree(place) == {"a.txt": b"text"} and folders / "downloads" in place.parents
    marked = place / "a.txt"
    before = marked.stat().st_ino
    assert unpacked(archive) == place and marked.stat().st_ino == before
    os.utime(archive, (1, 1))  # another version of the archive
    assert unpacked(archive) != place
    corpora.set_folders(folders / "other", may_write=False)
    with pytest.raises(MissingCorpus, match="texts.tar is not unpacked yet; without --dry_run"):
        unpacked(archive)


# ---- What is refused

bad_names = st.one_of(
    name.map("/{}".format),
    name.map("../{}".format),
    name.map("a/../../{}".format),
    name.map("{}/..".format),
    name.map("C:/{}".format),
    name.map("a\\..\\{}".format),
    name.map("{}\n".format),
)


@settings(max_examples=60, deadline=None)
@given(bad=bad_names, before=contents, form=st.sampled_from(["tar", "zip"]))
def test_a_name_that_leads_out_is_refused_with_everything_before_it(bad, before, form, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    names = [*before, bad]
    if form == "tar":
        tar(folder / "a.tar", [file(name) for name in names])
    else:
        zipped(folder / "a.zip", [(name, b"text", 0) for name in names])
    refused(folder / f"a.{form}", "refused: member|in each other's way")


@pytest.mark.parametrize(
    "members, reason",
    [
        ([link("l", "/etc/passwd")], "is a link that is absolute"),
        ([link("l", "../x")], "is a link that leads out"),
        ([link("a/b/l", "../../../x")], "is a link that leads out"),
        ([file("d/e/f"), link("d/e/x", "."), link("y", "d/e/x/../../..")], "is a link out of the archive"),
        ([link("l", "."), file("l/inside")], "in each other's way"),
        ([special("h", tarfile.LNKTYPE, "/etc/passwd")], "is a link that is absolute"),
        ([special("h", tarfile.LNKTYPE, "../x")], "is a link that leads out"),
        ([special("h", tarfile.LNKTYPE, "later"), file("later")], "is a hard link to 'later', which is no file"),
        ([special("p", tarfile.FIFOTYPE)], "is a device, a pipe"),
        ([special("c", tarfile.CHRTYPE)], "is a device, a pipe"),
        ([special("b", tarfile.BLKTYPE)], "is a device, a pipe"),
        ([file("a"), file("a", b"other")], "'a' is there twice"),
        ([file("a"), file("./a", b"other")], "'./a' is there twice"),
        ([file("a"), file("a/b")], "in each other's way"),
    ],
)
def test_links_out_devices_and_doubles_are_refused(members, reason, tmp_path):
    refused(tar(tmp_path / "a.tar", members), reason)


def test_a_zip_is_held_to_the_same(tmp_path):
    refused(zipped(tmp_path / "a.zip", [("l", b"../../x", stat.S_IFLNK | 0o777)]), "is a link that leads out")
    refused(zipped(tmp_path / "b.zip", [("p", b"", stat.S_IFIFO | 0o666)]), "is a device, a pipe")
    zipped(tmp_path / "c.zip", [("a/b", b"text", 0), ("a/l", b"b", stat.S_IFLNK | 0o777)])
    extract(tmp_path / "c.zip", tmp_path / "out")
    assert tree(tmp_path / "out") == {"a/b": b"text", "a/l": b"text"}


def test_bombs_are_refused_by_count_size_and_ratio(tmp_path):
    many = tar(tmp_path / "many.tar", [file(str(i), b"") for i in range(20)])
    refused(many, "more than 19 members", Limits(files=19))
    large = tar(tmp_path / "large.tar", [file("a", bytes(3000)), file("b", bytes(3000))])
    refused(large, "more than 5,000 bytes come out of 10,240", Limits(total_bytes=5000))
    dense = tar(tmp_path / "dense.tgz", [file("a", bytes(10**6))], "w:gz")
    refused(dense, "refused as a bomb", Limits(ratio=10, ratio_from=1000))
    zipped(tmp_path / "dense.zip", [("a", bytes(10**6), 0)])
    refused(tmp_path / "dense.zip", "refused as a bomb", Limits(ratio=10, ratio_from=1000))
    extract(dense, tmp_path / "out", Limits(ratio=10))  # harmless by its size


def test_damaged_archives_are_named(tmp_path):
    whole = tar(tmp_path / "a.tgz", [file("a", os.urandom(5000))], "w:gz").read_bytes()
    plain = tar(tmp_path / "a.tar", [file("a", b"x" * 700), file("b"), file("c")]).read_bytes()
    between = plain[:2560] + b"\xff" * 512 + plain[3072:]  # the last header
    damaged = [
        b"",
        b"no archive",
        whole[:3000],
        whole[:-4],
        gzip.compress(b"no tar"),
        between,
        *(plain[:size] for size in (600, 1536, 1600, 2048)),
    ]
    for number, content in enumerate(damaged):
        path = tmp_path / f"damaged{number}.tgz"
        path.write_bytes(content)
        refused(path, "no archive, or a damaged one")
    whole = bytearray(zipped(tmp_path / "a.zip", [("a", os.urandom(500), 0)]).read_bytes())
    whole[100] ^= 1
    (tmp_path / "damaged.zip").write_bytes(whole)
    refused(tmp_path / "damaged.zip", "no archive, or a damaged one")
    (tmp_path / "a.rar").write_bytes(b"")
    refused(tmp_path / "a.rar", "an archive's name ends in .zip, .tar")


# ---- Downloads


class Response(io.BytesIO):
    """What urllib gives; `promised` is its Content-Length."""

    def __init__(self, url, content, promised=None, breaks_off=False):
        super().__init__(content)
        self.url, self.headers = url, {} if promised is None else {"Content-Length": str(promised)}
        self._breaks_off = breaks_off

    def read(self, size=-1):
        block = super().read(size)
        if not block and self._breaks_off:
            raise ConnectionResetError("connection reset")
        return block


URL = "https://example.org/data/texts.tar.gz"


def serving(content, **options):
    return lambda url: Response(options.pop("redirected", url), content, **options)


def left_over(folders):
    folder = folders / "downloads" / "files"
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.exists() else []


def test_the_first_digest_is_held_to_from_then_on(folders):
    path = fetch(URL, open_url=serving(b"content", promised=7))
    assert path.read_bytes() == b"content" and path.name.endswith("texts.tar.gz")
    assert fetch(URL, open_url=lambda url: pytest.fail("downloaded again")) == path
    path.unlink()
    with pytest.raises(UserError, match="not .*: another file than before"):
        fetch(URL, open_url=serving(b"changed"))
    assert left_over(folders) == [download.DIGESTS_FILE]
    assert fetch(URL, open_url=serving(b"content")) == path
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="it was damaged or replaced; remove it"):
        fetch(URL, open_url=serving(b"content"))


def test_a_problem_over_an_archive_on_the_web(folders, tmp_path, monkeypatch):
    """As the docstring of data_gen/download.py shows it."""
    texts = [file("m/train.en", b"beer\n"), file("m/train.de", b"Bier\n")]
    content = tar(tmp_path / "menus.tgz", texts, "w:gz").read_bytes()
    monkeypatch.setattr(download, "_open", serving(content, promised=len(content)))

    class Menus(ParallelText):
        sides = ("en", "de")

        @functools.cached_property
        def folder(self):
            return unpacked(fetch("https://example.org/menus.tgz"))

    (sample,) = Menus().samples("train")
    assert (sample["inputs"], sample["targets"]) == ("beer", "Bier")


def test_a_known_digest_is_held_to_from_the_first_time(folders, tmp_path):
    (tmp_path / "known").write_bytes(b"content")
    digest = sha256_of(tmp_path / "known")
    with pytest.raises(UserError, match=f"not {digest}"):
        fetch(URL, sha256=digest, open_url=serving(b"other"))
    assert left_over(folders) == []
    path = fetch(URL, sha256=digest.upper(), open_url=serving(b"content"))
    assert path == fetch(URL, sha256=digest)
    assert fetch(URL + "?v=2", open_url=serving(b"two")) != path  # other urls end alike


def test_what_breaks_off_leaves_nothing(folders):
    for opener in (serving(b"half", promised=8), serving(b"half", breaks_off=True)):
        with pytest.raises(MissingCorpus, match="broke off|can't be downloaded"):
            fetch(URL, open_url=opener)
        assert left_over(folders) == []

    def offline(url):
        raise urllib.error.URLError("no network")

    with pytest.raises(MissingCorpus, match=r"can't be downloaded \(no network\)"):
        fetch(URL, open_url=offline)
    corpora.set_folders(folders / "data", may_write=False)
    with pytest.raises(MissingCorpus, match="without --dry_run"):
        fetch(URL, open_url=offline)


def test_https_only_also_where_it_is_sent_on(folders):
    for url in ("http://example.org/a", "ftp://example.org/a", "file:///etc/passwd"):
        with pytest.raises(UserError, match="only https"):
            fetch(url, open_url=serving(b"x"))
    with pytest.raises(UserError, match="only https"):
        fetch(URL, open_url=serving(b"x", redirected="http://example.org/a"))
    with pytest.raises(UserError, match="only https"):
        download._HttpsRedirects().redirect_request(None, None, 302, "", {}, "http://example.org/a")
    assert left_over(folders) == []
