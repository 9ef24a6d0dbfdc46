"""Runs a suite of training runs that answers a question, and writes report.html, report.md and results.jsonl.

Suite paper_tables: does joint training help, which problems, and which blocks matter? Runs: joint, each problem alone,
parsing with pictures, without experts, without attention. Suite transfer: which problem helps which? Runs: joint, each
alone, and all but one. Every problem has the same number of examples in all these runs.

Suite blocks: what does every problem lose without each kind of block? Suite efficiency: what do experts and heads give
for their arithmetic, time and memory, over a grid? Suite balancing: which way to weigh problems or their gradients
learns more in the time of the joint run?

Each run is a separate t2t-trainer in OUTPUT_DIR/runs. The same command continues an interrupted suite; a finished run
is never repeated.

Examples:
  t2t-experiment --suite=paper_tables --problem=tiny8 --hparams_set=multimodel_tiny --data_dir=data --output_dir=exp
  t2t-experiment --suite=paper_tables --problem=tiny8 --hparams_set=multimodel_tiny --data_dir=data --output_dir=exp \\
      --budget=20m --dry_run
  t2t-experiment --suite=transfer --problem=a,b,c --t2t_usr_dir=mine --hparams_set=multimodel_tiny --train_steps=2000 \\
      --data_dir=data --output_dir=exp
  t2t-experiment --suite=efficiency --problem=tiny8 --grid="num_experts=0|8|60,experts_per_token=1|4" --seeds=1 \\
      --train_steps=500 --data_dir=data --output_dir=exp
  t2t-experiment --suite=paper_tables --problem=tiny8 --data_dir=data --output_dir=exp --report_only
"""

import dataclasses
import os
import sys
from pathlib import Path

from t2t_multimodel.cli.command import Command

DEFAULT_BUDGET = "60m"

command = Command("t2t-experiment", __doc__)

command.group("What to find out")
command.text("suite", None, "paper_tables, transfer, blocks, efficiency or balancing", metavar="NAME", required=True)
command.mixture()
command.text(
    "roles",
    "",
    "roles of problems in the paper's tables, if they do not follow from the problems' declarations: "
    '"parsing=my_trees,images=my_birds"',
    metavar="ROLES",
)
command.text(
    "grid",
    "",
    "for suite efficiency: the values of hparams whose combinations are trained; default: "
    "num_experts=0|4|8|16|32|60,experts_per_token=1|2|4,num_heads=1|2|4|8",
    metavar="VALUES",
)
command.integer("seeds", 3, "number of seeds of each kind of run", at_least=1, at_most=1000)

command.group("The model")
command.text("model", "multimodel", "name of a registered model", metavar="NAME")
command.text("hparams_set", "multimodel_tiny", "name of a registered hparams set", metavar="NAME")
command.text("hparams", "", 'changes to the set for all runs: "name=value,name=value"', metavar="CHANGES")
command.text("single_hparams", "", "further changes for single-task runs", metavar="CHANGES")
command.text(
    "single_choices",
    "",
    "changes to try for each single-task run, and for parsing with pictures: "
    '"learning_rate=0.002; learning_rate=0.01,dropout=0.1"; each, and no change, is tried once, and the best '
    "on dev is used",
    metavar="CHOICES",
)

command.group("Length")
command.text(
    "budget",
    None,
    "time for the whole suite: 20m, 1.5h; the runs are as long as fits; default: "
    f"{DEFAULT_BUDGET}, unless --train_steps is given",
    metavar="TIME",
)
command.integer("train_steps", None, "steps of the joint run, instead of a budget", at_least=1)
command.integer("workers", None, "parallel runs; default: one per device, or one per core", at_least=1, at_most=1024)
command.switch("dry_run", "print the plan with an estimate of its time (after measuring speed), and exit")
command.switch("report_only", "write the reports again from the existing results, and exit")

command.group("Where")
command.text("data_dir", None, "folder that t2t-datagen filled", metavar="DIR", required=True)
command.text(
    "output_dir",
    None,
    "folder of the suite: runs/, results.jsonl, report.html, report.md",
    metavar="DIR",
    required=True,
)

command.standard_flags()


def main(argv=None):
    return command.run(_experiment, argv)


def _experiment(flags):
    from t2t_multimodel.budget import parse_budget
    from t2t_multimodel.errors import UserError
    from t2t_multimodel.experiments import plan, queue, results

    plan.check_suite(flags.suite)
    if flags.grid and flags.suite != "efficiency":
        raise UserError(f"--grid is for --suite=efficiency, not for {flags.suite}: leave it out")
    if flags.single_choices and flags.suite not in plan.WITH_SINGLES:
        raise UserError(
            f"--single_choices: suite {flags.suite} has no single-task runs; change all runs with --hparams"
        )
    if flags.budget and flags.train_steps:
        raise UserError("--budget and --train_steps both set the length of the runs: give one of them")
    output_dir = Path(flags.output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"--output_dir={output_dir} is a file; name a folder")
    earlier = results.stored_plan(output_dir)
    if flags.report_only:
        _check_same(flags, earlier, output_dir)
        return _report(output_dir)
    budget = None if flags.train_steps else parse_budget(flags.budget or DEFAULT_BUDGET)
    suite = _open(flags, output_dir)
    _check_same(flags, earlier, output_dir)
    kept = suite.steps_of(earlier, budget)
    if kept:
        print(f"{kept:,} steps of the joint run, as in the earlier plan")
    elif budget is not None:
        _check_steps(suite, budget)
    elif flags.train_steps < (least := plan.fewest_steps(suite.shares)):
        raise UserError(
            f"--train_steps={flags.train_steps} is too few: with fewer than {least} steps of the joint run a"
            " single-task run would have less than one"
        )
    if flags.train_steps or kept:
        suite = suite.settled_before(earlier, flags.train_steps or kept)
    tried = f", and {len(suite.tries)} tries of choices" if suite.tries else ""
    seeds = f"{suite.seeds} seed{'s' if suite.seeds > 1 else ''}"
    print(f"{len(suite.kinds)} kinds of runs × {seeds}{tried}, {len(suite.places)} side by side")
    with queue.only_one(output_dir):
        failed = queue.run_all(list(suite.timing_jobs().values()), suite.places, "timing")
        if failed:
            raise UserError(f"could not be timed: {'; '.join(failed.values())}")
        timings = suite.timings()
        suite = suite.at_equal_time(timings)
        steps = flags.train_steps or kept or suite.steps_for(budget, timings)
        suite = suite.as_long_as(earlier, budget, steps)
        seconds = suite.seconds(steps, timings)
        tries, tried_jobs = suite.tried(steps, seconds[1])
        suite = suite.settled(tries, tried_jobs)
        runs, jobs = suite.runs(steps, seconds[1])
        print(_plan_table([*tries, *runs], [*tried_jobs, *jobs], seconds, len(suite.places)))
        if flags.dry_run:
            return 0
        if not earlier:  # an earlier plan and its finished runs stay until the tries are done
            suite.store_plan(runs, steps, budget)
        failed = queue.run_all(tried_jobs, suite.places, "tries") if tries else {}
        if failed:
            raise UserError(f"could not be tried: {'; '.join(failed.values())}")
        suite = suite.settled(tries, tried_jobs)
        runs, jobs = suite.runs(steps, seconds[1])
        suite.store_plan(runs, steps, budget)
        failed = queue.run_all(jobs, suite.places, flags.suite)
        for title, said in failed.items():
            print(f"failed: {title}: {said}", file=sys.stderr)
        status = _report(output_dir)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(jobs)} runs failed; the reports hold the others; the same command tries them again"
        )
    return status


def _check_same(flags, earlier, output_dir):
    """Raises `UserError` for a folder of another suite: its plan and reports would be overwritten."""
    from t2t_multimodel import mixture
    from t2t_multimodel.errors import UserError

    asked = (flags.suite, set(mixture.parse(flags.problem).problem_names))
    if earlier and (earlier["suite"], set(earlier["problems"])) != asked:
        raise UserError(
            f"{output_dir} holds suite {earlier['suite']} of {', '.join(earlier['problems'])}; "
            "give another --output_dir"
        )


def _open(flags, output_dir):
    """The suite of the flags."""
    from importlib.metadata import version

    from t2t_multimodel import mixture, registry
    from t2t_multimodel.cli import settings
    from t2t_multimodel.experiments import choices, queue, suite

    model = registry.models.resolve(flags.model)
    resolved = settings.resolve(flags.hparams_set, flags.hparams)
    single = choices.changes_alone(flags.single_hparams, resolved.hparams)
    for_singles = dataclasses.replace(resolved.hparams, **single)
    backend = os.environ["KERAS_BACKEND"]
    shared = [
        f"--model={model}",
        f"--hparams_set={flags.hparams_set}",
        f"--data_dir={flags.data_dir}",
        f"--backend={backend}",
    ]
    if flags.t2t_usr_dir:
        shared.append(f"--t2t_usr_dir={flags.t2t_usr_dir}")
    identity = {"model": model, "backend": backend, "version": version("t2t-multimodel")}
    return suite.open_suite(
        flags.suite,
        mixture.parse(flags.problem),
        resolved,
        data_dir=flags.data_dir,
        output_dir=output_dir,
        flags=shared,
        settings=flags.hparams,
        seeds=flags.seeds,
        places=queue.devices(flags.workers),
        identity=identity,
        named_roles=flags.roles,
        single_changes=tuple(single.items()),
        single_choices=choices.parse(flags.single_choices, for_singles),
        grid=flags.grid,
    )


def _check_steps(suite, budget):
    """Raises `UserError` for a budget that is too small, before anything is measured."""
    from t2t_multimodel.experiments import estimate

    timings = suite.timings()
    if timings is not None:
        suite.at_equal_time(timings).steps_for(budget, timings)
    else:
        estimate.check_possible(budget, suite.number_of_runs, len(suite.places))


def _plan_table(runs, jobs, seconds, workers):
    """The plan as a table with one row per kind, and the expected time."""
    from t2t_multimodel.experiments.queue import makespan
    from t2t_multimodel.training.reporting import format_seconds, format_table

    rows = [("run", "updates", "share of the joint run", "expected", "seeds", "done")]
    joint = max(run.steps for run in runs)
    for name in dict.fromkeys(run.kind.name for run in runs):
        mine = [(run, job) for run, job in zip(runs, jobs) if run.kind.name == name]
        run, done = mine[0][0], sum(job.done for _, job in mine)
        rows.append((name, run.steps, f"{run.steps / joint:.1%}", format_seconds(seconds[1][name]), len(mine), done))
    todo = [job.seconds for job in dict.fromkeys(jobs) if not job.done]
    return (
        f"{format_table(rows)}\nexpected: {format_seconds(seconds[0])} for all, "
        f"{format_seconds(makespan(todo, workers))} for the {len(todo)} runs that are to do (hours:minutes:seconds)"
    )


def _report(output_dir):
    """Collects the results of the runs and writes the reports."""
    from t2t_multimodel.experiments import report

    for path in report.write(output_dir):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
