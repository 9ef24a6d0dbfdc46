"""The folder of compiled programs: private, of limited size, whole files alone, and switched off by one variable."""

import os
import pathlib
import sys
import time
import types

import pytest

from t2t_multimodel import compile_cache
from t2t_multimodel.compile_cache import (
    JAX_VARIABLE,
    KEPT_VARIABLE,
    VARIABLE,
    XLA_VARIABLE,
    read_kept,
    set_compile_cache,
    write_kept,
)


@pytest.fixture(autouse=True)
def no_jax_yet(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    for name in (VARIABLE, JAX_VARIABLE, KEPT_VARIABLE, XLA_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=["jax", "tensorflow"])
def chosen(request, monkeypatch):
    """chosen() → the folder that one more process of this backend would use, or None."""
    variable = {"jax": JAX_VARIABLE, "tensorflow": KEPT_VARIABLE}[request.param]
    monkeypatch.setattr(compile_cache._OfXla, "begin", lambda self: None)
    monkeypatch.setenv("KERAS_BACKEND", request.param)

    def choose():
        monkeypatch.delenv(variable, raising=False)
        set_compile_cache() if request.param == "jax" else compile_cache.begin()
        return os.environ.get(variable)

    return choose


def test_it_is_in_the_users_cache_folder_and_private(chosen, tmp_path):
    old_mask = os.umask(0)  # even where new folders are open to all
    try:
        folder = chosen()
    finally:
        os.umask(old_mask)
    assert folder.startswith(str(tmp_path / "cache" / "t2t-multimodel"))
    for path in (folder, os.path.dirname(folder)):
        assert os.stat(path).st_mode & 0o777 == 0o700
    assert chosen() == folder  # the next process finds it


@pytest.mark.parametrize("off", ["off", "0", "OFF"])
def test_a_variable_switches_it_off(chosen, monkeypatch, tmp_path, off):
    monkeypatch.setenv(VARIABLE, off)
    assert chosen() is None
    assert not (tmp_path / "cache").exists()


def test_a_variable_names_another_folder(chosen, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    assert os.path.dirname(chosen()) == str(tmp_path / "mine")


def test_jaxs_own_variable_goes_before_ours(monkeypatch, tmp_path):
    monkeypatch.setenv(JAX_VARIABLE, str(tmp_path / "jaxs"))
    set_compile_cache()
    assert os.environ[JAX_VARIABLE] == str(tmp_path / "jaxs")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o750])
def test_a_folder_that_others_can_use_is_not_used(chosen, capsys, tmp_path, mode):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "t2t-multimodel").mkdir()
    (tmp_path / "cache" / "t2t-multimodel").chmod(mode)
    assert chosen() is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "not the user's alone" in line and VARIABLE in line


def test_a_link_is_not_followed(chosen, capsys, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "t2t-multimodel").symlink_to(tmp_path / "elsewhere")
    assert chosen() is None
    assert "link" in capsys.readouterr().err


def test_without_a_place_for_it_everything_else_works(chosen, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert chosen() is None
    assert capsys.readouterr().err == ""


def test_what_was_not_used_for_longest_goes_first(chosen, monkeypatch):
    folder = chosen()
    for age, name in enumerate(("new", "middle", "old")):
        written(os.path.join(folder, name), hours_ago=age)
    monkeypatch.setattr(compile_cache, "MOST_BYTES", 250)
    assert chosen() == folder
    assert sorted(os.listdir(folder)) == ["middle", "new"]


def test_what_was_not_used_for_months_goes_of_other_versions_too(chosen):
    folder = pathlib.Path(chosen())
    prefix = folder.name[:-16]
    old, used, new, no_such = others = [folder.with_name(prefix + n) for n in ("0" * 16, "a" * 16, "b" * 16, "mine")]
    for each in (folder, *others):
        each.mkdir(mode=0o700, exist_ok=True)
        written(each / "program", hours_ago=24 * 100)
    written(used / "other", hours_ago=24)
    for each in (folder, old, used, no_such):
        os.utime(each, (0, 0))
    assert pathlib.Path(chosen()) == folder
    assert not old.exists()
    assert [len(os.listdir(each)) for each in (folder, used, new, no_such)] == [1, 2, 1, 1]


def test_in_a_folder_that_a_command_names_nothing_of_others_is_removed(process, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    other = tmp_path / "named" / ("0" * 16)
    other.mkdir(mode=0o700, parents=True)
    other.parent.chmod(0o700)
    written(other / "photograph", hours_ago=24 * 100)
    os.utime(other, (0, 0))
    compile_cache.begin(tmp_path / "named")
    assert os.listdir(other) == ["photograph"]


def written(path, hours_ago):
    pathlib.Path(path).write_bytes(bytes(100))
    when = time.time() - 3600 * hours_ago
    os.utime(path, (when, when))


@pytest.mark.parametrize("named", [True, False])
def test_a_command_keeps_programs_in_the_folder_that_it_is_given(process, monkeypatch, tmp_path, named):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    compile_cache.begin(tmp_path / "named" if named else None)
    folder = compile_cache.kept_folder()
    assert folder.is_relative_to(tmp_path / ("named" if named else "cache"))
    xla = folder_of_xla()
    compile_cache.begin()  # another command in the same process: XLA stays where it is
    assert folder_of_xla() == xla and compile_cache.kept_folder() == folder


@pytest.fixture
def process(monkeypatch, tmp_path):
    """process() → what `compile_cache` of one more process has, and where its XLA reads and writes."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(compile_cache.tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(compile_cache.atexit, "register", lambda *_: None)

    monkeypatch.setattr(compile_cache, "_of_xla", compile_cache._OfXla())

    def start():
        monkeypatch.setattr(compile_cache, "_of_xla", compile_cache._OfXla())
        compile_cache.use(tmp_path / "kept")
        return compile_cache._of_xla, folder_of_xla()

    return start


def folder_of_xla():
    (flag,) = os.environ[XLA_VARIABLE].split()
    return pathlib.Path(flag.partition("=")[2])


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "kept").rglob("*") if path.is_file())


def test_what_xla_wrote_is_there_for_the_next_process_of_the_same_model(process, tmp_path):
    first, folder = process()
    first.fill("model")
    (folder / "a.pb").write_bytes(b"program")
    first._end(os.getpid())
    assert not folder.exists() and kept(tmp_path) == ["model-a.pb.xla"]
    second, folder = process()
    second.fill("another")
    assert not list(folder.iterdir())
    second.fill("model")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("a.pb", b"program")]
    second.keep_new(settled=0.0)
    assert kept(tmp_path) == ["model-a.pb.xla"]


def test_a_damaged_program_of_xla_is_never_given_to_it(process, tmp_path):
    first, folder = process()
    first.fill("model")
    for name in ("whole", "flipped", "cut"):
        (folder / name).write_bytes(name.encode())
    first._end(os.getpid())
    for name in ("flipped", "cut"):
        (path,) = (tmp_path / "kept").rglob(f"model-{name}.xla")
        content = path.read_bytes()
        path.write_bytes(content[:-1] + (b"" if name == "cut" else b"!"))
    second, folder = process()
    second.fill("model")
    assert [path.name for path in folder.iterdir()] == ["whole"]
    assert kept(tmp_path) == ["model-whole.xla"]


def test_what_xla_may_still_write_is_not_kept_yet(process, tmp_path):
    cache, folder = process()
    cache.fill("model")
    (folder / "written").write_bytes(b"half")
    (folder / "settled").write_bytes(b"whole")
    os.utime(folder / "settled", (1, 1))
    (folder / "of a worker").mkdir()
    cache.keep_new(settled=600)
    assert kept(tmp_path) == ["model-settled.xla"]


def test_a_worker_has_a_folder_inside_that_of_the_process_that_started_it(process, monkeypatch):
    _, folder = process()
    monkeypatch.setattr(compile_cache, "_of_xla", compile_cache._OfXla())
    compile_cache.use_in_worker()
    assert folder_of_xla().parent == folder


def test_folders_of_killed_processes_are_removed(process, monkeypatch):
    _, of_one_that_lives = process()
    killed = of_one_that_lives.parent / "t2t-xla-killed"
    killed.mkdir()
    (killed / "a.pb").write_bytes(b"program")
    young = killed.parent / "t2t-xla-young"
    young.mkdir()
    for folder in (of_one_that_lives, killed):
        os.utime(folder, (1, 1))
    monkeypatch.delenv(XLA_VARIABLE)
    _, folder = process()
    assert set(folder.parent.iterdir()) == {of_one_that_lives, young, folder}


def test_without_space_for_it_xla_keeps_nothing(process, monkeypatch):
    monkeypatch.setattr(compile_cache.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1))
    monkeypatch.setattr(compile_cache, "_of_xla", compile_cache._OfXla())
    with pytest.raises(ValueError):
        process()
    assert XLA_VARIABLE not in os.environ or not os.environ[XLA_VARIABLE].split()
    compile_cache.fill_xla("model")
    compile_cache.keep_new_of_xla()


@pytest.mark.parametrize("position", range(0, 80, 9))
def test_a_kept_file_with_a_flipped_bit_is_none(tmp_path, position):
    path = tmp_path / "kept"
    write_kept(path, b"some content")
    assert read_kept(path) == b"some content"
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 4
    path.write_bytes(content)
    assert read_kept(path) is None
    assert read_kept(tmp_path / "missing") is None
