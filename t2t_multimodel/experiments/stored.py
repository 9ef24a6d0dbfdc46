"""The JSON files of a suite: what each of them holds, and the digest by which damage is found.

A file with one object has the digest of its other fields in "digest". The digests of the line files are in
digests.json. Files without a digest are read too, if their schema fits: plans and results of other versions.
"""

import functools
import gzip
import hashlib
import io
import json
import zlib

from t2t_multimodel.errors import UserError
from t2t_multimodel.files import write_file
from t2t_multimodel.json_files import (
    ANY,
    FILE_NAME,
    MissingFile,
    Number,
    OneOf,
    Whole,
    damaged,
    parse_json_lines,
    read_bytes,
    read_json,
)
from t2t_multimodel.metrics import get as get_metric

PLAN_FILE, DIGESTS_FILE = "plan.json", "digests.json"
LINES_LIMIT = 2**30  # bytes of results.jsonl, which has a row for each scored example
AGAIN = "remove it, and give the command without --report_only: it makes the file again"

_COUNT, _TIME = Whole(0), Number(0)
_LOADS = {str: {str: {"load": [Number(0)]}}}
_TRIES = {"problem": str, "metric": str, "split": (str, None), "tries": {str: (float, None)}, "best": str}
_RUN = {"kind": str, "problems": [str], "seed": _COUNT, "steps": Whole(1), "digest": FILE_NAME, "changes": {str: ANY}}
PLAN = {
    "suite": OneOf("paper_tables", "transfer", "blocks", "efficiency", "balancing"),
    "problems": [str],
    "roles": {str: str},
    "joint_steps": Whole(1),
    "seeds": Whole(1, 10**6),
    "shares": {str: Number(0, 1)},
    "budget_seconds": (_TIME, None),
    "flags": [str],
    "hparams": str,
    "workers": Whole(1),
    "metrics": {str: [str]},
    "choices?": {str: _TRIES},
    "grid?": {str: {str: (int, float, str, bool, [ANY], None)}},
    "grid_values?": {str: [(int, float, str, bool, [ANY])]},
    "arithmetic?": {str: {str: Number(0)}},
    "train_examples": {str: _COUNT},
    "identity": {str: ANY},
    "runs": [_RUN],
}
_SCORES = {
    "split": str,
    "decoding?": (str, None),
    "examples": _COUNT,
    "keys": [str],
    "scores": {str: (float, None)},
    "sums": {str: [[(float, None)]]},
}
_PROBE = {"step": _COUNT, "problems": [str], "cosines": [[(float, None)]], "loads": _LOADS}
RESULT = {
    "steps": _COUNT,
    "examples_seen": {str: _COUNT},
    "train_seconds": _TIME,
    "parameters?": _COUNT,
    "peak_memory?": _COUNT,
    "scores": {str: _SCORES},
    "probes?": [_PROBE],
}
DEV_RESULT = {"dev_scores": {str: {"split?": str}}, "diverged?": str}
_PARTS = {"graph": str, "trace": _TIME, "step": _TIME}
TIMINGS = {
    "seconds": {"start": float, "all": _TIME},
    "save": _TIME,
    "problems": {str: {**_PARTS, "first_evaluation?": _TIME, "example?": _TIME}},
}
_NAME = {"kind": str, "seed": _COUNT}
RESULT_LINE = {
    **_NAME,
    "problem": str,
    "metric": str,
    "value": (float, None),
    "scores": [[(float, None)]],
    "keys": str,
    "examples_seen": _COUNT,
    "train_seconds": _TIME,
    "parameters?": _COUNT,
    "peak_memory?": _COUNT,
    "split?": str,
    "decoding?": (str, None),
}
LOG_LINE = {
    "problem": str,
    "split": str,
    "step": _COUNT,
    "examples_seen?": _COUNT,
    "train_seconds?": _TIME,
    "share_planned?": Number(0, 1),
    "share_actual?": Number(0, 1),
}
CURVE_LINE = {**_NAME, **LOG_LINE}
PROBE_LINE = {**_NAME, **_PROBE}
_DIGESTS = {str: str}


def sealed(values):
    """`values` with the digest of all other fields, for `opened`."""
    return {**values, "digest": _digest(values)}


def opened(path, schema, advice=AGAIN, needs_digest=True):
    """The object in a JSON file, without its digest; raises `DamagedFile`, also if it has another digest."""
    values = read_json(path, {**schema, "digest" if needs_digest else "digest?": str}, advice, LINES_LIMIT)
    said = values.pop("digest", None)
    misspelt = [name for name in values if {name, f"{name}?"}.isdisjoint(schema) and _is_digest(values[name])]
    if said is None and misspelt:  # damage to the name of the field
        raise damaged(path, f"it has no digest, and an unknown field {misspelt[0][:40]!r} that looks like one", advice)
    if said is not None and said != _digest(values):
        raise damaged(path, "its digest is not that of its content", advice)
    return values


def why_not_whole(path, measure):
    """Why the result of a finished job can't be used, a line; "" if it can. `measure`: of the job, see queue.py."""
    try:
        about = path.stat()
    except OSError:
        return f"{path} is missing"
    return _why_not_whole(path, measure, about.st_mtime_ns, about.st_size)


@functools.lru_cache(maxsize=10_000)
def _why_not_whole(path, measure, *_):
    schema = TIMINGS if measure.startswith("speed") else DEV_RESULT if measure == "dev scores" else RESULT
    try:
        opened(path, schema, "it is made again")
    except UserError as error:
        return str(error)
    return ""


def read_plan(output_dir):
    """The plan of the suite in a folder; raises `DamagedFile`, or `MissingFile` if it holds none."""
    path = output_dir / PLAN_FILE
    plan = opened(path, PLAN, "remove it, and give the command without --report_only: finished runs stay", False)
    said = next(_contradictions(plan), None)
    if said:
        raise damaged(path, said, "remove it, and give the command without --report_only: finished runs stay")
    return plan


def _contradictions(plan):
    """Yields what does not fit together in a plan whose fields have the right types."""
    problems = plan["problems"]
    if not problems or len(set(problems)) < len(problems) or not plan["runs"]:
        yield "it has no problems or no runs, or a problem twice"
    for field in ("shares", "metrics", "train_examples"):
        if set(plan[field]) != set(problems):
            yield f"{field} are not those of the problems"
    for name in (*plan["roles"].values(), *(name for run in plan["runs"] for name in run["problems"])):
        if name not in problems:
            yield f"{name} is none of its problems"
    if plan["suite"] == "efficiency" and not plan.get("grid"):
        yield "it has no grid"
    points = list(plan.get("grid", {}).values())
    if any(point.keys() != points[0].keys() or not point for point in points):
        yield "the points of its grid have different hparams"
    for names in plan["metrics"].values():
        if not names:
            yield "a problem has no metrics"
        yield from _unknown_metrics(names)
    for found in plan.get("choices", {}).values():
        if found["best"] not in found["tries"]:
            yield f"the choice {found['best']} was not tried"
        yield from _unknown_metrics([found["metric"]])


def _unknown_metrics(names):
    for name in names:
        try:
            get_metric(name)
        except UserError as error:
            yield str(error)


def write_lines(output_dir, files):
    """Writes line files, {name: list of objects}, and then the digests of them all."""
    digests = {}
    for name, lines in files.items():
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        write_file(output_dir / name, content)
        digests[name] = hashlib.sha256(content).hexdigest()
    write_file(output_dir / DIGESTS_FILE, json.dumps(digests, indent=1) + "\n")


def read_lines(path, schema):
    """The lines of a line file, which may be compressed, as FILE.gz; [] if there is none."""
    compressed = path.with_name(f"{path.name}.gz")
    try:
        content = read_bytes(path, AGAIN, LINES_LIMIT)
    except MissingFile:
        try:
            content = _unpacked(compressed)
        except MissingFile:
            return []
        path = compressed
    try:
        digests = read_json(path.parent / DIGESTS_FILE, _DIGESTS, AGAIN)
    except MissingFile:
        digests = {}
    said = digests.get(path.name.removesuffix(".gz"))
    if said is not None and said != hashlib.sha256(content).hexdigest():
        raise damaged(path, f"its digest is not the one in {DIGESTS_FILE}", AGAIN)
    return list(parse_json_lines(content, schema, path, AGAIN))


def _unpacked(path):
    packed = read_bytes(path, AGAIN, LINES_LIMIT)
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            content = file.read(LINES_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, str(error), AGAIN) from None
    if len(content) > LINES_LIMIT:
        raise damaged(path, f"it unpacks to more than {LINES_LIMIT:,} bytes", AGAIN)
    return content


def _is_digest(value):
    return isinstance(value, str) and len(value) == 64


def _digest(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
