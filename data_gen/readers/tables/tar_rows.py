"""WebDataset: consecutive members of a tar that differ by their endings are a sample: 0007.jpg, 0007.txt."""

import itertools
import os

from t2t_multimodel.data_gen.readers.members import read_content, tar_members
from t2t_multimodel.data_gen.readers.tables import Row
from t2t_multimodel.data_gen.readers.tables.json_rows import decode
from t2t_multimodel.errors import UserError

TEXT_ENDINGS = ("txt", "text", "cls", "cls2", "caption", "transcript", "label", "json", "id", "lang")  # read as text
KEY = "__key__"
_MOST_TEXT = 1 << 24  # bytes of one of them
_MOST_MEMBERS = 1000  # of one sample


def read(path, form, columns=None, wanted=None):
    """Yields the `Row`s: the columns are the endings, and "__key__". Media stay in the tar, as `TarMember`s.

    A member that ends in `.json` is parsed, so that "json.caption" is a value in it.
    """
    if not os.fspath(path).lower().endswith(".tar"):
        raise UserError(f"{path}: samples are read in the middle of a tar, so it can't be compressed; uncompress it")
    base = os.path.basename(os.fspath(path))
    samples = _samples(path) if wanted is None else itertools.compress(_samples(path), wanted)
    for key, members in samples:
        place, cells = f"{base}:{key}", {KEY: key}
        try:
            for ending, member in members.items():
                cells[ending] = _text(member, ending) if ending.rsplit(".", 1)[-1] in TEXT_ENDINGS else member
        except ValueError as error:
            yield Row(place, {}, str(error))
        else:
            yield Row(place, cells)


def is_text(column):
    """Whether a column is text or a value in it, which may name a file; else it has the members themselves."""
    return column == KEY or any(ending in TEXT_ENDINGS for ending in column.lower().split("."))


def _samples(path):
    """Yields `(key, {ending: member})`, in the order of the tar; a key has no ending."""
    current, members = None, {}
    for member in tar_members(path):
        folder, _, file = member.name.rpartition("/")
        key, dot, ending = file.partition(".")
        if not key or not dot or "/._" in f"/{member.name}":  # hidden files; names without an ending
            continue
        key, ending = f"{folder}/{key}".lstrip("/") if folder else key, ending.lower()
        if key != current:
            if members:
                yield current, members
            current, members = key, {}
        if ending in members:
            raise UserError(f"{path}: {member.name} is there twice")
        members[ending] = member
        if len(members) > _MOST_MEMBERS:
            raise UserError(f"{path}: more than {_MOST_MEMBERS:,} members are called {key}")
    if members:
        yield current, members


def _text(member, ending):
    if member.size > _MOST_TEXT:
        raise ValueError(f"{member}: {member.size:,} bytes of text, more than {_MOST_TEXT:,}")
    try:
        text = read_content(member).decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"{member}: byte {error.start + 1} is not UTF-8") from None
    if ending.rsplit(".", 1)[-1] != "json":
        return text.strip()
    try:
        return decode(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{member}: no JSON ({error})") from None
