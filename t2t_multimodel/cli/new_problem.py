"""Looks at your files, says what they are, and writes the Python file of a problem over them.

Tables (CSV, TSV, JSON Lines, Parquet, Arrow, WebDataset, TMX), folders of pictures or recordings named by class,
imagefolder and audiofolder with metadata, data sets of Hugging Face's save_to_disk, Common Voice, Kaldi, NeMo; texts
aligned line by line, bracketed trees (.mrg), pictures with a captions.json. Without dev and test files, some of the
rows become those splits. What is ambiguous is an error that names the flag to give.

Examples:
  t2t-new-problem birds --name=city_birds
  t2t-new-problem menus.csv --name=menu_german --inputs=en --targets=de
  t2t-new-problem train.jsonl dev.jsonl --name=my_answers --inputs=question --targets=answer
  t2t-new-problem manuals.en manuals.de --name=manuals_german
"""

import collections
import itertools
import os
import sys
from pathlib import Path

from t2t_multimodel.cli.command import Command
from t2t_multimodel.errors import UserError

_DEFAULT_FOLDER = "my_problems"
_FEWEST_ROWS = 20
_OF_TABLES = ("targets_are", "key", "group", "header", "delimiter", "media_folder")  # flags
_MOST_TO_COMPARE = 200_000  # rows of a split in which duplicates are counted


class _NewProblem(Command):
    """Its --t2t_usr_dir need not exist yet, so that it is not loaded before the file is in it."""

    def _load_user_code(self, directory):
        os.environ.pop("T2T_USR_DIR", None)


command = _NewProblem("t2t-new-problem", __doc__)

command.positional("PATH", "a folder, or files of one table")
command.group("What to write")
command.text("name", None, "name of the problem, such as city_birds", metavar="NAME", required=True)
command.text("description", "", "its first line of documentation; default: what was found", metavar="TEXT")
command.switch("overwrite", "replace the file of that name")

command.group("What the data is")
command.text("inputs", "", "column of the inputs; none: a language model", metavar="COLUMN")
command.text("targets", "", "column of the targets", metavar="COLUMN")
command.choice("targets_are", None, ("class", "text", "numbers"), "what the targets are, where it can't be told")
command.text("key", "", "column that identifies a row", metavar="COLUMN")
command.text("group", "", "column, such as a speaker: rows with the same value stay in one split", metavar="COLUMN")
command.text("languages", "", "of the inputs and the targets, for reports: English,German", metavar="NAMES")
command.choice("header", None, ("yes", "no"), "whether the first line of CSV or TSV names the columns")
command.text("delimiter", "", "of CSV; default: a comma, in .tsv a tab", metavar="TEXT")
command.text("media_folder", "", "folder that paths in the table are relative to, below the data", metavar="DIR")
command.integer("picture_size", None, "pixels of a side that pictures are resized to", at_least=1)

command.group("Splits, where the data has none")
command.text("dev_percent", "", "of the rows that become dev; default: 5, of few rows 10", metavar="PERCENT")
command.text("test_percent", "", "of the rows that become test; default: as dev", metavar="PERCENT")

command.group("How")
command.integer("rows", 100_000, "rows of each split that are looked at", at_least=1)
command.integer("files", 200, "pictures or recordings that are looked at", at_least=1)

command.group("Everywhere")
command.text("t2t_usr_dir", _DEFAULT_FOLDER, "folder of the Python file; created if missing", metavar="DIR")
command.switch("registry_help", "list everything registered; and exit")
command.switch("help", "show this text, and exit")


def main(argv=None):
    return command.run(_new_problem, argv)


def _new_problem(flags):
    from t2t_multimodel.data_gen.readers.tables import TableFormat
    from t2t_multimodel.survey import choice as choices
    from t2t_multimodel.survey import columns, layout
    from t2t_multimodel.survey.choice import wrong_with

    file = _file(flags)
    if corpus := _corpus(flags):
        return _of_corpus(flags, file, corpus)
    form = TableFormat(delimiter=flags.delimiter.replace("\\t", "\t"))
    found = layout.find_layout(command.arguments, form, flags.header or "", flags.media_folder)
    print(f"{found.directory}:")
    _print_lines(found.why)
    profiles, rows, faults = {}, {}, []
    for split, tables in found.tables.items():
        profiles[split], rows[split], more = columns.profile(tables, found.form, flags.rows)
        faults += more
    if not profiles["train"]:
        raise UserError(
            f"train has no row that can be read; the first fault: {faults[0]}" if faults else "train has no rows"
        )
    _print_columns(profiles["train"], rows, flags.rows)
    if faults:
        print(f"  wrong: {len(faults):,} rows can't be read, such as {faults[0]}")
    chosen = choices.choose(
        profiles["train"],
        inputs=flags.inputs,
        targets=flags.targets,
        targets_are=flags.targets_are or "",
        languages=flags.languages,
    )
    _print_lines(chosen.why)
    _print_lines(wrong_with(profiles["train"], chosen))
    for role in ("key", "group"):
        if name := getattr(flags, role):
            if name not in profiles["train"]:
                raise _unknown(role, name, profiles["train"])
            chosen.more[role] = name
    percents = _percents(flags, found.tables, rows["train"])
    text = _source(flags, found, chosen, profiles["train"][chosen.targets], percents, rows, file.parent)
    return _write_and_check(flags, file, text, faults)


def _corpus(flags):
    """The `Corpus` that the paths are, if they are no tables; raises `UserError` for flags that go with tables."""
    from t2t_multimodel.survey.corpora import find_corpus

    corpus = find_corpus(command.arguments, flags.inputs, flags.targets, flags.languages)
    if corpus:
        unused = _OF_TABLES if corpus.base == "ParallelText" else ("inputs", "targets", *_OF_TABLES)
        for name in unused if corpus.base == "CaptionedImages" else (*unused, "picture_size"):
            if getattr(flags, name):
                raise UserError(f"--{name} does not go with these files, which are {corpus.kinds}; leave it out")
    return corpus


def _of_corpus(flags, file, corpus):
    from t2t_multimodel.survey import source
    from t2t_multimodel.survey.corpora import first_targets

    print(f"{corpus.directory}:")
    _print_lines(corpus.why)
    targets = first_targets(corpus, flags.rows)
    percents = _percents(flags, corpus.splits, len(targets), "the inputs")
    values = {"directory": source.relative(corpus.directory, file.parent)} | corpus.attributes
    if corpus.base != "BracketedTrees" and source.are_short(targets):
        values["metrics"] = source.METRICS_OF_SHORT_TEXTS
    values |= {f"{split}_percent": percent for split, percent in percents.items()}
    attributes, modalities = {name: source.literal(value) for name, value in values.items()}, ()
    if flags.picture_size:
        attributes["image"], modalities = f"Image({flags.picture_size}, {flags.picture_size}, 3)", ("Image",)
    description = flags.description or f"{corpus.kinds.capitalize()}, from {corpus.directory.name}."
    _check_description(description)
    text = source.write_source(flags.name, description, attributes, modalities, corpus.base)
    return _write_and_check(flags, file, text, ())


def _file(flags):
    """The path of the Python file; raises `UserError` if the name can't be used."""
    from t2t_multimodel import registry

    name = flags.name
    if not (name.isidentifier() and name.isascii() and name == name.lower() and name[0] != "_"):
        raise UserError(f"--name={name}: a name has lower-case letters, digits and underscores, such as city_birds")
    if name in registry.problems:
        raise UserError(f"--name={name}: there is a problem of that name; give another")
    file = Path(flags.t2t_usr_dir) / f"{name}.py"
    if os.path.lexists(file) and not flags.overwrite:
        raise UserError(f"{file} is there already; give another --name, or --overwrite")
    if (file.parent / "__init__.py").exists():
        raise UserError(f"{file.parent} is a package; give a folder without __init__.py in --t2t_usr_dir")
    return file


def _unknown(role, name, columns):
    from t2t_multimodel.errors import unknown_name

    return unknown_name(f"column of --{role}", name, columns)


def _percents(flags, tables, rows, hashed="a row's group, key or inputs"):
    """{split: percent} that are taken from train."""
    missing = [split for split in ("dev", "test") if split not in tables]
    default = 10.0 if rows < 2000 else 5.0
    percents = {}
    for split in missing:
        text = getattr(flags, f"{split}_percent") or flags.dev_percent or str(default)
        try:
            percents[split] = float(text)
        except ValueError:
            percents[split] = -1.0
        if not 0 <= percents[split] < 50:
            raise UserError(f"--{split}_percent={text}: a number from 0 to 50 expected")
    if percents.get("dev") and rows < _FEWEST_ROWS:
        raise UserError(f"train has {rows} rows, too few to take dev and test from them; give more data")
    if percents:
        shares = ", ".join(f"{split} {percent:g} %" for split, percent in percents.items())
        _print_lines([f"taken from train, by the hash of {hashed}: {shares}"])
    return percents


def _source(flags, found, chosen, target, percents, rows, folder):
    from t2t_multimodel.survey import source
    from t2t_multimodel.survey.probe import probe_samples

    shares = {f"{split}_percent": percent for split, percent in percents.items()}
    probe = probe_samples(found, chosen, flags.files)
    if probe and probe.described():
        _print_lines([f"{chosen.inputs_kind}s: {probe.described()}"])
    if probe and probe.unreadable:
        _print_lines([f"wrong: {len(probe.unreadable):,} can't be read, such as {probe.unreadable[0]}"])
    attributes, modalities = source.declaration(
        chosen, found, target, probe, picture_size=flags.picture_size, folder=folder, **shares
    )
    kinds = f"{chosen.inputs_kind or 'nothing'} to {chosen.targets_kind}"
    description = flags.description or f"{kinds.capitalize()}, from {_origin(found)}: {rows['train']:,} rows."
    _check_description(description)
    return source.write_source(flags.name, description, attributes, modalities)


def _check_description(description):
    if '"' in description or "\\" in description or not description.isprintable():
        raise UserError("--description: one line without quotes and backslashes expected")


def _origin(found):
    """The name of the folder or the first file."""
    names = [name for split in found.files.values() for name in split]
    name = os.path.basename(names[0]) if names else found.directory.name
    return "".join("_" if each in '"\\' or not each.isprintable() else each for each in name)


def _write_and_check(flags, file, text, faults):
    from t2t_multimodel.files import write_file

    is_new = not file.exists()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, text)
    print(f"\nwrote {file}:\n\n" + "\n".join(f"    {line}" if line else "" for line in text.splitlines()) + "\n")
    try:
        _load(file)
        _check(flags, file)
    except (KeyboardInterrupt, _NotLoadedError):  # so that the same command can be given again
        if is_new:
            file.unlink()
        raise
    bad = f" --max_bad_records={len(faults)}" if faults else ""
    folder, name = flags.t2t_usr_dir, flags.name
    print("check_problem found nothing wrong. Next:\n")
    print(f"    t2t-datagen --problem={name} --t2t_usr_dir={folder} --data_dir=data{bad}")
    print(
        f"    t2t-trainer --problem={name} --t2t_usr_dir={folder} --data_dir=data --output_dir=run_{name} "
        "--model=multimodel --hparams_set=multimodel_tiny"
    )
    return 0


class _NotLoadedError(UserError):
    """The folder can't be loaded with the new file in it."""


def _load(file):
    from t2t_multimodel import startup
    from t2t_multimodel.cli.user_code import load_user_code

    startup.import_tensorflow()
    try:
        load_user_code(file.parent)
    except UserError as error:
        raise _NotLoadedError(f"{error}; {file} was not kept") from None


def _check(flags, file):
    """Raises `UserError` if the problem in `file` has faults, after they are listed."""
    from t2t_multimodel import registry
    from t2t_multimodel.testing import find_faults

    problem = registry.problem(flags.name)
    _print_splits(problem)
    findings = find_faults(problem)
    for finding in findings:
        print(f"- {finding}", file=sys.stderr)
    if findings:
        raise UserError(
            f"check_problem found {len(findings)} {'fault' if len(findings) == 1 else 'faults'}, listed above; correct "
            f"the data or {file} (t2t-datagen --max_bad_records=N leaves bad rows out), and give --overwrite here, or "
            "call t2t_multimodel.testing.check_problem"
        )


def _print_splits(problem):
    """Examples, duplicates and lengths of each split."""
    from t2t_multimodel.testing.content import digest_of

    sides = {"inputs": problem.inputs, "targets": problem.targets}
    texts = [side for side, modality in sides.items() if modality is not None and modality.is_text]
    for split in problem.splits:
        seen, count, more, words = set(), 0, "", collections.Counter()
        for sample in itertools.islice(problem.read_samples(split), _MOST_TO_COMPARE):
            if "bad" not in sample:
                count += 1
                seen.add(digest_of((sample.get("inputs"), sample["targets"])))
                for side in texts:
                    words[side] += len(sample[side].split())
        if count == _MOST_TO_COMPARE:
            more = " and more"
        twice = f", {count - len(seen):,} of them repeat another" if len(seen) < count else ""
        lengths = " → ".join(f"{words[side] / max(1, count):.1f}" for side in texts)
        lengths = f"; words on average: {lengths}" if texts else ""
        print(f"  {split}: {count:,} examples{more}{twice}{lengths}")


def _print_columns(columns, rows, most):
    from t2t_multimodel.training.reporting import format_table

    counts = ", ".join(f"{split} {count:,}{' or more' if count == most else ''}" for split, count in rows.items())
    _print_lines([f"rows: {counts}"])
    head = ["column", "holds", "", "for example"]
    table = [[name, c.kind, c.described(), _example(c)] for name, c in columns.items()]
    print("\n" + "\n".join("  " + line for line in format_table([head, *table]).splitlines()) + "\n")


def _example(column):
    if not column.examples:
        return ""
    text = str(column.examples[0]).replace("\n", "⏎")
    return text if len(text) <= 40 else text[:39] + "…"


def _print_lines(lines):
    for line in lines:
        print(f"  {line}")


if __name__ == "__main__":
    sys.exit(main())
