"""Searches for better hyper-parameters: many short runs, bad ones pruned, the best one as an hparams set.

Every trial is a separate run in OUTPUT_DIR/trials, trained by t2t-trainer and scored on the dev split. A trial that is
worse than the median of the earlier ones at an evaluation is pruned. The same command continues an interrupted search,
also after a kill. The best set is printed, and written to OUTPUT_DIR/best_hparams.py.

Examples:
  t2t-tune --problem=tiny8 --data_dir=data --output_dir=tune --hparams_set=multimodel_tiny --train_steps=600 \\
      --hparams_range="hidden_size=64:256,learning_rate=1e-4:1e-2:log,dropout=0.0:0.3" --trials=30
  t2t-tune --problem=tiny_ende --data_dir=data --output_dir=tune_ende --hparams_set=multimodel_tiny --train_steps=400 \\
      --hparams_range=learning_rate,weight_decay,image_norm="features|picture" --metric=tiny_ende:bleu --budget=20m
  t2t-tune --problem=tiny8 --data_dir=data --output_dir=tune_blocks --hparams_set=multimodel_tiny --train_steps=600 \\
      --hparams_range=blocks --equal_arithmetic --trials=40
"""

import dataclasses
import sys
import time
from pathlib import Path

from t2t_multimodel import startup  # noqa: F401 (commands import it first)
from t2t_multimodel.cli.command import Command

BEST_FILE = "best_hparams.py"
_SHOWN = 10  # trials in the table at the end

command = Command("t2t-tune", __doc__)

command.group("What to train")
command.mixture()
command.text("model", "multimodel", "name of a registered model", metavar="NAME")
command.text("hparams_set", "multimodel_base", "the set that the search starts from", metavar="NAME")
command.text("hparams", "", 'changes to the set: "name=value,name=value"', metavar="CHANGES")
command.integer("train_steps", None, "steps of each trial; default: the hparam train_steps", at_least=1)

command.group("What to try")
command.text(
    "hparams_range",
    "learning_rate,weight_decay,dropout",  # `space.DEFAULT`
    "search space, separated by commas: "
    "name=LOW:HIGH, name=LOW:HIGH:log, name=LOW:HIGH:STEP, name=A|B, or only a name for the range "
    'declared for the field; "blocks": how many blocks of each kind (convolution, attention, experts)',
    metavar="RANGES",
)
command.text(
    "metric",
    "teacher_forced_log_perplexity",
    "the objective: a metric (its mean over the problems) or problem:metric",
    metavar="METRIC",
)
command.integer(
    "trials",
    None,
    "total number of trials in this folder; default: 20, or as many as --budget allows",
    at_least=1,
)
command.text("budget", "", "time limit, at which the running trial stops too: 90s, 20m, 1.5h, 1h30m", metavar="TIME")
command.switch(
    "equal_arithmetic",
    "give every trial as many updates as have the operations of the set's --train_steps, instead of as many updates",
)
command.integer("seed", 0, "seed of the proposals and of every run", at_least=0)

command.group("Evaluation")
command.integer("eval_interval", None, "updates between evaluations; default: a fifth of the updates", at_least=1)
command.integer(
    "eval_batches",
    4,
    "batches of each problem in an evaluation, of the set's batch_examples if that is searched; 0 = all",
    at_least=0,
)
command.integer(
    "startup_trials", 4, "number of random trials at the start; no trial is pruned before they have ended", at_least=1
)

command.group("Where")
command.text("data_dir", None, "folder that t2t-datagen filled", metavar="DIR", required=True)
command.text("output_dir", None, "folder of the search", metavar="DIR", required=True)
command.text("name", None, "name for the best set; default: HPARAMS_SET_tuned", metavar="NAME")
command.integer("keep_checkpoints", 0, "number of best trials that keep their newest checkpoint; 0 = all", at_least=0)

command.standard_flags()


def main(argv=None):
    return command.run(_tune, argv)


def _tune(flags):
    from t2t_multimodel import mixture, registry
    from t2t_multimodel.budget import parse_budget
    from t2t_multimodel.cli import settings
    from t2t_multimodel.errors import UserError
    from t2t_multimodel.input.store import ExampleStore
    from t2t_multimodel.tuning import space
    from t2t_multimodel.tuning.equal_arithmetic import EqualArithmetic
    from t2t_multimodel.tuning.objective import Objective
    from t2t_multimodel.tuning.search import Search

    model, problems = registry.models.resolve(flags.model), mixture.parse(flags.problem)
    base = settings.resolve(flags.hparams_set, flags.hparams, train_steps=flags.train_steps).hparams
    dimensions = space.parse(flags.hparams_range, base)
    seconds = parse_budget(flags.budget) if flags.budget else None
    name = flags.name or f"{registry.hparams_sets.resolve(flags.hparams_set)}_tuned"
    if not name.isidentifier():
        raise UserError(f"--name={name} can't be the name of a function")
    if Path(flags.output_dir).resolve() == Path(flags.data_dir).resolve():
        raise UserError(f"--output_dir and --data_dir are one folder, {flags.data_dir}: a search needs its own")
    stores = {problem: ExampleStore(flags.data_dir, problem) for problem in problems.problem_names}
    forced = {problem: store.spec.targets.teacher_forced_metrics for problem, store in stores.items()}
    objective = Objective(flags.metric, {p: (*store.metrics, *forced[p]) for p, store in stores.items()})
    eval_interval = flags.eval_interval or max(1, base.train_steps // 5)
    decides = {
        "problem": ",".join(f"{p}:{weight:g}" for p, weight in problems.problems),
        "data": ",".join(store.digest[:12] for store in stores.values()),
        "model": model,
        "hparams_set": registry.hparams_sets.resolve(flags.hparams_set),
        "hparams": flags.hparams,
        "train_steps": base.train_steps,
        "hparams_range": ",".join(d.written() for d in dimensions),
        "metric": str(objective),
        "eval_interval": eval_interval,
        "eval_batches": flags.eval_batches,
        "seed": flags.seed,
        "startup_trials": flags.startup_trials,
    }
    equal = EqualArithmetic(base, problems, stores) if flags.equal_arithmetic else None
    if equal:
        decides["equal_arithmetic"] = True
        print(f"{base.train_steps:,} updates of the set have {_total(equal, base):.4g} operations; so have all trials")

    deadline = None if seconds is None else time.monotonic() + seconds
    trials = flags.trials or (20 if seconds is None else sys.maxsize)
    start = _starter(flags, base, model, eval_interval, objective, list(stores), equal)
    with Search(
        flags.output_dir,
        dimensions,
        objective,
        decides,
        flags.seed,
        flags.startup_trials,
        keep_checkpoints=flags.keep_checkpoints,
        base=dataclasses.asdict(base),
    ) as search:
        print(f"{objective}, to {objective.direction}; {search.ended()} trials have ended")
        print(f"  {decides['hparams_range']}")
        search.run(start, trials, deadline, on_result=_TrialPrinter(search, objective))
        return _conclude(flags, search, objective, base, name, equal)


def _total(equal, base):
    """The operations of every trial."""
    return equal.operations_of_base * base.train_steps


def _starter(flags, base, model, eval_interval, objective, names, equal):
    """The function that starts a trial: (values, folder) → `ChildRun`."""
    from t2t_multimodel import hyperparameters
    from t2t_multimodel.tuning.child import ChildRun

    def start(values, folder):
        hparams = hyperparameters.override(base, values, "a trial's values together")
        steps, interval, intervals = base.train_steps, eval_interval, None
        if equal:
            steps = equal.steps(hparams)
            interval = -(-steps * eval_interval // base.train_steps)
            intervals = (interval, eval_interval)
            values = hyperparameters.in_proportion(base, steps / base.train_steps, values)
        # As many examples for all trials, up to whole batches: by few of them a trial may be the best by chance.
        eval_batches = -(-flags.eval_batches * base.batch_examples // hparams.batch_examples)
        changes = ",".join(filter(None, [flags.hparams, *(f"{n}={value!r}" for n, value in values.items())]))
        arguments = [
            f"--problem={flags.problem}",
            f"--data_dir={flags.data_dir}",
            f"--output_dir={folder}",
            f"--model={model}",
            f"--hparams_set={flags.hparams_set}",
            f"--hparams={changes}",
            f"--train_steps={steps}",
            f"--seed={flags.seed}",
            f"--eval_interval={interval}",
            f"--eval_batches={eval_batches}",
            f"--save_interval={interval}",
            "--keep_checkpoints=1",
            f"--log_interval={max(1, interval // 4)}",
            *([f"--t2t_usr_dir={flags.t2t_usr_dir}"] if flags.t2t_usr_dir else []),
            *([f"--backend={flags.backend}"] if flags.backend else []),
            *([] if objective.needs_decoding else ["--skip_decoding"]),
        ]
        return ChildRun(arguments, folder, names, intervals)

    return start


class _TrialPrinter:
    """Prints one line per trial."""

    def __init__(self, search, objective):
        self._search, self._objective = search, objective
        self._since = time.monotonic()

    def __call__(self, result):
        from t2t_multimodel.training.reporting import format_seconds

        now = time.monotonic()
        took, self._since = format_seconds(now - self._since), now
        value = "" if result.value is None else f"  {self._objective.metric} {result.value:.4g}"
        best = self._search.best()
        beside = f"  (best {best.value:.4g}, trial {best.number})" if best else ""
        said = f": {result.said}" if result.said else ""
        tried = " ".join(f"{name}={tried}" for name, tried in result.values.items())
        print(f"trial {result.number} {result.state}{said}{value}{beside}  {took}  {tried}", flush=True)


def _conclude(flags, search, objective, base, name, equal):
    """Prints the table of trials and the best set; returns 0, or 1 if no trial is complete."""
    from t2t_multimodel import registry
    from t2t_multimodel.files import write_file
    from t2t_multimodel.training.reporting import format_table
    from t2t_multimodel.tuning import space

    results, best = search.results(), search.best()
    if best is None:
        print(f"no trial is complete yet; to continue:\n  {command.command_line()}")
        return 1
    rows = [("trial", objective.metric, "state", *best.values, *(("updates",) if equal else ()))]
    for r in results[:_SHOWN]:
        updates = [_updates(equal, base, r.values)] if equal else []
        rows.append((str(r.number), r.value, r.state, *(str(value) for value in r.values.values()), *updates))
    print(f"\n{format_table(rows)}")
    if len(results) > _SHOWN:
        print(f"… and {len(results) - _SHOWN} more")
    entry = registry.hparams_sets.entry(flags.hparams_set)
    # The length of a trial is not part of the result: the set keeps the train_steps of its parent.
    given = {name: getattr(base, name) for name in _given(flags.hparams) if name != "train_steps"}
    length = f"{base.train_steps:,} updates"
    if equal:
        length = f"the operations of {length} of {entry.name}, {_updates(equal, base, best.values)}"
    story = (
        f"{entry.name} tuned by t2t-tune on {flags.problem}: {objective} {best.value:.4g} on the dev split after "
        f"{length}, the best of {len(results)} trials (number {best.number}). Its train_steps "
        f"are those of {entry.name}, not of the trials."
    )
    source = space.as_source(name, entry.name, entry.value, given | best.values, story)
    path = search.folder / BEST_FILE
    write_file(path, source.encode())
    print(f"\n{source}\nwrote {path}; its run: {search.folder_of(best.number)}")
    return 0


def _updates(equal, base, values):
    """The updates of a trial with these values, as text; of values that contradict each other none."""
    from t2t_multimodel import hyperparameters
    from t2t_multimodel.errors import UserError

    try:
        return f"{equal.steps(hyperparameters.override(base, values, 'a trial')):,}"
    except UserError:
        return ""


def _given(text):
    from t2t_multimodel import hyperparameters

    return list(hyperparameters.parse(text or ""))


if __name__ == "__main__":
    sys.exit(main())
