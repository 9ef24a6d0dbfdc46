"""The package works installed from a wheel, and the wheel holds everything."""

import email
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import absl
import numpy
import pytest
from packaging.specifiers import SpecifierSet

FOLDERS = {"t2t_multimodel": "", "problems": "problems/", "hparams": "hparams/", "data_gen": "data_gen/"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, request):
    """A wheel built from the working tree, with the build's own files kept out of it."""
    folder = tmp_path_factory.mktemp("wheel")
    repository = request.path.parents[1]
    source = folder / "source"
    source.mkdir()
    for name in FOLDERS:
        shutil.copytree(repository / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(repository / name, source)
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, source])
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_four_folders(wheel, repository):
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        "t2t_multimodel/" + place + file.relative_to(repository / folder).as_posix()
        for folder, place in FOLDERS.items()
        for pattern in ("*.py", "*.gin", "py.typed")
        for file in (repository / folder).rglob(pattern)
        if pattern != "*.gin" or folder == "hparams"
    }
    assert expected - inside == set()
    top = {name.split("/")[0] for name in inside}
    assert top == {"t2t_multimodel", next(n for n in top if n.endswith(".dist-info"))}, "would shadow others' modules"


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(wheel, tmp_path):
    """The package comes from the wheel alone; only its dependencies are lent by this environment."""
    environment = tmp_path / "environment"
    run([sys.executable, "-m", "venv", "--without-pip", environment])
    python = environment / "bin" / "python"
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    run([*install, wheel])
    # Folders named in a .pth file come after the environment's own, and their own .pth files are not read.
    (site / "dependencies.pth").write_text("\n".join({str(Path(m.__file__).parents[1]) for m in (absl, numpy)}) + "\n")

    where = "import t2t_multimodel.registry as r, t2t_multimodel.hparams as h; print(r.__file__, h.__file__, sep='\\n')"
    assert all(Path(line).is_relative_to(site) for line in run([python, "-c", where], cwd=tmp_path).splitlines())
    for command in ("t2t-datagen", "t2t-trainer", "t2t-eval", "t2t-decoder", "t2t-inspect", "t2t-build-vocab"):
        assert run([environment / "bin" / command, "--help"], cwd=tmp_path).startswith(f"{command}: ")
    listed = run([environment / "bin" / "t2t-trainer", "--registry_help"], cwd=tmp_path)
    assert "multimodel_tiny" in listed and "  multimodel " in listed


@pytest.fixture(scope="module")
def declared(wheel):
    """What the wheel says of itself: (python_requires, the classifiers' Python versions)."""
    with zipfile.ZipFile(wheel) as file:
        name = next(name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(file.read(name))
    classified = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") if re.search(r"Python :: 3\.\d+$", c)]
    return SpecifierSet(metadata["Requires-Python"]), classified


def test_one_list_of_python_versions(declared, repository):
    """python_requires, classifiers, the table of docs/installation.md, ruff's target and the Makefile agree."""
    requires, classified = declared
    supported = [version for version in (f"3.{minor}" for minor in range(30)) if f"{version}.5" in requires]
    assert supported == classified
    assert ".".join(map(str, sys.version_info[:2])) in supported
    table = (repository / "docs" / "installation.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (3\.\d+) \|", table, flags=re.MULTILINE) == supported
    settings = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["ruff"]["target-version"] == "py" + supported[0].replace(".", "")
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"\bpython(3\.\d+)(?= )", makefile.partition("; do")[0]) == supported
    assert f"no Python between {supported[0]} and {supported[-1]} found" in makefile


def run(command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
