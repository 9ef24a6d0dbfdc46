"""Any damage to a store or to an unfinished store: the same result as from whole files, or one line; never other data.

T2T_FUZZ_SECONDS=120 in the environment: each test goes on for two minutes.
"""

import random
from unittest import mock

import pytest
from fuzz_files import mutate, rounds
from fuzz_store import SHARD_BYTES, FuzzWords, content_of, everything_in, fresh_copy, make, make_unfinished

from t2t_multimodel.cli import datagen, inspect_data
from t2t_multimodel.data_gen import generate as datagen_module
from t2t_multimodel.data_gen.verify import verify
from t2t_multimodel.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    make(folder)
    return folder


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unfinished")
    make_unfinished(folder)
    return folder


def damaged_copies(source, target, count):
    """Yields (what was damaged, the copy) of `source` with one damaged file, every file in turn."""
    names = sorted(str(path.relative_to(source)) for path in source.rglob("*") if path.is_file())
    for number, seed in enumerate(rounds(count)):
        rng = random.Random(seed)
        name = names[number % len(names)]
        said, content = mutate((source / name).read_bytes(), rng)
        (fresh_copy(source, target) / name).write_bytes(content)
        yield f"seed {seed}: {name}: {said}", target


def one_line(error, folder):
    """The message of a `UserError`, which must be one line that names the file or folder."""
    message = str(error)
    assert "\n" not in message and message.isprintable() and str(folder) in message, message
    return message


def test_damage_to_a_store_is_noticed_when_it_is_read(whole, tmp_path):
    right, noticed = everything_in(whole), 0
    for what, data_dir in damaged_copies(whole, tmp_path / "data", 400):
        try:
            assert everything_in(data_dir) == right, what
        except UserError as error:
            one_line(error, data_dir)
            noticed += 1
        except Exception as error:
            raise AssertionError(what) from error
    assert noticed


def test_verify_and_the_next_job_notice_damage_or_have_nothing_to_notice(whole, tmp_path):
    right, kept = everything_in(whole), []
    for what, data_dir in damaged_copies(whole, tmp_path / "data", 100):
        for command in (lambda data_dir: verify([FuzzWords.name], data_dir, log=kept.append, progress=False), make):
            try:
                command(data_dir)
                if command is not make:
                    assert everything_in(data_dir) == right, what
            except UserError as error:
                one_line(error, data_dir)
            except Exception as error:
                raise AssertionError(what) from error


def test_damage_to_an_unfinished_store_is_made_again(whole, unfinished, tmp_path):
    right = content_of(whole)
    for what, data_dir in damaged_copies(unfinished, tmp_path / "data", 80):
        try:
            make(data_dir)
            assert content_of(data_dir) == right, what
        except UserError as error:
            assert "vocabulary" in one_line(error, data_dir), what  # the one thing in use that is not made again
        except Exception as error:
            raise AssertionError(what) from error


# ---- The commands

PROBLEM = """
from fuzz_store import FuzzWords
from t2t_multimodel.registry import register_problem

register_problem(FuzzWords)
"""


def run_or_one_line(run_command, main, flags, what):
    """The output of a command that ends in 0; None where it ends in 2 with one line."""
    try:
        status, output, error = run_command(main, *flags)
    except Exception as bug:
        raise AssertionError(what) from bug
    if status == 0:
        return output
    lines = [line for line in error.splitlines() if not line.startswith("usr_dir ")]  # says what was imported
    assert status == 2 and len(lines) == 1 and "error: " in lines[0], f"{what}: {status}: {error}"
    return None


def test_the_commands_end_in_the_right_result_or_in_one_line(whole, unfinished, tmp_path, user_folder, run_command):
    common = ["--problem=fuzz_words", f"--t2t_usr_dir={user_folder({'fuzz.py': PROBLEM})}"]
    inspect = [*common, "-n", "2", f"--output_dir={tmp_path / 'out'}"]
    shown = run_or_one_line(run_command, inspect_data.main, [*inspect, f"--data_dir={whole}"], "whole")
    for what, data_dir in damaged_copies(whole, tmp_path / "data", 30):
        output = run_or_one_line(run_command, inspect_data.main, [*inspect, f"--data_dir={data_dir}"], what)
        assert output in (None, shown), what
    right = content_of(whole)
    generate = [*common, "--workers=1", "--vocabulary_size=400", f"--data_dir={tmp_path / 'data'}"]
    with mock.patch.object(datagen_module, "generate", small_shards(datagen_module.generate)):
        for what, data_dir in damaged_copies(unfinished, tmp_path / "data", 15):
            if run_or_one_line(run_command, datagen.main, generate, what) is not None:
                assert content_of(data_dir) == right, what


def small_shards(generate):
    """`generate` with the shards of this store, which are smaller than the command can ask for."""
    return lambda *args, **options: generate(*args, **options | {"shard_bytes": SHARD_BYTES})
