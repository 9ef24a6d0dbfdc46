"""Which tables the paths that a user names are, and which splits they have."""

import dataclasses
import glob
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from t2t_multimodel.data_gen.readers.compressed import without_suffix
from t2t_multimodel.data_gen.readers.tables import FORMATS, TableFormat, format_of, read_rows
from t2t_multimodel.data_gen.readers.tables.find import find_tables, split_of, tables_in
from t2t_multimodel.errors import UserError
from t2t_multimodel.survey.columns import NUMBER, PICTURE, RECORDING, kind_of

_NAMES = {".csv": "CSV", ".tsv": "TSV", ".tab": "TSV", ".tar": "WebDataset", ".tmx": "TMX", ".json": "JSON"}
_NAMES |= {".jsonl": "JSON Lines", ".ndjson": "JSON Lines", ".parquet": "Parquet", ".arrow": "Arrow"}
_NAMES |= {".feather": "Feather"}
_SURE_HEADS = frozenset("file_name filename client_id audio_filepath image_path audio_path".split())  # one is enough
_HEADS = frozenset(  # two are enough: hardly ever are two of them a row
    "id key name path file audio image picture text sentence label class target targets input inputs source src tgt "
    "translation transcript transcription caption captions question answer lang language speaker "
    "duration en de fr es it nl pt ru zh ja ko ar pl cs sv da fi no tr uk english german french spanish "
    "italian".split()
)
_LONGEST_HEAD = 40  # characters
_ROWS_FOR_HEADER = 50


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a user's paths are."""

    directory: Path  # that the problem's `directory` is
    tables: dict  # {split: [the `Path`s of its tables]}
    files: dict  # the problem's `files`: {split: [patterns]}; {} where the names alone say it
    form: TableFormat
    media_folder: str
    why: tuple  # lines for the user

    @property
    def all_tables(self):
        return [table for tables in self.tables.values() for table in tables]


def find_layout(paths: Sequence[str], form: TableFormat, header: str = "", media_folder: str = "") -> Layout:
    """The `Layout` of a folder, or of some files.

    Args:
      form: how CSV and TSV are written; its `header` is replaced.
      header: "yes" or "no"; "": as the first line looks.
      media_folder: below the directory; "": `clips` where the data is Common Voice's.

    Raises:
      UserError: no such file, none that is known, or a first line that may be a header or not.
    """
    places = [Path(path) for path in paths]
    for place in places:
        if not place.exists():
            raise UserError(f"{place}: no such file or folder")
    if len(places) == 1 and places[0].is_dir():
        directory, tables, files = places[0], find_tables(places[0]), {}
    else:
        directory, tables, files = _of_files(places)
    why = [f"{split}: {_said(found, directory)}" for split, found in tables.items()]
    first = next(iter(tables.values()))[0]
    form = dataclasses.replace(form, header=_has_header(first, form, header, why))
    if not media_folder and _is_common_voice(directory, first, form):
        media_folder = "clips"
        why.append("Common Voice: columns client_id, path, sentence, and recordings in clips/")
    return Layout(directory.resolve(), tables, files, form, media_folder, tuple(why))


def _of_files(places):
    """(directory, tables, files) of some files or folders; their names may say the splits."""
    directory = Path(os.path.commonpath([place.resolve().parent for place in places]))
    tables, files = {}, {}
    for place in places:
        if place.is_dir() and not split_of(place.name):
            raise UserError(f"{place}: name one folder alone, or files, or folders that are called train, dev and test")
        found = tables_in(place) if place.is_dir() else [place] if format_of(place) else []
        if not found:
            if without_suffix(place).endswith(".txt") or not place.suffix:
                raise UserError(
                    f"{place}: plain text, which has no columns; write pairs as TSV (source, tab, target), or as files "
                    "train.en and train.de for ParallelText (docs/own_problem.md)"
                )
            raise UserError(f"{place}: no table; its name must end in {', '.join(FORMATS)}")
        split = split_of(place.name) or "train"
        for table in found:
            inside = os.path.relpath(table.resolve(), directory)
            tables.setdefault(split, []).append(table.resolve())
            files.setdefault(split, []).append(glob.escape(inside))
    if "train" not in tables:
        raise UserError(f"{', '.join(map(str, places))}: no split train among them; name its file too")
    return directory, {s: tables[s] for s in ("train", "dev", "test") if s in tables}, files


def _said(tables, directory):
    first = tables[0]
    name = os.path.relpath(first.resolve(), directory.resolve())
    more = f" and {len(tables) - 1:,} more" if len(tables) > 1 else ""
    if first.is_dir():
        kind = "Kaldi (wav.scp, text)" if (first / "wav.scp").exists() else "folders named by class"
    else:
        kind = _NAMES[format_of(first)]
        if first.name.startswith("metadata."):
            kind += ", the metadata of an imagefolder or audiofolder"
        size = sum(table.stat().st_size for table in tables)
        kind += f", {size:,} bytes"
    return f"{'the folder itself' if name == '.' else name}{more} ({kind})"


def _has_header(table, form, header, why):
    """Whether CSV or TSV begins with the names of its columns; adds the reason to `why`."""
    if table.is_dir() or format_of(table) not in (".csv", ".tsv", ".tab"):
        if header:
            raise UserError("--header goes with CSV and TSV")
        return True
    if header:
        return header == "yes"
    rows = list(itertools.islice(read_rows(table, dataclasses.replace(form, header=False)), _ROWS_FOR_HEADER))
    first = rows[0] if rows else None
    below = [list(row.cells.values()) for row in rows[1:] if not row.fault]
    second = below[0] if below else None
    cells = [] if first is None or first.fault else [value.strip() for value in first.cells.values()]
    known = [cell for cell in cells if cell.lower() in _HEADS | _SURE_HEADS]
    if len(known) > 1 or any(cell.lower() in _SURE_HEADS for cell in known):
        why.append(f"the first line names the columns ({', '.join(known[:4])}); otherwise say --header=no")
        return True
    for i, cell in enumerate(cells):
        kinds = {kind_of(row[i]) for row in below if i < len(row) and row[i]}
        if len(kinds) == 1 and kinds & {NUMBER, PICTURE, RECORDING} and cell and kind_of(cell) not in kinds:
            why.append(
                f"the first line names the columns: below {cell!r} are {kinds.pop()}s; otherwise say --header=no"
            )
            return True
    if any(map(_is_long, cells)) and second is not None and any(map(_is_long, second)):
        why.append("the first line is a row like the others, so columns are called 1, 2, …; otherwise say --header=yes")
        return False
    shown = " | ".join(cell[:30] for cell in cells[:6])
    raise UserError(
        f"{table}: does the first line ({shown}) name the columns, or is it data? Say --header=yes or --header=no"
    )


def _is_long(cell):
    """Whether a cell has words or is long, which names of columns hardly ever are."""
    return " " in cell or len(cell) > _LONGEST_HEAD


def _is_common_voice(directory, table, form):
    if table.is_dir() or format_of(table) != ".tsv" or not (directory / "clips").is_dir():
        return False
    with_names = dataclasses.replace(form, header=True)
    row = next((row for row in read_rows(table, with_names) if not row.fault), None)
    return row is not None and {"client_id", "path", "sentence"} <= row.cells.keys()
