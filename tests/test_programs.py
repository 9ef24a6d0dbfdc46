"""Promise: the programs of a run are known before its first update, and on JAX compiled before they are needed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from input_data import HPARAMS, make_input_data, stream
from small_world import make_data, weights

from t2t_multimodel.input.mixture_stream import MixtureStream
from t2t_multimodel.mixture import Mixture, MixtureSchedule
from t2t_multimodel.training.programs import Programs

MIX = (("words", 3), ("shapes", 1), ("speech", 1))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_input_data(tmp_path_factory.mktemp("data"))


def mixed(data, part=(0, 1), **changes):
    hparams = replace(HPARAMS, batch_rows_multiple=2, **changes)
    streams = {name: stream(data, name, 1, hparams, bucket=True, part=part) for name, _ in MIX}
    return MixtureStream(streams, MixtureSchedule(Mixture("mix", "", MIX), hparams), 1)


def shapes(arrays):
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


@pytest.mark.parametrize("draws, part", [(1, (0, 1)), (3, (0, 1)), (1, (1, 2))])
def test_the_shapes_of_all_batches_are_known_before_any_is_read(data, draws, part):
    """Over several epochs, and from a place within one; of a part of each batch too."""
    there = mixed(data, part, gradient_accumulation_steps=draws)
    for step in range(7):
        there.microbatches(step)
    expected = list(there.shapes_ahead(7, 60))
    assert len({shape for drawn in expected for shape in drawn}) > 3
    for step, drawn in enumerate(expected, 7):
        batches = there.microbatches(step)
        assert [problem for problem, _ in drawn] == [batch.problem for batch in batches]
        for (problem, shape), batch in zip(drawn, batches):
            blank = there.streams[problem].blank(shape)
            assert shapes(blank) == shapes(batch.arrays) and not blank["example_weights"].any()
    assert min(batch.epoch for batch in batches) > 0
    there.close()


class Compiler:
    """A `Step` that compiles at once, and notes what; a name in `broken` can't be compiled."""

    def __init__(self, broken=()):
        self.prepared, self.broken = [], broken

    def programs_of(self, microbatches):
        return [tuple((spec, len(batch["command"])) for spec, batch in microbatches)]

    def prepare(self, name, microbatches):
        assert name in self.programs_of(microbatches)
        if name in self.broken:
            raise MemoryError
        self.prepared.append(name)


def programs(data, step, static_shapes=True):
    there = mixed(data)
    return Programs(step, there, {name: SimpleNamespace(spec=name) for name, _ in MIX}, static_shapes), there


def test_all_are_compiled_once_in_the_order_of_need_and_counted(data, capsys):
    step, told = Compiler(), []
    found, there = programs(data, step)
    found.look_ahead(5, 25)
    count = found.counts[1]
    assert capsys.readouterr().out == f"20 updates: {count} programs to compile\n" and count > 2
    found.compile_ahead(lambda *counts: told.append(counts), lambda: True)
    assert told == [(done, count) for done in range(count + 1)]
    assert len(step.prepared) == len({*step.prepared}) == count
    needed = []
    for number in range(5, 25):
        microbatches = [(batch.problem, batch.arrays) for batch in there.microbatches(number)]
        assert not found.is_new(microbatches)
        (name,) = step.programs_of(microbatches)
        needed += [] if name in needed else [name]
    assert needed == step.prepared
    there.close()


def test_where_one_program_serves_all_shapes_one_batch_a_problem_is_made(data, monkeypatch):
    """A long run on recordings has thousands of shapes: a batch of each is gigabytes."""
    found, there = programs(data, Compiler(), static_shapes=False)
    shapes_of = {name: set() for name, _ in MIX}
    for ((problem, shape),) in there.shapes_ahead(0, 60):
        shapes_of[problem].add(shape)
    assert max(map(len, shapes_of.values())) > 1
    blanks = {name: Mock(wraps=of_problem.blank) for name, of_problem in there.streams.items()}
    for name, of_problem in there.streams.items():
        monkeypatch.setattr(of_problem, "blank", blanks[name])
    found.look_ahead(0, 60)
    assert [blank.call_count for blank in blanks.values()] == [1, 1, 1]


def test_several_threads_compile_each_once(data):
    step, told = Compiler(), []
    found, _ = programs(data, step)
    found.look_ahead(5, 25)
    count = found.counts[1]
    found.compile_ahead(lambda *counts: told.append(counts), lambda: True, at_once=3)
    assert len(step.prepared) == len({*step.prepared}) == count > 2
    assert told[0] == (0, count) and told[-1] == (count, count) and told == sorted(told)


@pytest.mark.parametrize("at_once", [1, 3])
def test_an_error_of_one_ends_the_run(data, at_once):
    found, _ = programs(data, Compiler())
    found.look_ahead(0, 40)
    found._step.broken = list(found._found)[2:3]
    with pytest.raises(MemoryError):
        found.compile_ahead(lambda *counts: None, lambda: True, at_once)


def test_what_was_not_foreseen_is_new_once_and_counted(data, capsys):
    found, there = programs(data, Compiler())
    found.look_ahead(3, 3)
    assert capsys.readouterr().out == ""
    microbatches = [("words", {"command": [0] * 77})]
    assert found.is_new(microbatches)
    found.used(microbatches)
    assert not found.is_new(microbatches) and found.counts == (1, 1)


def test_no_further_one_is_compiled_when_the_run_is_told_to_stop(data):
    step = Compiler()
    found, _ = programs(data, step)
    found.look_ahead(0, 40)
    found.compile_ahead(lambda *counts: None, lambda: len(step.prepared) < 2)
    assert len(step.prepared) == 2 == found.counts[0] < found.counts[1]


def test_a_long_run_looks_some_way_ahead(data, monkeypatch, capsys):
    monkeypatch.setattr("t2t_multimodel.training.programs.LOOKED_AHEAD", 30)
    found, _ = programs(data, Compiler())
    found.look_ahead(10, 10**9)
    assert capsys.readouterr().out.startswith("the next 30 updates: ")


def test_beside_the_updates_an_error_is_left_to_the_update_that_meets_it(data):
    found, _ = programs(data, Compiler())
    found.look_ahead(0, 40)
    third = list(found._found)[2]
    found._step.broken = (third,)
    found.compile_beside()
    found._thread.join(timeout=60)
    assert found.counts[0] == 2 and third not in found._step.prepared
    found.close()
    assert found._thread is None


CHILD = """
import json, sys
from dataclasses import replace
from small_world import HPARAMS, make_trainer
data, output, when = sys.argv[1:]
small = {"encoder_blocks": 1, "attention_blocks": 0, "mixer_blocks": 0, "decoder_blocks": 1, "use_attention": False}
hparams = replace(HPARAMS, train_steps=8, image_residual_filters=(0,), **small)
trainer = make_trainer(data, output, hparams, ("tiny_ende", "tiny_image"))
compiled, programs = [], trainer.train_step._programs
compile_one = programs._compile
def noting(name, microbatches):
    compiled.append(trainer.step)
    return compile_one(name, microbatches)
programs._compile = noting
if when == "beside":  # as on an accelerator
    trainer.backend.accelerated = lambda: True
status = trainer.run()
print(json.dumps([status, compiled, trainer.programs.counts]))
"""


@pytest.mark.slow
def test_when_a_program_is_compiled_changes_no_bit(tmp_path):
    """Before the first update, and beside the updates, which wait for none but their own."""
    pytest.importorskip("jax")
    data, found = make_data(tmp_path / "data"), {}
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiles twice as fast
        "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
    }
    for when in ("before", "beside"):
        command = [sys.executable, "-c", CHILD, data, tmp_path / when, when]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        status, compiled, counts = json.loads(done.stdout.splitlines()[-1])
        count = counts[1]
        assert status == 0 and counts == [count, count] and len(compiled) == count > 2, when
        assert f"8 updates: {count} programs to compile" in done.stdout
        found[when] = compiled, weights(tmp_path / when, 8)
    assert set(found["before"][0]) == {0}
    assert found["before"][1] == found["beside"][1]
