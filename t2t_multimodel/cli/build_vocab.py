"""Trains vocabularies on the text of the given problems and measures how well each fits: tokens per character, by side.

Several sizes are compared in one table. Nothing is kept unless --data_dir is given, with one size: then t2t-datagen
uses that vocabulary. Without this command t2t-datagen trains one itself, on the problems of its first call. The measure
uses the first texts of dev (or test), which are not in the training text. Fewer tokens mean shorter sequences; more ids
mean a larger embedding and softmax. "bytes" is the share of tokens that are single bytes, for unknown characters.

Examples:
  t2t-build-vocab --problem=tiny8 --sizes=512,1024,2048
  t2t-build-vocab --problem=tiny_ende,my_menus --t2t_usr_dir=my_problems --sizes=4096 --data_dir=data
"""

import pathlib
import sys
import tempfile
import time

from t2t_multimodel.cli.command import Command
from t2t_multimodel.errors import UserError

command = Command("t2t-build-vocab", __doc__)

command.group("What to make")
command.text("problem", None, "problems or mixtures", metavar="NAMES", required=True)
command.text("sizes", "8192", "requested numbers of ids, separated by commas", metavar="N,N")
command.text("data_dir", None, "folder to write the vocabulary to, for t2t-datagen; created if missing", metavar="DIR")
command.integer("most_lines", 1_000_000, "if there are more texts, a random sample is used", at_least=1)

command.group("Folders of corpora")
command.text(
    "manual_dir",
    None,
    "folder of the corpora that you obtained; default: $T2T_MANUAL_DIR, else "
    "DATA_DIR/manual, without --data_dir ./manual",
    metavar="DIR",
)
command.text(
    "download_dir",
    None,
    "folder for what is downloaded; default: DATA_DIR/downloads, without --data_dir ./downloads",
    metavar="DIR",
)

command.standard_flags(backend=False)


def main(argv=None):
    return command.run(_build, argv)


def _build(flags):
    from t2t_multimodel import mixture, registry
    from t2t_multimodel.data_gen import files, store
    from t2t_multimodel.data_gen.generate import check_declarations
    from t2t_multimodel.data_gen.readers import corpora

    sizes = _sizes(flags.sizes)
    if flags.data_dir and len(sizes) > 1:
        raise UserError("--data_dir takes one vocabulary: compare --sizes without it, then give one size")
    corpora.set_folders(flags.data_dir or ".", flags.manual_dir, flags.download_dir)
    if not flags.data_dir:
        manual, downloads = corpora.manual_folder().absolute(), corpora.download_folder().absolute()
        print(f"corpora are looked for in {manual} (--manual_dir) and in {downloads} (--download_dir)")
    problems = [registry.problem(name) for name in mixture.parse(flags.problem).problem_names]
    check_declarations(problems)
    with_text = [problem for problem in problems if store.uses_text(problem)]
    if not with_text:
        raise UserError(f"neither side of {', '.join(p.name for p in problems)} is text, so there is no vocabulary")
    if len(with_text) < len(problems):
        print(f"without text, left out: {', '.join(p.name for p in problems if p not in with_text)}")

    if not flags.data_dir:
        with tempfile.TemporaryDirectory() as folder:
            made = [_train(pathlib.Path(folder) / str(size), with_text, size, flags.most_lines) for size in sizes]
            print(_comparison(with_text, made))
        return
    data_dir = pathlib.Path(flags.data_dir)
    folder = data_dir / store.VOCABULARY_FOLDER
    with files.disk_full_in_words(data_dir), files.only_one(data_dir):
        files.sweep(data_dir)
        if folder.exists():
            raise UserError(
                f"{folder} exists already, and the stores beside it may use it; give another --data_dir, or remove it "
                f"and generate all data again"
            )
        with files.written_whole(folder) as beside:
            made = _train(beside, with_text, sizes[0], flags.most_lines)
    print(_comparison(with_text, [made]))
    print(f"wrote {folder}")


def _sizes(text):
    """ "1024, 8192" → [1024, 8192]"""
    try:
        sizes = [int(word) for word in text.replace("_", "").split(",") if word.strip()]
    except ValueError:
        sizes = []
    if not sizes or len(set(sizes)) < len(sizes) or min(sizes) < 1:
        raise UserError(f"--sizes={text!r}: different whole numbers expected, such as --sizes=1024,8192")
    return sizes


def _train(folder, problems, size, most_lines):
    """Trains a vocabulary, writes it to `folder`, prints a line, and returns it."""
    from t2t_multimodel.data_gen.vocabulary_training import train_on_problems

    start = time.monotonic()
    vocabulary = train_on_problems(folder, problems, size=size, most_lines=most_lines)
    fewer = "" if vocabulary.size >= size else f", fewer than the {size:,} requested: the text supports no more"
    print(f"vocabulary of {vocabulary.size:,} ids{fewer}; {time.monotonic() - start:.1f} s")
    return vocabulary


def _comparison(problems, vocabularies):
    """A table with one row per side of a problem and two columns per vocabulary."""
    from t2t_multimodel.data_gen import vocabulary_fit
    from t2t_multimodel.training.reporting import format_table

    head = ["problem", "side", "language", "split", "characters"]
    for vocabulary in vocabularies:
        head += [f"tokens/char, {vocabulary.size:,}", "bytes"]
    rows, by_language = [], {}
    for problem in problems:
        for side, texts in vocabulary_fit.sample_texts(problem).items():
            fits = [vocabulary_fit.fit(vocabulary, texts) for vocabulary in vocabularies]
            language = getattr(problem, side).language or "?"
            row = [problem.name, side, language, vocabulary_fit.measured_split(problem), fits[0].characters]
            rows.append(row + _cells(fits))
            by_language.setdefault(language, []).append(fits)
    for language, several in by_language.items():
        if len(several) > 1:
            rows.append(_together("all", language, several))
    return format_table([head, *rows, _together("all", "", sum(by_language.values(), []))])


def _together(name, language, rows):
    """The sum of several rows; each row is a list of `Fit`s, one per vocabulary."""
    from t2t_multimodel.data_gen.vocabulary_fit import Fit

    fields = ("characters", "tokens", "byte_tokens")
    fits = [Fit(*(sum(getattr(fit, field) for fit in fits) for field in fields)) for fits in zip(*rows)]
    return [name, "", language, "", fits[0].characters, *_cells(fits)]


def _cells(fits):
    return [cell for fit in fits for cell in (f"{fit.tokens_per_character:.3f}", f"{fit.byte_share:.1%}")]


if __name__ == "__main__":
    sys.exit(main())
