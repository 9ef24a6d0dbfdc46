"""Every command explains itself, and answers a mistake with one clear line and exit status 2."""

import errno
import os
import re
import shlex
import subprocess
import sys

import pytest

from t2t_multimodel.cli import (
    average,
    bleu,
    build_vocab,
    datagen,
    decoder,
    demo,
    doctor,
    evaluate,
    experiment,
    exporter,
    inspect_data,
    new_problem,
    report,
    trainer,
    tune,
    user_code,
)
from t2t_multimodel.cli.command import Command
from t2t_multimodel.errors import UserError

COMMANDS = [datagen, trainer, evaluate, decoder, demo, inspect_data, build_vocab, experiment, report, tune]
COMMANDS += [exporter, bleu, doctor, new_problem, average]
WHERE = ["--problem=tiny8", "--data_dir=nowhere", "--output_dir=nowhere_either"]

PROBLEM = '''
from t2t_multimodel.modalities import Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_problem

@register_problem
class CountUp(Problem):
    """Digits → words."""
    inputs, targets = Text(), Text()
'''


def one_line(error, command):
    """The message of a failed command, which must be the whole of standard error."""
    lines = error.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"{command}: error: "), error
    return lines[0]


# ---- Help


@pytest.mark.parametrize("module", COMMANDS, ids=lambda m: m.command.name)
def test_help_shows_the_commands_own_flags_first_with_defaults_and_examples(module, run_command):
    status, out, _ = run_command(module.main, "--problem", "--help")
    assert status == 0 and out.startswith(f"{module.command.name}: {module.command.description.split()[0]}")
    places = [out.index(f"\n{title}\n") for title in module.command._groups]
    assert places == sorted(places) and list(module.command._groups)[-1] == "Everywhere"
    for name in module.command._metavars:
        assert re.search(rf"^  --{name}\b", out, re.MULTILINE)
    assert out.index("\nEverywhere\n") < out.index("\nExamples\n")


def test_help_says_defaults_and_what_is_required():
    text = " ".join(trainer.command.help().split())
    assert "(default: multimodel_base)" in text and "(default: 0)" in text and "name of a registered model" in text
    assert "folder that t2t-datagen filled (required)" in text


@pytest.mark.parametrize("module", COMMANDS, ids=lambda m: m.command.name)
def test_examples_in_the_help_are_commands_that_parse(module):
    text = module.command.examples.replace("\\\n", " ")
    assert text
    for line in text.splitlines():
        words = shlex.split(line.split("<")[0])
        arguments = words[3:] if words[0] == "python" else words[1:]
        module.command.parse(arguments)


@pytest.mark.parametrize("module", COMMANDS, ids=lambda m: m.command.name)
def test_help_imports_nothing_heavy(module):
    """It answers within a second because of this; a clock would measure the machine."""
    code = (
        f"import sys; sys.argv = ['x', '--help']; from {module.__name__} import main; assert main() == 0\n"
        "heavy = {'tensorflow', 'keras', 'jax', 'matplotlib', 'gin', 'sacrebleu', 'tensorflow_datasets', 'jinja2',"
        " 'optuna'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_registry_help_has_a_line_on_everything(run_command, user_folder):
    folder = user_folder({"mine.py": PROBLEM})
    status, out, _ = run_command(trainer.main, "--registry_help", f"--t2t_usr_dir={folder}")
    assert status == 0
    assert re.search(r"^  count_up +Digits → words\.$", out, re.MULTILINE)
    assert re.search(r"^  multimodel +One model for .*\[also:\s+multi_model\]", out, re.MULTILINE | re.DOTALL)
    assert "multimodel1p8" in out and "(no description)" not in out


# ---- Mistakes


@pytest.mark.parametrize(
    "argument, words",
    [
        ("--registry-help", ["--registry_help?"]),
        ("--t2t_user_dir=x", ["--t2t_usr_dir"]),
        ("--T2T_USR_DIR=x", ["--t2t_usr_dir?"]),
        ("--hparam_set=x", ["--hparams_set"]),
        ("--random_seed=3", ["--seed?"]),
        ("--hidden_size=128", ['--hparams="hidden_size=…"']),
        ("--qqqqqq", ["--qqqqqq", "--help"]),
        ("--undefok=qqqqqq", ["undefok"]),
        ("--flagfile=x", ["flagfile"]),
        ("--train_steps=many", ["train_steps", "many"]),
        ("--train_steps=0", ["train_steps", "0"]),
        ("--schedule=never", ["schedule", "never", "train_and_evaluate"]),
        ("--backend=torch", ["backend", "torch", "jax"]),
        ("run", ["'run'", "--name=value"]),
        ("--seed", ["seed"]),
        ("--hparams_set=multimodel_tinny", ["multimodel_tinny", "multimodel_tiny"]),
        ("--hparams=hiden_size=3", ["hiden_size", "hidden_size"]),
        ("--model=multi-model", ["multi-model", "multimodel"]),
        ("--problem=translate_ende_wmt8k", ["no data", "t2t-datagen --problem=wmt_ende "]),
        ("--problem=", ["--problem must be given"]),
        ("--early_stopping_patience=3", ["--early_stopping_metric"]),
        ("--t2t_usr_dir=/no/such/folder", ["/no/such/folder", "no such folder"]),
    ],
)
def test_a_mistake_is_one_line_and_status_2(argument, words, run_command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, out, error = run_command(trainer.main, *WHERE, argument)
    message = one_line(error, "t2t-trainer")
    assert status == 2 and all(word in message for word in words), message
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_a_flag_that_swallowed_the_next_one_is_noticed(run_command):
    status, _, error = run_command(trainer.main, "--problem", "--data_dir=x", "--output_dir=y")
    assert status == 2 and "--problem needs a value" in one_line(error, "t2t-trainer")


def test_all_that_is_missing_is_named_at_once(run_command):
    status, _, error = run_command(evaluate.main, "--problem=tiny8")
    assert status == 2 and "--data_dir and --output_dir must be given" in one_line(error, "t2t-eval")


@pytest.mark.parametrize("module", [datagen, trainer, evaluate], ids=lambda m: m.command.name)
def test_an_unknown_problem_shows_the_nearest(module, run_command, user_folder):
    folder = user_folder({"mine.py": PROBLEM})
    where = [a for a in WHERE[1:] if module is not datagen or "output" not in a]
    status, _, error = run_command(module.main, *where, "--problem=cuont_up", f"--t2t_usr_dir={folder}")
    assert status == 2 and "did you mean 'count_up'" in error.splitlines()[-1]


def test_flags_of_one_call_do_not_leak_into_the_next():
    command = Command("x", "X.")
    command.group("All")
    command.integer("n", 3, "a number")
    command.several("several", "texts")
    assert command.parse(["--n=4", "--several=a", "--several=b"]).several == ["a", "b"]
    values = command.parse([])
    assert (values.n, values.several) == (3, [])


# ---- The frame: statuses and streams


def frame(function):
    command = Command("x", "X.")
    command.standard_flags()
    return lambda argv: command.run(function, argv)


def fails_with(error):
    def function(flags):
        raise error

    return frame(function)


def test_a_function_may_say_its_status(run_command):
    assert run_command(frame(lambda flags: None))[0] == 0
    assert run_command(frame(lambda flags: 75))[0] == 75  # a trainer's "resume me"


def test_an_error_of_several_lines_becomes_one(run_command):
    assert run_command(fails_with(UserError("this\n  and that"))) == (2, "", "x: error: this and that\n")


def test_a_full_disk_is_one_line(run_command):
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device", "run/x")
    for error in (wrapped.__cause__, wrapped):
        status, _, said = run_command(fails_with(error))
        assert status == 2 and "disk full while writing run/x" in one_line(said, "x")


def test_a_folder_without_permission_is_one_line(run_command):
    status, _, said = run_command(fails_with(PermissionError(errno.EACCES, "Permission denied", "/locked/x")))
    assert status == 2 and "/locked/x" in one_line(said, "x")


def test_an_interrupt_is_quiet(run_command):
    assert run_command(fails_with(KeyboardInterrupt())) == (130, "", "")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        fails_with(ZeroDivisionError())([])


def test_a_closed_pipe_is_quiet():
    command = f"{shlex.quote(sys.executable)} -m t2t_multimodel.cli.demo --registry_help"
    code = (
        "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=-1, stderr=-1); p.stdout.close(); "
        "p.wait(); print(p.stderr.read())"
    )
    done = subprocess.run([sys.executable, "-c", code, *shlex.split(command)], capture_output=True, text=True)
    assert done.stdout == "b''\n"


@pytest.mark.parametrize(
    "flag, variable, backend",
    [(None, None, "tensorflow"), (None, "jax", "jax"), ("jax", "tensorflow", "jax"), ("jax", None, "jax")],
)
def test_the_backend_is_the_flags_else_the_environments(flag, variable, backend, run_command, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND")
    if variable:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    seen = []
    arguments = [f"--backend={flag}"] if flag else []
    assert run_command(frame(lambda flags: seen.append(os.environ["KERAS_BACKEND"])), *arguments)[0] == 0
    assert seen == [backend]


def test_the_printed_command_can_be_pasted():
    given = [
        "--problems=a,b:2",
        "--gin_bindings=HParams.mixture = 'size'",
        "--gin_bindings=HParams.dropout = 0.1",
        "--data_dir=my data",
        "--output_dir=run",
        "--seed=3",
    ]
    trainer.command.parse(given)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    words = shlex.split(trainer.command.command_line(train_steps=500))
    assert words[0] == "t2t-trainer"
    again = trainer.command.parse(words[1:])
    assert (again.problem, again.data_dir, again.seed, again.train_steps) == ("a,b:2", "my data", 3, 500)
    assert again.gin_bindings == ["HParams.mixture = 'size'", "HParams.dropout = 0.1"]
    assert again.backend == "tensorflow"


# ---- --t2t_usr_dir


def test_files_of_a_folder_are_imported_and_reported(run_command, user_folder):
    folder = user_folder({"a.py": "import b_words\n" + PROBLEM, "b_words.py": "WORDS = 1\n", "_draft.py": "1/0\n"})
    status, _, error = run_command(trainer.main, "--registry_help", f"--t2t_usr_dir={folder}")
    assert status == 0
    assert error == f"usr_dir {folder}: imported a, b_words; added problem count_up\n"
    assert os.environ[user_code.ENVIRONMENT_VARIABLE] == str(folder)
    run_command(trainer.main, "--registry_help")
    assert user_code.ENVIRONMENT_VARIABLE not in os.environ


def test_a_package_may_import_its_own_modules(user_folder):
    folder = user_folder({"__init__.py": "from . import deep\nimport my_pack.deep\n", "deep.py": PROBLEM}, "my_pack")
    loaded = user_code.load_user_code(folder)
    assert (loaded.modules, loaded.added) == (("my_pack",), ("problem count_up",))
    assert user_code.load_user_code(f"{folder}/") == loaded  # a second time changes nothing


def test_a_folder_that_registers_nothing_is_a_warning(user_folder):
    assert "warning" in str(user_code.load_user_code(user_folder({"nothing.py": "X = 1\n"})))


@pytest.mark.parametrize(
    "source, last",
    [
        ("1 / 0\n", "ZeroDivisionError"),
        ("import sys\nsys.exit()\n", "SystemExit"),
        ("def f(:\n", "SyntaxError"),
        ("import nowhere_xyz\n", "nowhere_xyz"),
    ],
)
def test_code_that_fails_keeps_its_own_traceback(source, last, run_command, user_folder):
    folder = user_folder({"__init__.py": "from my_broken import inner\n", "inner.py": source}, "my_broken")
    status, _, error = run_command(trainer.main, *WHERE, f"--t2t_usr_dir={folder}")
    *shown, line = error.splitlines()
    assert status == 2 and line.startswith("t2t-trainer: error: ") and last in line
    assert shown[0].startswith("Traceback") and any("inner.py" in s for s in shown)
    assert not any("user_code.py" in s or "importlib" in s for s in shown)


@pytest.mark.parametrize("name", ["random", "numpy", "t2t_multimodel", "keras", "registry-of-mine", "pytest"])
def test_a_file_that_would_hide_a_module_is_refused(name, user_folder):
    folder = user_folder({f"{name}.py": "X = 1\n"})
    before = list(sys.path)
    with pytest.raises(UserError, match="rename it"):
        user_code.load_user_code(folder)
    assert sys.path == before


def test_a_folder_without_code_is_refused(user_folder):
    with pytest.raises(UserError, match="no \\*.py"):
        user_code.load_user_code(user_folder({"notes.txt": ""}))


# ---- The decoder's files


@pytest.mark.parametrize(
    "content, lines",
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        ("a\u2028b\u0085c\x0cd\n".encode(), ["a\u2028b\u0085c\x0cd"]),
        (b"\n", [""]),
    ],
)
def test_only_line_feeds_end_a_line(content, lines, tmp_path):
    path = tmp_path / "in.txt"
    path.write_bytes(content)
    assert list(decoder.read_lines(path)) == lines


def test_blank_lines_are_kept_and_never_decoded():
    asked = []

    def decode(inputs):
        asked.extend(inputs)
        return lambda: [text.upper() + "\nmore" for text in inputs]

    assert decoder.decode_lines(decode, ["", "a", "  ", "b", ""]) == ["", "A more", "", "B more", ""]
    assert asked == ["a", "b"]
    assert decoder.decode_lines(decode, []) == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], ["--decode_from_file", "--decode_interactive"]),
        (["--decode_interactive", "--decode_from_file=in.txt"], ["either"]),
        (["--decode_interactive", "--decode_to_file=out.txt"], ["--decode_from_file"]),
        (["--decode_from_file=missing.txt"], ["missing.txt", "No such file"]),
        (["--decode_from_file=in.txt", "--decode_to_file=in.txt"], ["is the input file"]),
        (["--decode_from_file=in.txt", "--decode_to_file=no/out.txt"], ["no such folder"]),
        (["--decode_from_file=latin.txt"], ["latin.txt:2: not UTF-8"]),
        (["--decode_from_file=in.txt", "--decode_hparams=beam"], ["beam"]),
    ],
)
def test_the_decoder_checks_before_it_loads_anything(arguments, words, run_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("a\n")
    (tmp_path / "latin.txt").write_bytes(b"a\n\xe4\n")
    status, _, error = run_command(decoder.main, "--problem=p", "--output_dir=run", *arguments)
    assert status == 2 and all(word in one_line(error, "t2t-decoder") for word in words), error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.txt", "latin.txt"]


@pytest.mark.parametrize(
    "flag, name",
    [
        ("eval_every", "eval_interval"),
        ("local_eval_frequency", "eval_interval"),
        ("eval_steps", "eval_batches"),
        ("save_steps", "save_interval"),
        ("save_checkpoints_steps", "save_interval"),
        ("log_steps", "log_interval"),
        ("log_step_count_steps", "log_interval"),
    ],
)
def test_old_names_of_flags_are_the_same_flags(flag, name):
    values = trainer.command.parse([*WHERE, f"--{flag}=7"])
    assert values[name].value == 7
    assert f"--{name}=7" in trainer.command.command_line(backend="jax").split() and flag not in trainer.command.help()
    for command in (evaluate.command, report.command, tune.command):
        if name in command._names():
            assert command.parse([f"--{flag}=7"])[name].value == 7
