"""Readers of tables: each yields the rows of a file or folder lazily, as `Row`s with named cells.

| reader | reads |
| --- | --- |
| `delimited.py` | CSV and TSV |
| `json_rows.py` | JSON Lines, and a JSON file with one list |
| `arrow_rows.py` | Parquet, Arrow, Feather, and a data set of Hugging Face's `save_to_disk` |
| `tar_rows.py` | WebDataset: tar files; members with the same name before the ending are one sample |
| `folder_rows.py` | pictures or recordings in folders named by class |
| `kaldi.py` | Kaldi's data folders: `wav.scp`, `text`, `segments` |
| `tmx.py` | TMX, translation memories |

`read_rows` chooses by the name.
"""

import dataclasses
import importlib
import itertools
import os
from typing import Any, NamedTuple

from t2t_multimodel.data_gen.readers.compressed import without_suffix
from t2t_multimodel.data_gen.readers.lines import MAX_LINE_LENGTH
from t2t_multimodel.errors import UserError

FORMATS = {  # ending → the module that reads it
    ".jsonl": "json_rows",
    ".ndjson": "json_rows",
    ".json": "json_rows",
    ".csv": "delimited",
    ".tsv": "delimited",
    ".tab": "delimited",
    ".parquet": "arrow_rows",
    ".arrow": "arrow_rows",
    ".feather": "arrow_rows",
    ".tar": "tar_rows",
    ".tmx": "tmx",
}
_SKIPPING = ("json_rows", "arrow_rows", "tar_rows")  # know what to do with `wanted`


class Row(NamedTuple):
    """One row of a table."""

    place: str  # "train.csv:7", for keys and errors
    cells: dict[str, Any]
    fault: str = ""  # why it can't be read, after the place and ": "; its cells are empty then


@dataclasses.dataclass(frozen=True)
class TableFormat:
    """How a table is written, where its file does not say it."""

    delimiter: str = ""  # of CSV; "": a comma, and a tab in .tsv
    quoting: bool | None = None  # whether "…" encloses a cell; None: in CSV, not in TSV
    header: bool = True  # whether the first line of CSV or TSV names the columns; else they are "1", "2", …
    max_line_length: int = MAX_LINE_LENGTH  # characters of a line, and of a cell


def format_of(path):
    """The ending of a table's name, such as ".csv" of "train.csv.gz"; "" if it is none of `FORMATS`."""
    name = without_suffix(path).lower()
    return next((ending for ending in FORMATS if name.endswith(ending)), "")


def read_rows(path, form=TableFormat(), columns=None, wanted=None):  # noqa: B008 (it is frozen)
    """Yields the `Row`s of the table at `path`, a file or a folder.

    A row that can't be read, but after which others can, has a `fault`.

    Args:
      columns: the names that are needed; readers of column-wise formats skip the others. None: all.
      wanted: a byte for each row, 0 for those that are skipped, most of them unread. None: all rows.

    Raises:
      UserError: the file can't be read at all, or not from some place on.
    """
    ending = format_of(path)
    if os.path.isdir(path):
        reader = "kaldi" if os.path.exists(os.path.join(path, "wav.scp")) else "folder_rows"
    elif ending:
        reader = FORMATS[ending]
    else:
        raise UserError(f"{path}: no table; its name must end in {', '.join(FORMATS)}")
    read = importlib.import_module(f"{__name__}.{reader}").read
    if wanted is None:
        return read(path, form, columns)
    if reader in _SKIPPING:
        return read(path, form, columns, wanted)
    return itertools.compress(read(path, form, columns), wanted)


def all_inside(path, columns):
    """Whether all pictures and recordings in `columns` are inside of the table, as is known without reading rows."""
    tar_rows = f"{__name__}.tar_rows"
    if format_of(path) == ".tar":
        return not any(map(importlib.import_module(tar_rows).is_text, columns))
    return all_in_cells(path, columns)


def all_in_cells(path, columns):
    """Whether each row has its pictures and recordings as bytes in `columns`, as Parquet's own counts say."""
    return format_of(path) == ".parquet" and importlib.import_module(f"{__name__}.arrow_rows").holds_all_bytes(
        path, columns
    )


def cell(cells, name):
    """The cell called `name`; "translation.en" is also "en" in the object "translation".

    Raises:
      KeyError: there is none.
    """
    if name in cells:
        return cells[name]
    value = cells
    for part in name.split("."):
        if not isinstance(value, dict):
            raise KeyError(name)
        value = value[part]
    return value
