"""The run directory: what it keeps comes back, and no other run is continued in it."""

import json
import os

import pytest

from t2t_multimodel.cli import settings
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import field_types
from t2t_multimodel.training import environment
from t2t_multimodel.training.run import Run
from t2t_multimodel.training.run_directory import FORMAT_VERSION, NoData, RunDirectory

RESOLVED = settings.resolve("multimodel_tiny", "dropout=0.1")
RUN = Run("multimodel", 3, "tensorflow", {})


@pytest.fixture(autouse=True)
def no_devices(monkeypatch):
    """To ask for them would start a backend."""
    monkeypatch.setattr(environment, "_devices", lambda: "none")


def written(folder, run=RUN, resolved=RESOLVED):
    directory = RunDirectory(folder)
    directory.write(run, resolved, {}, folder / "data", step=0)
    return directory


def test_what_is_written_comes_back(tmp_path):
    resolved = settings.resolve("multimodel_tiny", "dropout=0.1,image_stem_filters=(8,16)")
    directory = written(tmp_path, resolved=resolved)
    assert directory.run() == RUN and directory.resolved().hparams == resolved.hparams
    stored = json.loads((tmp_path / "hparams.json").read_text())
    assert set(stored) == set(field_types())
    assert stored["dropout"] == {"value": 0.1, "source": "--hparams"}
    assert stored["adam_epsilon"]["source"] == "default"
    again = settings.resolve("multimodel_base", gin_files=[str(tmp_path / "operative_config.gin")])
    assert again.hparams == resolved.hparams
    assert directory.vocabulary() is None, "there is no text"


def test_it_stands_where_a_path_can(tmp_path):
    assert RunDirectory(RunDirectory(tmp_path)).path == tmp_path


def test_each_start_is_remembered_up_to_fifty(tmp_path):
    directory = written(tmp_path)
    for step in range(1, 60):
        directory.write_environment(step)
    steps = [entry["from step"] for entry in directory.environments()]
    assert steps == ["0", *map(str, range(11, 60))]


def test_nothing_there_can_be_continued_and_the_same_too(tmp_path):
    RunDirectory(tmp_path / "new").check_continuation(RUN, RESOLVED)
    longer = settings.resolve("multimodel_tiny", "dropout=0.1", train_steps=9)
    written(tmp_path).check_continuation(RUN, longer)


def test_all_that_differs_is_listed_at_once(tmp_path):
    directory = written(tmp_path)
    other = settings.resolve("multimodel_tiny", "hidden_size=64")
    with pytest.raises(UserError) as error:
        directory.check_continuation(Run("multimodel", 4, "jax", {}), other)
    for change in (
        "seed: 3 → 4",
        "backend: 'tensorflow' → 'jax'",
        "dropout: 0.1 → 0.0 (--hparams → set multimodel_tiny)",
        "hidden_size: 96 → 64",
    ):
        assert change in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["run.json", "hparams.json"])
def test_checkpoints_of_an_unknown_run_are_not_continued(tmp_path, name):
    directory = written(tmp_path)
    (tmp_path / "checkpoints" / "step-000003").mkdir(parents=True)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        directory.check_continuation(RUN, RESOLVED)


@pytest.mark.parametrize("version, said", [(None, "version 1"), (1, "version 1"), (9, "version 9")])
def test_a_run_of_another_format_version_is_refused_with_one_line(tmp_path, version, said):
    directory = written(tmp_path)
    values = json.loads((tmp_path / "run.json").read_text())
    assert values.pop("format_version") == FORMAT_VERSION
    (tmp_path / "run.json").write_text(json.dumps(values | ({"format_version": version} if version else {})))
    for use in (directory.run, lambda: directory.check_continuation(RUN, RESOLVED)):
        with pytest.raises(UserError, match=f"run.json is of format {said}, this program reads {FORMAT_VERSION}"):
            use()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format_version": 2, "problems": []}', '{"hidden_size": 3'])
@pytest.mark.parametrize("name", ["run.json", "hparams.json"])
def test_a_damaged_file_is_named(tmp_path, name, content):
    if (name, content) == ("hparams.json", "{}"):
        return  # all defaults
    directory = written(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        directory.run() if name == "run.json" else directory.resolved()


@pytest.mark.parametrize(
    "name, change",
    [
        ("run.json", lambda values: values.update(seed=4)),
        ("run.json", lambda values: values.update(model="multimodal")),
        ("run.json", lambda values: values.update(more=1)),
        ("run.json", lambda values: values.pop("seed")),
        ("run.json", lambda values: values.update(hparams_digest="0")),
        ("run.json", lambda values: values.update(digest="0")),
        ("hparams.json", lambda values: values["dropout"].update(value=0.2)),
        ("hparams.json", lambda values: values.pop("dropout")),
    ],
)
def test_a_value_that_was_changed_is_noticed(tmp_path, name, change):
    """A model of other values than those that it was trained with would only answer wrongly."""
    directory = written(tmp_path)
    values = json.loads((tmp_path / name).read_text())
    change(values)
    (tmp_path / name).write_text(json.dumps(values))
    with pytest.raises(UserError, match=f"{name} .* changed.*copy the run again"):
        directory.run(), directory.resolved()


def test_the_length_of_a_run_may_change(tmp_path):
    directory = written(tmp_path)
    directory.write_hparams(settings.resolve("multimodel_tiny", "dropout=0.1", train_steps=9))
    assert directory.resolved().hparams.train_steps == 9


def test_a_folder_without_a_run_and_a_file_are_said_to_be_that(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        RunDirectory(tmp_path / "nowhere").run()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file; name a folder"):
        RunDirectory(tmp_path / "file")


def endless(path):
    path.symlink_to("/dev/zero")


def huge(path):
    path.touch()
    os.truncate(path, 1 << 42)


def deep(path):
    path.write_text("[" * 200_000)


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir, endless, huge, deep])
@pytest.mark.parametrize("name", ["run.json", "hparams.json", "environment.json", "data_dir.json"])
def test_whatever_stands_in_the_place_of_a_file_is_not_waited_for(tmp_path, name, plant):
    directory = written(tmp_path)
    (tmp_path / name).unlink()
    plant(tmp_path / name)
    if name in ("run.json", "hparams.json"):
        with pytest.raises(UserError, match=name) as error:
            directory.run(), directory.resolved()
        assert "\n" not in str(error.value)
    else:  # notes for reports
        assert directory.environments() == [] or name != "environment.json"
        if name == "data_dir.json":
            with pytest.raises(NoData):
                directory.data_dir()
        directory.write(RUN, RESOLVED, {}, tmp_path / "data", step=0)
    assert directory.vocabulary(RUN) is None
