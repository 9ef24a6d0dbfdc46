"""The two files of a vocabulary, the model and its table: written with digests, and read only as they were written."""

import hashlib
import pathlib
from typing import Any

from t2t_multimodel.digests import DIGEST, sealed, unsealed
from t2t_multimodel.errors import UserError
from t2t_multimodel.files import write_file
from t2t_multimodel.json_files import ANY, DamagedFile, MissingFile, Whole, check, parse_json, read_bytes

MODEL_FILE, TABLE_FILE = "bpe.model", "vocabulary.json"
TABLE_VERSION = 2
_MOST_MODEL_BYTES = 1 << 30
_ADVICE = "put it back, or make the whole data folder again"
_SCHEMA = {
    "format_version": Whole(1),
    "size": Whole(1, 2**31 - 1),
    "digest": str,  # of the pieces
    "commands": {str: Whole(0, 2**31 - 1)},
    "requested_size?": Whole(1),
    "most_lines?": Whole(1),
    "training?": {"symbols?": [str]},
}
_MODEL = {"model": {"bytes": Whole(0), "sha256": str}}


def read_vocabulary(folder: pathlib.Path) -> tuple[dict[str, Any], bytes]:
    """(the table, the bytes of the model) in `folder`.

    Raises:
      UserError: a file is missing, or not what was written.
    """
    table, path = read_table(folder), folder / MODEL_FILE
    about = table.get("model")
    model = _read(path, about["bytes"] if about else _MOST_MODEL_BYTES)
    if about and facts_of(model) != about:
        raise DamagedFile(f"{_named(path)} is damaged: it is not the model that {TABLE_FILE} describes; {_ADVICE}")
    return table, model


def read_table(folder: pathlib.Path) -> dict[str, Any]:
    """The table alone; raises `UserError` as `read_vocabulary`."""
    path = folder / TABLE_FILE
    content, name = _read(path, 1 << 28), _named(path)
    table = parse_json(content, {str: ANY}, name, _ADVICE)
    if DIGEST in table or table.get("format_version") != 1:  # tables of version 1 have no digests
        return unsealed(content, _SCHEMA | _MODEL, name, _ADVICE)
    try:
        check(table, _SCHEMA)
    except ValueError as error:
        raise DamagedFile(f"{name} is damaged: {error}; {_ADVICE}") from None
    table.pop("model", None)
    return table


def write_vocabulary(folder: pathlib.Path, table: dict[str, Any], model: bytes) -> None:
    """Writes both files; the table last, which completes the vocabulary."""
    write_file(folder / MODEL_FILE, model)
    write_table(folder, table, model)


def write_table(folder: pathlib.Path, table: dict[str, Any], model: bytes) -> None:
    """Writes the table of the vocabulary with `model`, which lies in `folder`."""
    versions = {"format_version": TABLE_VERSION, "model": facts_of(model)}
    write_file(folder / TABLE_FILE, sealed(table | versions))


def facts_of(model: bytes) -> dict[str, Any]:
    """What the table says of the model's file."""
    return {"bytes": len(model), "sha256": hashlib.sha256(model).hexdigest()}


def _read(path: pathlib.Path, most: int) -> bytes:
    try:
        return read_bytes(path, _ADVICE, most)
    except MissingFile:
        raise UserError(f"no vocabulary in {path.parent}: {path.name} is missing; run t2t-datagen first") from None
    except DamagedFile as error:
        raise DamagedFile(f"the vocabulary file {error}") from None


def _named(path: pathlib.Path) -> str:
    return f"the vocabulary file {path}"
