"""What t2t-doctor looks at: versions, machine, data folder, run directory; each check gives findings."""

import dataclasses
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from t2t_multimodel import registry
from t2t_multimodel.errors import UserError
from t2t_multimodel.json_files import DamagedFile
from t2t_multimodel.startup import processors
from t2t_multimodel.store_folder import INCOMPLETE, MANIFEST, StoreFolder

WELL, NOTE, WRONG = "ok", "note", "wrong"
DISTRIBUTION = "t2t-multimodel"
_LITTLE_DISK, _LITTLE_MEMORY = 2.0, 4.0  # GiB
_SECONDS = 300  # for a process that imports a backend
_DEVICES = {
    "tensorflow": "import tensorflow; print(*(d.name for d in tensorflow.config.list_logical_devices()), sep=', ')",
    "jax": "import jax; print(', '.join(map(str, jax.devices())))",
}
_NO_DATA = "t2t-datagen --problem=… --data_dir={}"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the table."""

    part: str
    what: str
    state: str  # WELL, NOTE or WRONG
    found: str
    todo: str = ""


def versions() -> Iterator[Finding]:
    """Python, and each package that this one needs: what is installed, and whether it is in the range."""
    from packaging.markers import default_environment
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    about = importlib.metadata.metadata(DISTRIBUTION)
    wanted = SpecifierSet(about["Requires-Python"] or "")
    python = platform.python_version()
    fits = wanted.contains(python, prereleases=True)
    yield Finding("versions", "Python", WELL if fits else WRONG, python, "" if fits else f"use Python {wanted}")
    yield Finding("versions", DISTRIBUTION, WELL, about["Version"])
    for text in sorted(importlib.metadata.requires(DISTRIBUTION) or (), key=str.lower):
        needed = Requirement(text)
        extra = _extra_of(needed, default_environment())
        if extra in (None, "test"):
            continue
        found, fits = _version(needed.name), False
        if found:
            fits = needed.specifier.contains(found, prereleases=True)
        elif extra:
            yield Finding("versions", needed.name, NOTE, "not installed", f'for [{extra}]: pip install ".[{extra}]"')
            continue
        todo = "" if fits else f'pip install "{needed.name}{needed.specifier}"'
        yield Finding("versions", needed.name, WELL if fits else WRONG, found or "not installed", todo)
    tensorflow, text = (_version(name) for name in ("tensorflow", "tensorflow-text"))
    if tensorflow and text and _minor(tensorflow) != _minor(text):
        todo = f'pip install "tensorflow-text=={_minor(tensorflow)}.*"'
        yield Finding("versions", "tensorflow, tensorflow-text", WRONG, f"{tensorflow}, {text}: not a pair", todo)
    for package in registry.installed_packages():
        state = WRONG if package.failure else WELL
        todo = "update or remove that package" if package.failure else ""
        yield Finding("versions", package.distribution, state, str(package), todo)


def machine(backend: str) -> Iterator[Finding]:
    """Processors, memory, and the devices that the backend finds, asked in a process of its own."""
    yield Finding("machine", "system", WELL, f"{platform.system()} {platform.machine()}, {processors()} processors")
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (ValueError, OSError, AttributeError):
        memory = None
    if memory is not None:
        little = memory < _LITTLE_MEMORY
        todo = "smaller batches: --hparams=batch_examples=8" if little else ""
        yield Finding("machine", "memory", NOTE if little else WELL, f"{memory:.0f} GiB", todo)
    yield _devices(backend)


def _devices(backend):
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", _DEVICES[backend]]
    what, todo = f"backend {backend}", "install it again; see docs/installation.md"
    try:
        ended = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_SECONDS, env=environment
        )
    except subprocess.TimeoutExpired:
        return Finding("machine", what, WRONG, f"its import takes more than {_SECONDS} s", todo)
    if ended.returncode < 0:
        return Finding("machine", what, WRONG, f"its import is killed by signal {-ended.returncode}", todo)
    if ended.returncode:
        last = (ended.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        if backend != "tensorflow" and not _version(backend):
            todo = f'pip install ".[{backend}]", or --backend=tensorflow'
        return Finding("machine", what, WRONG, last[:200], todo)
    return Finding("machine", what, WELL, ended.stdout.decode(errors="replace").strip().splitlines()[-1])


def disk(what: str, folder: str) -> Iterator[Finding]:
    """Whether a folder, or the first one above it that is there, can be written, and its free space."""
    path = Path(os.path.abspath(folder))
    while not path.exists() and path != path.parent:
        path = path.parent
    if not os.access(path, os.W_OK):
        yield Finding(what, "disk", NOTE, f"{path} can't be written", "only reading works there")
    free = shutil.disk_usage(path).free / 2**30
    little = free < _LITTLE_DISK
    yield Finding(what, "disk", NOTE if little else WELL, f"{free:,.1f} GiB free", "make room" if little else "")


def data(data_dir: str) -> Iterator[Finding]:
    """The vocabulary and each store of a data folder: complete, of this version, of the sizes that it promises."""
    from t2t_multimodel.vocabulary import Vocabulary

    folder = Path(data_dir)
    if not folder.is_dir():
        yield Finding("data", data_dir, WRONG, "no such folder", _NO_DATA.format(data_dir))
        return
    yield from disk("data", data_dir)
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    stores = [name for name in names if (folder / name / MANIFEST).is_file() and not name.startswith(INCOMPLETE)]
    if not stores:
        yield Finding("data", data_dir, WRONG, "no problem's data is there", _NO_DATA.format(data_dir))
    vocabulary = None
    if "vocabulary" in names:
        try:
            vocabulary = Vocabulary.load(folder / "vocabulary")
            yield Finding("data", "vocabulary", WELL, f"{vocabulary.size:,} ids, digest {vocabulary.digest[:12]}")
        except UserError as error:
            yield Finding("data", "vocabulary", WRONG, str(error))
    for name in stores:
        yield _store(folder, name, vocabulary)
    for name in names:
        if name.startswith(INCOMPLETE):
            todo = "the same t2t-datagen command finishes it; or remove the folder"
            yield Finding("data", name, NOTE, "a t2t-datagen is at work, or was interrupted", todo)


def _store(folder, name, vocabulary):
    again = f"t2t-datagen --problem={name} --data_dir={folder} --overwrite"
    try:
        store = StoreFolder(folder / name)
        manifest = store.manifest(name, again)
        store.check_sizes(manifest, again)
    except DamagedFile as error:
        return Finding("data", name, WRONG, str(error))
    except OSError as error:
        return Finding("data", name, WRONG, error.strerror or str(error), again)
    bound = manifest["vocabulary"]
    if bound and (vocabulary is None or bound["digest"] != vocabulary.digest):
        return Finding("data", name, WRONG, "it was made with another vocabulary than the folder has", again)
    counts = ", ".join(f"{split} {about['examples']:,}" for split, about in manifest["splits"].items())
    return Finding("data", name, WELL, counts)


def run(output_dir: str) -> Iterator[Finding]:
    """The files of a run directory: readable, undamaged, and what its next training needs."""
    from t2t_multimodel.training import checkpoints
    from t2t_multimodel.training.run_directory import NoData, RunDirectory

    try:
        directory = RunDirectory(output_dir)
        known = directory.run()
        resolved = directory.resolved().hparams
    except UserError as error:
        yield Finding("run", output_dir, WRONG, str(error))
        return
    yield from disk("run", output_dir)
    yield Finding("run", "run.json", WELL, f"{known.model} on {', '.join(sorted(known.problems))}")
    try:
        vocabulary = directory.vocabulary(known)
        yield Finding("run", "vocabulary", WELL, f"{vocabulary.size:,} ids" if vocabulary else "none is needed")
    except UserError as error:
        yield Finding("run", "vocabulary", WRONG, str(error))
    steps, whole = checkpoints.steps(directory.checkpoints), None
    for step in steps:
        if reason := checkpoints.damage(directory.checkpoints, step):
            todo = "the next older one is used instead" if whole is not None else "put it back from a copy"
            yield Finding("run", f"checkpoint {step}", WRONG, f"damaged: {reason}", todo)
        else:
            whole = step
    if whole is not None:
        yield Finding("run", "checkpoints", WELL, f"{len(steps)}, the newest whole one of step {whole:,}")
    elif not steps:
        yield Finding("run", "checkpoints", NOTE, "none yet", "train on, with the same t2t-trainer command")
    try:
        directory.check_free()
        done = whole is not None and whole >= resolved.train_steps
        said = "finished" if done else f"stands at step {whole or 0:,} of {resolved.train_steps:,}"
        yield Finding("run", "training", WELL, said, "" if done else "the same t2t-trainer command goes on")
    except UserError as error:
        yield Finding("run", "training", NOTE, str(error))
    except OSError as error:
        yield Finding("run", "training", NOTE, f"its lock can't be looked at: {error.strerror or error}")
    try:
        yield Finding("run", "its data", WELL, str(directory.data_dir()))
    except NoData as error:
        yield Finding("run", "its data", NOTE, str(error), "give --data_dir to commands that need it")


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _minor(version):
    return ".".join(version.split(".")[:2])


def _extra_of(needed, environment):
    """The extra that a requirement is of; "": of none; None: not needed here (its marker)."""
    if needed.marker is None or needed.marker.evaluate(environment | {"extra": ""}):
        return ""
    for extra in importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or ():
        if needed.marker.evaluate(environment | {"extra": extra}):
            return extra
    return None
