"""t2t-exporter: seconds and size of the SavedModel of each problem of a run, and how many answers are the run's own.

    python benchmarks/exporting.py --output_dir=run [--problems=tiny_ende,tiny_image] [--questions=300] [--format=hub]

Each problem is exported by the command, in a process of its own, as a user would; seconds are of the whole command,
which asks 32 questions. With `--questions` it is exported a second time, and asked so many. The size is held against
that of the weights which the problem uses, and the vocabulary.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from common import figure, not_run, report


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", help="the run directory; its data at its place")
    parser.add_argument("--problems", default="", help="names with commas between them; default: all of the run")
    parser.add_argument("--questions", type=int, default=0, help="export again, and compare by so many answers")
    parser.add_argument("--format", default="saved_model")
    flags = parser.parse_args(argv)
    if not flags.output_dir:
        not_run("needs a trained run; give --output_dir=RUN")
    problems = flags.problems.split(",") if flags.problems else problems_of(flags.output_dir)
    figures = []
    for problem in problems:
        with tempfile.TemporaryDirectory() as folder:
            about, first = f"{problem}, {flags.format}", f"{folder}/first"
            begin = time.monotonic()
            export(flags, problem, first)
            seconds = time.monotonic() - begin
            figures.append(figure(f"{about}: command to export", seconds, "s", at_most=15))
            figures.append(figure(f"{about}: size", size_ratio(flags, problem, first), "× weights", at_most=1.1))
            print(json.dumps({"problem": problem, "seconds": round(seconds, 1)}), flush=True)
            if flags.questions:
                for name, equal, of in export(flags, problem, f"{folder}/second", flags.questions):
                    figures.append(figure(f"{about}: {name}, of {of} answers", equal, "the run's own"))
    report("exporting", figures)


def problems_of(output_dir):
    run = json.loads(pathlib.Path(output_dir, "run.json").read_text(encoding="utf-8"))
    return sorted(run["problems"])


def export(flags, problem, folder, questions=32):
    """Runs the command; → [(signature, equal answers, of so many)]."""
    command = [sys.executable, "-m", "t2t_multimodel.cli.exporter", f"--output_dir={flags.output_dir}"]
    command += [
        f"--problem={problem}",
        f"--export_dir={folder}",
        f"--format={flags.format}",
        f"--questions={questions}",
    ]
    command.append(f"--questions={questions}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{problem}: {done.stderr.strip()}")
    found = re.findall(r"^(\S+): ([\d,]+) of ([\d,]+) answers", done.stdout, re.MULTILINE)
    return [(name, int(equal.replace(",", "")), int(of.replace(",", ""))) for name, equal, of in found]


def size_ratio(flags, problem, folder):
    """Bytes of the export over those of the weights that the problem uses and of the vocabulary."""
    from t2t_multimodel.exporting.slice import load_slice
    from t2t_multimodel.training.run_directory import RunDirectory

    directory = RunDirectory(flags.output_dir)
    part = load_slice(directory, problem, None, {})
    vocabulary = 0
    if part.vocabulary is not None:
        path = pathlib.Path(flags.output_dir, "vocabulary")
        vocabulary = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    bytes_ = sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return bytes_ / (part.weight_bytes + vocabulary)


if __name__ == "__main__":
    main()
