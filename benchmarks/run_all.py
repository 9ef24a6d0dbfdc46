"""Runs every benchmark and writes docs/performance.md: figure, limit, ratio, mark, machine, date.

    python benchmarks/run_all.py [--only=training_step,growth] [--peers=DIR --peers_environment=VENV]
        [--t2t_baseline=DIR --t2t_environment=VENV]
    python benchmarks/run_all.py --page_only        the page anew, from the lines that earlier runs left

Each benchmark is a process of its own; one that fails does not keep the others from running, and makes the exit status
1. The JSON lines are kept in docs/performance.jsonl, so that a benchmark run again alone replaces its own lines. What
stands on the page above the line "Measured" and below the line "Remarks" is written by hand and kept.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from common import NOT_RUN, REPOSITORY, mark, reached

PAGE = REPOSITORY / "docs" / "performance.md"
LINES = REPOSITORY / "docs" / "performance.jsonl"
MEASURED, REMARKS = "## Measured\n", "## Remarks"
FIRST = ("against_peers", "against_t2t")  # benchmarks whose rows come before those of the others
MOST_SECONDS = 600  # for one benchmark
MOST_SECONDS_OF = {"against_t2t": 1800, "against_peers": 3600}  # comparisons with other programs' processes
OPENING = "# Performance\n\n"
INTRODUCTION = """
Written by `make bench`, which runs `benchmarks/*.py`; each prints what it measured as one JSON line and as readable
rows, and its first lines say what it measures. Ratios are taken within one run, in turn (A B A B). A limit is what the
machine could do at most, by the speed of its own 2048³ float32 matrix products measured in the same run, or what the
row says. Machine load is the one-minute average when the benchmark ended, the benchmark itself included.
"""


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="these benchmarks, separated by commas")
    parser.add_argument("--page_only", action="store_true", help="run nothing, write the page")
    parser.add_argument("--t2t_baseline", default="", help="for against_t2t: folder of the original's scripts")
    parser.add_argument("--t2t_environment", default="", help="for against_t2t: an environment with Tensor2Tensor")
    parser.add_argument("--peers", default="", help="for against_peers: folder of the peers' scripts")
    parser.add_argument("--peers_environment", default="", help="for against_peers: an environment with PyTorch")
    parser.add_argument("--page", type=pathlib.Path, default=PAGE)
    parser.add_argument("--lines", type=pathlib.Path, default=LINES)
    flags = parser.parse_args(argv)
    lines = read_lines(flags.lines)
    wanted = [] if flags.page_only else scripts(flags.only)
    for script in wanted:
        arguments = []
        if script.stem == "against_t2t" and flags.t2t_baseline:
            arguments = [f"--baseline={flags.t2t_baseline}", f"--environment={flags.t2t_environment}"]
        if script.stem == "against_peers" and flags.peers:
            arguments = [f"--peers={flags.peers}", f"--environment={flags.peers_environment}"]
        lines = [line for line in lines if line["script"] != script.stem] + run(script, arguments)
        flags.lines.parent.mkdir(parents=True, exist_ok=True)
        flags.lines.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    flags.page.write_text(page(lines, *by_hand(flags.page)), encoding="utf-8")
    failed = [line["script"] for line in lines if line["status"] == "failed"]
    print(f"wrote {flags.page}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def scripts(only=""):
    """The benchmarks: every file here that can be run, but this one."""
    found = {
        path.stem: path
        for path in sorted(pathlib.Path(__file__).parent.glob("*.py"))
        if path.stem != "run_all" and 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    }
    names = [name for name in only.split(",") if name]
    unknown = [name for name in names if name not in found]
    if unknown:
        raise SystemExit(f"no benchmark {unknown[0]!r}; there are: {', '.join(found)}")
    return [found[name] for name in names or found]


def run(script, arguments=()):
    """The JSON lines of one benchmark, each with its `script`, `status` and the seconds of the whole."""
    print(f"== {script.stem}", flush=True)
    start = time.monotonic()
    most_seconds = MOST_SECONDS_OF.get(script.stem, MOST_SECONDS)
    lines, output = [], []
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            # A line that is no JSON is the readable row.
            out, _ = process.communicate(timeout=most_seconds)
            status = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            out, status = process.communicate()[0], None
        except BaseException:
            process.kill()
            raise
        errors.seek(0)
        said = [line.strip() for line in errors if line.strip()]
    for text in out.splitlines():
        if text.startswith('{"benchmark"'):
            lines.append(json.loads(text))
        else:
            output.append(text)
    print("\n".join(output), flush=True)
    outcome = {"script": script.stem, "seconds_in_all": round(time.monotonic() - start, 1)}
    last = said[-1] if said else ""
    if status == NOT_RUN and last.startswith("not run: "):
        outcome |= {"status": "not run", "reason": last.removeprefix("not run: ")}
    elif status != 0:
        reason = f"took more than {most_seconds} s" if status is None else last or f"exit status {status}"
        outcome |= {"status": "failed", "reason": reason}
        print("\n".join(said[-20:]), file=sys.stderr)
    else:
        outcome["status"] = "run"
    return [line | outcome for line in lines] or [outcome]


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def by_hand(path):
    """What was written by hand on the page that is there: (before what is measured, from the remarks on)."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before = text.partition(MEASURED)[0] if MEASURED in text else OPENING
    return before, REMARKS + text.partition(REMARKS)[2] if REMARKS in text else ""


def page(lines, before=OPENING, remarks=""):
    """The text of docs/performance.md."""
    place = {name: i for i, name in enumerate(FIRST)}
    lines = sorted(lines, key=lambda line: place.get(line["script"], len(FIRST)))
    blocks = [before + MEASURED + INTRODUCTION]
    groups = {}
    for line in lines:
        if line.get("figures"):
            groups.setdefault(_machine(line["environment"]), []).append(line)
    for machine, group in groups.items():
        loads = [line["environment"]["load"] for line in group]
        blocks.append(f"### {machine}\n\nMachine load {min(loads)} to {max(loads)}.\n")
        rows = [_row(entry) for line in group for entry in line["figures"]]
        blocks.append(_table(("what", "measured", "limit", "ratio", "mark", ""), rows))
    if any(line["script"] == "growth" and line["status"] == "run" for line in lines):
        blocks.append("![Time a step against hidden size, length, experts and problems](growth.png)\n")
    more = [line for line in lines if "benchmark" in line and not line.get("figures")]
    if more:
        blocks.append("### Measured without a mark\n")
        blocks.append(_table(("benchmark", "values", "machine"), [_plain_row(line) for line in more]))
    missing = {line["script"]: line for line in lines if line["status"] != "run"}
    if missing:
        blocks.append("### Not measured\n")
        rows = [(f"`{name}`", line["status"], line["reason"]) for name, line in missing.items()]
        blocks.append(_table(("benchmark", "", "reason"), rows))
    return "\n".join(blocks + ([remarks] if remarks else []))


def _machine(environment):
    named = {"tensorflow": "TensorFlow", "jax": "JAX"}
    backend = environment["backend"]
    parts = [
        f"{environment.get('device') or environment['machine']}, {environment['cpus']} processors",
        f"{named.get(backend, backend)} {environment.get(backend, '')}".strip(),
        f"Python {environment['python']}",
        environment["date"],
    ]
    return "; ".join(parts)


def _row(entry):
    number = lambda value: f"{value:,}"
    limit = f"{number(entry['limit'])} ({entry['limit_is']})" if "limit" in entry else ""
    verdict = {True: "reached", False: "missed", None: ""}[reached(entry)]
    measured = f"{number(entry['value'])} {entry.get('unit', '')}".strip()
    return entry["what"], measured, limit, str(entry.get("ratio", "")), mark(entry), verdict


def _plain_row(line):
    besides = ("benchmark", "figures", "environment", "script", "status", "reason", "seconds_in_all")
    values = ", ".join(f"{key} {value}" for key, value in line.items() if key not in besides)
    return line["benchmark"], values, f"{_machine(line['environment'])}; load {line['environment']['load']}"


def _table(head, rows):
    cells = lambda row: "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"
    return "\n".join([cells(head), cells(["---"] * len(head)), *map(cells, rows)]) + "\n"


if __name__ == "__main__":
    start = datetime.datetime.now()
    status = main()
    print(f"{(datetime.datetime.now() - start).total_seconds():.0f} s in all")
    sys.exit(status)
