"""Which corpus the paths that a user names are, where it is no table: aligned texts, bracketed trees, captions.json."""

import dataclasses
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from t2t_multimodel.data_gen.readers.compressed import without_suffix
from t2t_multimodel.data_gen.readers.tables import format_of
from t2t_multimodel.data_gen.readers.tables.find import split_of
from t2t_multimodel.errors import UserError
from t2t_multimodel.survey.choice import language_of

SPLITS = ("train", "dev", "test")
_SIDE = re.compile(r"(.+)\.([^.]+)")  # "corpus.en"
_CODE = re.compile(r"[a-z]{2}(?:[-_][A-Za-z0-9]+)?")  # of a language: "en", "pt-BR"
_LIST, _TREES = "captions.json", ".mrg"


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What a user's paths are."""

    directory: Path  # that the problem's `directory` is
    base: str  # the class to derive from
    splits: tuple  # that have files
    attributes: dict  # {name: plain value} of the class, besides `directory`
    kinds: str  # "text to text"
    why: tuple  # lines for the user


def find_corpus(paths: Sequence[str], inputs: str = "", targets: str = "", languages: str = "") -> Corpus | None:
    """The `Corpus` that a folder or some files are; None where they are none, and may be tables.

    Args:
      inputs, targets: of aligned texts, how their files end: en, de.
      languages: of the inputs and the targets, for reports: "English,German".

    Raises:
      UserError: aligned texts whose direction can't be told, or two files for one split.
    """
    places = [Path(path) for path in paths]
    if not all(place.exists() for place in places):
        return None
    is_folder = len(places) == 1 and places[0].is_dir()
    named = languages.split(",") if languages else []
    if captions := _captions(places, is_folder):
        return _captioned(*captions, named)
    files = [path for path in sorted(places[0].iterdir()) if path.is_file()] if is_folder else places
    if is_folder and any(format_of(file) or file.name == "wav.scp" for file in files):
        return None
    trees = [file for file in files if without_suffix(file).endswith(_TREES)]
    texts = {file: match for file in files if (match := _side(file, (inputs, targets)))}
    if is_folder and trees and len(texts) > 1:
        raise UserError(f"{places[0]}: {trees[0].name} has trees, {next(iter(texts)).name} text; name the files meant")
    if trees and (is_folder or len(trees) == len(places)):
        return _trees(trees, named)
    if len(texts) > 1 and (is_folder or len(texts) == len(places)):
        return _aligned(texts, [inputs, targets], named, is_folder)
    if texts and not is_folder and not any(format_of(place) for place in places):
        raise UserError(f"{next(iter(texts))}: one side of aligned text? Name the file of the other side too")
    return None


def first_targets(corpus: Corpus, most: int) -> list[str]:
    """The targets of those of the first `most` samples of train that can be read."""
    from t2t_multimodel import problems

    directory = str(corpus.directory)
    problem = type("Sampled", (getattr(problems, corpus.base),), {"directory": directory} | corpus.attributes)()
    samples = itertools.islice(problem.read_samples("train"), most)
    return [sample["targets"] for sample in samples if "bad" not in sample]


def _side(file, asked):
    """The match of the name of an aligned text, "corpus.en"; None for other files."""
    match = _SIDE.fullmatch(os.path.basename(without_suffix(file)))
    return match if match and (_CODE.fullmatch(match[2]) or match[2] in asked) else None


def _captions(places, is_folder):
    """(the folder, {split: folder of its captions.json}) of pictures with captions; () for others."""
    if not is_folder:
        if [place.name for place in places] != [_LIST]:
            return ()
        return places[0].parent, {"train": "."}
    folder = places[0]
    if (folder / _LIST).is_file():
        return folder, {"train": "."}
    found = {split: split for split in SPLITS if (folder / split / _LIST).is_file()}
    return (folder, found) if "train" in found else ()


def _captioned(directory, folders, named):
    attributes = {"files": folders} if "." in folders.values() else {}
    if named:
        attributes["language"] = named[-1].strip()
    lists = {split: os.path.normpath(os.path.join(name, _LIST)) for split, name in folders.items()}
    why = tuple(f"{split}: {path}, captions of the pictures beside it" for split, path in lists.items())
    return Corpus(directory.resolve(), "CaptionedImages", tuple(folders), attributes, "picture to text", why)


def _trees(files, named):
    directory = _folder_of(files)
    splits = _by_split({file: split_of(file.name) or "train" for file in files})
    names = {split: found.name for split, found in splits.items()}
    attributes = {}
    if any(without_suffix(name) != f"{split}{_TREES}" for split, name in names.items()):
        attributes["files"] = names
    if named:
        attributes["language"] = named[0].strip()
    why = tuple(f"{split}: {name} (bracketed trees)" for split, name in names.items())
    return Corpus(directory, "BracketedTrees", tuple(names), attributes, "words to tree", why)


def _aligned(texts, asked, named, is_folder):
    directory = _folder_of(texts)
    sides = list(dict.fromkeys(match[2] for match in texts.values()))  # in the order of the files
    shown = ", ".join(sides)
    for flag, side in zip(("--inputs", "--targets"), asked):
        if side and side not in sides:
            raise UserError(f"{flag}={side}: no file ends in .{side}; they end in {shown}")
    if not all(asked):
        if len(sides) != 2:
            raise UserError(f"{directory}: files that end in {shown}; say which two: --inputs=… --targets=…")
        if is_folder and not any(asked):
            raise UserError(f"{directory}: files that end in {shown}; say the direction: --inputs={sides[0]}")
        first = asked[0] or (sides[1 - sides.index(asked[1])] if asked[1] else sides[0])
        asked = [first, sides[1 - sides.index(first)]]
    if asked[0] == asked[1]:
        raise UserError(f"--inputs={asked[0]} --targets={asked[1]}: two sides expected; the files end in {shown}")
    stems = {}  # {the common part of the names: {side: file}}
    for file, match in texts.items():
        stems.setdefault(match[1], {})[match[2]] = file
    whole = {stem: found for stem, found in stems.items() if set(asked) <= set(found)}
    if not whole:
        raise UserError(
            f"{directory}: no two files of one name that end in .{asked[0]} and .{asked[1]}, such as train.{asked[0]} "
            f"and train.{asked[1]}"
        )
    splits = _by_split({directory / stem: split_of(stem) or "train" for stem in whole})
    names = {split: found.name for split, found in splits.items()}
    attributes = {"sides": tuple(asked)}
    if any(name != split for split, name in names.items()):
        attributes["files"] = names
    words = [word.strip() for word in named] if len(named) == 2 else [language_of(side) for side in asked]
    if all(words):
        attributes["languages"] = tuple(words)
    why = [f"{split}: {name}.{asked[0]} and {name}.{asked[1]}, aligned line by line" for split, name in names.items()]
    why.append(f"from {asked[0]} to {asked[1]}; the other direction is --inputs={asked[1]}, or the name with _rev")
    return Corpus(directory, "ParallelText", tuple(names), attributes, "text to text", tuple(why))


def _folder_of(files):
    folders = {file.parent.resolve() for file in files}
    if len(folders) > 1:
        raise UserError(f"{', '.join(map(str, sorted(folders)))}: put the files into one folder, and name that")
    return folders.pop()


def _by_split(splits):
    """{split: path} from {path: split}, train first; raises `UserError` for two of one split, or none of train."""
    found = {}
    for path, split in splits.items():
        if split in found:
            raise UserError(f"{found[split].name} and {path.name} are both {split}; name the files that are meant")
        found[split] = path
    if "train" not in found:
        raise UserError(f"{', '.join(path.name for path in splits)}: no split train among them; name its file too")
    return {split: found[split] for split in SPLITS if split in found}
