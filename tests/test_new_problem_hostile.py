"""t2t-new-problem over tables that are damaged, odd or a stranger's: what it can't use is one line, and no file."""

import datetime
import decimal
import gzip
import json
import os
import socket

import pytest
from table_files import png, tar

from t2t_multimodel.cli import new_problem
from t2t_multimodel.data_gen.readers.tables import TableFormat, json_rows, read_rows
from t2t_multimodel.errors import UserError
from t2t_multimodel.survey import columns as kinds
from t2t_multimodel.survey.columns import profile
from t2t_multimodel.survey.layout import find_layout

SENTENCES = [f"soup number {i} is good" for i in range(60)]
BOTH = ("--inputs=a", "--targets=b")
NUMBERS = (*BOTH, "--targets_are=numbers")


def refused(run_command, *arguments):
    """The one line that the command says."""
    status, _, error = run_command(new_problem.main, *arguments, "--name=mine", "--t2t_usr_dir=mine")
    assert status == 2 and len(error.splitlines()) == 1 and not os.path.exists("mine"), error
    return error


def lines(value):
    """JSON Lines of sentences with `value`, as it is written, beside each."""
    return "\n".join(f'{{"a": "{text}", "b": {value}}}' for text in SENTENCES)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "content, flags, words",
    [
        (lines("1e308"), NUMBERS, "holds no text, numbers or files"),
        (lines("1e999"), BOTH, "holds no text, numbers or files"),
        (lines("null"), BOTH, "--targets=b: the column is empty in all rows"),
        (lines("9" * 79), BOTH, "may be quantities or text"),
        (lines("9" * 4000), BOTH, "train has no row that can be read; the first fault:"),
        (lines("NaN"), BOTH, "train has no row that can be read; the first fault:"),
        (lines("[" * 900 + "]" * 900), BOTH, "nested too deep"),
        ("[1]\n" * 50, BOTH, "corpus.jsonl:1: no object but a list"),
        ("", BOTH, "train has no rows"),
        (lines('{"path": 5, "bytes": "x"}'), BOTH, "--targets=b: the column holds no text"),
        (lines('{"path": [], "bytes": [1]}'), BOTH, "--targets=b: the column holds no text"),
        (lines('{"path": "1.png", "bytes": "x"}'), BOTH, "which no model here writes"),
    ],
)
def test_json_lines(content, flags, words, tmp_path, run_command):
    (tmp_path / "corpus.jsonl").write_text(content)
    assert words in refused(run_command, "corpus.jsonl", *flags)


@pytest.mark.parametrize(
    "content, flags, words",
    [
        (b"", (), "corpus.csv: it has no rows"),
        ("en,de\n".encode("utf-16"), (), "not UTF-8 but UTF-16"),
        (b"en,de\n" + "ä,ü\n".encode("latin-1") * 50, (), "corpus.csv:2: not UTF-8"),
        (b"en,de\n", (), "train has no rows"),
        (b"en,de\n" * 9, ("--delimiter=;;",), "the delimiter must be one character"),
        (b"en,de\n" * 9, ('--delimiter="',), "no quote and no line end"),
        (b"en,de\n" * 9, ("--delimiter=\n",), "no quote and no line end"),
    ],
)
def test_csv(content, flags, words, tmp_path, run_command):
    (tmp_path / "corpus.csv").write_bytes(content)
    assert words in refused(run_command, "corpus.csv", *flags)


def test_a_line_end_in_the_name_of_a_column_stays_out_of_faults(tmp_path):
    (tmp_path / "train.csv").write_text('"a\nb",c\n1\n')
    (row,) = read_rows(tmp_path / "train.csv")
    assert row.fault.endswith("train.csv:3: 1 cells, but 2 columns (a b, c)")


def test_json_in_a_tar_is_held_to_the_same(tmp_path):
    contents = (b'{"n": %s}' % (b"9" * 4000), b'{"n": NaN}', b"[" * 900 + b"]" * 900, b'{"n": 1}')
    tar(tmp_path / "train.tar", {f"{i}.json": content for i, content in enumerate(contents)})
    assert [bool(row.fault) for row in read_rows(tmp_path / "train.tar")] == [True, True, True, False]


@pytest.mark.parametrize("head", ['<tmx a="', "<tmx><!-- ", "<tmx><", "<tmx><?x ", "<!DOCTYPE tmx [<!-- "])
def test_a_tag_of_tmx_that_does_not_end_is_refused_soon(head, tmp_path):
    """A parser begins such a tag anew with each block that it gets: a megabyte of .gz would take hours."""
    with gzip.open(tmp_path / "train.tmx.gz", "wb", 1) as file:
        file.write(head.encode() + b"x" * (1 << 26))
    with pytest.raises(UserError, match="train.tmx.gz:1: no TMX, a tag or comment of more than 1,048,576 bytes"):
        list(read_rows(tmp_path / "train.tmx.gz"))


def test_more_than_there_is_memory_for_is_refused(tmp_path, monkeypatch):
    unit = "".join(f'<tuv xml:lang="a{i}"><seg>x</seg></tuv>' for i in range(1001))
    (tmp_path / "train.tmx").write_text(f"<tmx><body><tu>{unit}</tu></body></tmx>")
    with pytest.raises(UserError, match="more than 1,000 languages"):
        list(read_rows(tmp_path / "train.tmx"))
    monkeypatch.setattr(json_rows, "_MOST_INNER", 100)
    (tmp_path / "train.json").write_text("[" + "[]," * 100 + "[]]")
    with pytest.raises(UserError, match="more than 100 objects in one list"):
        list(read_rows(tmp_path / "train.json"))


def special(path, kind):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        path.symlink_to({"device": "/dev/zero", "nothing": "nowhere", "itself": path.name}[kind])


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "nothing", "itself"])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".jsonl", ".parquet", ".tar", ".tmx"])
def test_what_is_no_regular_file_is_not_waited_for(kind, ending, monkeypatch, tmp_path, run_command):
    (tmp_path / "d").mkdir()
    special(tmp_path / "d" / f"train{ending}", kind)
    refused(run_command, "d")
    monkeypatch.chdir(tmp_path / "d")  # (the name of a socket is short)
    said = refused(run_command, f"train{ending}")
    assert {"device": "a device", "pipe": "a pipe", "socket": "a socket"}.get(kind, "no such file") in said


def test_a_link_is_a_table_by_its_own_name(tmp_path):
    """As in the caches of data sets, where files are called by their digests."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0a1b").write_text("en,de\n" + "the soup,die Suppe\n" * 50)
    (tmp_path / "train.csv").symlink_to("blobs/0a1b")
    layout = find_layout(["train.csv"], TableFormat())
    assert layout.files == {"train": ["train.csv"]} and profile(layout.tables["train"], layout.form, 99)[1] == 50


def test_decimals_dates_and_other_types_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    day = datetime.date(2020, 1, 2)
    table = {
        "price": [decimal.Decimal("1.50")] * 60,
        "count": [decimal.Decimal("7")] * 60,
        "day": [day] * 60,
        "time": [datetime.datetime(2020, 1, 2, 3)] * 60,
        "nanoseconds": pyarrow.array([1_577_934_000_000_000_001] * 60, pyarrow.timestamp("ns")),
        "long": [datetime.timedelta(1)] * 60,
        "inner": [{"days": [day, None]}] * 60,
        "map": pyarrow.array([[("k", day)]] * 60, pyarrow.map_(pyarrow.string(), pyarrow.date32())),
        "nan": [float("nan")] * 60,
    }
    parquet.write_table(pyarrow.table(table), tmp_path / "train.parquet")
    cells = next(iter(read_rows(tmp_path / "train.parquet"))).cells
    assert [cells[name] for name in ("price", "count", "day", "time", "nanoseconds", "long", "inner", "map")] == [
        1.5,
        7,
        "2020-01-02",
        "2020-01-02T03:00:00",
        "2020-01-02T03:00:00",
        "1 day, 0:00:00",
        {"days": ["2020-01-02", None]},
        [["k", "2020-01-02"]],
    ]
    found = profile([tmp_path / "train.parquet"], TableFormat(), 99)[0]
    assert (found["price"].kind, found["day"].kind, found["nan"].kind) == (kinds.NUMBER, kinds.TEXT, kinds.OTHER)


def test_content_that_is_no_bytes_is_a_bad_record(tmp_path):
    from t2t_multimodel.modalities import Image, Text
    from t2t_multimodel.problems import Table

    class Pictures(Table):
        directory = str(tmp_path)
        columns = {"inputs": "a", "targets": "b"}
        inputs, targets = Image(8, 8, 3), Text()
        dev_percent = 50

    values = [{"path": "1.png", "bytes": "x"}, {"path": 5, "bytes": [1]}, {"path": None, "bytes": None}, 5, [], None]
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps({"a": value, "b": "x"}) for value in values))
    assert all("bad" in sample for sample in Pictures().read_samples("train"))


def test_references_of_what_is_no_text_are_refused(tmp_path):
    from t2t_multimodel.modalities import Numbers, Text
    from t2t_multimodel.problems import Table

    class Prices(Table):
        directory = str(tmp_path)
        columns = {"inputs": "a", "targets": "b", "references": "b"}
        inputs, targets = Text(), Numbers(("b",))

    (tmp_path / "train.jsonl").write_text('{"a": "x", "b": 1}\n')
    with pytest.raises(UserError, match="targets that are no text have none"):
        list(Prices().read_samples("train"))


def test_what_is_no_file_in_a_class_folder_is_told(tmp_path):
    from t2t_multimodel.data_gen.readers.tables.folder_rows import others

    (tmp_path / "owl").mkdir()
    (tmp_path / "owl" / "1.png").write_bytes(png())
    special(tmp_path / "owl" / "2.png", "pipe")
    special(tmp_path / "owl" / "3.png", "nothing")
    (tmp_path / "owl" / "4.heic").write_bytes(b"")
    (tmp_path / "owl" / "5.jpg").mkdir()
    assert [row.place for row in read_rows(tmp_path)] == ["owl/1.png"]
    assert others(tmp_path) == ["owl/2.png", "owl/3.png", "owl/4.heic", "owl/5.jpg"]


@pytest.mark.parametrize("name", ["_x", "__init__"])
def test_names_that_are_python_s_own(name, run_command):
    status, _, error = run_command(new_problem.main, ".", f"--name={name}")
    assert status == 2 and "lower-case letters" in error


def test_ctrl_c_leaves_no_file_that_stops_the_same_command(tmp_path, run_command, monkeypatch):
    def interrupted(file):
        assert file.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(new_problem, "_load", interrupted)  # what is loaded stays so in this process
    (tmp_path / "corpus.csv").write_text("en,de\n" + "".join(f"{text},{text[::-1]}\n" for text in SENTENCES))
    for _ in range(2):
        assert run_command(new_problem.main, "corpus.csv", "--name=mine", "--t2t_usr_dir=mine")[0] == 130
        assert not list((tmp_path / "mine").iterdir())
