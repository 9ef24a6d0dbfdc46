"""Data generation: problems → example stores in a data folder. `t2t-datagen` is a thin command around `generate`.

One call: lock the data folder · find the stores that exist and are current · train the vocabulary, or reuse it ·
assign an id to each problem's command · write each missing store with one pool of workers.
A finished store stays, whatever happens to the next one.
"""

import contextlib
import dataclasses
import functools
import pathlib

import numpy as np

from t2t_multimodel import startup
from t2t_multimodel.data_gen import files
from t2t_multimodel.data_gen.dry_run import describe_plan
from t2t_multimodel.data_gen.fingerprint import fingerprint
from t2t_multimodel.data_gen.local import LocalRunner
from t2t_multimodel.data_gen.progress import Bars
from t2t_multimodel.data_gen.readers.corpora import MissingCorpus
from t2t_multimodel.data_gen.shards import SHARD_BYTES
from t2t_multimodel.data_gen.store import (
    VOCABULARY_FOLDER,
    declarations,
    read_manifest,
    uses_text,
    why_not_current,
    write_manifest,
    write_store,
)
from t2t_multimodel.data_gen.vocabulary_training import (
    DEFAULT_SIZE,
    assign_commands,
    requested_size,
    symbols_known,
    symbols_of,
    train_on_problems,
)
from t2t_multimodel.errors import UserError
from t2t_multimodel.files import remove_folder
from t2t_multimodel.modalities import Modality
from t2t_multimodel.problem import declaration_faults
from t2t_multimodel.vocabulary import TABLE_FILE, Vocabulary

# Names in a data folder that no problem may have: t2t-inspect writes there, or corpora are there (readers/corpora.py).
RESERVED = (VOCABULARY_FOLDER, "inspect", "manual", "downloads")


@dataclasses.dataclass(frozen=True)
class Result:
    """The result for one problem."""

    problem: str
    made: bool  # False: the store existed and is current
    manifest: dict
    seconds: float = 0.0
    tokens_per_second: float = 0.0  # written by this call; 0 where neither side is text


def generate(
    problems,
    data_dir,
    *,
    vocabulary_size=None,
    workers=None,
    overwrite=False,
    dry_run=False,
    max_bad_records=0,
    shard_bytes=SHARD_BYTES,
    seed=0,
    skip_missing=False,
    log=print,
    progress=None,
    runner=None,
    vocabulary_from=None,
):
    """Writes the stores of `problems` in `data_dir`; existing stores that are current are kept.

    Args:
      problems: `Problem` instances.
      data_dir: a folder; created if it does not exist.
      vocabulary_size: number of ids when this call trains the vocabulary; None: the largest `vocabulary_size` of
        the problems, or 8192.
      workers: number of processes; None: one per processor. The files do not depend on it.
      overwrite: writes all stores again. The vocabulary stays, since other stores may use it.
      dry_run: logs what would be done, and writes nothing.
      max_bad_records: how many records of a problem may be left out because their files can't be read, or because they
        do not match the problem's features.
      shard_bytes: size at which a shard is closed.
      seed: decides the order of the examples on disk.
      skip_missing: skips problems with a missing corpus (`readers/corpora.py`), and logs them.
      log: called with each line for the user.
      progress: whether to show progress bars on stderr; None: if it is a terminal.
      runner: problems → the runner that writes their examples (`beam.BeamRunner`); None: local processes.
      vocabulary_from: the `Vocabulary` to use instead of training one, with its commands.

    Returns:
      A list of `Result`, one for each problem; [] after a dry run.

    Raises:
      UserError: an existing store was made from something else (the message says what changed), unusable data, a
        folder in use by another process, or a full disk. No incomplete store is visible; the next call with the same
        arguments reuses the finished parts (`staging.py`).
    """
    data_dir = pathlib.Path(data_dir)
    if (data_dir / "run.json").exists():  # its vocabulary/ belongs to the model and must not change
        raise UserError(f"{data_dir} is the run directory of a model; name another folder for the data")
    problems = _present(list(problems), skip_missing, log)
    _check_names(problems)
    check_declarations(problems)
    settings = {"seed": seed, "shard_bytes": shard_bytes}
    size = vocabulary_size or max((p.vocabulary_size or 0 for p in problems), default=0) or DEFAULT_SIZE
    if dry_run:
        describe_plan(problems, data_dir, _existing_vocabulary(data_dir), size, settings, log)
        return []
    with files.disk_full_in_words(data_dir), files.only_one(data_dir):
        files.sweep(data_dir)
        if vocabulary_from is not None:
            _use_vocabulary(vocabulary_from, data_dir)
        vocabulary = _existing_vocabulary(data_dir, vocabulary_size)
        # Before the sources are read: if one changes during this call, the next call finds the difference.
        made_from = {p.name: fingerprint(p, vocabulary if uses_text(p) else None, settings) for p in problems}
        to_make = [p for p in problems if _must_be_made(p, data_dir, made_from[p.name], overwrite)]
        bars, trained = Bars(progress), vocabulary is None
        if to_make:
            startup.import_tensorflow()  # takes seconds, which the times of the problems must not include
            vocabulary = _vocabulary_for(to_make, data_dir, vocabulary, size, log, bars)
        results = []
        make_runner = runner or functools.partial(LocalRunner, count=workers)
        with make_runner(to_make) as runner, _vocabulary_without_store_removed(data_dir, trained, results):
            for problem in problems:
                if problem not in to_make:
                    results.append(_kept(problem, data_dir, log))
                    continue
                own_vocabulary = vocabulary if uses_text(problem) else None
                made = write_store(
                    problem,
                    data_dir,
                    runner,
                    own_vocabulary,
                    made_from[problem.name] | {"vocabulary": own_vocabulary and own_vocabulary.digest},
                    max_bad_records=max_bad_records,
                    shard_bytes=shard_bytes,
                    seed=seed,
                    overwrite=overwrite,
                    bars=bars,
                    log=log,
                )
                rate = made.made_now["text_ids"] / made.seconds
                results.append(Result(problem.name, True, made.manifest, made.seconds, rate))
                _log_store(problem, made, log)
        _log_unfinished(data_dir, log)
    return results


def _present(problems, skip_missing, log):
    """The problems with existing corpora; raises `MissingCorpus` for the others unless `skip_missing`."""
    present = []
    for problem in problems:
        try:
            problem.source_files()
        except MissingCorpus as error:
            if not skip_missing:
                raise
            log(f"{problem.name}: skipped: {error}")
        else:
            present.append(problem)
    if problems and not present:
        raise UserError("the corpus of every problem is missing (see the lines above); nothing is left to do")
    return present


def _check_names(problems):
    if not problems:
        raise UserError("no problem is given; name one or more, e.g. --problem=tiny8")
    names = [problem.name for problem in problems]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"problem {name} is named twice")
        if not (name and name.isidentifier() and name.isascii()) or name in RESERVED:
            raise UserError(
                f"problem {name!r}: a folder and files are called after it, so the name must be letters, digits and "
                f"underscores, a letter first, and not {' or '.join(map(repr, RESERVED))}"
            )


def check_declarations(problems):
    """Raises `UserError` for the first problem with an invalid declaration."""
    for problem in problems:
        faults = declaration_faults(problem)
        if faults:
            raise UserError(f"problem {problem.name} ({type(problem).__module__}): {'; '.join(faults)}")


def _existing_vocabulary(data_dir, asked_for=None):
    """The data folder's `Vocabulary`; None if it is not trained yet."""
    folder = data_dir / VOCABULARY_FOLDER
    if not (folder / TABLE_FILE).exists():  # written last
        return None
    if asked_for and asked_for != requested_size(folder):
        raise UserError(
            f"{folder} was trained for {requested_size(folder)} ids, and stores beside it use it; to get {asked_for} "
            f"ids, use another --data_dir, or remove {folder} and write all problems again with --overwrite"
        )
    return Vocabulary.load(folder)


def _use_vocabulary(given, data_dir):
    """Puts the `Vocabulary` into the data folder; raises `UserError` where there is another one."""
    there = _existing_vocabulary(data_dir)
    if there is None:
        given.copy_to(data_dir / VOCABULARY_FOLDER)
    elif there.digest != given.digest:
        raise UserError(
            f"{data_dir / VOCABULARY_FOLDER} is another vocabulary than the one of --vocabulary_from ({there.size:,} "
            f"ids, not {given.size:,}); use another --data_dir"
        )


def _must_be_made(problem, data_dir, made_from, overwrite):
    """True: there is no store, or it must be replaced; False: the store is current."""
    folder = data_dir / problem.name
    why = why_not_current(folder, made_from)
    if why and not overwrite:
        raise UserError(
            f"{folder} does not fit problem {problem.name} any more: {'; '.join(why[:5])}"
            + (f"; and {len(why) - 5} more" if len(why) > 5 else "")
            + "; --overwrite makes it again"
        )
    return why is None or overwrite


@contextlib.contextmanager
def _vocabulary_without_store_removed(data_dir, trained, results):
    """If every store fails, removes the vocabulary `trained` by this call: its text may be what the user corrects."""
    try:
        yield
    except Exception:  # not Ctrl-C, which says nothing about the text
        if trained and not any(result.made for result in results):
            remove_folder(data_dir / VOCABULARY_FOLDER)
        raise


def _kept(problem, data_dir, log):
    """The `Result` of a current store; updates what its manifest declares, for example the metrics."""
    folder = data_dir / problem.name
    remove_folder(data_dir / f"{files.INCOMPLETE}{problem.name}")  # of a job that would have replaced it
    before = read_manifest(folder)
    vocabulary = None
    if problem.targets.uses_vocabulary:
        vocabulary = assign_commands(data_dir / VOCABULARY_FOLDER, [problem.command_name])
    manifest = before | declarations(problem, vocabulary)
    line = "complete and unchanged, nothing to do"
    if manifest != before:
        write_manifest(folder, manifest)
        changed = [name for name in manifest if manifest[name] != before.get(name)]
        line = f"complete; its manifest now has the new {', '.join(changed)}"
    log(f"{problem.name}: {line} ({_counts(manifest)})")
    return Result(problem.name, False, manifest)


def _vocabulary_for(problems, data_dir, vocabulary, size, log, bars):
    """The vocabulary with a command for each of `problems` that uses text; None if none does."""
    with_text = [problem for problem in problems if uses_text(problem)]
    if not with_text:
        return vocabulary
    folder = data_dir / VOCABULARY_FOLDER
    if vocabulary is None:
        with bars.reading("reading text for the vocabulary", "training the vocabulary") as read:
            trained = train_on_problems(folder, with_text, size=size, progress=read)
        fewer = f", fewer than the {size} asked for: the text supports no more" if trained.size < size else ""
        names = ", ".join(problem.name for problem in with_text)
        log(f"vocabulary: {trained.size:,} ids{fewer}; trained on {names}")
    else:
        log(f"vocabulary: the {vocabulary.size:,} ids of {folder} are reused")
        for problem in with_text:
            unknown = set(symbols_of(problem)) - symbols_known(folder)
            lacking = {symbol for symbol in unknown if len(vocabulary.encode(f" {symbol}")) > 1}
            if lacking:
                log(
                    f"warning: {problem.name}: that vocabulary was trained without {len(lacking)} of its symbols (such "
                    f"as {min(lacking)!r}), so each may take several ids; in a new --data_dir that starts with this "
                    "problem each has its own id"
                )
    commands = [problem.command_name for problem in with_text if problem.targets.uses_vocabulary]
    return assign_commands(folder, commands)


def _log_unfinished(data_dir, log):
    """Logs the staging folders of interrupted jobs of other problems."""
    for folder in sorted(data_dir.glob(f"{files.INCOMPLETE}*")):
        if files.has_finished_partitions(folder):
            name = folder.name.removeprefix(files.INCOMPLETE)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
            log(
                f"{name}: an unfinished store, {size:,.1f} MB, is in {folder}: generate {name} to finish it, or "
                "remove the folder"
            )


def _log_store(problem, made, log):
    manifest = made.manifest
    lengths = " → ".join(mean_length(manifest, side) for side in ("inputs", "targets"))
    size = sum(split["bytes"] for split in manifest["splits"].values()) / 1e6
    line = f"{problem.name}: {_counts(manifest)}; {size:,.1f} MB; mean length {lengths}"
    if made.characters:
        line += f"; {made.text_ids / made.characters:.2f} tokens a character"
    if made.made_now["text_ids"]:
        line += f"; {made.made_now['text_ids'] / made.seconds:,.0f} tokens/s"
    log(f"{line}; {made.seconds:.1f} s")


def _counts(manifest):
    line = ", ".join(f"{split} {about['examples']:,}" for split, about in manifest["splits"].items()) + " examples"
    if manifest["dropped_count"]:
        line += f", {manifest['dropped_count']} bad records left out"
    return line


def mean_length(manifest, side):
    """The mean length of a side of a store, in words: "11.3 tokens", "1.8 s of sound", "image"."""
    total = sum(np.array(split[f"{side[:-1]}_tokens"]) for split in manifest["splits"].values())
    mean = total / sum(split["examples"] for split in manifest["splits"].values())
    return Modality.from_json(manifest[side]).mean_length_in_words(mean)
