"""Whole checkpoints are never lost for damaged ones; of a stranger's, no link, pipe or endless file is read."""

import json
import os

import numpy as np
import pytest

from t2t_multimodel.errors import UserError
from t2t_multimodel.training import checkpoints
from t2t_multimodel.training.checkpoints import ARRAYS_FILE, MANIFEST_FILE, STATE_FILE


def save_steps(folder, *steps):
    for step in steps:
        checkpoints.save(folder, step, {"w": np.full(1000, step, np.float32)}, {"step": step})


def flip(folder, step, name=ARRAYS_FILE):
    path = checkpoints.folder_of(folder, step) / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damaged", [(4,), (5,), (4, 5), (1, 5), (3,), (1, 2, 3)])
@pytest.mark.parametrize("keep_last", [1, 2, 3])
def test_only_whole_checkpoints_count_as_kept(tmp_path, damaged, keep_last):
    save_steps(tmp_path, 1, 2, 3, 4, 5)
    for step in damaged:
        flip(tmp_path, step)
    whole = [step for step in (1, 2, 3, 4, 5) if step not in damaged]
    said = []
    removed = checkpoints.prune(tmp_path, keep_last, said.append)
    assert set(whole[-keep_last:]) <= set(checkpoints.steps(tmp_path)), "the newest whole ones stay"
    assert checkpoints.latest(tmp_path, pytest.fail) == whole[-1]
    assert len(said) == len(os.listdir(tmp_path / "damaged") if (tmp_path / "damaged").exists() else [])
    assert all("damaged" in line and "moved" in line for line in said)
    assert not removed or max(removed) < min(whole[-keep_last:])


def test_nothing_is_removed_while_fewer_are_whole_than_to_be_kept(tmp_path):
    save_steps(tmp_path, 1, 2, 3)
    flip(tmp_path, 2)
    flip(tmp_path, 3)
    assert checkpoints.prune(tmp_path, 2) == []
    assert checkpoints.latest(tmp_path) == 1


def test_set_aside_keeps_all_that_was_damaged(tmp_path):
    for content in (1, 2):
        save_steps(tmp_path, 5)
        flip(tmp_path, 5)
        place = checkpoints.set_aside(tmp_path, 5)
        assert place.name == ("step-000005" if content == 1 else "step-000005.2")
        assert (place / ARRAYS_FILE).is_file()
    assert checkpoints.steps(tmp_path) == []


def test_a_damaged_checkpoint_is_not_deleted_by_one_of_the_same_step(tmp_path):
    save_steps(tmp_path, 5)
    flip(tmp_path, 5)
    save_steps(tmp_path, 5)
    assert checkpoints.latest(tmp_path) == 5 and (tmp_path / "damaged" / "step-000005").is_dir()


def test_what_was_changed_is_noticed_however_soon_after_saving(tmp_path):
    for step in range(1, 30):
        save_steps(tmp_path, step)
        assert checkpoints.damage(tmp_path, step, unchanged=True) is None
        flip(tmp_path, step)
        assert checkpoints.damage(tmp_path, step, unchanged=True) == f"{ARRAYS_FILE} was changed"


def test_folders_that_save_does_not_make_are_no_checkpoints(tmp_path):
    save_steps(tmp_path, 5)
    for name in ("step-7", "step-0000008", "step-" + "9" * 200, "step-٠٠٠٠٠٩"):
        (tmp_path / name).mkdir()
    assert checkpoints.steps(tmp_path) == [5]


def with_manifest(folder, change):
    path = checkpoints.folder_of(folder, 5) / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def swap(path, make):
    path.unlink()
    make(path)


def endless(path):
    path.symlink_to("/dev/zero")


NAMES = (ARRAYS_FILE, STATE_FILE, MANIFEST_FILE)
HOSTILE = {
    "a name outside": lambda f: with_manifest(
        f, lambda m: m["files"].update({"../../../../../dev/zero": {"bytes": 0, "sha256": ""}})
    ),
    "an absolute name": lambda f: with_manifest(f, lambda m: m["files"].update({"/dev/zero": {"bytes": 0}})),
    "one more name": lambda f: with_manifest(f, lambda m: m["files"].update({"more": m["files"][STATE_FILE]})),
    "a name replaced": lambda f: with_manifest(f, lambda m: m["files"].update({"../x": m["files"].pop(ARRAYS_FILE)})),
    "no bytes": lambda f: with_manifest(f, lambda m: m["files"][STATE_FILE].update({"bytes": None})),
    "files is a list": lambda f: with_manifest(f, lambda m: m.update({"files": [ARRAYS_FILE, STATE_FILE]})),
    "another step": lambda f: with_manifest(f, lambda m: m.update({"step": 4})),
    "depth": lambda f: (checkpoints.folder_of(f, 5) / MANIFEST_FILE).write_text("[" * 200_000),
    "size": lambda f: os.truncate(checkpoints.folder_of(f, 5) / MANIFEST_FILE, 1 << 40),
    "size of arrays": lambda f: os.truncate(checkpoints.folder_of(f, 5) / ARRAYS_FILE, 1 << 40),
}
for name in NAMES:
    HOSTILE[f"{name} a device"] = lambda f, name=name: swap(checkpoints.folder_of(f, 5) / name, endless)
    HOSTILE[f"{name} a pipe"] = lambda f, name=name: swap(checkpoints.folder_of(f, 5) / name, os.mkfifo)
    HOSTILE[f"{name} a folder"] = lambda f, name=name: swap(checkpoints.folder_of(f, 5) / name, os.mkdir)
    HOSTILE[f"{name} a link"] = lambda f, name=name: swap(
        checkpoints.folder_of(f, 5) / name, lambda path: path.symlink_to(f.parent / "outside")
    )


@pytest.mark.parametrize("how", HOSTILE)
def test_a_strangers_checkpoint_is_read_inside_its_folder_or_refused(tmp_path, how):
    folder = tmp_path / "checkpoints"
    save_steps(folder, 5)
    (tmp_path / "outside").write_bytes(b"{}")
    HOSTILE[how](folder)
    assert checkpoints.damage(folder, 5)
    with pytest.raises(UserError, match="damaged") as error:
        checkpoints.load(folder, 5)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="there is no other"):
        checkpoints.latest(folder)


def test_a_checkpoint_that_is_a_link_is_refused(tmp_path):
    save_steps(tmp_path / "elsewhere", 5)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-000005").symlink_to(tmp_path / "elsewhere" / "step-000005")
    with pytest.raises(UserError, match="it is a link"):
        checkpoints.load(tmp_path / "checkpoints", 5)


def rewritten(folder, name, content):
    """A checkpoint whose manifest vouches for `content`."""
    path = checkpoints.folder_of(folder, 5) / name
    path.write_bytes(content)
    with_manifest(folder, lambda m: m["files"].update({name: checkpoints._facts_of(path)}))


@pytest.mark.parametrize("content", [b"[]", b"3", b"", b"{", b"[" * 200_000, b"\xff", b"null", b"1" * 10_000])
def test_a_state_that_its_manifest_vouches_for_is_an_object_or_refused(tmp_path, content):
    save_steps(tmp_path, 5)
    rewritten(tmp_path, STATE_FILE, content)
    with pytest.raises(UserError, match="damaged"):
        checkpoints.load(tmp_path, 5)


def header(values, size=None):
    text = json.dumps(values).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text


ARRAY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
FORGED = {
    "empty": b"",
    "a header longer than the file": header({"w": ARRAY}, 1 << 60),
    "4 TiB": header({"w": ARRAY | {"shape": [1 << 40], "data_offsets": [0, 1 << 42]}}) + bytes(8),
    "more than there is": header({"w": ARRAY | {"shape": [4], "data_offsets": [0, 16]}}) + bytes(8),
    "less than there is": header({"w": ARRAY}) + bytes(64),
    "negative": header({"w": ARRAY | {"data_offsets": [-8, 0]}}) + bytes(8),
    "overflow": header({"w": ARRAY | {"shape": [1 << 62, 1 << 62]}}) + bytes(8),
    "an unknown type": header({"w": ARRAY | {"dtype": "X9"}}) + bytes(8),
    "a list": header([ARRAY]) + bytes(8),
    "depth": (100_000).to_bytes(8, "little") + b"[" * 100_000,
}


@pytest.mark.parametrize("how", FORGED)
def test_forged_arrays_that_their_manifest_vouches_for_are_refused(tmp_path, how):
    save_steps(tmp_path, 5)
    rewritten(tmp_path, ARRAYS_FILE, FORGED[how])
    with pytest.raises(UserError, match="damaged"):
        checkpoints.load(tmp_path, 5)
