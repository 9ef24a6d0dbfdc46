"""Seconds from a command to its first update, its first answer, a server that is ready, and to every help; warm disk.

    python benchmarks/start_time.py [--data_dir=DIR] [--output_dir=RUN] [--runs=N] [--parts=help,one,eight,server,…]

`t2t-trainer` is started as a person starts it, on one problem of tiny8 and on all eight with the set multimodel_tiny,
and the clock stops when the first line about an update stands in `metrics.jsonl`; with eight problems, when each has
had an update. `t2t-server` gets ready for all problems of a run of tiny8, `t2t-decoder` answers one line. What has a
mark for its second start is started once before, with an empty --compile_cache, which is told too. Seconds of
processor time are those of the command until then: they are disturbed less by what else runs. Without --data_dir the
data is made first, and without --output_dir a run of one update, which is not timed.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from common import figure, median, report

ONE, EIGHT = "tiny_ende", "tiny8"
MOST_ONE, MOST_EIGHT, MOST_READY, MOST_ANSWER, MOST_HELP = 12.0, 10.0, 10.0, 5.0, 1.0  # marks, seconds
GIVE_UP = 300.0
# As of an installed package, whose bytecode is on disk; programs are kept where --compile_cache asks for it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT["T2T_COMPILE_CACHE"] = "off"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="data of tiny8 that is there already")
    parser.add_argument("--runs", type=int, default=3, help="starts of each kind; the median counts")
    parser.add_argument("--output_dir", help="a run of tiny8 that is there already")
    parser.add_argument("--parts", default="help,one,eight,server,decoder", help="which of these to measure")
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
        if not flags.data_dir and ({"one", "eight"} & set(parts) or not flags.output_dir):
            check([sys.executable, "-m", "t2t_multimodel.cli.datagen", f"--problem={EIGHT}", f"--data_dir={data}"])
        imports = median([import_seconds() for _ in range(flags.runs)])
        values["import_seconds"] = imports
        if "one" in parts:
            runs = [update(ONE, 1, data, f"{folder}/one{i}") for i in range(flags.runs)]
            figures.append(of_start("first update, one problem", runs, MOST_ONE, imports))
        again = {
            "eight": ("an update of each of 8 problems", MOST_EIGHT, lambda i, *more: update(EIGHT, 8, data, i, *more)),
            "server": ("a server ready for 8 problems", MOST_READY, lambda i, *more: ready(run, *more)),
            "decoder": ("the answer to one line", MOST_ANSWER, lambda i, *more: answer(run, folder, *more)),
        }
        run = flags.output_dir or f"{folder}/run"
        if not flags.output_dir and {"server", "decoder"} & set(parts):
            check(trainer(EIGHT, data, run, "--train_steps=1"))
        for part, (what, most, start) in again.items():
            if part in parts:
                cache = f"--compile_cache={folder}/{part}"
                first = start(f"{folder}/{part}-first", cache)
                runs = [start(f"{folder}/{part}{i}", cache) for i in range(flags.runs)]
                figures.append(of_start(f"{what}, second start with --compile_cache", runs, most, imports))
                values |= {f"{part}_first_start": first[0], f"{part}_first_start_processor": first[1]}
                values[f"{part}_processor"] = median([processor for _, processor in runs])
    report("start_time", figures, **values)


def of_start(what, runs, most, imports):
    seconds = median([seconds for seconds, _ in runs])
    limit = {"limit": imports, "limit_is": "importing TensorFlow and Keras"}
    return figure(f"from the command to {what}", seconds, "s", at_most=most, **limit)


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


def trainer(problem, data, output, *more):
    arguments = [f"--problem={problem}", f"--data_dir={data}", f"--output_dir={output}", "--schedule=train", *more]
    given = ["--hparams_set=multimodel_tiny", "--backend=tensorflow", "--log_interval=1"]
    return [sys.executable, "-m", "t2t_multimodel.cli.trainer", *arguments, *given]


def update(problem, problems, data, output, *more):
    """Seconds, and those of a processor, until each of so many problems has had an update."""
    metrics = pathlib.Path(output) / "metrics.jsonl"
    command = trainer(problem, data, output, "--train_steps=1000", *more)
    return until(command, lambda said: len(seen_problems(metrics)) >= problems)


def ready(run, *more):
    """The same until t2t-server is ready."""
    command = [sys.executable, "-m", "t2t_multimodel.cli.server", f"--output_dir={run}", "--port=0", *more]
    return until(command, lambda said: "ready after" in said)


def answer(run, folder, *more):
    """The same until t2t-decoder has answered one line."""
    source = pathlib.Path(folder) / "line.txt"
    source.write_text("the red circle sleeps\n", encoding="utf-8")
    command = [sys.executable, "-m", "t2t_multimodel.cli.decoder", f"--output_dir={run}", f"--problem={ONE}"]
    return until([*command, f"--decode_from_file={source}", *more], lambda said: said.strip(), ends=True)


def until(command, done, ends=False):
    """(seconds, seconds of a processor) from a command until `done(what it has written)`.

    Args: ends: whether it ends by itself then; others are told to, and keep what they have compiled.
    """
    with tempfile.TemporaryFile("w+") as said:
        began, used = time.monotonic(), 0.0
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=ENVIRONMENT)
        try:
            while time.monotonic() - began < GIVE_UP:
                used = processor_seconds(process.pid) or used
                ended = process.poll() is not None
                if done(os.pread(said.fileno(), 1 << 20, 0).decode()):
                    return time.monotonic() - began, used
                if ended:
                    break
                time.sleep(0.02)
        finally:
            if not ends:
                process.terminate()
            process.wait()
        text = os.pread(said.fileno(), 1 << 20, 0).decode()[-2000:]
        raise SystemExit(f"{' '.join(command[2:5])} did not get so far: {text}")


def processor_seconds(process):
    """What a process has used so far; 0 where that is not told (Linux), or no longer."""
    try:
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
