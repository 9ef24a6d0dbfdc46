"""Promise: whatever the locale, home folder, limits and disk, a command ends as usual or with one line and status 2."""

import errno
import os
import resource
import subprocess
import sys

import pytest

from t2t_multimodel.cli import datagen, environment_errors, evaluate, experiment, inspect_data, report, trainer, tune
from t2t_multimodel.errors import UserError
from t2t_multimodel.files import user_path

HELP = [sys.executable, "-m", "t2t_multimodel.cli.inspect_data", "--registry_help", "--t2t_usr_dir=mine"]
PROBLEM = '''
from t2t_multimodel.modalities import Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_problem

@register_problem
class CountUp(Problem):
    """Digits → words."""
    inputs, targets = Text(), Text()
'''
C_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
DATAGEN = [sys.executable, "-m", "t2t_multimodel.cli.datagen", "--problem=tiny_fren", "--workers=1"]


def ends(command, tmp_path, before=None, shell=None, **environment):
    """(status, standard output, standard error) of a command in a changed environment; no traceback in any."""
    words = ["sh", "-c", f'"$@" {shell}', "sh", *command] if shell else command
    values = {**os.environ, **environment}
    values = {name: value for name, value in values.items() if value is not None}
    done = subprocess.run(words, env=values, cwd=tmp_path, preexec_fn=before, capture_output=True, timeout=300)
    error = done.stderr.decode("utf-8", "replace")
    assert "Traceback" not in error and "Exception ignored" not in error, error
    return done.returncode, done.stdout.decode("utf-8", "replace"), error


def one_line(error):
    (line,) = [line for line in error.splitlines() if "error:" in line]
    return line


# ---- Errors of the file system


@pytest.mark.parametrize(
    "number",
    [
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EFBIG,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EACCES,
        errno.EROFS,
        errno.EIO,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENOENT,
        errno.ETXTBSY,
    ],
    ids=errno.errorcode.get,
)
def test_an_error_with_a_file_name_is_one_line(number):
    said = environment_errors.line(OSError(number, os.strerror(number), "run/x"))
    assert "run/x" in said and "\n" not in said


def test_what_has_no_file_name_is_told_where_the_user_can_put_it_right():
    for number in (errno.EFBIG, errno.EMFILE, errno.ENOSPC, errno.EIO, errno.ENOMEM):
        assert environment_errors.line(OSError(number, os.strerror(number)))
    assert "TMPDIR" in environment_errors.line(FileNotFoundError(errno.ENOENT, "No usable temporary directory found"))
    assert "not enough memory" in environment_errors.line(MemoryError("4 TiB"))
    assert "NUL" in environment_errors.line(ValueError("embedded null byte"))
    assert environment_errors.line(ValueError("x")) is environment_errors.line(OSError(errno.EINVAL, "x")) is None
    bug = KeyError("x")
    bug.__context__ = FileNotFoundError(errno.ENOENT, "No such file", "x")
    assert environment_errors.line(bug) is None, "a bug in the handling of an error keeps its traceback"


NAMES = {
    "too long": "n" * 300,
    "a loop": "loop/x",
    "NUL": "a\0b",
    "below a file": "file/x",
    "no text": "d\udcff",
    "steering": "\x1b[31m/" + "n" * 300,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "module", [trainer, evaluate, inspect_data, experiment, report, tune], ids=lambda m: m.__name__
)
def test_a_path_that_cannot_be_is_one_line_in_every_command(name, module, tmp_path, monkeypatch, run_command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("x")
    flags = {"problem": "tiny_ende", "data_dir": NAMES[name], "output_dir": NAMES[name], "suite": "transfer"}
    given = [f"--{flag}={value}" for flag, value in flags.items() if flag in module.command._metavars]
    status, _, error = run_command(module.main, *given)
    assert status == 2 and len(error.splitlines()) == 1 and "\x1b" not in error, error


# ---- Paths


def test_every_flag_that_is_a_path_expands_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for module in (datagen, trainer, evaluate, inspect_data, experiment, report, tune):
        command = module.command
        paths = [name for name, metavar in command._metavars.items() if metavar in ("DIR", "FILE")]
        assert "data_dir" in paths and "t2t_usr_dir" in paths
        values = command.parse([f"--{name}=~/my data" for name in paths])
        for name in paths:
            value = values[name].value
            assert (value[0] if isinstance(value, list) else value) == f"{tmp_path}/my data", name
    with pytest.raises(UserError, match=r"~nobody_of_this_name has no home folder.*\./~nobody"):
        datagen.command.parse(["--data_dir=~nobody_of_this_name/x"])
    assert user_path("./~", "--data_dir") == "./~" and user_path("a~b", "--data_dir") == "a~b"
    assert user_path("~", "data_dir") == str(tmp_path)


def test_a_number_that_no_computer_counts_to_is_one_line(run_command):
    for value in (10**30, -(10**30), "9" * 5000):
        status, _, error = run_command(trainer.main, f"--seed={value}", "--problem=tiny_ende")
        assert status == 2 and len(error.splitlines()) == 1 and "seed" in error, error


# ---- Locale, home folder, closed streams, limits: a light command in a process of its own


@pytest.mark.slow
def test_the_locale_home_and_streams_change_no_status(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "counting.py").write_text(PROBLEM, encoding="utf-8")
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    status, right, error = ends(HELP, tmp_path)
    assert status == 0 and "Digits → words" in right and error.count("\n") == 1  # what mine/ has added
    none = str(tmp_path / "mine" / "counting.py" / "home")  # can't be made, by root neither
    status, out, error = ends(HELP, tmp_path, few, HOME=none, XDG_CACHE_HOME=none, **C_LOCALE)
    assert status == 0 and r"Digits \u2192 words" in out
    status, out, error = ends(HELP, tmp_path, HOME=None, PYTHONIOENCODING="latin-1", TERM=None)
    assert status == 0 and r"Digits \u2192 words" in out
    assert ends(HELP, tmp_path, shell=">&-")[:2] == (0, "")
    assert ends(HELP, tmp_path, shell=">&- 2>&- <&-") == (0, "", "")
    assert ends(HELP, tmp_path, shell="| head -c 1")[:2] == (0, right[0])
    if os.path.exists("/dev/full"):
        status, _, error = ends(HELP, tmp_path, shell="> /dev/full")
        assert status == 2 and "disk full" in one_line(error)


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_data_is_made_in_any_locale_home_and_umask(umask, tmp_path):
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text('{"floatx": "float64", "image_data_format": "channels_first"}')
    homes = {"HOME": str(tmp_path)} if umask else {"HOME": str(tmp_path / ".keras" / "keras.json" / "home")}
    status, _, error = ends([*DATAGEN, "--data_dir=d"], tmp_path, lambda: os.umask(umask), **C_LOCALE, **homes)
    assert status == 0, error
    assert (tmp_path / "d" / "tiny_fren" / "manifest.json").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_one_line(tmp_path):
    small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    status, _, error = ends([*DATAGEN, "--data_dir=d"], tmp_path, small)
    assert status == 2 and "disk is full" in one_line(error), error
    assert not (tmp_path / "d" / "tiny_fren").exists()


@pytest.mark.slow
def test_a_full_disk_is_one_line(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mount.stderr.strip()}")
    try:
        status, _, error = ends([*DATAGEN, f"--data_dir={disk}/d"], tmp_path)
        assert status == 2 and "disk is full" in one_line(error), error
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_a_folder_without_permission_is_one_line(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("nothing is forbidden to root")
    (tmp_path / "locked").mkdir(mode=0o500)
    status, _, error = ends([*DATAGEN, "--data_dir=locked/d"], tmp_path)
    assert status == 2 and "no permission" in one_line(error)
