"""Adafactor beside Adam: the scores of tiny8 by each.

    python benchmarks/optimizers.py --folder=FOLDER [--seeds=0,1,2] [--steps=6500] [--rates=0.003,0.01,0.03]

Adam has the learning rate of the set. That of Adafactor is relative to the size of the weights, so it is chosen first:
one run of a quarter of the updates for each of `--rates`, the lowest mean loss on dev has it. Then each optimizer
trains as long as the demo, once for each seed, and the last checkpoint is scored on test.

Everything is in FOLDER, an hour of it: what is finished is not made again, a run that was stopped goes on. `--minutes`
starts no further run after so many. A call writes table.md of the runs that are finished so far.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import time

from common import figure, not_run, report

LOSS = "teacher_forced_log_perplexity"
ADAM, ADAFACTOR = "adam", "adafactor"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, help="of data, runs and scores")
    parser.add_argument("--data_dir", type=pathlib.Path, help="of tiny8, generated before; default: in the folder")
    parser.add_argument("--problem", default="tiny8")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=6500)
    parser.add_argument("--rates", default="0.003,0.01,0.03", help="learning rates that Adafactor tries")
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--eval_batches", type=int, default=0, help="batches of each problem that are scored; 0 = all")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no further run after so many")
    flags = parser.parse_args(argv)
    if flags.folder is None:
        not_run("takes an hour; give --folder=FOLDER, where it can be continued")
    deadline = time.monotonic() + 60 * flags.minutes
    flags.folder.mkdir(parents=True, exist_ok=True)
    data = flags.data_dir or flags.folder / "data"
    if flags.data_dir is None:
        command(flags, "datagen", problem=flags.problem, data_dir=data)
    seeds = [int(seed) for seed in flags.seeds.split(",")]
    try:
        rate = best_rate(flags, data, deadline)
        for seed in seeds:
            train(flags, data, deadline, f"{ADAM}-{seed}", seed, flags.steps, f"optimizer={ADAM}")
            train(flags, data, deadline, f"{ADAFACTOR}-{seed}", seed, flags.steps, with_rate(rate))
    except OutOfTime:
        print("out of time: give the same command again to continue", flush=True)
    show(flags, seeds)


class OutOfTime(Exception):
    """`--minutes` are over."""


def with_rate(rate):
    return f"optimizer={ADAFACTOR},learning_rate={rate}"


def best_rate(flags, data, deadline):
    """The rate by which a quarter of the updates reaches the lowest mean loss on dev; runs that diverge reach none."""
    losses = {}
    for rate in flags.rates.split(","):
        steps = max(1, flags.steps // 4)
        scores = train(flags, data, deadline, f"rate-{rate}", 0, steps, with_rate(rate), decoded=False)
        found = [of_one[LOSS] for of_one in scores.values() if LOSS in of_one]
        losses[rate] = sum(found) / len(found) if found else math.inf
    best = min(losses, key=losses.get)
    print(f"adafactor: mean loss on dev by learning rate {losses}; chosen {best}", flush=True)
    return best


def train(flags, data, deadline, name, seed, steps, hparams, decoded=True):
    """The scores of a run, {problem: {metric: score}}; trained and scored if that was not done. {}: it diverged.

    Args: decoded: whether it is scored on test; else teacher-forced on dev.
    """
    run, file = flags.folder / "runs" / name, flags.folder / f"{name}.json"
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    if time.monotonic() > deadline:
        raise OutOfTime
    print(f"{name}: {steps} updates, {hparams}", flush=True)
    where = {"problem": flags.problem, "data_dir": data, "output_dir": run}
    more = {"hparams_set": "multimodel_tiny", "hparams": hparams, "train_steps": steps, "seed": seed}
    more |= {"save_interval": max(1, steps // 4), "keep_checkpoints": 1, "backend": flags.backend}
    batches = {"eval_batches": flags.eval_batches}
    more |= {"schedule": "train"} if decoded else {"eval_interval": steps, "skip_decoding": "true", **batches}
    scores, status = {}, command(flags, "trainer", may_diverge=True, **where, **more)
    if status == 0 and decoded:
        command(flags, "evaluate", step=steps, **where, **batches)
        scores = json.loads((run / "eval" / f"step-{steps}.json").read_text(encoding="utf-8"))
    elif status == 0:
        scores = dev_scores(run, steps)
    file.write_text(json.dumps(scores), encoding="utf-8")
    return scores


def dev_scores(run, step):
    """The scores on dev in the log of a run, of an evaluation."""
    from t2t_multimodel.training.metrics_log import read_metrics

    records = [record for record in read_metrics(run) if record["split"] == "dev" and record["step"] == step]
    return {record["problem"]: record for record in records}


def command(flags, module, may_diverge=False, **asked):
    """Runs a command; what it prints goes to a log. Returns its exit status, which is 0 unless training diverged."""
    words = [f"--{name}={value}" for name, value in asked.items()]
    log = flags.folder / "log.txt"
    with open(log, "a", encoding="utf-8") as file:
        done = subprocess.run(
            [sys.executable, "-m", f"t2t_multimodel.cli.{module}", *words], stdout=file, stderr=file, check=False
        )
    diverged = may_diverge and done.returncode == 2 and "not finite" in log.read_text(encoding="utf-8")[-2000:]
    if done.returncode and not diverged:
        raise SystemExit(f"{module} failed with status {done.returncode}: see {log}")
    return done.returncode


def show(flags, seeds):
    """Reports the finished runs, a line for each problem, and writes them as a table."""
    from t2t_multimodel import mixture, registry
    from t2t_multimodel.experiments.statistics import interval

    found = {}
    for optimizer in (ADAM, ADAFACTOR):
        files = [flags.folder / f"{optimizer}-{seed}.json" for seed in seeds]
        found[optimizer] = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    if not all(found.values()):
        return
    figures, rows = [], ["| problem | metric | Adam | Adafactor |", "| --- | --- | --- | --- |"]
    for problem in mixture.parse(flags.problem).problem_names:
        metric = registry.problem(problem).metric_names[0]
        values = {name: interval([run[problem][metric] for run in runs]) for name, runs in found.items()}
        shown = [f"{v.mean:.4g}" if v.half is None else f"{v.mean:.4g} ± {v.half:.2g}" for v in values.values()]
        rows.append(f"| {problem} | {metric} | {' | '.join(shown)} |")
        limit = {"limit": values[ADAM].mean, "limit_is": "adam"}
        figures.append(figure(f"{problem}, adafactor: {metric} on test", values[ADAFACTOR].mean, **limit))
    (flags.folder / "table.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    print("\n".join(rows))
    report("optimizers", figures, seeds=[len(runs) for runs in found.values()], steps=flags.steps)


if __name__ == "__main__":
    main()
