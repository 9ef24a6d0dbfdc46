"""Which columns are the inputs and the targets. What two people would answer differently is asked by a flag."""

import dataclasses
import re

from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.survey import columns as kinds

_NAMES = (
    "ar:Arabic bg:Bulgarian ca:Catalan cs:Czech cy:Welsh da:Danish de:German el:Greek en:English eo:Esperanto "
    "es:Spanish et:Estonian eu:Basque fa:Persian fi:Finnish fr:French ga:Irish he:Hebrew hi:Hindi hr:Croatian "
    "hu:Hungarian id:Indonesian is:Icelandic it:Italian ja:Japanese ko:Korean lt:Lithuanian lv:Latvian mt:Maltese "
    "nl:Dutch no:Norwegian pl:Polish pt:Portuguese ro:Romanian ru:Russian rw:Kinyarwanda sk:Slovak sl:Slovenian "
    "sr:Serbian sv:Swedish sw:Swahili ta:Tamil th:Thai tr:Turkish uk:Ukrainian ur:Urdu vi:Vietnamese zh:Chinese"
)
LANGUAGES = dict(pair.split(":") for pair in _NAMES.split())  # ISO 639-1
_INPUTS = ("inputs", "input", "source", "src", "question", "prompt", "document", "article", "text1")
_TARGETS = (
    "targets target output outputs tgt label labels class cls category answer translation summary response".split()
)
# Of a picture or a recording; beside other text they may as well be the inputs.
_TARGETS_OF_MEDIA = [*_TARGETS, "transcript", "transcription", "caption", "captions", "sentence", "text", "txt"]
_SPEAKERS = ("client_id", "speaker", "speaker_id", "spk", "spk_id", "user_id")
# Columns that describe a sample, and are neither side of it.
_ABOUT = frozenset(
    "up_votes down_votes age gender accents accent variant locale segment sentence_id sentence_domain duration offset "
    "start end sampling_rate sample_rate width height split url license licence lang language date timestamp "
    "signal_to_noise pred_text score".split()
) | {*_SPEAKERS}
_CODE = re.compile(r"([a-z]{2})(-[a-z]{2,4})?", re.IGNORECASE)
_FEW_ROWS = 5  # of a class; there is none for dev or test, or none to learn from
TARGET_KINDS = {"class": kinds.LABEL, "text": kinds.TEXT, "numbers": kinds.NUMBER}


@dataclasses.dataclass(frozen=True)
class Choice:
    """What becomes of the columns."""

    inputs: str | None  # None: a language model
    inputs_kind: str
    targets: str
    targets_kind: str
    more: dict  # further roles of `Table.columns`: "key", "group", "start", "duration"
    languages: tuple  # of the inputs and the targets, "" where it is not known
    why: tuple  # lines for the user


def choose(columns, *, inputs="", targets="", targets_are="", languages=""):
    """The `Choice` for some columns.

    Args:
      columns: {name: `Column`}.
      inputs, targets: the columns that the user named; "": those that can be meant only. "none": no inputs.
      targets_are: "class", "text" or "numbers"; "": as the column looks.
      languages: "English,German", of the inputs and the targets.

    Raises:
      UserError: it is ambiguous, or a named column does not exist; the message has the flag and the columns.
    """
    for flag, name in (("--inputs", inputs), ("--targets", targets)):
        if name and name != "none" and name not in columns:
            raise unknown_name(f"column of {flag}", name, columns)
    why = []
    usable = [c for c in columns.values() if c.kind not in (kinds.EMPTY, kinds.OTHER, kinds.KEY) and not _is_about(c)]
    source = _inputs(columns, usable, inputs, targets, why)
    target = _targets(columns, usable, source, targets, why)
    if source is target:
        raise UserError(f"--inputs and --targets are the same column, {target.name!r}")
    if target.kind in kinds.MEDIA:
        raise UserError(
            f"the targets can't be {target.name!r}: it holds {target.kind}s, which no model here writes; say --targets="
        )
    for flag, column in (("--inputs", source), ("--targets", target)):
        if column is not None and column.kind in (kinds.EMPTY, kinds.OTHER):
            held = "is empty in all rows" if column.kind == kinds.EMPTY else "holds no text, numbers or files"
            raise UserError(f"{flag}={column.name}: the column {held}; name another")
    targets_kind = _targets_kind(target, targets_are, why)
    inputs_kind = "" if source is None else source.kind if source.kind in kinds.MEDIA else kinds.TEXT
    names = [None if source is None else source.name, target.name]
    return Choice(
        names[0], inputs_kind, names[1], targets_kind, _more(columns, source), _languages(names, languages), tuple(why)
    )


def wrong_with(columns, choice):
    """Lines on what looks wrong with the chosen columns."""
    lines = []
    for name in filter(None, (choice.inputs, choice.targets)):
        column = columns[name]
        if column.missing:
            lines.append(f"wrong: {name} is empty in {column.missing:,} of {column.rows:,} rows")
    target = columns[choice.targets]
    if choice.targets_kind == kinds.LABEL and target.values:
        rare = sorted(value for value, count in target.values.items() if count < _FEW_ROWS)
        if rare:
            few = f"{len(rare):,} of {target.distinct:,} classes have fewer than {_FEW_ROWS} rows"
            lines.append(f"wrong: {few}, such as {rare[0]!r}")
    return lines


def _inputs(columns, usable, named, targets, why):
    """The column of the inputs; None where there are none."""
    if named:
        return None if named == "none" else columns[named]
    usable = [column for column in usable if column.name != targets]
    media = [column for column in usable if column.kind in kinds.MEDIA]
    if len(media) == 1:
        why.append(f"inputs = {media[0].name}, the only column with {media[0].kind}s")
        return media[0]
    if len(media) > 1:
        raise _ambiguous("--inputs", f"{len(media)} columns have pictures or recordings", media)
    called = [column for column in usable if column.name.lower() in _INPUTS]
    if len(called) == 1:
        why.append(f"inputs = {called[0].name}, by its name")
        return called[0]
    texts = [column for column in usable if column.kind == kinds.TEXT]
    languages = [column for column in usable if language_of(column.name)]
    if len(languages) == 2 and len(usable) == 2 and not targets:
        first, second = (column.name for column in languages)
        why.append(
            f"inputs = {first}, targets = {second}: both are languages, in the order of the columns; the other "
            "direction is the problem's name with _rev at the end"
        )
        return languages[0]
    if targets and len(usable) == 1:
        why.append(f"inputs = {usable[0].name}, the only other column")
        return usable[0]
    others = [column for column in usable if column.kind in (kinds.LABEL, kinds.NUMBER)]
    if len(texts) == 1 and len(others) == len(usable) - 1 and others:
        why.append(f"inputs = {texts[0].name}, the only column of text")
        return texts[0]
    by_name = [column for column in usable if column.name.lower() in _TARGETS]
    if len(usable) == 2 and len(by_name) == 1:
        first = next(column for column in usable if column is not by_name[0])
        why.append(f"inputs = {first.name}, since {by_name[0].name} is the targets by its name")
        return first
    if len(usable) == 1:
        raise _ambiguous(
            "--inputs", "there is one column; say --inputs=none for a language model, which only writes", usable
        )
    raise _ambiguous("--inputs", "more than one column may be the inputs", usable or list(columns.values()))


def _targets(columns, usable, source, named, why):
    if named:
        if named == "none":
            raise UserError("--targets=none: there must be something to learn; name a column")
        return columns[named]
    rest = [column for column in usable if column is not source]
    if len(rest) == 1:
        if not any("targets = " in line for line in why):
            why.append(f"targets = {rest[0].name}, the only other column that is not about the sample")
        return rest[0]
    names = _TARGETS_OF_MEDIA if source is not None and source.kind in kinds.MEDIA else _TARGETS
    called = [column for column in rest if column.name.rpartition(".")[2].lower() in names]
    if len(called) == 1:
        others = ", ".join(column.name for column in rest if column is not called[0])
        why.append(f"targets = {called[0].name}, by its name; not used: {others}")
        return called[0]
    if not rest:
        raise _ambiguous("--targets", "no other column can be the targets", list(columns.values()))
    raise _ambiguous("--targets", "more than one column may be the targets", rest)


def _targets_kind(target, asked, why):
    if asked:
        kind = TARGET_KINDS[asked]
        if kind == kinds.NUMBER and target.kinds.keys() != {kinds.NUMBER}:
            raise UserError(f"--targets_are=numbers: not all values of {target.name} are numbers")
        return kind
    kind = target.kind
    if kind in (kinds.TEXTS, kinds.KEY):
        return kinds.TEXT
    if kind == kinds.LABEL:
        why.append(
            f"{target.name} are classes: {target.distinct:,} different ones in {target.filled:,} rows; otherwise say "
            "--targets_are=text"
        )
    elif kind == kinds.NUMBER:
        if target.may_be_classes:
            raise UserError(
                f"column {target.name}: {target.distinct:,} different numbers in {target.filled:,} rows may be classes "
                "or quantities; say --targets_are=class or --targets_are=numbers"
            )
        if target.whole_numbers:
            raise UserError(
                f"column {target.name}: whole numbers may be quantities or text; say --targets_are=numbers or "
                "--targets_are=text"
            )
        why.append(f"{target.name} are numbers; otherwise say --targets_are=text")
    elif target.may_be_classes and target.words < 2 * target.filled:
        raise UserError(
            f"column {target.name}: {target.distinct:,} different short texts in {target.filled:,} rows may be "
            "classes or text; say --targets_are=class or --targets_are=text"
        )
    return kind


def _more(columns, source):
    """Keys, groups, and the part of a recording that a row is."""
    more = {}
    speakers = [name for name in _SPEAKERS if name in columns and columns[name].missing == 0]
    if speakers:
        more["group"] = speakers[0]
    if source is not None and source.kind == kinds.RECORDING and "offset" in columns and "duration" in columns:
        more |= {"start": "offset", "duration": "duration"}  # NeMo
    return more


def _languages(names, given):
    if given:
        said = tuple(word.strip() for word in given.split(","))
        if not 1 <= len(said) <= 2:
            raise UserError("--languages: one language, or two with a comma between them, such as English,German")
        return said if len(said) == 2 else (said[0], said[0])
    return tuple(language_of(name or "") for name in names)


def language_of(name):
    """ "translation.de-AT" → "German"; "" for a name that is no language."""
    last = name.rpartition(".")[2]
    code = _CODE.fullmatch(last)
    if code:
        return LANGUAGES.get(code[1].lower(), "")
    return next((language for language in LANGUAGES.values() if language.lower() == last.lower()), "")


def _is_about(column):
    return column.name.rpartition(".")[2].lower() in _ABOUT


def _ambiguous(flag, said, candidates):
    names = ", ".join(f"{column.name} ({column.kind})" for column in candidates[:8])
    return UserError(f"{said}: say {flag}=COLUMN; the columns: {names}")
