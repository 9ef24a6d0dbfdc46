"""Any damage to a store or to an unfinished store: the same result as from whole files, or one line; never other data.

T2T_FUZZ_SECONDS=120 in the environment: each test goes on for two minutes.
"""

import random

import pytest
from fuzz_files import mutate, rounds
from fuzz_store import FuzzWords, content_of, everything_in, fresh_copy, make, make_unfinished

from t2t_multimodel.data_gen.verify import verify
from t2t_multimodel.errors import UserError


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
    for what, data_dir in damaged_copies(whole, tmp_path / "data", 200):
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
    for what, data_dir in damaged_copies(whole, tmp_path / "data", 60):
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
    for what, data_dir in damaged_copies(unfinished, tmp_path / "data", 40):
        try:
            make(data_dir)
            assert content_of(data_dir) == right, what
        except UserError as error:
            assert "vocabulary" in one_line(error, data_dir), what  # the one thing in use that is not made again
        except Exception as error:
            raise AssertionError(what) from error
