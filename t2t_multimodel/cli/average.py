"""Averages checkpoints of a run: the last ones, or the best ones, as a new run that decodes.

The mean of weights of one run, close together, is often a little better than each of them; of checkpoints that are far
apart it may be worse. So the scores on dev of the newest one and of the mean are printed, and said where the mean
loses. The new run can be decoded, scored and started from (--warm_start_from); it can't be trained on.

Examples:
  t2t-avg-all --run=run --n=5 --output_dir=run_averaged
  t2t-avg-all --run=run --n=3 --best=tiny_ende/bleu --output_dir=run_averaged
"""

import sys

from t2t_multimodel import startup
from t2t_multimodel.cli.command import Command

command = Command("t2t-avg-all", __doc__)

command.group("What to average")
command.text("run", None, "the run directory that t2t-trainer made", metavar="DIR", required=True)
command.text("output_dir", None, "the run directory to write", metavar="DIR", required=True)
command.integer("n", 5, "number of checkpoints", at_least=2)
command.text("best", "", "the best ones by this metric on dev, METRIC or PROBLEM/METRIC; default: the newest")

command.group("Scores on dev, before and after")
command.text("data_dir", None, "folder of the data; default: the one of its training", metavar="DIR")
command.integer("eval_batches", 0, "batches of each problem; 0 = all", at_least=0)
command.switch("skip_evaluation", "score nothing")

command.standard_flags()


def main(argv=None):
    return command.run(_average, argv)


def _average(flags):
    from t2t_multimodel.errors import UserError

    startup.import_tensorflow()
    from t2t_multimodel.training.averaging import average_run, choose_steps
    from t2t_multimodel.training.run_directory import NoData, RunDirectory

    directory = RunDirectory(flags.run)
    directory.run()  # raises
    steps = choose_steps(directory, flags.n, flags.best)
    data_dir = None
    if not flags.skip_evaluation:
        try:
            data_dir = flags.data_dir or directory.data_dir()
        except NoData as why:
            raise UserError(f"{why}; give --data_dir, or --skip_evaluation") from None
    rows = average_run(directory, steps, RunDirectory(flags.output_dir), data_dir, flags.eval_batches)
    print(f"{flags.output_dir}: the mean of the checkpoints of steps {', '.join(map(str, steps))}")
    if rows:
        print(score_table(rows, steps[-1]))


def score_table(rows, step):
    """[(problem, metric, score of checkpoint `step`, score of the mean)] as a table; then where the mean loses."""
    from t2t_multimodel.metrics import get
    from t2t_multimodel.training.reporting import format_score, format_table

    shown = [("problem", "metric", f"step {step}", "mean")]
    shown += [(name, m, format_score(m, before), format_score(m, after)) for name, m, before, after in rows]
    worse = [n for n, m, before, after in rows if (after < before if get(m).higher_is_better else after > before)]
    said = (
        f"\nthe mean is worse on {', '.join(worse)}: use step {step}, or checkpoints closer together" if worse else ""
    )
    return format_table(shown) + said


if __name__ == "__main__":
    sys.exit(main())
