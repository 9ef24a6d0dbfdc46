"""Seconds from a command to its first update of a model, and to the help of every command; warm disk.

    python benchmarks/start_time.py [--data_dir=DIR] [--runs=N]

`t2t-trainer` is started as a person starts it, on one problem of tiny8 and on all eight with the set multimodel_tiny,
and the clock stops when the first line about an update stands in `metrics.jsonl`; with eight problems, when each has
had an update. Without --data_dir the data is made first, which is not timed.
"""

import argparse
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from common import figure, median, report

ONE, EIGHT = "tiny_ende", "tiny8"
MOST_ONE, MOST_EIGHT, MOST_HELP = 12.0, 90.0, 1.0  # marks, seconds
GIVE_UP = 300.0


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="data of tiny8 that is there already")
    parser.add_argument("--runs", type=int, default=3, help="starts of each kind; the median counts")
    parser.add_argument("--parts", default="help,one,eight", help="which of these to measure")
    flags = parser.parse_args(argv)
    parts, figures, values = flags.parts.split(","), [], {}
    if "help" in parts:
        helps = {name: median([help_seconds(module) for _ in range(flags.runs)]) for name, module in commands()}
        slowest = max(helps, key=helps.get)
        python = median([bare_seconds() for _ in range(flags.runs)])
        figures.append(
            figure(
                f"--help of the slowest command, {slowest}",
                helps[slowest],
                "s",
                at_most=MOST_HELP,
                limit=python,
                limit_is="Python and numpy alone",
            )
        )
        values["help_seconds"] = {name: round(value, 3) for name, value in helps.items()}
    with tempfile.TemporaryDirectory() as folder:
        data = flags.data_dir or f"{folder}/data"
        if not flags.data_dir and {"one", "eight"} & set(parts):
            check([sys.executable, "-m", "t2t_multimodel.cli.datagen", f"--problem={EIGHT}", f"--data_dir={data}"])
        imports = median([import_seconds() for _ in range(flags.runs)])
        for part, problem, problems, most in (("one", ONE, 1, MOST_ONE), ("eight", EIGHT, 8, MOST_EIGHT)):
            if part in parts:
                runs = flags.runs if part == "one" else 1
                starts = [start(problem, problems, data, f"{folder}/{part}{i}") for i in range(runs)]
                first, all_of_them = (median(column) for column in zip(*starts))
                what = "first update, one problem" if part == "one" else f"an update of each of {problems} problems"
                figures.append(
                    figure(
                        f"from the command to {what}",
                        all_of_them,
                        "s",
                        at_most=most,
                        limit=imports,
                        limit_is="importing TensorFlow and Keras",
                    )
                )
                values |= {f"{part}_first_update": first, f"{part}_all": all_of_them}
        values["import_seconds"] = imports
    report("start_time", figures, **values)


def commands():
    """(name, module) of every command of the package, and of the demo."""
    points = importlib.metadata.distribution("t2t-multimodel").entry_points
    found = [(point.name, point.module) for point in points if point.group == "console_scripts"]
    return [*sorted(found), ("demo", "t2t_multimodel.cli.demo")]


def help_seconds(module):
    return timed(lambda: check([sys.executable, "-m", module, "--help"]))


def bare_seconds():
    return timed(lambda: check([sys.executable, "-c", "import numpy"]))


def import_seconds():
    return timed(lambda: check([sys.executable, "-c", "import tensorflow, keras"]))


def start(problem, problems, data, output):
    """Seconds to the first update, and to the first time that each of so many problems has had one."""
    arguments = [
        f"--problem={problem}",
        f"--data_dir={data}",
        f"--output_dir={output}",
        "--hparams_set=multimodel_tiny",
        "--backend=tensorflow",
        "--log_interval=1",
        "--schedule=train",
        "--train_steps=1000",
    ]
    metrics = pathlib.Path(output) / "metrics.jsonl"
    with tempfile.TemporaryFile("w+") as said:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "t2t_multimodel.cli.trainer", *arguments], stdout=said, stderr=said
        )
        first = None
        try:
            while time.monotonic() - began < GIVE_UP:
                seen = seen_problems(metrics)
                first = first or (time.monotonic() - began if seen else None)
                if len(seen) >= problems:
                    return first, time.monotonic() - began
                if process.poll() is not None:
                    break
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        raise SystemExit(f"t2t-trainer made no {problems} updates: {said.read()[-2000:]}")


def seen_problems(metrics):
    """The problems of which `metrics.jsonl` tells a training loss."""
    if not metrics.exists():
        return set()
    seen = set()
    for line in metrics.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            values = json.loads(line)
            if "loss" in values and values.get("problem"):
                seen.add(values["problem"])
    return seen


def timed(function):
    began = time.monotonic()
    function()
    return time.monotonic() - began


def check(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:4])} failed: {done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
