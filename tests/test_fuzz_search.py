"""Promise: damage to the file of a search is one line; it neither begins a new search nor changes the best trial."""

import os
import random
import shutil
import sqlite3

import pytest
from fuzz_files import mutate, rounds
from test_tune import Pretended, search

from t2t_multimodel.errors import UserError
from t2t_multimodel.tuning.search import LOCK_FILE, STORAGE_FILE

pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A search of six trials, all of them ended."""
    folder = tmp_path_factory.mktemp("search") / "tune"
    with search(folder) as tuning:
        tuning.run(start, 6, on_result=lambda result: None)
    return folder


def start(values, folder):
    folder.mkdir(parents=True)
    return Pretended(values)


def results_of(folder):
    with search(folder) as tuning:
        return tuning.results()


def sql(*statements):
    def damage(path):
        with sqlite3.connect(path) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return damage


def as_folder(path):
    path.unlink()
    path.mkdir()


def as_pipe(path):
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "text": lambda path: path.write_text("hello"),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:50_000]),
    "folder": as_folder,
    "pipe": as_pipe,
    "pipe for a journal": lambda path: os.mkfifo(f"{path}-journal"),
    "link for a journal": lambda path: os.symlink("/dev/zero", f"{path}-journal"),
    "folder for a journal": lambda path: os.mkdir(f"{path}-wal"),
    "trigger": sql("CREATE TRIGGER x AFTER INSERT ON trials BEGIN DELETE FROM trials; END"),
    "another database": lambda path: (path.unlink(), sql("CREATE TABLE a (b)")(path)),
    "no trials": sql("DROP TABLE trials"),
    "study of another name": sql("UPDATE studies SET study_name = 'x'"),
    "two studies": sql("INSERT INTO studies (study_name) VALUES ('x')"),
    "no study": sql("DELETE FROM studies"),
    "another direction": sql("UPDATE study_directions SET direction = 'MAXIMIZE'"),
    "no values": sql("UPDATE trial_values SET value = NULL"),
    "infinite values": sql("UPDATE trial_values SET value = NULL, value_type = 'INF_NEG'"),
    "other values": sql("UPDATE trial_values SET value = value + 1"),
    "other evaluations": sql("UPDATE trial_intermediate_values SET intermediate_value = 0.5"),
    "text for a parameter": sql("UPDATE trial_params SET param_value = 'x'"),
    "another parameter": sql("UPDATE trial_params SET param_value = param_value / 2"),
    "half a distribution": sql("UPDATE trial_params SET distribution_json = '['"),
    "unknown distribution": sql(
        """UPDATE trial_params SET distribution_json = '{"name": "os.system", "attributes": {}}'"""
    ),
    "unknown state": sql("UPDATE trials SET state = 'NOPE'"),
    "another state": sql("UPDATE trials SET state = 'FAIL' WHERE number = 1"),
    "a trial less": sql("DELETE FROM trials WHERE number = 2"),
    "damaged settings": sql("UPDATE study_user_attributes SET value_json = '{'"),
    "settings of another type": sql("UPDATE study_user_attributes SET value_json = '[]'"),
    "no settings": sql("DELETE FROM study_user_attributes"),
    "damaged attributes": sql("UPDATE trial_user_attributes SET value_json = '{'"),
    "unknown version": sql("UPDATE alembic_version SET version_num = 'v9'"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_line(name, folder, tmp_path):
    work = tmp_path / "tune"
    shutil.copytree(folder, work)
    DAMAGE[name](work / STORAGE_FILE)
    with pytest.raises(UserError) as caught:
        results_of(work)
    said = str(caught.value)
    assert "\n" not in said and STORAGE_FILE in said and "--output_dir" in said


@pytest.mark.slow
def test_any_damage_to_its_bytes_is_found_or_does_not_matter(folder, tmp_path):
    right = results_of(folder)
    content = (folder / STORAGE_FILE).read_bytes()
    work = tmp_path / "tune"
    shutil.copytree(folder, work)
    for seed in rounds(60):
        said, other = mutate(content, random.Random(seed))
        (work / STORAGE_FILE).write_bytes(other)
        try:
            found = results_of(work)
        except UserError as error:
            assert "\n" not in str(error), (seed, said)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {said}") from error
        else:
            assert found == right, (seed, said)


def test_a_locked_file_is_one_line(folder, tmp_path):
    work = tmp_path / "tune"
    shutil.copytree(folder, work)
    other = sqlite3.connect(work / STORAGE_FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match="in use by another program"):
        results_of(work)
    other.close()


def test_its_lock_writes_through_no_link_and_waits_for_no_pipe(folder, tmp_path):
    work, other = tmp_path / "tune", tmp_path / "precious"
    shutil.copytree(folder, work)
    other.write_text("words")
    (work / LOCK_FILE).unlink()
    (work / LOCK_FILE).symlink_to(other)
    with pytest.raises(OSError, match="it is a link"):  # one line of the command
        results_of(work)
    assert other.read_text() == "words"
    (work / LOCK_FILE).unlink()
    os.mkfifo(work / LOCK_FILE)
    with pytest.raises(OSError, match="no regular file"):
        results_of(work)
    (work / LOCK_FILE).unlink()
    assert results_of(work) == results_of(folder)


def test_a_search_that_was_killed_before_its_first_write_begins(folder, tmp_path, capsys):
    (tmp_path / STORAGE_FILE).write_bytes(b"")
    assert results_of(tmp_path) == []
    assert "is empty, and there are no trials: the search begins" in capsys.readouterr().err
