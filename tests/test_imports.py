"""docs/architecture.md's walls: which part may import which, what no part may do, and how long a file may be."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = {  # folder → the package that it installs as
    "t2t_multimodel": "t2t_multimodel",
    "problems": "t2t_multimodel.problems",
    "hparams": "t2t_multimodel.hparams",
    "data_gen": "t2t_multimodel.data_gen",
}

CORE = (
    "lazy",
    "errors",
    "files",
    "arguments",
    "json_files",
    "regular_files",
    "locks",
    "machine",
    "digests",
    "tfrecord",
    "store_folder",
    "store_index",
    "vocabulary_files",
    "registry",
    "problem",
    "mixture",
    "hyperparameters",
    "hyperparameter_effects",
    "hyperparameter_limits",
    "vocabulary",
    "startup",
    "compile_cache",
    "packages",
    "decode_hparams",
    "budget",
    "modules",
    "json_files",
)
# Part → the parts of t2t_multimodel that it may import besides itself; None: all.
MAY_IMPORT = {
    "core": {"core"},
    "package": {"core", "api", "predictor"},  # t2t_multimodel.train, .load, …
    "api": {"core", "training", "data_gen", "metrics"},
    "predictor": {"core", "decoding", "input", "training", "data_gen"},  # uses all that is trained, and files as given
    "kernels": {"core"},
    "layers": {"core", "kernels"},
    "modalities": {"core", "data_gen", "modality nets"},  # of data_gen how files are read
    "modality nets": {"core", "kernels", "layers", "modalities"},
    "models": {"core", "kernels", "layers", "modalities", "modality nets"},
    "decoding": {"core", "kernels", "layers", "models", "modalities"},
    "metrics": {"core"},
    "input": {"core"},
    "training": {"core", "kernels", "layers", "models", "modalities", "input", "decoding", "metrics"},
    "data_gen": {"core"},
    "problems": {"core", "data_gen"},
    "hparams": {"core"},
    "survey": {"core", "data_gen", "problems"},
    "report": {"core", "training", "metrics"},  # of training only how it writes numbers and logs
    "tuning": {"core", "training", "metrics"},  # the same, and which way a metric is better
    "experiments": {"core", "input", "training", "report", "metrics"},
    "serving": {"core"},
    "exporting": {"core", "decoding", "input", "modalities", "training", "predictor"},  # of the predictor its answers
    "cli": None,
    "testing": None,
}
# What these must not import, anywhere in the file.
BACKENDS = {"tensorflow", "tensorflow_text", "tensorflow_datasets", "jax"}
KERAS_ONLY = tuple(
    f"t2t_multimodel/{part}/" for part in ("kernels", "layers", "models", "modalities", "decoding", "training")
)
ADAPTERS = tuple(
    f"t2t_multimodel/training/{name}.py"
    for name in (
        "tensorflow_kernels",
        "tensorflow_step",
        "tensorflow_adam",
        "tensorflow_program",
        "tensorflow_kept",
        "tensorflow_graph",
        "jax_step",
        "jax_update",
        "jax_processes",
        "devices",
    )
)
# Must not be imported by `--help`: only inside functions, in whatever the commands import at the top.
HEAVY = BACKENDS | {"uvicorn", "keras", "matplotlib", "sacrebleu", "jiwer", "nltk", "jinja2", "optuna"}
BANNED_CALLS = {"eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.dump", "numpy.save", "shelve.open"}
# pickle there passes between a process and its own children, through a pipe; no pickle is read from a file.
MAY_PICKLE = ("data_gen/workers.py", "data_gen/sending.py", "data_gen/readers/media.py")


def files():
    return sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))


def name_of(path):
    return path.relative_to(REPOSITORY).as_posix()


@pytest.fixture(params=files(), ids=name_of)
def file(request):
    """(path in the repository, its text, its syntax tree)."""
    text = request.param.read_text(encoding="utf-8")
    return name_of(request.param), text, ast.parse(text)


def module_of(name):
    """ "hparams/multimodel.py" → "t2t_multimodel.hparams.multimodel"."""
    folder, *inside = name.removesuffix(".py").split("/")
    return ".".join([FOLDERS[folder], *(part for part in inside if part != "__init__")])


def part_of(module):
    """ "t2t_multimodel.training.trainer" → "training"; the modules of the core are one part."""
    part = (module.split(".") + ["package"])[1]
    if part == "modalities" and any(name.endswith(("_nets", "_head", "heads")) for name in module.split(".")[2:3]):
        return "modality nets"
    return "core" if part in CORE else part


def imports(tree):
    """Yields (module or module.name, whether it stands at the top of the file) for every import."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            yield name, node in tree.body


def test_a_part_imports_only_its_neighbours(file):
    name, _, tree = file
    part = part_of(module_of(name))
    allowed = MAY_IMPORT[part]
    for imported, _ in imports(tree):
        if imported.split(".")[0] == "t2t_multimodel" and allowed is not None:
            other = part_of(imported)
            assert other in (part, "modalities") or other in allowed, f"{name} ({part}) imports {imported} ({other})"


def test_the_registry_is_all_that_loads_what_ships():
    """The core imports none of the rest; what it loads by name at the first look-up is written in one place."""
    tree = ast.parse((REPOSITORY / "t2t_multimodel/registry.py").read_text(encoding="utf-8"))
    shipped = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "_SHIPPED"
    )
    assert shipped == tuple(
        f"t2t_multimodel.{part}"
        for part in (
            "modalities",
            "problems",
            "hparams",
            "models",
            "metrics",
            "training.optimizer",
            "decoding.grammars",
        )
    )


def test_nets_and_training_know_keras_only(file):
    name, _, tree = file
    if name.startswith(KERAS_ONLY) and name not in ADAPTERS:
        for imported, _ in imports(tree):
            assert imported.split(".")[0] not in BACKENDS, f"{name} imports {imported}"


def test_heavy_modules_are_imported_where_they_are_used(file):
    """What a command imports before it knows that it is not asked for help must be light."""
    name, _, tree = file
    if not name.startswith((*KERAS_ONLY, "t2t_multimodel/testing/modality_model.py")):
        for imported, at_top in imports(tree):
            assert not (at_top and imported.split(".")[0] in HEAVY), f"{name} imports {imported} at the top"


def test_no_pickle_no_eval_no_shell(file):
    name, _, tree = file
    for imported, _ in imports(tree):
        module = imported.split(".")[0]
        assert module not in ("dill", "cloudpickle", "shelve", "marshal")
        assert module != "pickle" or name in MAY_PICKLE, f"{name} imports pickle"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in BANNED_CALLS, f"{name}, line {node.lineno}: {called}"
            for keyword in node.keywords:
                if keyword.arg in ("shell", "allow_pickle"):
                    assert getattr(keyword.value, "value", True) is False, f"{name}, line {node.lineno}: {keyword.arg}"


def test_a_file_tells_one_story(file):
    name, text, tree = file
    lines = text.count("\n")
    assert lines <= 400, f"{name} has {lines} lines"
    if not text and name.endswith("__init__.py"):
        return
    said = ast.get_docstring(tree)
    assert said and said.split("\n")[0].endswith((".", ":", "?", "!", ";")), f"{name}: {said!r}"
    assert text.startswith('"""'), f"{name} does not begin with its docstring"


# What names a kind of data in order to branch on it: only the file of its modality may.
BRANCHES = (
    r"\bmodality(_name)?\s*(==|!=|\.startswith)",
    r"(==|!=)\s*[\"'](text|image|audio|label)\b",
    r"\bisinstance\([^)\n]*\b(Text|Image|Audio|Label)\b",
)


def test_only_a_modality_knows_its_kind_of_data(file):
    name, text, _ = file
    if not name.startswith("t2t_multimodel/modalities/"):
        for number, line in enumerate(text.splitlines(), 1):
            found = [pattern for pattern in BRANCHES if re.search(pattern, line)]
            # (features of TFDS have such names too)
            assert not found or "tfds.features." in line, f"{name}:{number} branches on a modality: {line.strip()}"
