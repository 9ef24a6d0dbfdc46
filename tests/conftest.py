"""What all tests share: a quiet tensorflow, folders of the repository, commands run in this process."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("T2T_COMPILE_CACHE", "off")  # not in the user's folder

REPOSITORY = Path(__file__).resolve().parents[1]
GOLDEN = REPOSITORY / "tests" / "golden"  # numbers that Tensor2Tensor computed
SHARED = REPOSITORY.parent / "shared"  # real corpora, where they are at hand

# Files that take minutes begin first, so that no process is left with one at the end while the others are done.
LONGEST = (
    "test_training",
    "test_experiments",
    "test_backends_agree",
    "test_resume",
    "test_readme",
    "test_tune",
    "test_resumed_generation",
    "test_decoding",
    "test_report",
)


@pytest.hookimpl(tryfirst=True)  # before -m chooses by the markers
def pytest_collection_modifyitems(items):
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))
    for item in items:
        if "small_run" in item.fixturenames:  # the run takes longer to make than any one test of it
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def same_environment():
    """Commands choose a backend and a user's folder by environment variables; the next test must not inherit them."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def repository():
    return REPOSITORY


@pytest.fixture
def shared():
    """The folder of real corpora; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here")
    return SHARED


@pytest.fixture
def run_command(capsys):
    """run_command(main, "--flag=value", …) → (exit status, standard output, standard error)."""

    def run(main, *argv):
        capsys.readouterr()
        try:
            status = main(list(argv))
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status or 0, captured.out, captured.err

    return run


@pytest.fixture
def user_folder(tmp_path, monkeypatch):
    """user_folder(**{"file.py": "source"}) → a folder of user code; what it registers is forgotten afterwards."""
    from t2t_multimodel import registry

    registry.load()  # what ships, so that this stays
    for each in registry.ALL:
        monkeypatch.setattr(each, "_entries", dict(each._entries))
        monkeypatch.setattr(each, "_aliases", dict(each._aliases))
    modules, path = set(sys.modules), list(sys.path)

    def make(files, name="my_problems"):
        folder = tmp_path / name
        folder.mkdir()
        for file, source in files.items():
            (folder / file).write_text(source, encoding="utf-8")
        return folder

    yield make
    for module in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]
    sys.path[:] = path


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """{flag: value} of the data and the finished run that small_run.py makes; leave them as they are."""
    from small_run import make

    return make(tmp_path_factory.mktemp("small_run"))


@pytest.fixture(scope="session")
def folder_of_programs(tmp_path_factory):
    """A folder for the traced programs of all test processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "programs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def kept_programs(folder_of_programs):
    """The runs of the file take programs that others have traced, and keep theirs, as a user's do."""
    from t2t_multimodel.compile_cache import KEPT_VARIABLE

    os.environ[KEPT_VARIABLE] = str(folder_of_programs)
    yield
    os.environ.pop(KEPT_VARIABLE, None)


@pytest.fixture(scope="module")
def running():
    """A server of the stand-in for a `Predictor` in served.py, shared by the tests of a file."""
    from served import server

    with server() as process:
        yield process


@pytest.fixture(scope="module")
def client(running):
    """A client of that server."""
    import httpx

    with httpx.Client(base_url=running.url, timeout=30) as client:
        yield client
