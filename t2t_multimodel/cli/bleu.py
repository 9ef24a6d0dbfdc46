"""Scores translations with sacrebleu: a file against its references, or the curve of a run.

A line is a sentence, line n of each file belongs to line n. The signature that is printed says how it was scored;
scores compare only where signatures are equal. Of a run, BLEU of each evaluation during its training is listed.

Examples:
  t2t-bleu --translation=out.txt --reference=right.txt
  t2t-bleu --translation=out.txt --reference=first.txt --reference=second.txt --tokenize=intl --lowercase
  t2t-bleu --output_dir=run --problem=tiny_ende
"""

import sys

from t2t_multimodel.cli.command import Command
from t2t_multimodel.data_gen.readers.lines import read_lines
from t2t_multimodel.errors import UserError, unknown_name

TOKENIZERS = ("13a", "intl", "char", "zh", "none")  # those of sacrebleu that need no other package

command = Command("t2t-bleu", __doc__)

command.group("Files")
command.text("translation", None, "the translations, UTF-8; .gz is decompressed", metavar="FILE")
command.several("reference", "the right ones; repeated where there are several of each", metavar="FILE")
command.choice("tokenize", TOKENIZERS[0], TOKENIZERS, "how words are told apart; zh for Chinese")
command.switch("lowercase", "upper and lower case are the same")

command.group("A run")
command.text("output_dir", None, "the run directory of t2t-trainer", metavar="DIR")
command.text("problem", None, "the problem; default: all that BLEU was measured of", metavar="NAME")

command.standard_flags(backend=False)


def main(argv=None):
    return command.run(_score, argv)


def _score(flags):
    files = bool(flags.translation or flags.reference)
    if files == bool(flags.output_dir):
        raise UserError("give either --translation=FILE and --reference=FILE, or --output_dir=DIR")
    if not files:
        if flags.lowercase or flags.tokenize != TOKENIZERS[0]:
            raise UserError("--tokenize and --lowercase are of files; the BLEU of a run was measured in its training")
        print(curve(flags.output_dir, flags.problem))
        return
    if not (flags.translation and flags.reference):
        missing = "--reference" if flags.translation else "--translation"
        raise UserError(f"{missing} must be given (see t2t-bleu --help)")
    if flags.problem:
        raise UserError("--problem goes with --output_dir")
    print(bleu(flags.translation, flags.reference, flags.tokenize, flags.lowercase))


def bleu(translation, references, tokenize="13a", lowercase=False):
    """BLEU of a file as sacrebleu writes it, with its signature.

    Args:
      translation: a path. references: paths, of as many lines each.

    Raises:
      UserError: a file can't be read, is empty, or has another number of lines.
    """
    from sacrebleu.metrics import BLEU

    paths = [translation, *references]
    translated, *right = ([line for _, line in read_lines(path)] for path in paths)
    for path, lines in zip(references, right):
        if len(lines) != len(translated):
            raise UserError(
                f"{path} has {len(lines):,} lines, {translation} {len(translated):,}; line n belongs to line n"
            )
    if not translated:
        raise UserError(f"{translation} is empty; give a file with a sentence a line")
    metric = BLEU(tokenize=tokenize, lowercase=lowercase, force=True)  # force: no warning, the score is the same
    score = metric.corpus_score(translated, right)
    return f"{score}\n{metric.get_signature()}"


def curve(output_dir, problem=None):
    """BLEU of each evaluation in a run's log, as a table; the best of each problem and split is marked.

    Raises:
      UserError: there is no run, or BLEU was not measured (of that problem).
    """
    from t2t_multimodel.training.metrics_log import read_metrics
    from t2t_multimodel.training.reporting import format_score, format_table
    from t2t_multimodel.training.run_directory import RunDirectory

    run = RunDirectory(output_dir).run()
    if problem:
        run.problem(problem)  # raises
    points = [
        (record["problem"], record["split"], record["step"], record["bleu"], record.get("decoding", ""))
        for record in read_metrics(output_dir)
        if isinstance(record.get("bleu"), int | float) and record.get("problem") in run.problems
    ]
    measured = {name for name, *_ in points}
    if problem and measured and problem not in measured:
        raise unknown_name("problem with BLEU", problem, measured)
    points = sorted(point for point in points if problem in (None, point[0]))
    if not points:
        raise UserError(f"the log of {output_dir} has no BLEU; t2t-trainer measures it every --eval_interval")
    best = {}
    for name, split, _, score, _ in points:
        best[name, split] = max(score, best.get((name, split), score))
    rows = [("problem", "split", "step", "BLEU", "", "decoding")]
    for name, split, step, score, decoding in points:
        mark = "best" if score == best[name, split] else ""
        rows.append((name, split, step, format_score("bleu", score), mark, decoding))
    return format_table(rows)


if __name__ == "__main__":
    sys.exit(main())
