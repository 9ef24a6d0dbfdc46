"""Finds the tables of a folder and their splits by the names that people and programs give them."""

import json
import os
import re
from pathlib import Path

from t2t_multimodel.data_gen.readers.compressed import without_suffix
from t2t_multimodel.data_gen.readers.tables import folder_rows, format_of
from t2t_multimodel.errors import UserError
from t2t_multimodel.json_files import read_json

NAMES = {  # of each split, in lower case
    "train": ("train", "training"),
    "dev": ("dev", "validation", "valid", "val", "development"),
    "test": ("test", "testing"),
}
_LANGUAGE = re.compile(r".+\.[a-z]{2}")  # "train.en"
_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")  # Hugging Face's imagefolder and audiofolder
_INNER = "data"  # the folder of the tables in a data set of Hugging Face's hub


def find_tables(folder):
    """{split: [its tables, sorted]} of a folder; a table is a file, a folder with class folders, or one of Kaldi's.

    Where no name says a split, all tables are "train".

    Raises:
      UserError: a split under two names, or a folder without any table.
    """
    folder = Path(folder)
    found = _by_split(folder)
    if not found and (folder / _INNER).is_dir():
        found = _by_split(folder / _INNER)
    if not found and (whole := tables_in(folder)):
        found = {"train": whole}
    if not found:
        aligned = sorted(path.name for path in folder.iterdir() if _LANGUAGE.fullmatch(without_suffix(path.name)))
        if len(aligned) > 1:
            raise UserError(
                f"{folder}: {aligned[0]} and {aligned[1]} look like aligned text, one file a language, and no table; "
                "derive from ParallelText (docs/own_problem.md)"
            )
        raise UserError(
            f"{folder}: no table (train.csv, dev.csv; .tsv, .jsonl, .parquet, .arrow, .tar, .tmx), "
            f"no metadata.csv, no folders named by class; found: {', '.join(_names(folder)[:8]) or 'nothing'}"
        )
    return {split: found[split] for split in NAMES if split in found}


def tables_in(folder):
    """The tables that a folder consists of, whatever the split; [] for none."""
    folder = Path(folder)
    for name in _METADATA:
        if (folder / name).is_file():
            return [folder / name]
    if (folder / "wav.scp").is_file():
        return [folder]
    if (folder / "state.json").is_file():
        return _saved_to_disk(folder)
    names = [name for name in _names(folder) if format_of(name) and not _is_about(name)]
    files = [folder / name for name in names if (folder / name).is_file()]
    if files:
        return files
    classes = folder_rows.class_folders(folder)
    if not all(map(split_of, classes)) and all(_has_media(folder / name) for name in classes):
        return [folder]
    return []


def split_of(name):
    """The split that a file's or folder's name says, by its first word; None if it says none."""
    word = re.split(r"[.\-_]", Path(without_suffix(name)).name.lower())[0]
    return next((split for split, names in NAMES.items() if word in names), None)


def _by_split(folder):
    found, called = {}, {}
    for name in _names(folder):
        split, path = split_of(name), folder / name
        if not split:
            continue
        if path.is_dir():
            tables = tables_in(path)
        else:
            tables = [path] if format_of(name) and path.is_file() else []
        if not tables:
            continue
        stem = re.split(r"[.\-_]", name.lower())[0]
        kind = "folder" if path.is_dir() else format_of(name)
        first = called.setdefault(split, (stem, kind, path))
        if first[:2] != (stem, kind):
            raise UserError(
                f"{first[2]} and {path}: both are called as the split {split}; keep one, or say which in the class: "
                f'files = {{"{split}": "{name}"}}'
            )
        found.setdefault(split, []).extend(tables)
    return found


def _saved_to_disk(folder):
    """The files of a `datasets.Dataset.save_to_disk`, in their order."""
    form = {"_data_files": [{"filename": str}]}
    listed = [entry["filename"] for entry in read_json(folder / "state.json", form, "save it again")["_data_files"]]
    for name in listed:
        if os.path.basename(name) != name or not (folder / name).is_file():
            raise UserError(f"{folder / 'state.json'}: names {json.dumps(name)[:80]}, which is no file beside it")
    return [folder / name for name in listed]


def _is_about(name):
    """Whether a file describes a data set, rather than being a table of it."""
    return name in ("dataset_info.json", "dataset_dict.json", "state.json", "dataset_infos.json", "captions.json")


def _has_media(folder):
    return any(name.lower().endswith(folder_rows.MEDIA) for name in _names(folder))


def _names(folder):
    """The names in a folder, sorted, without the hidden ones."""
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))
