"""What data generation writes goes into new files: nothing is written through a link that lies in a shared folder."""

import os
import secrets

import pytest
from fuzz_store import FuzzWords, content_of, make

from t2t_multimodel.data_gen import download, files
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.errors import UserError
from t2t_multimodel.files import write_file


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_bytes(b"mine")
    yield path
    assert path.read_bytes() == b"mine"


def test_a_temporary_file_is_new(tmp_path, victim, monkeypatch):
    """Even if its name is foreseen."""
    monkeypatch.setattr(secrets, "token_hex", lambda size: "00")
    (tmp_path / f".a.{os.getpid()}-00").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "a", b"new")


def test_the_lock_is_not_written_through_a_link(tmp_path, victim):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".datagen.lock").symlink_to(victim)
    with pytest.raises(UserError, match="can't write to the data folder"):
        with files.only_one(tmp_path / "data"):
            pass


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir])
def test_a_lock_that_is_no_file_is_one_line(tmp_path, put):
    put(tmp_path / ".datagen.lock")
    with pytest.raises(UserError, match="datagen.lock|can't write"):
        with files.only_one(tmp_path):
            pass


def test_a_store_is_written_into_folders_and_files_of_its_own(tmp_path, victim):
    make(tmp_path / "usual")
    data_dir, outside = tmp_path / "data", tmp_path / "outside"
    outside.mkdir()
    data_dir.mkdir()
    (data_dir / f"{files.INCOMPLETE}{FuzzWords.name}").symlink_to(outside)
    make(data_dir)
    assert not list(outside.iterdir())
    assert content_of(data_dir) == content_of(tmp_path / "usual")


def test_new_file_replaces_a_link(tmp_path, victim):
    (tmp_path / "a").symlink_to(victim)
    with files.new_file(tmp_path / "a") as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and not (tmp_path / "a").is_symlink()


class Response:
    """What a server answers: `content`, of which it promises `promised` bytes."""

    url = "https://example.org/corpus.txt"

    def __init__(self, content, promised):
        self.headers, self._content = {"Content-Length": promised}, content

    def read(self, size):
        part, self._content = self._content[:size], self._content[size:]
        return part

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_a_download_is_not_written_through_a_link(tmp_path, victim):
    corpora.set_folders(tmp_path, None, None)
    folder = corpora.download_folder() / "files"
    folder.mkdir(parents=True)
    name = download._file_name(Response.url)
    (folder / f"{files.INCOMPLETE}{name}").symlink_to(victim)
    path = download.fetch(Response.url, open_url=lambda url: Response(b"text", "4"))
    assert path.read_bytes() == b"text" and not path.is_symlink()
    with pytest.raises(UserError, match="damaged or replaced"):
        path.write_bytes(b"other")
        download.fetch(Response.url)


def test_a_download_ends_at_the_bytes_that_it_promises(tmp_path):
    corpora.set_folders(tmp_path, None, None)
    with pytest.raises(UserError, match="more than the 4 bytes that it promised"):
        download.fetch(Response.url, open_url=lambda url: Response(b"x" * (1 << 21), "4"))
    assert [path.name for path in (corpora.download_folder() / "files").iterdir()] == [".datagen.lock"]
