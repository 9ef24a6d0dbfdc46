"""The raw results of a suite: collects results.jsonl, curves.jsonl and probes.jsonl from the runs, and reads them.

results.jsonl has one line per run × problem × metric: the value on the test split (or dev without a test split), the
number of examples, and the sums of each example (`scores`, see metrics/). The reports need only these
files, plan.json and environment.json, not the runs; the files may be compressed, as results.jsonl.gz.
"""

import dataclasses
import gzip
import hashlib
import json
from pathlib import Path

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments.suite import PLAN_FILE
from t2t_multimodel.files import write_file
from t2t_multimodel.training import environment
from t2t_multimodel.training.metrics_log import read_metrics
from t2t_multimodel.training.run_directory import RunDirectory

RESULTS_FILE, CURVES_FILE, PROBES_FILE = "results.jsonl", "curves.jsonl", "probes.jsonl"
ENVIRONMENT_FILE = "environment.json"


@dataclasses.dataclass(frozen=True)
class Score:
    """A metric of one problem in one run."""

    value: float
    sums: np.ndarray  # [examples, …], in the order of the examples' keys
    keys: str  # digest of the keys
    seen: int  # examples trained on
    seconds: float  # spent in updates
    split: str = "test"  # that was scored
    decoding: str = ""  # how texts were decoded, in words


@dataclasses.dataclass(frozen=True)
class Results:
    """All measurements: `scores` is {kind: {problem: {metric: {seed: Score}}}}; `curves`, `probes`: file lines."""

    plan: dict
    scores: dict
    curves: list
    probes: list
    environment: dict = dataclasses.field(default_factory=dict)  # of a run, {name: text}

    def by_problem(self, name):
        """{problem: the attribute `name` of its scores: "split" or "decoding"}."""
        return {
            problem: getattr(score, name)
            for by_problem in self.scores.values()
            for problem, metrics in by_problem.items()
            for by_seed in metrics.values()
            for score in by_seed.values()
        }

    def of(self, kind, problem, metric):
        """{seed: Score}; empty if it was not measured."""
        return self.scores.get(kind, {}).get(problem, {}).get(metric, {})

    def values(self, kind, problem, metric):
        """The values of the metric, one per seed."""
        return [score.value for _, score in sorted(self.of(kind, problem, metric).items())]

    @property
    def kinds(self):
        return list(dict.fromkeys(run["kind"] for run in self.plan["runs"]))

    def curve(self, kind, problem, metric, over):
        """{seed: (values of `over`, values of the metric)} on the dev split, in order of steps."""
        lines = {}
        for line in self.curves:
            if line["kind"] == kind and line.get("problem") == problem and metric in line and line["split"] != "train":
                xs, ys = lines.setdefault(line["seed"], ([], []))
                xs.append(line[over])
                ys.append(line[metric])
        return lines


def collect(output_dir):
    """Writes the three files from the finished runs of the plan.

    Without any runs (in a copy of a suite's results) the files are not changed.

    Raises:
      UserError: `output_dir` holds no suite.
    """
    output_dir = Path(output_dir)
    plan = _plan(output_dir)
    if not (output_dir / "runs").is_dir():
        return
    results, curves, probes, machines = [], [], [], []
    for run in plan["runs"]:
        folder = output_dir / "runs" / run["digest"]
        if not (folder / "result.json").exists():
            continue
        result = json.loads((folder / "result.json").read_text("utf-8"))
        name = {"kind": run["kind"], "seed": run["seed"]}
        for problem, measured in result["scores"].items():
            common = {"suite": plan["suite"], "run": run["digest"], **name, "steps": run["steps"], "problem": problem}
            trained = {"examples_seen": result["examples_seen"][problem], "train_seconds": result["train_seconds"]}
            keys = hashlib.sha256("\0".join(measured["keys"]).encode()).hexdigest()[:16]
            scored = {"split": measured["split"], "decoding": measured.get("decoding")}
            results += [
                {
                    **common,
                    "metric": metric,
                    "value": measured["scores"][metric],
                    **scored,
                    "examples": measured["examples"],
                    **trained,
                    "keys": keys,
                    "scores": _rounded(sums),
                }
                for metric, sums in measured["sums"].items()
            ]
        machines = machines or RunDirectory(folder).environments()[:1]
        curves += [{**name, **_curve_point(record)} for record in read_metrics(folder) if record.get("problem")]
        probes += [{**name, **probe} for probe in result.get("probes", [])]
    for file, lines in ((RESULTS_FILE, results), (CURVES_FILE, curves), (PROBES_FILE, probes)):
        write_file(output_dir / file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
    write_file(output_dir / ENVIRONMENT_FILE, json.dumps(machines, ensure_ascii=False).encode())


def read(output_dir):
    """The `Results` of a suite's folder; raises `UserError` if there are none."""
    output_dir = Path(output_dir)
    plan = _plan(output_dir)
    scores = {}
    for line in _lines(output_dir / RESULTS_FILE):
        score = Score(
            line["value"],
            np.asarray(line["scores"], np.float64),
            line["keys"],
            line["examples_seen"],
            line["train_seconds"],
            line.get("split", "test"),
            line.get("decoding") or "",
        )
        by_problem = scores.setdefault(line["kind"], {}).setdefault(line["problem"], {})
        by_problem.setdefault(line["metric"], {})[line["seed"]] = score
    if not scores:
        raise UserError(f"{output_dir}: no run of this suite is done yet; give the command without --report_only")
    curves, probes = _lines(output_dir / CURVES_FILE), _lines(output_dir / PROBES_FILE)
    return Results(plan, scores, curves, probes, *environment.read(output_dir / ENVIRONMENT_FILE)[:1])


def stored_plan(output_dir):
    """The plan of the suite in the folder; None if it is missing or damaged."""
    try:
        return json.loads((Path(output_dir) / PLAN_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _plan(output_dir):
    path = output_dir / PLAN_FILE
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{output_dir} holds no suite ({PLAN_FILE} is missing); give the command without --report_only"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None


def _lines(path):
    compressed = path.with_name(f"{path.name}.gz")
    try:
        if not path.exists() and compressed.exists():
            text = gzip.decompress(compressed.read_bytes()).decode()
        else:
            text = path.read_text("utf-8")
        return [json.loads(line) for line in text.splitlines()]
    except FileNotFoundError:
        return []
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged: {error}") from None


def _curve_point(record):
    """The part of a line of metrics.jsonl that the report draws."""
    if record["split"] == "train":
        names = ("step", "split", "problem", "examples_seen", "share_planned", "share_actual")
        return {name: record[name] for name in names if name in record}
    return {name: value for name, value in record.items() if not isinstance(value, str) or name in ("split", "problem")}


def _rounded(sums):
    """Sums for the file: integers unchanged, other numbers with six digits."""
    return [[x if isinstance(x, int) else float(f"{x:.6g}") for x in row] for row in sums]
