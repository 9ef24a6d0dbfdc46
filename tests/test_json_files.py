"""Promise: a JSON file is what its schema says, or one line that names the file, what is wrong and what to do."""

import json
import os

import pytest

from t2t_multimodel.errors import UserError
from t2t_multimodel.json_files import (
    ANY,
    FILE_NAME,
    DamagedFile,
    Exactly,
    MissingFile,
    Number,
    OneOf,
    Whole,
    parse_json,
    parse_json_lines,
    read_json,
)

SCHEMA = {"n": Whole(1, 10), "x?": float, "names": [str], "sizes?": {str: int}, "file?": FILE_NAME, "rest?": ANY}


def refused(content, schema=SCHEMA, **arguments):
    with pytest.raises(DamagedFile) as caught:
        parse_json(content, schema, "run/a.json", "make it again", **arguments)
    line = str(caught.value)
    assert line.startswith("run/a.json is damaged: ") and line.endswith("; make it again") and "\n" not in line
    assert len(line) < 300
    return line


def test_what_the_schema_says_comes_back_as_it_is():
    value = {"n": 3, "x": 2, "names": ["a", "ü"], "sizes": {"a": 1}, "file": "a.txt", "rest": [{}], "more": None}
    assert parse_json(json.dumps(value), SCHEMA, "a.json") == value
    assert parse_json("[1, null]", [(int, None)], "a.json") == [1, None]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is empty"),
        ("\n", "it is empty"),
        ('{"n": 1', "it is no JSON: line 1, column 8"),
        ("[" * 200_000, "it is nested too deeply"),
        ('{"n":' * 200_000, "it is nested too deeply"),
        (b"\xff{}", "byte 1 is not UTF-8"),
        (b"\x00", "it is no JSON"),
        ("[]", "expected an object, got a list"),
        ("3", "expected an object, got 3"),
        ('{"n": 1}', "names is missing"),
        ('{"n": 0, "names": []}', "n: expected a whole number of at least 1 and at most 10, got 0"),
        ('{"n": true, "names": []}', "n: expected a whole number"),
        ('{"n": 1.0, "names": []}', "n: expected a whole number"),
        ('{"n": "1", "names": []}', 'got "1"'),
        ('{"n": null, "names": []}', "n: expected a whole number"),
        ('{"n": 1' + "0" * 5000 + ', "names": []}', "a number of 5,001 digits"),
        ('{"n": 1' + "0" * 70 + ', "names": []}', "n: expected a whole number"),
        ('{"n": 1, "x": NaN, "names": []}', "NaN is not a finite number"),
        ('{"n": 1, "x": -Infinity, "names": []}', "-Infinity is not a finite number"),
        ('{"n": 1, "x": 1e999, "names": []}', "1e999 is not a finite number"),
        ('{"n": 1, "names": ["a", 2]}', "names[1]: expected a string, got 2"),
        ('{"n": 1, "names": {}}', "names: expected a list, got an object"),
        ('{"n": 1, "names": [], "sizes": {"a": "b"}}', 'sizes.a: expected a whole number, got "b"'),
        ('{"n": 1, "names": [], "file": "../a"}', "file: expected a file name without a folder"),
        ('{"n": 1, "names": [], "file": "a\\u0000"}', "file: expected a file name"),
        ('{"n": 1, "names": ["\\ud800"]}', "half of a surrogate pair"),
        ('{"n": 1, "names": [], "rest": ' + "[" * 200 + "]" * 200 + "}", "rest: expected at most 64 lists"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_anything_else_is_one_line(content, said):
    assert said in refused(content)


def test_choices_bounds_and_further_names():
    refused('"c"', OneOf("a", "b"))
    assert "at most 1, got 2" in refused("[2]", [Number(0, 1)])
    assert "unknown name 'm'" in refused('{"n": 1, "m": 2}', Exactly({"n": int}))
    assert "expected a string or null" in refused("3", (str, None))
    assert "a.b: expected" in refused('{"a": {"b": []}}', {"a": ({"b": int}, None)})


def test_only_regular_files_of_limited_size_are_read(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(MissingFile, match=r"a\.json is missing; copy it$"):
        read_json(path, ANY, "copy it")
    path.write_text("[1, 2]")
    assert read_json(path, [int]) == [1, 2]
    with pytest.raises(DamagedFile, match="more than 3 bytes"):
        read_json(path, [int], limit=3)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("fifo", ".", "loop", "n" * 300, "a\0b", "/dev/zero", "a.json/b"):
        with pytest.raises(UserError) as caught:
            read_json(tmp_path / name, ANY)
        assert "\n" not in str(caught.value)


def test_lines_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert list(parse_json_lines(path.read_bytes(), {"a": int}, path)) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a":')
    with pytest.raises(DamagedFile, match=r"a\.jsonl line 2 is damaged"):
        list(parse_json_lines(path.read_bytes(), {"a": int}, path))
