"""Scores a trained model: each problem's metrics, on decoded output and teacher-forced.

Prints a table with the trivial baselines beside the scores, and writes OUTPUT_DIR/eval/step-N.json:
{problem: {metric: value}}, the last scores of each problem. Rates are fractions of 1; BLEU and bracket F1 run to 100.

Examples:
  t2t-eval --problem=tiny8 --data_dir=data --output_dir=run
  t2t-eval --problem=tiny_ende,tiny_deen --data_dir=data --output_dir=run --split=dev --eval_batches=10
  t2t-eval --problem=tiny_ende --data_dir=data --output_dir=run --decode_hparams="beam_size=4,alpha=0.6"
"""

import contextlib
import json
import sys
from pathlib import Path

from t2t_multimodel import compile_cache, startup
from t2t_multimodel.cli.command import DECODE_HPARAMS, WORKERS, Command

command = Command("t2t-eval", __doc__)

command.group("What to score")
command.text("problem", None, "problems or mixtures", metavar="NAMES", required=True)
command.text("data_dir", None, "folder that t2t-datagen filled", metavar="DIR", required=True)
command.text("output_dir", None, "the run directory that t2t-trainer made", metavar="DIR", required=True)
command.integer("step", None, "the checkpoint of this step; default: the newest", at_least=0)
command.text("split", None, "split of the data; default: test where a problem has one, else dev", metavar="SPLIT")
command.integer("eval_batches", 0, "batches of each problem; 0 = all", at_least=0)
command.text("decode_hparams", "", DECODE_HPARAMS, metavar="SETTINGS")
command.integer("workers", None, WORKERS.format("examples"), at_least=1)

command.standard_flags()


def main(argv=None):
    return command.run(_evaluate, argv)


def _evaluate(flags):
    from t2t_multimodel import hyperparameters, mixture
    from t2t_multimodel.cli.baselines import baselines

    problems = mixture.parse(flags.problem).problem_names
    decode_hparams = hyperparameters.parse(flags.decode_hparams, "--decode_hparams")

    compile_cache.begin()
    startup.import_backend()
    from t2t_multimodel.training import checkpoints
    from t2t_multimodel.training.evaluation import evaluate_run

    step = checkpoints.latest(Path(flags.output_dir) / "checkpoints") if flags.step is None else flags.step
    scores = evaluate_run(
        flags.output_dir,
        problems,
        flags.data_dir,
        split=flags.split,
        step=step,
        eval_batches=flags.eval_batches,
        decode_hparams=decode_hparams,
        workers=flags.workers,
    )
    written = write_scores(scores, flags.output_dir, step)  # first: what may take hours is not lost for what follows
    trivial = {name: baselines(flags.data_dir, name, flags.split) for name in problems}
    print(score_table(scores, trivial))
    print(f"step {step}: {written}")


def score_table(scores, trivial):
    """The headline metrics as `headline_table` shows them, then all metrics of each problem.

    Args:
      scores: {problem: {metric: value}} of `evaluate_run`.
      trivial: {problem: {metric: (value or None, name of the baseline)}} of `baselines`, the headline first.
    """
    from t2t_multimodel.training.reporting import format_score, format_table

    rows, notes = [("problem", "metric", "value", "trivial")], {}
    for problem, values in scores.items():
        for metric in [*trivial[problem], *sorted(set(values) - set(trivial[problem]) - {"examples", "split"})]:
            if isinstance(values[metric], str):  # such as sacrebleu's signature, mostly the same for all problems
                notes.setdefault(f"{metric}: {values[metric]}", []).append(problem)
            else:
                beside = trivial[problem].get(metric, (None,))[0]
                shown = None if beside is None else format_score(metric, beside)
                rows.append((problem, metric, format_score(metric, values[metric]), shown))
    said = [note if len(of) == len(scores) else f"{note} ({', '.join(of)})" for note, of in notes.items()]
    return "\n\n".join([headline_table(scores, trivial), "\n".join([format_table(rows), *said])])


def headline_table(scores, trivial):
    """A line a problem: its headline metric, the better trivial baseline beside it, if any, and which that is."""
    from t2t_multimodel.training.reporting import format_score, format_table

    rows = [("problem", "metric", "score", "trivial", "trivial answer", "split", "examples")]
    for problem, values in scores.items():
        metric, (value, baseline) = next(iter(trivial[problem].items()))
        score = format_score(metric, values[metric])
        beside = None if value is None else format_score(metric, value)
        rows.append((problem, metric, score, beside, baseline.replace("_", " "), values["split"], values["examples"]))
    return format_table(rows)


def write_scores(scores, output_dir, step):
    """Writes `scores` to OUTPUT_DIR/eval/step-N.json, whole or not at all, beside those of other problems that are
    there; returns the path.
    """
    from t2t_multimodel.errors import UserError
    from t2t_multimodel.files import write_file
    from t2t_multimodel.json_files import ANY, read_json

    path = Path(output_dir) / "eval" / f"step-{step}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(UserError):  # none is there, or a damaged one
        scores = read_json(path, {str: {str: ANY}}) | scores
    write_file(path, (json.dumps(scores, indent=1, ensure_ascii=False) + "\n").encode())
    return path


if __name__ == "__main__":
    sys.exit(main())
