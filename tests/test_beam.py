"""Apache Beam makes the same files as the local pool, and its absence and its options are spoken of in one line.

The test that installs Beam takes minutes and the package registry, so it runs only when asked:

    T2T_TEST_BEAM=1 python -m pytest tests/test_beam.py

A path to the Python of an environment that has the package with Beam, in place of 1, saves the installation.
"""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from t2t_multimodel.cli import datagen

PROBLEMS = """
import os
import numpy as np
from t2t_multimodel.modalities import Image, Label, Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_problem

@register_problem
class BeamPairs(Problem):
    inputs, targets = Text(), Text()

    def samples(self, split):
        for number in range(14000 if split == "train" else 300):  # several shards, and partitions: one is 4096 samples
            yield {"inputs": f"number {number} of {split}", "targets": f"{number * 7 % 1000} und {number % 13}"}

@register_problem
class BeamPictures(Problem):
    inputs, targets = Image(8, 8, 3), Label(("even", "odd"))
    splits = ("train", "dev")

    def samples(self, split):
        for number in range(1200 if split == "train" else 100):
            yield {"inputs": number, "targets": ("even", "odd")[number % 2], "key": f"{split}/{number}"}

    def prepare(self, sample):
        if "PREPARED_LOG" in os.environ:
            with open(os.environ["PREPARED_LOG"], "a") as log:
                log.write(sample["key"] + "\\n")
        if sample["key"] == "train/700":
            raise ValueError("no picture")
        return {**sample, "inputs": np.random.default_rng(sample["inputs"]).integers(0, 256, (8, 8, 3), np.uint8)}
"""

STOPPED = """
import functools, pathlib, sys
from t2t_multimodel import registry
from t2t_multimodel.cli.user_code import load_user_code
from t2t_multimodel.data_gen import beam
from t2t_multimodel.data_gen.generate import generate

def stop(*args):
    raise KeyboardInterrupt

beam.BeamRunner.write_shards = stop
load_user_code(sys.argv[1])
runner = functools.partial(beam.BeamRunner, options="--runner=DirectRunner")
problem = registry.problem("beam_pictures")
generate([problem], pathlib.Path(sys.argv[2]), shard_bytes=1 << 20, max_bad_records=1, runner=runner)
"""


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.skipif(
    not os.environ.get("T2T_TEST_BEAM"),
    reason="installs Apache Beam into an environment of its own, which takes minutes: T2T_TEST_BEAM=1 runs it",
)
@pytest.mark.timeout(3000)
def test_beam_in_its_own_environment_makes_the_same_files(tmp_path, repository, user_folder):
    python = os.environ["T2T_TEST_BEAM"]
    if not os.path.exists(python):
        python = tmp_path / "environment" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "environment"], check=True)
        subprocess.run(
            [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                f"{repository}[beam]",
                "-c",
                repository / "constraints-beam.txt",
            ],
            check=True,
        )
    subprocess.run([python, "-m", "pip", "check"], check=True)
    usr_dir = user_folder({"__init__.py": PROBLEMS}, "beam_problems")

    def run(python, data_dir, *flags, **more):
        """`t2t-datagen` in a process of its own; the standard output."""
        argv = ["--problem=beam_pairs,beam_pictures", f"--data_dir={data_dir}", f"--t2t_usr_dir={usr_dir}"]
        argv += ["--max_bad_records=1", "--vocabulary_size=500", "--shard_megabytes=1", *flags]
        done = subprocess.run(
            [python, "-m", "t2t_multimodel.cli.datagen", *argv],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | more,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    local, two = tmp_path / "local", "--direct_num_workers=2 --direct_running_mode=multi_processing"
    run(sys.executable, local)
    expected = digests(local)
    assert len([name for name in expected if name.startswith("beam_pairs/beam_pairs-train.tfrecord")]) > 1
    for folder, options, more in (
        ("in_memory", "--runner=DirectRunner --direct_running_mode=in_memory", ()),
        ("two_processes", f"--runner=DirectRunner {two}", ()),
        ("elsewhere", "--runner=DirectRunner", (f"--beam_folder={tmp_path}/work",)),
    ):
        out = run(python, tmp_path / folder, "--runner=beam", f"--beam_options={options}", *more)
        assert "1 bad records left out" in out
        assert digests(tmp_path / folder) == expected, folder
    assert not list((tmp_path / "work").iterdir())
    run(python, tmp_path / "elsewhere", "--verify")

    # An interrupted job without shards, and one of its three partitions altered: only that one is made again.
    (tmp_path / "stopped.py").write_text(STOPPED)
    data_dir, log = tmp_path / "stopped", tmp_path / "prepared.log"
    subprocess.run([python, tmp_path / "stopped.py", usr_dir, data_dir], stderr=subprocess.DEVNULL, check=False)
    partitions = sorted((data_dir / "incomplete.beam_pictures" / "partitions").glob("train-*.records"))
    assert [json.loads(p.with_suffix(".json").read_text())["first"] for p in partitions] == [0, 512, 1024]
    partitions[1].write_bytes(b"altered")
    out = run(python, data_dir, "--runner=beam", "--beam_options=--runner=DirectRunner", PREPARED_LOG=str(log))
    assert "beam_pictures: continuing the unfinished store: 1,300 samples in 4 partitions" in out
    assert sorted(log.read_text().split(), key=lambda key: int(key.split("/")[1])) == [
        f"train/{number}" for number in range(512, 1024)
    ]
    pictures = {name: digest for name, digest in expected.items() if name.startswith("beam_pictures/")}
    assert pictures.items() <= digests(data_dir).items()


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="Apache Beam is installed here")
def test_without_beam_one_line_says_what_to_install(tmp_path, run_command):
    argv = ["--problem=tiny_image", f"--data_dir={tmp_path}/data", "--runner=beam"]
    status, out, err = run_command(datagen.main, *argv)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert 'pip install "t2t-multimodel[beam]" -c constraints-beam.txt' in err
    assert not (tmp_path / "data").exists()


def test_flags_of_the_two_runners_do_not_mix(tmp_path, run_command):
    argv = ["--problem=tiny_image", f"--data_dir={tmp_path}/data"]
    for more, said in (
        (["--beam_options=--runner=DirectRunner"], "go with --runner=beam"),
        (["--runner=beam", "--workers=2"], "--workers goes with --runner=local"),
    ):
        status, _, err = run_command(datagen.main, *argv, *more)
        assert status == 2 and said in err and err.count("\n") == 1
