"""BLEU against minutes of training: this project, and MarianMT of about equal size on the same stored examples.

    python benchmarks/quality_a_minute.py --folder=FOLDER --environment=VENV [--peers=DIR]
        [--problems=tiny_ende,real_ende] [--minutes=0.5,1,2,4,8] [--seeds=0]

VENV is an environment for MarianMT: `python3 -m venv VENV && VENV/bin/pip install torch transformers`. DIR, if given,
has a script `tuned.sh` that runs a command as PyTorch's tuning guides have it; MarianMT is run by it then. The real
translations are in the folder REAL8_DIR, else ../shared/real8 beside the checkout; without it they are passed over.

Both sides read the same ids of one vocabulary, and their greedy answers on dev are scored by the same sacrebleu. For
each number of minutes there is a training of each side, one after the other, each a process of its own, of as many
updates as fit by a short run at the start, so that its learning rate is zero at its end. The clocks count updates with
the making of their batches, and stand still in evaluations, this project's also while its program is compiled (about
ten seconds, once a training). Of a training beside which others used the machine the table says so. What is finished is
in FOLDER and not made again; a training that was stopped begins anew. quality_a_minute.json, .md and .png are written
to `--docs`.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time

import numpy as np
from common import REPOSITORY, environment, figure, not_run, report
from peers import curves
from peers.blocks import busy

SIDES = ("this project", "MarianMT")
REAL8 = REPOSITORY / "examples" / "real8"
PROBLEMS = ("tiny_ende", "real_ende", "real_deen", "real_enfr", "real_fren")
MARKS = (0.5, 1, 2, 4, 8)  # minutes of the table
EVERY = 0.25  # minutes between evaluations
SPEED_UPDATES = 200  # of the short run
# On dev of tiny_ende after 600 updates its learning rate, 5e-3, has 97 BLEU, 2.5e-3 has 92, 1e-2 has 94; in the same
# time 400 with twice the batch have 95.
HPARAMS_SET = "multimodel_tiny"
HPARAMS = {
    "tiny_ende": "",
    "real": "label_smoothing=0.1",
}  # what differs from the set; of real8 as examples/real8 has it
MARIAN = {"tiny_ende": (), "real": ("dropout=0.1",)}  # what differs from `peers/marian.py`


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, help="of data, runs and finished curves")
    parser.add_argument("--environment", type=pathlib.Path, help="an environment with torch and transformers")
    parser.add_argument("--peers", type=pathlib.Path, help="folder of tuned.sh")
    parser.add_argument("--problems", default=PROBLEMS[0], help=", ".join(PROBLEMS))
    parser.add_argument("--minutes", default=",".join(map(str, MARKS)), help="of training, a training for each")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--docs", type=pathlib.Path, default=REPOSITORY / "docs", help="folder of table and figure")
    flags = parser.parse_args(argv)
    python = flags.environment.absolute() / "bin" / "python" if flags.environment else None
    if not flags.folder or not python or not python.exists():
        not_run(
            "takes an hour; give --folder=FOLDER, where it can be continued, and --environment=VENV: python3 -m venv "
            "VENV && VENV/bin/pip install torch transformers"
        )
    problems = flags.problems.split(",")
    if unknown := [name for name in problems if name not in PROBLEMS]:
        raise SystemExit(f"no problem {unknown[0]!r} here; there are: {', '.join(PROBLEMS)}")
    for problem in problems:
        if missing := lacks(problem):
            print(f"{problem} is passed over: {missing}", flush=True)
            continue
        work, found = Work(flags.folder.absolute() / problem, problem, python, flags.peers), []
        for seed in map(int, flags.seeds.split(",")):
            for minutes in map(float, flags.minutes.split(",")):
                found += [work.curve(side, minutes, seed) for side in SIDES]
                publish(problem, found, flags.docs)


def lacks(problem):
    """Why a problem can't be made; "" where it can."""
    if problem.startswith("tiny"):
        return ""
    folder = pathlib.Path(os.environ.get("REAL8_DIR") or REPOSITORY.parent / "shared" / "real8")
    return "" if folder.is_dir() else f"there is no folder {folder}; set REAL8_DIR to that of real8"


class Work:
    """The folder of one problem, and what is made there by commands, each a process of its own."""

    def __init__(self, folder, problem, python, peers=None):
        self.folder, self.problem = folder, problem
        self.python = [str(python)]
        if peers:
            scripts = folder / "peers"
            scripts.mkdir(parents=True, exist_ok=True)
            for path in filter(pathlib.Path.is_file, peers.iterdir()):  # they write beside themselves
                shutil.copy(path, scripts)
            self.python.insert(0, str(scripts / "tuned.sh"))
        self.data = folder / "data"
        self.kind = problem if problem in HPARAMS else "real"
        self.user_code = [] if problem.startswith("tiny") else [f"--t2t_usr_dir={REAL8}"]

    def curve(self, side, minutes, seed):
        """A training of so many minutes, as `peers/curves.py` describes it."""
        path = self.folder / f"{side.replace(' ', '_')}-{minutes:g}-{seed}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        self.make_data()
        evaluations = max(1, round(minutes / EVERY))
        updates = max(evaluations, round(60 * minutes * self.speed(side)))
        print(f"{self.problem}, {side}, {minutes:g} minutes, seed {seed}: {updates} updates", flush=True)
        all_busy, own, start = busy(), own_seconds(), time.perf_counter()
        made = self.train(side, updates, evaluations, seed)
        seconds = time.perf_counter() - start
        others = max(0.0, busy() - all_busy - (own_seconds() - own)) / seconds
        found = {"side": side, "seed": seed, "length": minutes, "others": round(others, 3)} | made
        found |= {"seconds_in_all": round(seconds, 1), "environment": environment()}
        self.keep(path, found)
        return found

    def speed(self, side):
        """Updates a second; measured once, so that all trainings of a side are planned alike."""
        path = self.folder / f"{side.replace(' ', '_')}-speed.json"
        if not path.exists():
            self.keep(path, speed_of(self.train(side, SPEED_UPDATES, 0, 0)["points"]))
        return json.loads(path.read_text(encoding="utf-8"))

    def train(self, side, updates, evaluations, seed):
        way = self.train_product if side == SIDES[0] else self.train_marian
        return way(updates, evaluations, seed)

    def keep(self, path, values):
        """Writes a file that is either whole or not there."""
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(values), encoding="utf-8")
        beside.rename(path)

    def make_data(self):
        """The store, and the examples as MarianMT's side reads them."""
        if not (self.folder / "examples.npz").exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.command("datagen", f"--problem={self.problem}", f"--data_dir={self.data}", *self.user_code)
            export(self.data, self.problem, self.folder / "examples.npz")

    def train_product(self, updates, evaluations, seed):
        """{"points", "parameters", "settings"} of a run by the trainer's command."""
        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        often = max(1, updates // (evaluations or 4))
        self.command(
            "trainer",
            f"--problem={self.problem}",
            f"--hparams_set={HPARAMS_SET}",
            f"--hparams={HPARAMS[self.kind]}",
            f"--data_dir={self.data}",
            f"--output_dir={run}",
            f"--train_steps={updates}",
            f"--seed={seed}",
            f"--schedule={'train_and_evaluate' if evaluations else 'train'}",
            f"--eval_interval={often}",
            f"--log_interval={often}",
            f"--save_interval={updates}",
            *self.user_code,
        )
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        points = points_of_log(map(json.loads, lines), "dev" if evaluations else "train")
        return {"points": points, "parameters": parameters_of(run), "settings": HPARAMS[self.kind] or HPARAMS_SET}

    def train_marian(self, updates, evaluations, seed):
        """The same of MarianMT."""
        points = self.folder / "marian.jsonl"
        script = pathlib.Path(__file__).parent / "peers" / "marian.py"
        arguments = [self.folder / "examples.npz", points, updates, evaluations, seed, *MARIAN[self.kind]]
        self.run([*self.python, script, *arguments])
        about, *lines = map(json.loads, points.read_text(encoding="utf-8").splitlines())
        scored = points_of_answers(lines, self.data, self.problem)
        return {"points": scored, "parameters": about["parameters"], "settings": about["settings"]}

    def command(self, module, *flags):
        self.run([sys.executable, "-m", f"t2t_multimodel.cli.{module}", *flags])

    def run(self, command):
        """Runs a command; what it prints goes to a log."""
        with open(self.folder / "log.txt", "a", encoding="utf-8") as log:
            done = subprocess.run(list(map(str, command)), stdout=log, stderr=log, check=False)
        if done.returncode:
            name = next(word for word in map(str, command) if "marian" in word or word.startswith("t2t_"))
            raise SystemExit(f"{name} ended with status {done.returncode}: see {log.name}")


def publish(problem, found, folder):
    """Writes data, table and figure, beside what is there of other trainings, and reports which side is ahead."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "quality_a_minute.json"
    problems = json.loads(data.read_text(encoding="utf-8")) if data.exists() else {}
    is_made = {_key(curve) for curve in found}
    kept = [curve for curve in problems.get(problem, []) if _key(curve) not in is_made]
    problems[problem] = found = sorted([*kept, *found], key=_key)
    data.write_text(json.dumps(problems, indent=1) + "\n", encoding="utf-8")
    (folder / "quality_a_minute.md").write_text(curves.page(problems, SIDES, MARKS), encoding="utf-8")
    curves.draw(problems, SIDES, folder / "quality_a_minute.png")
    figures = [
        figure(f"{problem}, {minutes:g} minutes, {what}: BLEU more than MarianMT", gain, "BLEU", at_least=0)
        for minutes, what, _, _, gain in curves.rows(found, SIDES, MARKS)
    ]
    if figures:
        report("quality_a_minute", figures)


def _key(curve):
    return curve["seed"], curve["length"], SIDES.index(curve["side"])


def own_seconds():
    """Processor seconds of this process and of those that it ran."""
    used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def export(data_dir, problem, path):
    """Writes the ids of train and dev, without end-of-sequence: flat arrays, and where each example ends."""
    from t2t_multimodel.input.store import ExampleStore

    store = ExampleStore(data_dir, problem)
    arrays = {"size": np.int64(store.vocabulary().size)}
    for split in ("train", "dev"):
        examples = store.split(split).examples(np.arange(len(store.split(split))))
        for side in ("inputs", "targets"):
            ids = [np.asarray(example[side], np.int32) for example in examples]
            arrays[f"{split}_{side}"] = np.concatenate(ids)
            arrays[f"{split}_{side}_ends"] = np.cumsum(list(map(len, ids)))
    np.savez(path, **arrays)


def parameters_of(run):
    """How many weights a run's newest checkpoint has, the optimizer's averages aside."""
    from t2t_multimodel.training import checkpoints

    arrays = checkpoints.load_latest(run / "checkpoints").arrays
    is_weight = lambda name: name.startswith("multimodel/") and not name.endswith("seed_generator_state")
    return int(sum(array.size for name, array in arrays.items() if is_weight(name)))


def points_of_log(records, split):
    """The points of a run's metrics.jsonl: of the evaluations, or where `split` is "train" of the speed alone."""
    kept = [r for r in records if r["split"] == split and "train_seconds" in r]
    return [point(r["step"], r["train_seconds"], r.get("bleu")) for r in kept]


def points_of_answers(lines, data_dir, problem):
    """The points of MarianMT's lines, whose answers are scored as this project's are."""
    from t2t_multimodel import metrics
    from t2t_multimodel.input.store import ExampleStore

    store = ExampleStore(data_dir, problem)
    vocabulary, dev = store.vocabulary(), store.split("dev")
    examples = dev.examples(np.arange(len(dev)))
    right = [e.get("references") or [store.spec.targets.reference(e["targets"], vocabulary)] for e in examples]
    points = []
    for line in lines:
        said = [vocabulary.decode(ids) for ids in line.get("answers", ())]
        bleu = metrics.score(("bleu",), said, right)["bleu"] if said else None
        points.append(point(line["updates"], line["seconds"], bleu))
    return points


def point(updates, seconds, bleu):
    return {"minutes": round(seconds / 60, 5), "updates": updates} | ({} if bleu is None else {"bleu": round(bleu, 3)})


def speed_of(points):
    """Updates a second between the first point and the last: the first updates of a process are slower."""
    first, last = points[0], points[-1]
    return (last["updates"] - first["updates"]) / (60 * (last["minutes"] - first["minutes"]))


if __name__ == "__main__":
    main()
