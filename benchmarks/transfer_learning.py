"""What a start from a trained run gains: tiny8 without trees, then trees from 50 to 500; and one more language pair.

    python benchmarks/transfer_learning.py --folder=FOLDER [--sizes=50,100,200,500] [--seeds=0,1,2] [--minutes=60]

Of trees, three ways for each number of training trees and each seed: a run that starts from the trained one (`warm`),
one from scratch with as many updates (`scratch`), and one of all problems together from scratch (`joint`), with as many
updates as both runs of the warm start. Every run keeps its best checkpoint by the share of right tokens on dev, which
is scored on test. (The loss on dev rises long before trees stop getting better.)
Of the language pair: a run of the other seven problems, as long as the demo's, goes on with French→English beside them
for 5 % of its updates, each of four batches, at a lower learning rate; held against joint training, and the old
problems against their scores before.

Everything is in FOLDER, hours of it: what is finished is not made again, a run that was stopped goes on. `--minutes`
starts no further run after so many. A call writes trees.png and table.md of the runs that are finished so far. Their
scores are lines of `--scores`, with which another machine can go on.
"""

import argparse
import json
import pathlib
import time

from common import command, figure, not_run, report

SIZES = (50, 100, 200, 500)
ARMS = ("warm", "scratch", "joint")
METRICS = ("exact_match", "bracket_f1")  # of trees
OTHERS = ("tiny_ende", "tiny_deen", "tiny_enfr", "tiny_fren", "tiny_image", "tiny_caption", "tiny_speech")
WEIGHTS = dict(zip(OTHERS, (1.1, 0.9, 1.1, 0.9, 1.5, 2.0, 1.2))) | {"tiny_parse": 3.0}  # those of tiny8
BEST_BY = "teacher_forced_accuracy"
PAIR, NEW_PAIR_WEIGHT = "tiny_fren", 7.0  # half of the draws
# A fifth of the rate of the set; four batches an update, so that old and new problems are in most of them.
GENTLY = "learning_rate=0.001,learning_rate_warmup_steps=20,gradient_accumulation_steps=4"
PROBLEMS_FILE = '''"""tiny_parse with fewer training trees."""

from t2t_multimodel.problems.tiny8 import TinyParse
from t2t_multimodel.registry import register_problem

for count in {sizes}:
    register_problem(type(f"Trees{{count}}", (TinyParse,), {{"train_examples": count, "__doc__": "Few trees."}}))
'''


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, help="of data, runs and scores")
    parser.add_argument("--scores", type=pathlib.Path, help="file of the finished runs' scores; default: in the folder")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of training trees")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--parts", default="trees,pair", help="trees, pair or both")
    parser.add_argument("--base_steps", type=int, default=2000, help="updates of the trained run")
    parser.add_argument("--pair_steps", type=int, default=6500, help="updates of the run that gets a new language pair")
    parser.add_argument("--steps", type=int, default=600, help="updates on trees after the start")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no further run after so many")
    flags = parser.parse_args(argv)
    if flags.folder is None:
        not_run("takes hours; give --folder=FOLDER, where it can be continued")
    sizes = [int(size) for size in flags.sizes.split(",")]
    seeds = [int(seed) for seed in flags.seeds.split(",")]
    scores = flags.scores or flags.folder / "scores.jsonl"
    work = Work(flags.folder, scores, flags.base_steps, flags.steps, time.monotonic() + 60 * flags.minutes)
    try:
        work.make_data()
        for seed in seeds:
            if "pair" in flags.parts:
                work.train_pair(seed, flags.pair_steps)
            for size in sizes if "trees" in flags.parts else ():
                for arm in ARMS:
                    work.train_trees(arm, size, seed)
    except OutOfTime:
        print("out of time: give the same command again to continue", flush=True)
    figures = [*tree_figures(work, sizes, seeds), *pair_figures(work, seeds)]
    if figures:
        report("transfer_learning", figures)


class OutOfTime(Exception):
    """`--minutes` are over."""


class Work:
    """The folder, and what is made there by the commands, each in a process of its own."""

    def __init__(self, folder, scores, base_steps, steps, deadline):
        self.folder, self.base_steps, self.steps, self.deadline = folder.resolve(), base_steps, steps, deadline
        self.data, self.code = self.folder / "data", self.folder / "problems"
        self.scores_file, self.finished = scores, {}  # {run: {"step", "scores"}}
        if scores.exists():
            lines = map(json.loads, scores.read_text(encoding="utf-8").splitlines())
            self.finished = {line["run"]: line for line in lines}

    def make_data(self):
        """All problems in one folder, so that they have one vocabulary."""
        self.code.mkdir(parents=True, exist_ok=True)
        (self.code / "few_trees.py").write_text(PROBLEMS_FILE.format(sizes=SIZES), encoding="utf-8")
        names = [*OTHERS, "tiny_parse", *(f"trees{size}" for size in SIZES)]
        self.command("datagen", problem=",".join(names), data_dir=self.data)

    def train_pair(self, seed, steps):
        """Seven problems; then French→English beside them, for 5 % of the updates; and all eight from scratch."""
        old = [name for name in WEIGHTS if name != PAIR]
        first = f"pair-{seed}-before"
        if f"pair-{seed}-after" not in self.finished:
            self.train(first, old, seed, steps, scored=old, is_start=True)
        again = {PAIR: NEW_PAIR_WEIGHT} | dict.fromkeys(old, 1.0)  # the others replay
        self.train(f"pair-{seed}-after", again, seed, steps // 20, scored=[*old, PAIR], start=first, hparams=GENTLY)
        self.train(f"pair-{seed}-joint", [*old, PAIR], seed, steps, scored=[PAIR])

    def train_trees(self, arm, size, seed):
        problem, name = f"trees{size}", f"trees{size}-{seed}-{arm}"
        asked = {"best_by": problem, "scored": [problem]}
        if arm == "warm":
            base = f"base-{seed}"
            if name not in self.finished:
                self.train(base, OTHERS, seed, self.base_steps, is_start=True)
            self.train(name, [problem], seed, self.steps, start=base, **asked)
        elif arm == "scratch":
            self.train(name, [problem], seed, self.steps, **asked)
        else:
            weights = {other: WEIGHTS[other] for other in OTHERS} | {problem: WEIGHTS["tiny_parse"]}
            self.train(name, weights, seed, self.base_steps + self.steps, **asked)

    def train(self, name, problems, seed, steps, *, best_by="", scored=(), start="", is_start=False, hparams=""):
        """Trains the run `name` and scores it, unless that was done.

        Args:
          problems: names, or {name: weight}. best_by: the problem by whose dev split the best checkpoint is chosen;
            "": the last one is scored. scored: the problems. start: the run that it starts from. is_start: its weights
            are needed too. hparams: what differs from the set.
        """
        weights = problems if isinstance(problems, dict) else {each: WEIGHTS.get(each, 1.0) for each in problems}
        run = self.folder / "runs" / name
        if name in self.finished and (not is_start or (run / "run.json").exists()):
            return
        if time.monotonic() > self.deadline:
            raise OutOfTime
        print(f"{name}: {steps} updates", flush=True)
        more = {"warm_start_from": self.folder / "runs" / start} if start else {}
        if best_by:
            more |= {"keep_best": f"{best_by}/{BEST_BY}", "eval_interval": max(1, steps // 5)}
        else:
            more["schedule"] = "train"
        self.command(
            "trainer",
            problem=",".join(f"{each}:{weight:g}" for each, weight in weights.items()),
            hparams_set="multimodel_tiny",
            hparams=",".join(filter(None, ("optimizer=adam", hparams))),
            data_dir=self.data,
            output_dir=run,
            train_steps=steps,
            seed=seed,
            save_interval=max(1, steps // 4),
            keep_checkpoints=1,
            skip_decoding="true",
            **more,
        )
        step = best_step(run) if best_by else steps
        scores = {}
        if scored:
            self.command("evaluate", problem=",".join(scored), data_dir=self.data, output_dir=run, step=step)
            scores = json.loads((run / "eval" / f"step-{step}.json").read_text(encoding="utf-8"))
        self.finished[name] = {"run": name, "step": step, "scores": scores}
        with open(self.scores_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(self.finished[name]) + "\n")

    def command(self, module, **flags):
        command(self.folder / "log.txt", module, **flags, t2t_usr_dir=self.code)

    def score(self, name, problem, metric):
        """A score of a finished run; None where it is not finished."""
        return self.finished[name]["scores"][problem][metric] if name in self.finished else None


def best_step(run):
    """The step of the checkpoint that a finished run kept as its best."""
    from t2t_multimodel.training import checkpoints

    return checkpoints.load_latest(run / "checkpoints").state["keep_best"]["best_step"]


def tree_figures(work, sizes, seeds):
    """The figures of the finished runs on trees; their table and picture are written beside the runs."""
    from t2t_multimodel.experiments.statistics import interval

    found = {}  # (arm, size, metric) → scores by seed
    for arm in ARMS:
        for size in sizes:
            for metric in METRICS:
                scores = {seed: work.score(f"trees{size}-{seed}-{arm}", f"trees{size}", metric) for seed in seeds}
                found[arm, size, metric] = {seed: score for seed, score in scores.items() if score is not None}
    rows, figures = ["| trees | metric | warm | scratch | joint | gain of warm over scratch |", "| --- " * 6 + "|"], []
    for size in sizes:
        for metric in METRICS:
            by_arm = [found[arm, size, metric] for arm in ARMS]
            if not all(by_arm):
                continue
            gains = [by_arm[0][seed] - by_arm[1][seed] for seed in by_arm[0] if seed in by_arm[1]]
            shown = [in_words(interval(list(scores.values()))) for scores in by_arm]
            rows.append(f"| {size} | {metric} | {' | '.join(shown)} | {in_words(interval(gains)) if gains else ''} |")
            if gains and metric == METRICS[0]:
                figures.append(figure(f"trees, {size} to train on: gain of a warm start", interval(gains).mean, metric))
    if figures:
        (work.folder / "table.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
        print("\n".join(rows))
        draw(found, sizes, work.folder / "trees.png")
    return figures


def pair_figures(work, seeds):
    """The new pair against joint training, and what the old problems lose most, in points."""
    from t2t_multimodel.metrics import get

    shares, losses = [], []
    for seed in seeds:
        joint, after = (work.score(f"pair-{seed}-{run}", PAIR, "bleu") for run in ("joint", "after"))
        if None in (joint, after):
            continue
        shares.append(100 * after / joint)
        for problem, metric in headlines().items():
            if problem == PAIR:
                continue
            old, new = (work.score(f"pair-{seed}-{run}", problem, metric) for run in ("before", "after"))
            points = (old - new) * (1 if get(metric).higher_is_better else -1) * (1 if metric == "bleu" else 100)
            losses.append((points, problem))
    if not shares:
        return []
    worst, problem = max(losses)
    return [
        figure("a new language pair, 5 % of the updates: of its joint BLEU", min(shares), "%", at_least=90),
        figure(f"old problems with replay: the largest loss ({problem})", worst, "points", at_most=1),
    ]


def headlines():
    """{problem: its headline metric} of tiny8."""
    from t2t_multimodel import registry

    return {name: registry.problem(name).metric_names[0] for name in WEIGHTS}


def in_words(found):
    return f"{found.mean:.3g}" if found.half is None else f"{found.mean:.3g} ± {found.half:.2g}"


def draw(found, sizes, path):
    """Exactly right trees against the number of training trees, a line for each way, 95 % intervals over the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from t2t_multimodel.experiments.statistics import interval

    drawing, axis = pyplot.subplots(figsize=(5, 3.6))
    for arm in ARMS:
        there = [size for size in sizes if found[arm, size, METRICS[0]]]
        means = [interval(list(found[arm, size, METRICS[0]].values())) for size in there]
        axis.errorbar(there, [m.mean for m in means], [m.half or 0.0 for m in means], marker="o", capsize=3, label=arm)
    axis.set_xscale("log")
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()  # their labels stand in those of the sizes
    axis.set_xlabel("training trees")
    axis.set_ylabel(f"{METRICS[0]} on test")
    axis.grid(alpha=0.3)
    axis.legend()
    drawing.tight_layout()
    drawing.savefig(path, dpi=100)
    pyplot.close(drawing)


if __name__ == "__main__":
    main()
