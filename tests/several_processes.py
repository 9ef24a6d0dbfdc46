"""Runs of t2t-trainer by several processes on CPUs, for tests that compare, stop, kill or damage them."""

import json
import os
import random
import socket
import subprocess
import sys

import numpy as np

from t2t_multimodel.training import checkpoints

CODE = '''
"""A user's folder: two problems whose batches have one shape each, the smallest model; and what happens at a step."""
import json, os, signal, threading
import numpy as np
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.input.batching import BatchStream
from t2t_multimodel.modalities import Label, Numbers, Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_hparams, register_problem
from t2t_multimodel.training import processes, watch

@register_hparams
def processes_small():
    """As small as the model can be."""
    return HParams(hidden_size=8, num_heads=2, encoder_blocks=1, attention_blocks=0, mixer_blocks=0, decoder_blocks=1,
                   num_experts=2, experts_per_token=1, expert_filter_size=8, dropout=0.1, large_dilation=2,
                   batch_tokens=256, batch_examples=8, batch_rows_multiple=4, learning_rate=5e-3,
                   learning_rate_warmup_steps=3, length_window=2, max_target_length=20, max_input_length=20)

class Small(Problem):
    vocabulary_size = 400
    def samples(self, split):
        for i in range(50 if split == "train" else 13):
            yield self.sample(i, np.random.default_rng([i, len(split)])) | {"key": f"{split}{i}"}

@register_problem
class ProcessesNumbers(Small):
    """Which of two numbers is the larger one."""
    inputs, targets = Numbers(("a", "b")), Label(classes=("x", "y"))
    def sample(self, i, random):
        numbers = random.normal(size=2).astype(np.float32)
        return {"inputs": numbers, "targets": "xy"[int(numbers[0] > numbers[1])]}

@register_problem
class ProcessesTexts(Small):
    """Three digits to three others."""
    inputs, targets = Text(), Text()
    def sample(self, i, random):
        return {"inputs": f"{i:03d}", "targets": f"{99 - i:03d}"}

def disturb(what, step, where):
    """At the batch of this step of the process `where`."""
    drawn, take = [], BatchStream.next
    def next(self):
        drawn.append(1)
        if len(drawn) == step:
            if what == "hang":
                processes.current().watch._stuck_after = 5
            if processes.current().index == where:
                if what == "hang":
                    threading.Event().wait()
                os.kill(os.getpid(), getattr(signal, what))
        return take(self)
    BatchStream.next = next

def note_answers(folder):
    """Every process writes the rows of each batch that it decodes, with their answers."""
    outcomes = Evaluator._outcomes
    def noting(self, problem, batches, store, *how):
        for batch, outcome in outcomes(self, problem, batches, store, *how):
            said = [store.name, batch.rows.tolist(), [str(answer) for answer in outcome.answers[:batch.examples]]]
            with open(os.path.join(folder, f"{processes.current().index}.jsonl"), "a") as file:
                print(json.dumps(said), file=file)
            yield batch, outcome
    Evaluator._outcomes = noting

def die_at(doing):
    """Process 1 dies where it begins to do that; process 0 loses patience sooner than it does elsewhere."""
    watch._GONE_AFTER = 4
    stage = processes.Group.stage
    def dying(self, next):
        if self.index and next.startswith(doing):
            os.kill(os.getpid(), signal.SIGKILL)
        return stage(self, next)
    processes.Group.stage = dying

if "TEST_DIE_AT" in os.environ:
    die_at(os.environ["TEST_DIE_AT"])
if "TEST_ANSWERS" in os.environ:
    from t2t_multimodel.training.evaluation import Evaluator
    note_answers(os.environ["TEST_ANSWERS"])
if "TEST_DISTURB" in os.environ:
    what, step, where = os.environ["TEST_DISTURB"].split()
    disturb(what, int(step), int(where))
'''
PROBLEMS = ("processes_numbers", "processes_texts")
STEPS = 8
SECONDS = 300  # in which each run ends, however busy the machine is
_HOST = "127.0.0.1"


def make(folder):
    """Writes the user's folder and the data into `folder`; returns {flag: value} of both."""
    from t2t_multimodel.cli import datagen

    (folder / "mine").mkdir()
    (folder / "mine" / "several_processes_problems.py").write_text(CODE)
    flags = {"t2t_usr_dir": folder / "mine", "data_dir": folder / "data"}
    words = [f"--{n}={v}" for n, v in (flags | {"problem": ",".join(PROBLEMS), "workers": 1}).items()]
    if "several_processes_problems" in sys.modules:  # of another test's folder, which no command loads twice
        subprocess.run([sys.executable, "-m", "t2t_multimodel.cli.datagen", *words], check=True, capture_output=True)
    else:
        assert datagen.main(words) == 0
    return flags


def start(flags, output_dir, count=2, how="flags", environment=None, own=None, **more):
    """Starts t2t-trainer as so many processes; returns them.

    Args:
      how: they find each other by "flags", as tasks of "slurm", or as ranks of "openmpi".
      own: {number of a process: its {flag: value}}. more: {flag: value} of all.
    """
    flags = {
        "problem": PROBLEMS[0],
        "hparams_set": "processes_small",
        "schedule": "train",
        "save_interval": 2,
        "log_interval": 1,
        "train_steps": STEPS,
        "output_dir": output_dir,
        "backend": "jax",
        **flags,
        **more,
    }
    usual = {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiles twice as fast
        "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
        "JAX_COMPILATION_CACHE_DIR": str(flags["data_dir"].parent / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    port = _free_port()
    children = []
    for index in range(count):
        found, variables = _found(how, port, index, count) if count > 1 else ({}, {})
        words = [f"--{name}={value}" for name, value in (flags | found | (own or {}).get(index, {})).items()]
        children.append(
            subprocess.Popen(
                [sys.executable, "-m", "t2t_multimodel.cli.trainer", *words],
                env=os.environ | usual | variables | (environment or {}),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return children


def ends(children):
    """[(exit status, what was printed)] of processes, when all have ended; none is left where one does not."""
    try:
        said = [child.communicate(timeout=SECONDS)[0] for child in children]
    finally:
        for child in children:
            child.kill()
    return [(child.returncode, text) for child, text in zip(children, said)]


def finish(*arguments, **more):
    """Starts a run and waits for its good end; returns what its processes printed."""
    ended = ends(start(*arguments, **more))
    assert [status for status, _ in ended] == [0] * len(ended), "\n".join(text[-3000:] for _, text in ended)
    return [text for _, text in ended]


def saved(output_dir, step=STEPS):
    """({path: array}, state) of a checkpoint."""
    checkpoint = checkpoints.load(output_dir / "checkpoints", step)
    return checkpoint.arrays, checkpoint.state


def assert_same_bits(one, other):
    (arrays, state), (others, other_state) = one, other
    assert state == other_state and arrays.keys() == others.keys()
    for path, array in arrays.items():
        assert array.tobytes() == others[path].tobytes(), path


def assert_close(one, other, tolerance):
    (arrays, state), (others, other_state) = one, other
    assert state["stream"]["streams"] == other_state["stream"]["streams"] and arrays.keys() == others.keys()
    for path, array in arrays.items():
        np.testing.assert_allclose(array, others[path], rtol=tolerance, atol=tolerance, err_msg=path)


def logged(output_dir, split="train"):
    """The log's records of a split, without times."""
    lines = (output_dir / "metrics.jsonl").read_text().splitlines()
    times = ("tokens_per_second", "steps_per_second", "train_seconds")
    records = [r for r in map(json.loads, lines) if r["split"] == split]
    return [{name: value for name, value in record.items() if name not in times} for record in records]


def _found(how, port, index, count):
    """({flag: value}, {variable: value}) by which a process finds the others."""
    if how == "flags":
        return {"coordinator": f"{_HOST}:{port}", "num_processes": count, "process_id": index}, {}
    if how == "slurm":
        names = ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_JOB_ID", "SLURM_STEP_NODELIST")
        values = (count, index, index, port - 61440, _HOST)
    else:
        names = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_MCA_orte_hnp_uri")
        values = (count, index, index, f"{(port - 61440) << 12}.0;tcp://{_HOST}:1")
    return {"distributed": "auto"}, dict(zip(names, map(str, values)))


def _free_port():
    """A free port of those that JAX chooses from by the number of a job."""
    while True:
        port = random.randrange(61440, 65536)
        with socket.socket() as tried:
            try:
                tried.bind((_HOST, port))
            except OSError:
                continue
            return port
