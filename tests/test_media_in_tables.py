"""Pictures and recordings in cells of Parquet and Arrow, on their way to workers; members of tars, listed once."""

import io
import os
import pickle
import tarfile

import pytest
from table_files import png, table, tar

from t2t_multimodel.data_gen import sending
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.data_gen.readers import members
from t2t_multimodel.data_gen.readers.media import Clip, Content
from t2t_multimodel.data_gen.readers.tables import all_inside
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Image, Label
from t2t_multimodel.problems import Table

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

COUNT = 90
PICTURES = [png(seed) for seed in range(COUNT)]
SIDES = {
    "columns": {"inputs": "image", "targets": "label"},
    "inputs": Image(6, 8, 3),
    "targets": Label(("a", "b")),
}


def cells(with_bytes=lambda i: True):
    images = [{"bytes": PICTURES[i] if with_bytes(i) else None, "path": f"{i}.png"} for i in range(COUNT)]
    return pyarrow.table({"image": images, "label": ["ab"[i % 2] for i in range(COUNT)]})


def write_arrow(data, path):
    with pyarrow.ipc.new_file(str(path), data.schema) as file:
        file.write_table(data, max_chunksize=40)


def write_parquet(data, path, **settings):
    parquet.write_table(data, path, row_group_size=37, **settings)


FORMS = {"train.parquet": write_parquet, "train.arrow": write_arrow}


# ---- Bytes that go to a worker by a file


def test_pictures_in_cells_arrive_as_they_were(tmp_path):
    write_parquet(cells(), tmp_path / "train.parquet")
    samples = list(table(tmp_path, **SIDES).read_samples("train"))
    times = 1 + (2 << 20) // sum(map(len, PICTURES))  # more than goes through the pipe
    samples = [sample | {"inputs": Content(*sample["inputs"])} for _ in range(times) for sample in samples]
    folder = tmp_path / "sending"
    folder.mkdir()
    sent = sending.send(samples, folder)
    assert [os.path.getsize(path) for path in folder.iterdir()] == [sum(len(s["inputs"].content) for s in samples)]
    assert len(pickle.dumps(sent)) < 500 * len(samples)
    assert sending.receive(pickle.loads(pickle.dumps(sent))) == samples
    assert list(folder.iterdir()) == []


def test_a_few_bytes_and_texts_go_through_the_pipe(tmp_path):
    for samples in (
        [{"inputs": Content("a", b"1")}],
        [{"inputs": "x" * (2 << 20)}],
        [{"inputs": Clip(Content("a", b"1"), 0.5, None)}],
    ):
        assert sending.receive(sending.send(samples, tmp_path)) == samples
    many = [{"inputs": Content("a", b"1" * (2 << 20))}]
    assert sending.receive(sending.send(many, None)) == many
    assert list(tmp_path.iterdir()) == [] and pickle.loads(pickle.dumps(many, protocol=4)) == many


@pytest.mark.slow
def test_the_store_is_the_same_with_any_number_of_workers(tmp_path):
    found = {}
    for name, write in FORMS.items():
        folder = tmp_path / name.partition(".")[2]
        folder.mkdir()
        write(cells(), folder / name)
        for workers in (1, 2):
            problem = Table()  # of a class that a worker can import
            problem.name, problem.directory, problem.dev_percent = "mine", str(folder), 20.0
            problem.columns, problem.inputs, problem.targets = SIDES.values()
            data = tmp_path / f"{name}-{workers}"
            (result,) = generate([problem], data, workers=workers, log=lambda line: None)
            assert sum(split["examples"] for split in result.manifest["splits"].values()) == COUNT
            assert not list(data.rglob("sending"))
            files = sorted((data / problem.name).glob("*.tfrecord*"))
            found[name, workers] = [(file.name, file.read_bytes()) for file in files]
        assert found[name, 1] == found[name, 2]


def test_whether_every_cell_has_its_bytes_is_known_from_the_counts_of_parquet(tmp_path):
    def known(data, name="image", **settings):
        write_parquet(data, tmp_path / "train.parquet", **settings)
        return all_inside(tmp_path / "train.parquet", [name])

    assert known(cells()) and known(pyarrow.table({"image": PICTURES}))
    assert not known(cells(), "label") and not known(cells(), "other")
    assert not known(cells(), write_statistics=False)
    assert not known(cells(lambda i: i != 40)) and not known(cells(lambda i: False))
    assert not known(pyarrow.table({"image": ["0.png"] * COUNT}))


def test_splits_made_by_the_bytes_are_not_compared_again(tmp_path):
    write_parquet(cells(), tmp_path / "train.parquet")
    assert table(tmp_path, dev_percent=20.0, **SIDES)._splits_to_compare() == []
    by_key = SIDES | {"columns": {"inputs": "image", "targets": "label", "key": "label"}}
    assert table(tmp_path, dev_percent=20.0, **by_key)._splits_to_compare() == ["dev"]
    write_parquet(cells(), tmp_path / "dev.parquet")
    problem = table(tmp_path, **SIDES)
    assert problem._splits_to_compare() == ["dev"]
    assert len(pickle.dumps(problem._held_out_samples._by_size)) < 100 * COUNT  # digests, not pictures
    said = []
    generate([problem], tmp_path / "data", workers=1, log=said.append)
    assert any(f"{COUNT} " in line and "dev" in line for line in said), said


# ---- Members of tars


@pytest.fixture
def opened(monkeypatch):
    """How many times `tarfile` was asked for the members of a tar, as a list with one entry each."""
    calls, before = [], tarfile.open
    monkeypatch.setattr(tarfile, "open", lambda *args, **kwargs: calls.append(1) or before(*args, **kwargs))
    return calls


def test_a_tar_is_listed_once_until_it_changes(tmp_path, opened):
    path = tmp_path / "train-0.tar"
    tar(path, {f"{i}.png": content for i, content in enumerate(PICTURES)})
    opened.clear()
    first = list(members.tar_members(path))
    assert [member.name for member in first] == [f"{i}.png" for i in range(COUNT)]
    assert list(members.tar_members(path)) == first and opened == [1]
    assert [members.read_content(member) for member in members.tar_members(path)] == PICTURES
    tar(path, {"other.png": PICTURES[1] * 2})
    assert [member.name for member in members.tar_members(path)] == ["other.png"]
    os.remove(path)
    with pytest.raises(UserError, match="No such file"):
        list(members.tar_members(path))


def test_a_list_that_was_not_read_to_its_end_is_not_kept(tmp_path, opened):
    path = tmp_path / "train-0.tar"
    tar(path, {f"{i}.png": PICTURES[i] for i in range(5)})
    opened.clear()
    assert next(iter(members.tar_members(path))).name == "0.png"
    assert len(list(members.tar_members(path))) == 5 and len(opened) == 2
    content = path.read_bytes()
    path.write_bytes(content[: len(PICTURES[0])])
    for _ in range(2):
        with pytest.raises(UserError, match="cut off"):
            list(members.tar_members(path))


def test_members_of_a_tar_in_a_tar_and_an_empty_one(tmp_path):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as file:
        info = tarfile.TarInfo("a.png")
        info.size = len(PICTURES[0])
        file.addfile(info, io.BytesIO(PICTURES[0]))
    path = tmp_path / "outer.tar"
    tar(path, {"class.tar": inner.getvalue()})
    for _ in range(2):
        (outer,) = members.tar_members(path)
        (member,) = members.tar_members(path, outer)
        assert members.read_content(member) == PICTURES[0]
    tar(tmp_path / "empty.tar", {})
    assert [list(members.tar_members(tmp_path / "empty.tar")) for _ in range(2)] == [[], []]


def test_no_more_lists_are_kept_than_there_is_room_for(tmp_path, monkeypatch, opened):
    monkeypatch.setattr(members, "_MOST_KEPT_MEMBERS", 7)
    monkeypatch.setattr(members, "_kept_tars", {})
    for name in ("a.tar", "b.tar"):
        tar(tmp_path / name, {f"{i}.png": PICTURES[i] for i in range(5)})
    opened.clear()
    for _ in range(2):
        for name in ("a.tar", "b.tar"):
            assert len(list(members.tar_members(tmp_path / name))) == 5
    assert len(opened) == 3
