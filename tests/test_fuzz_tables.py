"""Damaged tables give rows, faults or one line, and never end the process: pyarrow's files are validated before use."""

import random

import pytest
from fuzz_files import mutate, rounds
from table_files import ROWS, TMX, png, quoted, tar, wav

from t2t_multimodel.data_gen.readers.tables import read_rows
from t2t_multimodel.errors import UserError

pytestmark = pytest.mark.slow

FORMS = ("csv", "csv.xz", "csv.zst", "jsonl", "json", "tmx", "tar", "parquet", "feather", "arrow")


def write(path):
    """A small table of the form that the ending says."""
    form = path.name.partition(".")[2]
    if form in ("parquet", "feather", "arrow"):
        return write_arrow(path, form)
    if form == "tar":
        return tar(path, {"1.png": png(), "1.txt": b"owl", "1.json": b'{"a": [1]}', "2.wav": wav(0.01), "2.txt": b"x"})
    if form.startswith("csv"):
        return path.write_bytes(compressed(form)(quoted(ROWS * 20).encode()))
    text = {"jsonl": '{"a": "b", "c": {"d": [1, 2.5, null]}}\n' * 5, "json": '[{"a": "b"}, {"a": 2}]', "tmx": TMX}
    return path.write_text(text[form])


def write_arrow(path, form):
    import pyarrow
    import pyarrow.feather
    import pyarrow.parquet

    images = [{"bytes": png(), "path": "1.png"}] * 40
    table = pyarrow.table({"pair": [{"en": "a", "de": "ä"}] * 40, "n": list(range(40)), "image": images})
    if form == "parquet":
        pyarrow.parquet.write_table(table, path)
    elif form == "feather":
        pyarrow.feather.write_feather(table, str(path))
    else:
        with pyarrow.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)


def compressed(form):
    import lzma

    import pyarrow

    if form.endswith(".xz"):
        return lzma.compress
    if form.endswith(".zst"):
        return lambda content: pyarrow.Codec("zstd").compress(content, asbytes=True)
    return bytes


@pytest.mark.parametrize("form", FORMS)
def test_damaged_tables_are_read_or_named(form, tmp_path):
    path = tmp_path / f"train.{form}"
    write(path)
    whole = path.read_bytes()
    assert len(list(read_rows(path))) > 0
    for seed in rounds(60):
        _, damaged = mutate(whole, random.Random(seed))
        path.write_bytes(damaged)
        try:
            for row in read_rows(path):
                assert "\n" not in row.fault and isinstance(row.cells, dict)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
