"""docs/own_problem.md, run as it is written; and what becomes of installed packages, good and broken."""

import importlib
import os
import re
import shlex
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from t2t_multimodel import metrics, packages, registry
from t2t_multimodel.cli import build_vocab, datagen, inspect_data, trainer
from t2t_multimodel.cli.user_code import load_user_code
from t2t_multimodel.errors import UserError
from t2t_multimodel.metrics import score
from t2t_multimodel.modalities import Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import Registry, register_problem

COMMANDS = {"t2t-datagen": datagen, "t2t-inspect": inspect_data, "t2t-build-vocab": build_vocab, "t2t-trainer": trainer}


@pytest.fixture(scope="module")
def sections(request):
    """{title: text} of the document."""
    text = (request.config.rootpath / "docs" / "own_problem.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL))


def write_files(section):
    """Writes each code block to the file that its first line names, into the current folder."""
    blocks = re.findall(r"```\w+\n# (\S+)\n(.*?)```", section, flags=re.DOTALL)
    assert len(blocks) == section.count("```") // 2, "a code block without a file's name"
    for name, content in blocks:
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        with open(name, "w", encoding="utf-8") as file:
            file.write(content)


def commands(section):
    prose = re.sub(r"```.*?```", "", section, flags=re.DOTALL)
    return [shlex.split(line) for line in prose.splitlines() if line.startswith("    ")]


def run(words):
    """A command of ours in this process; its exit status must be 0."""
    more = ["--workers=1"] if words[0] == "t2t-datagen" else []
    assert COMMANDS[words[0]].main([*words[1:], *more]) in (0, None), words


@pytest.mark.slow
def test_a_class_in_a_folder_and_its_checks(sections, tmp_path, monkeypatch, user_folder, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T2T_USR_DIR", "")
    (tmp_path / "my_problems" / "menus").mkdir(parents=True)
    words = "soup bread fish cake rice milk salt corn".split()
    for start, split in enumerate(("train", "dev", "test")):
        rows = (f"the {a} with {b} and {split}\tdie {a} mit {b} und {split}" for a in words for b in words[start:])
        (tmp_path / "my_problems" / "menus" / f"{split}.tsv").write_text("\n".join(rows), encoding="utf-8")
    for title in ("1. A class in a folder", "Check it"):
        write_files(sections[title])
    ran = []
    for title in ("1. A class in a folder", "Check it"):
        for line in commands(sections[title]):
            if line[0] == "pytest":  # imported rather than started: an own process would only load all again
                spec = importlib.util.spec_from_file_location("test_my_problems", tmp_path / line[1])
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                module.test_my_problems()
            else:
                run(line)
            ran.append(line[0])
    assert ran.count("t2t-inspect") == 3 and {"t2t-datagen", "t2t-build-vocab", "pytest"} <= set(ran)
    said = capsys.readouterr()
    assert "added problem ask_corners, problem count_dots, problem menu_german" in said.err
    assert "equal    yes" in said.out and (tmp_path / "data" / "inspect" / "count_dots-train-inputs.png").exists()
    assert registry.problem("menu_german_rev").inputs.language == "German"


def test_a_metric_of_ones_own(sections, user_folder):
    block = r"```\w+\n# my_problems/(\S+)\n(.*?)```"
    ((name, content),) = re.findall(block, sections["A metric of your own"], flags=re.DOTALL)
    load_user_code(user_folder({name: content}))
    found = score(("within_one",), [["3", "1"], ["5", "1"], ["1", "2"]], [["4"], ["1"], ["1"]])
    assert found["within_one"] == pytest.approx(2 / 3)


def test_the_example_in_the_code_of_metrics_works(user_folder):
    text = metrics.base.__doc__.partition("is a class with three lines:")[2].partition("It is called")[0]
    imports = "import numpy as np\nfrom t2t_multimodel.metrics.answers import NUMBERS\n"
    imports += "from t2t_multimodel.metrics.base import Metric\nfrom t2t_multimodel.registry import register_metric\n"
    right = imports + textwrap.dedent(text)
    wrong = right.replace("np.all(", "(").replace("WithinTen", "WithinWrong")
    load_user_code(user_folder({"right.py": right, "wrong.py": wrong}))
    said, numbers = [np.array([3.0]), np.array([30.0])], [[np.array([4.0])], [np.array([4.0])]]
    assert score(("within_ten",), said, numbers)["within_ten"] == 0.5
    with pytest.raises(UserError, match="metric within_wrong: per_example gives array.* no single number"):
        score(("within_wrong",), [np.array([3.0, 4.0])], [[np.array([4.0, 3.0])]])


@pytest.mark.slow
def test_an_installed_package(sections, tmp_path, monkeypatch):
    """pip installs it for real, into a folder that a new interpreter then finds on its path."""
    monkeypatch.chdir(tmp_path)
    write_files(sections["2. An installed package"])
    ran = set()
    for line in commands(sections["2. An installed package"]):
        environment = dict(os.environ, PYTHONPATH=str(tmp_path / "site"))
        if line[0] == "pip":
            more = ["--target=site", "--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
            line = [sys.executable, "-m", *line, *more]
        else:
            code = f"import sys; from {COMMANDS[line[0]].__name__} import main; sys.exit(main())"
            line = [sys.executable, "-c", code, *line[1:]]
        done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        ran.add(line[2])
    assert len(ran) == 2
    assert done.stderr == "package city-birds 1.0: imported city_birds.problems; added problem city_birds\n"
    assert re.search(r"^  city_birds +Which bird is in the picture\.", done.stdout, re.MULTILINE)


def test_a_data_set_of_tfds(sections, tmp_path, monkeypatch, user_folder):
    """With a small mnist, prepared where TFDS would prepare the real one."""
    import tensorflow_datasets as tfds

    from t2t_multimodel.data_gen.readers import corpora
    from t2t_multimodel.input.store import ExampleStore

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T2T_USR_DIR", "")
    monkeypatch.setattr(corpora, "_folders", dict(corpora._folders))
    random = np.random.default_rng(0)
    builder = tfds.builder("mnist", data_dir=tmp_path / "data3" / "downloads")
    write_tfds(
        builder,
        {
            split: [{"image": random.integers(0, 256, (28, 28, 1), np.uint8), "label": i % 10} for i in range(count)]
            for split, count in (("train", 40), ("test", 10))
        },
    )
    title = "3. Any data set of TensorFlow Datasets"
    write_files(sections[title])
    for line in commands(sections[title]):
        run(line)
    store = ExampleStore(tmp_path / "data3", "mnist")
    assert store.spec.targets.classes[0] == "0" and len(store.split("test")) == 10


def write_tfds(builder, examples):
    """What the builder would have prepared, with other examples."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    folder = builder.data_path
    folder.mkdir(parents=True)
    form = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, template=form, dataset_name=builder.name, filetype_suffix="tfrecord"
    )
    infos = []
    for split, rows in examples.items():
        contents = [builder.info.features.serialize_example(row) for row in rows]
        with tf.io.TFRecordWriter(str(folder / f"{builder.name}-{split}.tfrecord-00000-of-00001")) as writer:
            for content in contents:
                writer.write(content)
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[len(rows)],
                num_bytes=sum(map(len, contents)),
                filename_template=template.replace(split=split),
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=builder.info.features, split_infos=infos, check_data=False
    )


# ---- Installed packages


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install("name", "source of its module") → a package on sys.path, with a dist-info as pip would leave it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def make(name, source, value=None):
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{packages.GROUP}]\nmine = {value or module}\n")
        importlib.invalidate_caches()

    yield make
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


PROBLEM = '''
from t2t_multimodel.modalities import Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_problem

@register_problem(aliases=("old_{name}",))
class {name}(Problem):
    """A package's problem."""
    name = "{name}"
    inputs, targets = Text(), Text()
'''


def load():
    return {package.distribution: package for package in packages.load(registry.ALL)}


@pytest.mark.parametrize(
    "source, said",
    [
        ("import no_such_module_xyz\n", "ModuleNotFoundError: No module named 'no_such_module_xyz'"),
        ("import sys\nsys.exit()\n", "SystemExit: no reason given"),
        ("def f(:\n", "SyntaxError"),
        (PROBLEM.format(name="half_done") + "1 / 0\n", "ZeroDivisionError: division by zero"),
        (PROBLEM.format(name="tiny_ende"), "UserError: problem 'tiny_ende' is registered twice: in "),
        (PROBLEM.format(name="new").replace("old_new", "tiny_ende"), "UserError: problem 'tiny_ende' is taken by"),
    ],
)
def test_a_broken_package_is_left_out_and_named_and_the_others_go_on(source, said, install, user_folder, monkeypatch):
    install("t2t-good-birds", PROBLEM.format(name="good_birds"))
    install("t2t-broken-birds", source)
    found = load()
    line = str(found["t2t-broken-birds 1.0"])
    assert line.startswith("warning: package t2t-broken-birds 1.0 is left out: importing t2t_broken_birds ")
    assert said in line and "\n" not in line
    assert str(found["t2t-good-birds 1.0"]) == (
        "package t2t-good-birds 1.0: imported t2t_good_birds; added problem good_birds"
    )
    assert registry.problems.resolve("old_good_birds") == "good_birds"
    assert "half_done" not in registry.problems and "new" not in registry.problems
    assert "tiny8" in registry.problems.entry("tiny_ende").source
    monkeypatch.setattr(registry, "_packages", list(found.values()))
    with pytest.raises(UserError, match="unknown problem 'broken_birds'; .*package t2t-broken-birds 1.0 is left out"):
        registry.problems.get("broken_birds")


def test_an_entry_point_that_names_what_is_not_there_or_registers_nothing(install, user_folder):
    install("t2t-wrong-name", "X = 1\n", value="t2t_wrong_name:register")
    install("t2t-nothing", "X = 1\n")
    found = load()
    assert "has no attribute 'register'" in str(found["t2t-wrong-name 1.0"])
    said = str(found["t2t-nothing 1.0"])
    assert said.startswith("warning: package t2t-nothing 1.0: imported t2t_nothing; it registers nothing (")


def test_commands_say_which_packages_they_found(run_command, monkeypatch, user_folder):
    Installed = packages.InstalledPackage
    loaded = [Installed("a 1.0", ("a",), ("problem a",)), Installed("b 2", (), (), "no")]
    monkeypatch.setattr(registry, "_packages", loaded)
    _, _, error = run_command(trainer.main, "--registry_help")
    assert error == "package a 1.0: imported a; added problem a\nwarning: package b 2 is left out: no\n"
    assert run_command(trainer.main, "--help")[2] == ""


# ---- One name, one problem


def test_a_name_is_given_once_and_both_places_are_named(user_folder):
    class Menus(Problem):
        """One."""

        inputs, targets = Text(), Text()

    register_problem(Menus)
    first = registry.problems.entry("menus").source
    assert first.startswith(__file__)
    again = type("Menus", (Problem,), {})
    with pytest.raises(UserError) as error:
        register_problem(again)
    assert f"'menus' is registered twice: in {first} and in {__file__}:" in str(error.value)
    assert registry.problems.get("menus") is Menus


def test_other_names_are_given_once_too():
    names = Registry("problem", "Problems")
    names.add("one", object(), "a.py:1")
    names.add("two", object(), "b.py:2")
    names.alias("first", "one")
    names.alias("first", "one")
    with pytest.raises(UserError, match=r"'first' is taken by 'one' of a\.py:1, so it .* 'two' of b\.py:2"):
        names.alias("first", "two")
    with pytest.raises(UserError, match=r"'two' is taken by 'two' of b\.py:2"):
        names.alias("two", "one")
    with pytest.raises(UserError, match=r"'first' of c\.py:3: that is another name of 'one', of a\.py:1"):
        names.add("first", object(), "c.py:3")


@pytest.mark.parametrize("what", [object, Text(), lambda: None])
def test_only_problems_are_registered_as_problems(what):
    with pytest.raises(UserError, match="no class derived from Problem"):
        register_problem(what)
