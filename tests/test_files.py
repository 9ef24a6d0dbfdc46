"""Files are written whole or not at all."""

import os

import pytest

from t2t_multimodel.files import output_file, remove_folder, replacing, write_file


def write_out(path, content):
    with output_file(path) as file:
        file.write(content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_content_comes_back_and_nothing_else_is_left(tmp_path):
    write_file(tmp_path / "a", b"\0bytes")
    write_file(tmp_path / "a", "ü\n")
    assert (tmp_path / "a").read_bytes() == "ü\n".encode()
    assert names(tmp_path) == ["a"]


def test_a_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "usual").touch()
    write_file(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_writer_that_fails_changes_nothing(tmp_path):
    write_file(tmp_path / "a", b"before")
    with pytest.raises(KeyboardInterrupt):
        with replacing(tmp_path / "a") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt
    assert (tmp_path / "a").read_bytes() == b"before" and names(tmp_path) == ["a"]


def test_a_disk_that_fails_changes_nothing(tmp_path, monkeypatch):
    write_file(tmp_path / "a", b"before")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_file(tmp_path / "a", b"after")
    assert (tmp_path / "a").read_bytes() == b"before" and names(tmp_path) == ["a"]


def test_a_link_in_the_place_is_replaced_and_never_written_through(tmp_path):
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "a").symlink_to(tmp_path / "victim")
    write_file(tmp_path / "a", b"new")
    assert (tmp_path / "victim").read_bytes() == b"mine" and not (tmp_path / "a").is_symlink()


def test_no_device_is_replaced(tmp_path):
    """As root it could be. A link to one is one; it was made here, so that a failure costs no /dev/null."""
    (tmp_path / "null").symlink_to(os.devnull)
    with pytest.raises(OSError, match="it is a device; name a file"):
        write_file(tmp_path / "null", b"x")
    assert (tmp_path / "null").is_symlink() and os.listdir(tmp_path) == ["null"]


def test_what_a_user_names_as_output_may_be_a_pipe_or_a_device(tmp_path):
    (tmp_path / "null").symlink_to(os.devnull)
    write_out(tmp_path / "null", b"x")
    assert (tmp_path / "null").is_symlink()
    with open(tmp_path / "redirected", "wb") as redirected:
        write_out(f"/dev/fd/{redirected.fileno()}", b"answers")
    assert (tmp_path / "redirected").read_bytes() == b"answers"
    with pytest.raises(OSError):
        write_out("/dev/nothing", b"x")
    assert not os.path.lexists("/dev/nothing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="nothing reads this pipe"):
        write_out(tmp_path / "pipe", b"x")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_out(tmp_path / "pipe", b"answers")
    assert os.read(reader, 100) == b"answers"
    os.close(reader)
    write_out(tmp_path / "file", b"answers")
    assert (tmp_path / "file").read_bytes() == b"answers"


def test_a_pipe_where_a_folder_is_to_be_removed_is_not_waited_for(tmp_path):
    """Of an unfinished store, of a checkpoint, of a search; `shutil.rmtree` would wait for a writer."""
    from t2t_multimodel.data_gen.files import sweep
    from t2t_multimodel.store_folder import remove_unless_read
    from t2t_multimodel.training import checkpoints

    pipe, folder, link = tmp_path / "incomplete.pipe", tmp_path / "incomplete.folder", tmp_path / "incomplete.link"
    os.mkfifo(pipe)
    (folder / "inner").mkdir(parents=True)
    link.symlink_to(tmp_path)
    sweep(tmp_path)
    assert not folder.exists() and link.is_symlink() and not remove_unless_read(pipe)
    os.mkfifo(tmp_path / f"{checkpoints._TEMPORARY}x")
    checkpoints._sweep(tmp_path)
    for path in (pipe, link, tmp_path / "nothing"):
        remove_folder(path)
    assert pipe.exists() and tmp_path.exists()
