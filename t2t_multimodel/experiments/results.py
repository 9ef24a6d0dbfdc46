"""The raw results of a suite: collects results.jsonl, curves.jsonl and probes.jsonl from the runs, and reads them.

results.jsonl has one line per run × problem × metric: the value on the test split (or dev without a test split), the
number of examples, and the sums of each example (`scores`, see metrics/). The reports need only these
files, digests.json, plan.json and environment.json, not the runs; the files may be compressed, as results.jsonl.gz.
"""

import dataclasses
import hashlib
import json
import math
from pathlib import Path

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import stored
from t2t_multimodel.files import write_file
from t2t_multimodel.json_files import MissingFile, check, damaged
from t2t_multimodel.metrics import get as get_metric
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
    parameters: int = 0  # weights of the model; 0: not known
    memory: int = 0  # the most bytes that training took at once; 0: not known


@dataclasses.dataclass(frozen=True)
class Results:
    """All measurements: `scores` is {kind: {problem: {metric: {seed: Score}}}}; `curves`, `probes`: file lines."""

    plan: dict
    scores: dict
    curves: list
    probes: list
    machines: list = dataclasses.field(default_factory=list)  # on which runs were made, each {name: text}

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
            if line["kind"] == kind and line.get("problem") == problem and line["split"] != "train":
                x, y = line.get(over), line.get(metric)
                if _is_number(x) and _is_number(y):
                    xs, ys = lines.setdefault(line["seed"], ([], []))
                    xs.append(x)
                    ys.append(y)
        return lines


def collect(output_dir):
    """Writes the three files from the finished runs of the plan.

    Without any finished run (in a copy of a suite's results) the files are not changed; the lines of a finished run
    that is no longer there stay.

    Raises:
      UserError: `output_dir` holds no suite, or a run's result.json is damaged, or the files are and runs are gone.
    """
    output_dir = Path(output_dir)
    plan = _plan(output_dir)
    gone = _without_result(output_dir, plan)
    if len(gone) == len(plan["runs"]):
        return
    before, machines = {}, []
    if gone:
        before, machines = _lines_of_runs(output_dir), environment.read(output_dir / ENVIRONMENT_FILE)
    results, curves, probes = [], [], []
    for run in plan["runs"]:
        folder = output_dir / "runs" / run["digest"]
        name = {"kind": run["kind"], "seed": run["seed"]}
        try:
            result = stored.opened(folder / "result.json", stored.RESULT)
        except MissingFile:
            kept = before.get((run["kind"], run["seed"], run["digest"]), ([], [], []))
            results, curves, probes = results + kept[0], curves + kept[1], probes + kept[2]
            continue
        for problem, measured in result["scores"].items():
            common = {"suite": plan["suite"], "run": run["digest"], **name, "steps": run["steps"], "problem": problem}
            if problem not in result["examples_seen"] or not measured["sums"].keys() <= measured["scores"].keys():
                raise damaged(folder / "result.json", f"the scores of {problem} are not complete", stored.AGAIN)
            trained = {"examples_seen": result["examples_seen"][problem], "train_seconds": result["train_seconds"]}
            trained |= {name: result[name] for name in ("parameters", "peak_memory") if name in result}
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
        for machine in RunDirectory(folder).environments():
            if _place(machine) not in map(_place, machines):
                machines.append(machine)
        curves += [{**name, **_curve_point(record)} for record in read_metrics(folder) if _is_point(record)]
        probes += [{**name, **probe} for probe in result.get("probes", [])]
    stored.write_lines(output_dir, {RESULTS_FILE: results, CURVES_FILE: curves, PROBES_FILE: probes})
    write_file(output_dir / ENVIRONMENT_FILE, json.dumps(machines, ensure_ascii=False).encode())


def collected(output_dir):
    """The digests of the runs whose results are in the files of a folder, and no longer in their own.

    Raises:
      UserError: the files are damaged: which runs were finished is not known then.
    """
    output_dir = Path(output_dir)
    plan = stored_plan(output_dir)
    if plan is None or not _without_result(output_dir, plan):
        return frozenset()
    return frozenset(digest for *_, digest in _lines_of_runs(output_dir) if digest)


def _without_result(output_dir, plan):
    """The runs of a plan that have no result of their own: they are to do, or their folders were removed."""
    return [run for run in plan["runs"] if not (output_dir / "runs" / run["digest"] / "result.json").exists()]


def _place(machine):
    """What tells a machine and its versions from others, of an entry of environment.json."""
    return {name: text for name, text in machine.items() if name not in ("date", "from step")}


def _lines_of_runs(output_dir):
    """{(kind, seed, digest): its lines of each of the three files}; raises `DamagedFile`."""
    schemas = {RESULTS_FILE: stored.RESULT_LINE, CURVES_FILE: stored.CURVE_LINE, PROBES_FILE: stored.PROBE_LINE}
    files = [stored.read_lines(output_dir / name, schema) for name, schema in schemas.items()]
    digests = {(line["kind"], line["seed"]): line.get("run") for line in files[0]}
    of = lambda lines, *name: [line for line in lines if (line["kind"], line["seed"]) == name]
    return {(*name, digest): [of(lines, *name) for lines in files] for name, digest in digests.items()}


def read(output_dir):
    """The `Results` of a suite's folder; raises `UserError` if there are none."""
    output_dir = Path(output_dir)
    plan = _plan(output_dir)
    scores = {}
    widths, counts = {}, {}  # metric → numbers in a row of its sums; keys → rows
    for number, line in enumerate(stored.read_lines(output_dir / RESULTS_FILE, stored.RESULT_LINE), 1):
        rows, metric = line["scores"], line["metric"]
        shape = {len(row) for row in rows} | {widths.setdefault(metric, len(rows[0]) if rows else 0)}
        fits = len(shape) == 1 and 0 not in shape and counts.setdefault(line["keys"], len(rows)) == len(rows)
        if line["problem"] not in plan["problems"] or not fits:
            said = "its problem is not of the plan, or its rows differ in length or number"
            raise damaged(f"{output_dir / RESULTS_FILE} line {number}", said, stored.AGAIN)
        get_metric(metric)
        score = Score(
            math.nan if line["value"] is None else line["value"],
            np.asarray(rows, np.float64),
            line["keys"],
            line["examples_seen"],
            line["train_seconds"],
            line.get("split", "test"),
            line.get("decoding") or "",
            line.get("parameters", 0),
            line.get("peak_memory", 0),
        )
        by_problem = scores.setdefault(line["kind"], {}).setdefault(line["problem"], {})
        by_problem.setdefault(metric, {})[line["seed"]] = score
    if not scores:
        raise UserError(f"{output_dir}: no run of this suite is done yet; give the command without --report_only")
    curves = stored.read_lines(output_dir / CURVES_FILE, stored.CURVE_LINE)
    probes = stored.read_lines(output_dir / PROBES_FILE, stored.PROBE_LINE)
    _check_probes(probes, plan, output_dir / PROBES_FILE)
    return Results(plan, scores, curves, probes, environment.read(output_dir / ENVIRONMENT_FILE))


def stored_plan(output_dir):
    """The plan of the suite in the folder; None if there is none."""
    try:
        return stored.read_plan(Path(output_dir))
    except MissingFile:
        return None


def _plan(output_dir):
    try:
        return stored.read_plan(output_dir)
    except MissingFile:
        raise UserError(
            f"{output_dir} holds no suite ({stored.PLAN_FILE} is missing); give the command without --report_only"
        ) from None


def _check_probes(probes, plan, path):
    """Raises `DamagedFile` for probes that can't be drawn: of other problems, or no square of cosines."""
    first = probes[0] if probes else {}
    for probe in probes:
        count = len(probe["problems"])
        square = [len(row) for row in probe["cosines"]] == [count] * count
        known = set(probe["problems"]) | set(probe["loads"]) <= set(plan["problems"])
        same = count == len(first["problems"]) and _sizes(probe) == _sizes(first)
        if not (square and known and same and 0 not in _sizes(probe).values()):
            raise damaged(path, "a probe has other problems, cosines or experts than the rest", stored.AGAIN)


def _sizes(probe):
    """{(part of the body, problem): number of experts}, and how many numbers there are for each part."""
    sizes = {(part, name): len(of["load"]) for name, used in probe["loads"].items() for part, of in used.items()}
    widths = {part: {size for (other, _), size in sizes.items() if other == part} for part, _ in sizes}
    return sizes | {part: int(len(found) == 1) for part, found in widths.items()}


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_point(record):
    """Whether a line of metrics.jsonl can be drawn; the log of a run is no result, so others are passed over."""
    try:
        check(record, stored.LOG_LINE)
    except ValueError:
        return False
    return True


def _curve_point(record):
    """The part of a line of metrics.jsonl that the report draws."""
    if record["split"] == "train":
        names = ("step", "split", "problem", "examples_seen", "share_planned", "share_actual")
        return {name: record[name] for name in names if name in record}
    return {name: value for name, value in record.items() if not isinstance(value, str) or name in ("split", "problem")}


def _rounded(sums):
    """Sums for the file: integers unchanged, other numbers with six digits."""
    return [[x if x is None or isinstance(x, int) else float(f"{x:.6g}") for x in row] for row in sums]
