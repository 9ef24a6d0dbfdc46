"""Generates the data of problems: samples → examples in DATA_DIR/<problem>/, and a common vocabulary.

A store is either complete or missing. A second call skips unchanged stores and continues an interrupted one. The files
are the same for any number of workers, and for Apache Beam (docs/scale.md).

Examples:
  t2t-datagen --problem=tiny8 --data_dir=data
  t2t-datagen --problem=my_birds,tiny_ende --t2t_usr_dir=my_problems --data_dir=data --vocabulary_size=4096 --workers=4
  t2t-datagen --problem=tiny8 --data_dir=data --dry_run
  t2t-datagen --problem=tiny8 --data_dir=data --verify
  t2t-datagen --problem=tiny8 --data_dir=data --runner=beam --beam_options="--runner=DirectRunner"
"""

import functools
import sys
import time

from t2t_multimodel import startup
from t2t_multimodel.cli.command import Command

command = Command("t2t-datagen", __doc__)

command.group("What to generate")
command.text("problem", None, "problems or mixtures", metavar="NAMES", required=True)
command.text("data_dir", None, "folder for the data; created if missing", metavar="DIR", required=True)
command.integer(
    "vocabulary_size",
    None,
    "ids of the vocabulary, if this call trains it; default: as the problems declare, else 8192",
    at_least=1,
)
command.text(
    "vocabulary_from",
    None,
    "use the vocabulary of this run instead of training one, so that a new run can start from it with all its words",
    metavar="DIR",
)
command.integer("seed", 0, "seed of the order of the examples on disk", at_least=0)
command.integer(
    "max_bad_records", 0, "bad records of a problem (unreadable files, for example) that may be left out", at_least=0
)
command.switch("skip_missing", "skip problems with a missing corpus, and list them")
command.text(
    "manual_dir",
    None,
    "folder of the corpora that you obtained, one folder each; default: $T2T_MANUAL_DIR, else DATA_DIR/manual",
    metavar="DIR",
)
command.text("download_dir", None, "folder for what is downloaded; default: DATA_DIR/downloads", metavar="DIR")

command.group("How")
command.switch("dry_run", "print what would be generated, and write nothing")
command.switch("verify", "check all existing data against its digests; generate nothing")
command.switch("overwrite", "generate existing stores again")
command.integer("workers", None, "processes; default: one per processor", at_least=1)
command.integer("shard_megabytes", 256, "size at which a file of examples is closed", at_least=1)
command.choice(
    "runner",
    "local",
    ("local", "beam"),
    "where examples are made: in processes of this machine, or with Apache Beam (docs/scale.md)",
)
command.text(
    "beam_options", "", "with --runner=beam: Beam's own options, in one string", metavar="OPTIONS", holds_flags=True
)
command.text(
    "beam_folder",
    None,
    "with --runner=beam: a folder that all workers can access; default: in DATA_DIR",
    metavar="DIR",
)

command.standard_flags(backend=False)


def main(argv=None):
    return command.run(_generate, argv)


def _generate(flags):
    from t2t_multimodel import mixture, registry
    from t2t_multimodel.errors import UserError

    if flags.verify and (flags.dry_run or flags.overwrite):
        raise UserError("--verify generates nothing: give it without --dry_run and --overwrite")
    if flags.vocabulary_from and (flags.vocabulary_size or flags.dry_run):
        raise UserError(
            "--vocabulary_from brings its own size and writes it: leave --vocabulary_size and --dry_run out"
        )
    names = mixture.parse(flags.problem).problem_names
    runner = _beam_runner(flags)

    startup.import_tensorflow()
    from t2t_multimodel import metrics
    from t2t_multimodel.data_gen import generate, summary, verify
    from t2t_multimodel.data_gen.readers import corpora
    from t2t_multimodel.problem import declaration_faults

    corpora.set_folders(flags.data_dir, flags.manual_dir, flags.download_dir, may_write=not flags.dry_run)

    if flags.verify:
        verify.verify(names, flags.data_dir)
        return
    problems = [registry.problem(name) for name in names]
    for problem in problems:
        if not declaration_faults(problem):  # else `generate` raises the error
            metrics.check_names(problem.metric_names, problem.targets)
    vocabulary = None
    if flags.vocabulary_from:
        from t2t_multimodel.training.published import vocabulary_of

        vocabulary = vocabulary_of(flags.vocabulary_from)
    start = time.monotonic()
    results = generate.generate(
        problems,
        flags.data_dir,
        vocabulary_size=flags.vocabulary_size,
        workers=flags.workers,
        overwrite=flags.overwrite,
        dry_run=flags.dry_run,
        max_bad_records=flags.max_bad_records,
        seed=flags.seed,
        skip_missing=flags.skip_missing,
        shard_bytes=flags.shard_megabytes << 20,
        runner=runner,
        vocabulary_from=vocabulary,
    )
    if results:
        print(summary.table(names, results, time.monotonic() - start))


def _beam_runner(flags):
    """problems → the runner that `--runner=beam` asks for; None for this machine's processes."""
    from t2t_multimodel.errors import UserError

    if flags.runner == "local":
        if flags.beam_options or flags.beam_folder:
            raise UserError("--beam_options and --beam_folder go with --runner=beam")
        return None
    if flags.workers:
        raise UserError("--workers goes with --runner=local; Beam's own option says how many workers it has")
    from t2t_multimodel.data_gen import beam

    beam.pipeline_options(flags.beam_options)  # raises before anything is read
    return functools.partial(beam.BeamRunner, options=flags.beam_options, folder=flags.beam_folder)


if __name__ == "__main__":
    sys.exit(main())
