"""Trains one model on one problem or on many at once.

The run goes on where it stopped when the same command is given again: weights, optimiser, random state and
the order of the data are those of a run that was never stopped. Ctrl-C finishes the step and saves; a second one
ends the process at once.

Examples:
  t2t-trainer --problem=tiny8 --hparams_set=multimodel_tiny --data_dir=data --output_dir=run --train_steps=2000
  t2t-trainer --problem=tiny_ende,tiny_parse:2 --hparams_set=multimodel_tiny --hparams="hidden_size=128,dropout=0.1" \\
      --data_dir=data --output_dir=run128
  t2t-trainer --problem=my_birds --t2t_usr_dir=my_problems --gin_file=my.gin --data_dir=data --output_dir=run_birds \\
      --early_stopping_metric=my_birds/accuracy_top1 --early_stopping_patience=5
  t2t-trainer --problem=tiny8 --data_dir=data --output_dir=base --hparams=optimizer=adafactor --backend=jax --dry_run
  t2t-trainer --problem=my_birds --t2t_usr_dir=my_problems --hparams_set=multimodel_tiny --data_dir=data \\
      --warm_start_from=run --output_dir=run_birds --freeze=body
  t2t-trainer --registry_help
"""

import os
import sys

from t2t_multimodel import compile_cache, startup
from t2t_multimodel.cli.command import Command
from t2t_multimodel.errors import UserError
from t2t_multimodel.training import processes
from t2t_multimodel.training.run_settings import SCHEDULES

command = Command("t2t-trainer", __doc__)

command.group("What to train")
command.mixture()
command.text("model", "multimodel", "name of a registered model", metavar="NAME")
command.text("hparams_set", "multimodel_base", "name of a registered hparams set", metavar="NAME")
command.text("hparams", "", 'changes to the set: "name=value,name=value"', metavar="CHANGES")
command.several("gin_file", "gin file with lines HParams.name = value; may be given more than once", metavar="FILE")
command.several("gin_bindings", "one such line, quoted; may be given more than once", metavar="LINE")
command.integer("train_steps", None, "train until this many updates; default: the hparam train_steps", at_least=1)
command.integer("seed", 0, "of weights, data order, dropout and the mixture's draws", at_least=0)

command.group("Starting from a trained run (docs/transfer_learning.md)")
command.text(
    "warm_start_from", "", "take over the weights of this run, of its newest checkpoint or of @STEP", metavar="DIR"
)
command.text("warm_start_map", "", '"new_problem=old_problem,…": problems that begin from others', metavar="NAMES")
command.switch("keep_optimizer", "go on from that run's step, with the state of its optimizer")
command.text(
    "freeze",
    None,
    'parts whose weights stay as they are: "body", "experts", "text", "encoder/block0", …',
    metavar="PARTS",
)

command.group("Where")
command.text("data_dir", None, "folder that t2t-datagen filled", metavar="DIR", required=True)
command.text(
    "output_dir",
    None,
    "the run directory: checkpoints, hparams.json, metrics.jsonl, TensorBoard events",
    metavar="DIR",
    required=True,
)
command.text("compile_cache", None, "folder that keeps compiled programs; default: in the user's cache", metavar="DIR")

command.group("Before training")
command.switch("dry_run", "count the memory of a step, say whether it fits, and exit; nothing is made or written")

command.group("Evaluating and saving")
command.choice("schedule", SCHEDULES[0], SCHEDULES, "what to do")
command.integer("eval_interval", 1000, "updates between evaluations", at_least=1)
command.integer("eval_batches", 0, "batches of each problem in an evaluation; 0 = all", at_least=0)
command.switch("skip_decoding", "evaluate by teacher-forced metrics alone: quick, but no measure of decoded output")
command.integer(
    "eval_workers",
    1,
    "processes that evaluate beside each other, each on one processor; they start at the first evaluation and stay, so "
    "they pay where evaluations take minutes",
    at_least=1,
)
command.integer("save_interval", 1000, "updates between checkpoints", at_least=1)
command.integer("keep_checkpoints", 5, "so many of the newest checkpoints are kept", at_least=1)
command.text(
    "keep_best", "", "keep the checkpoint that is best by this metric too: METRIC or PROBLEM/METRIC", metavar="METRIC"
)
command.text(
    "early_stopping_metric",
    "",
    "stop when it no longer improves: a metric, meaning its mean over the problems, or problem/metric",
    metavar="METRIC",
)
command.integer(
    "early_stopping_patience", 0, "evaluations without improvement before stopping; 0 = never stop", at_least=0
)
command.integer("log_interval", 50, "updates between lines of metrics.jsonl", at_least=1)

command.group("On several devices (JAX)")
command.integer("devices", 0, "devices of this machine to train on; 0 = all of them", at_least=0)
command.integer(
    "expert_devices", 0, "share the experts out over so many of them; 0 = as many as divide both", at_least=0
)
command.switch("shard_weights", "share the other weights and the optimizer's state out too: less memory, more traffic")

command.group("By several processes (JAX; docs/devices.md)")
command.choice("distributed", "", ("", "auto"), "auto: JAX finds the other processes (SLURM, Open MPI, Kubernetes)")
command.text("coordinator", "", "where process 0 listens for the others, with a free port", metavar="HOST:PORT")
command.integer("num_processes", None, "how many processes there are", at_least=1)
command.integer("process_id", None, "which of them this one is, from 0", at_least=0)
command.integer("stuck_after", 1800, "end all where nothing goes on for so many seconds; 0 = never", at_least=0)

command.standard_flags()


def main(argv=None):
    return processes.status_of(lambda: command.run(_train, argv))


def make_trainer(flags):
    """The `Trainer` that the flags ask for; what it is to do is printed.

    Raises:
      UserError: what can't be trained, before anything of the run directory changes.
    """
    asked = _run_settings(flags)
    compile_cache.begin(flags.compile_cache)
    startup.import_backend()
    from t2t_multimodel.training.trainer import Trainer

    return Trainer(asked)


def _run_settings(flags):
    """The `RunSettings` that the flags ask for, printed.

    Raises:
      UserError: what can't be trained, before anything of the run directory changes.
    """
    from t2t_multimodel import mixture, registry
    from t2t_multimodel.cli import settings
    from t2t_multimodel.training.run_settings import RunSettings

    model = registry.models.resolve(flags.model)
    problems = mixture.parse(flags.problem)
    resolved = settings.resolve(
        flags.hparams_set, flags.hparams, flags.gin_file, flags.gin_bindings, flags.train_steps, flags.freeze
    )
    table = settings.settings_table(resolved, os.environ.get("KERAS_BACKEND"))
    print(f"model {model}; problems {_shares(problems)}; seed {flags.seed}\n{table}")
    return RunSettings(
        resolved=resolved,
        mixture=problems,
        data_dir=flags.data_dir,
        output_dir=flags.output_dir,
        model=model,
        seed=flags.seed,
        schedule=flags.schedule,
        save_interval=flags.save_interval,
        eval_interval=flags.eval_interval,
        eval_batches=flags.eval_batches,
        keep_checkpoints=flags.keep_checkpoints,
        early_stopping_metric=flags.early_stopping_metric,
        early_stopping_patience=flags.early_stopping_patience,
        log_interval=flags.log_interval,
        skip_decoding=flags.skip_decoding,
        eval_workers=flags.eval_workers,
        devices=flags.devices,
        expert_devices=flags.expert_devices,
        shard_weights=flags.shard_weights,
        keep_best=flags.keep_best,
        warm_start_from=flags.warm_start_from,
        warm_start_map=flags.warm_start_map,
        keep_optimizer=flags.keep_optimizer,
    )


def _train(flags):
    launch = processes.Launch(
        flags.distributed, flags.coordinator, flags.num_processes, flags.process_id, flags.stuck_after
    )
    if flags.dry_run:
        if launch:
            raise UserError("--dry_run counts the memory of one process; leave out what asks for several")
        return _count_memory(flags)
    from t2t_multimodel.training.stopping import StopSignals

    with StopSignals(exit_at_once=True) as stop, processes.together(launch):
        trainer = make_trainer(flags)
        status = trainer.run(stop)
        print(_continuation(flags, trainer.hparams.train_steps), flush=True)
    return status


def _count_memory(flags):
    asked = _run_settings(flags)
    startup.import_backend()
    from t2t_multimodel.training.memory_plan import plan_memory

    print("\n".join(plan_memory(asked).lines()))


def _shares(problems):
    total = sum(weight for _, weight in problems.problems)
    return ", ".join(f"{name} {weight / total:.0%}" for name, weight in problems.problems)


def _continuation(flags, train_steps):
    """The command that continues this run; the step count is spelt out, so that it can be raised."""
    if flags.schedule == "evaluate":
        return f"again: {command.command_line()}"
    return (
        f"to continue (beyond step {train_steps}: with more --train_steps):\n  "
        f"{command.command_line(train_steps=train_steps)}"
    )


if __name__ == "__main__":
    sys.exit(main())
