"""The folder of JAX's compiled programs: the user's alone, of limited size, and switched off by one variable."""

import os
import sys

import pytest

from t2t_multimodel import compile_cache
from t2t_multimodel.compile_cache import JAX_VARIABLE, VARIABLE, set_compile_cache


@pytest.fixture(autouse=True)
def no_jax_yet(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    for name in (VARIABLE, JAX_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def chosen():
    set_compile_cache()
    return os.environ.get(JAX_VARIABLE)


def test_it_is_in_the_users_cache_folder_and_private(tmp_path):
    old_mask = os.umask(0)  # even where new folders are open to all
    try:
        folder = chosen()
    finally:
        os.umask(old_mask)
    assert folder.startswith(str(tmp_path / "cache" / "t2t-multimodel"))
    for path in (folder, os.path.dirname(folder)):
        assert os.stat(path).st_mode & 0o777 == 0o700
    del os.environ[JAX_VARIABLE]
    assert chosen() == folder  # the next process finds it


@pytest.mark.parametrize("off", ["off", "0", "OFF"])
def test_a_variable_switches_it_off(monkeypatch, tmp_path, off):
    monkeypatch.setenv(VARIABLE, off)
    assert chosen() is None
    assert not (tmp_path / "cache").exists()


def test_a_variable_names_another_folder(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    assert os.path.dirname(chosen()) == str(tmp_path / "mine")


def test_jaxs_own_variable_goes_before_ours(monkeypatch, tmp_path):
    monkeypatch.setenv(JAX_VARIABLE, str(tmp_path / "jaxs"))
    assert chosen() == str(tmp_path / "jaxs")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o750])
def test_a_folder_that_others_can_use_is_not_used(capsys, tmp_path, mode):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "t2t-multimodel").mkdir()
    (tmp_path / "cache" / "t2t-multimodel").chmod(mode)
    assert chosen() is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "not the user's alone" in line and VARIABLE in line


def test_a_link_is_not_followed(capsys, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "t2t-multimodel").symlink_to(tmp_path / "elsewhere")
    assert chosen() is None
    assert "link" in capsys.readouterr().err


def test_without_a_place_for_it_everything_else_works(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert chosen() is None
    assert capsys.readouterr().err == ""


def test_what_was_not_used_for_longest_goes_first(monkeypatch):
    folder = chosen()
    for age, name in enumerate(("new", "middle", "old")):
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(bytes(100))
        os.utime(path, (10_000 - age, 10_000 - age))
    monkeypatch.setattr(compile_cache, "MOST_BYTES", 250)
    del os.environ[JAX_VARIABLE]
    assert chosen() == folder
    assert sorted(os.listdir(folder)) == ["middle", "new"]
