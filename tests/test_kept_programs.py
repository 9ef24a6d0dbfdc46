"""Traced programs on disk: the same bits without tracing; never one of another version, model or setting."""

import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from models import BACKEND, HPARAMS, SPECS, TRANSLATION, make_batch, make_model

from t2t_multimodel.compile_cache import KEPT_VARIABLE

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX keeps its compiled programs itself")

if BACKEND == "tensorflow":
    from t2t_multimodel import compile_cache
    from t2t_multimodel.decoding.batch_decoder import BatchDecoder
    from t2t_multimodel.training import tensorflow_kept, tensorflow_program, tensorflow_step
    from t2t_multimodel.training.optimizer import make_optimizer
    from t2t_multimodel.training.tensorflow_kept import Keeper, keeper_of
    from t2t_multimodel.training.tensorflow_program import program

SMALL = replace(HPARAMS, use_attention=False, num_experts=3, dropout=0.1)
PICTURES = SPECS["image_to_label"]
SPECS_OF_TWO = [TRANSLATION, PICTURES]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(KEPT_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def traced(monkeypatch):
    """What was traced, by what it is called."""
    names, trace = [], Keeper._traced

    def note(self, function, signature, fused):
        names.append(function.__name__)
        return trace(self, function, signature, fused)

    monkeypatch.setattr(Keeper, "_traced", note)
    return names


def model_of(hparams=SMALL):
    return make_model(hparams, SPECS_OF_TWO)


def answers(model):
    """Ids and their scores by greedy search: the encoder and the search are a program each."""
    return list(BatchDecoder(model, tensorflow_step).ids(TRANSLATION, make_batch(TRANSLATION), limit=6))


def classes(model):
    """The scores of classes: one program."""
    return [BatchDecoder(model, tensorflow_step).predicted(PICTURES, make_batch(PICTURES))["scores"]]


def trained(updates=3, prepared=False, hparams=SMALL):
    """All variables after some updates, and the teacher-forced statistics then."""
    tensorflow_step.seed(3)
    model = model_of(hparams)
    step = tensorflow_step.Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    if prepared:
        blank = [(PICTURES, make_batch(PICTURES, seed=99))]
        before = [np.asarray(v.value) for v in step.variables()]
        step.prepare(*step.programs_of(blank), blank)
        assert_same_bits([np.asarray(v.value) for v in step.variables()], before)
    for number in range(updates):
        step.update([(PICTURES, make_batch(PICTURES, seed=number))], 1e-3)
    found = step.evaluate(PICTURES, make_batch(PICTURES))
    return [np.asarray(v.value) for v in step.variables()] + [found[name] for name in sorted(found)]


def assert_same_bits(these, those):
    assert len(these) == len(those) > 0
    for one, other in zip(these, those):
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes()


@pytest.mark.slow
def test_answers_are_those_of_a_traced_program_and_the_next_process_traces_nothing(monkeypatch, tmp_path, traced):
    plain = answers(model_of())
    monkeypatch.setenv(KEPT_VARIABLE, str(tmp_path))
    assert_same_bits(answers(model_of()), plain)
    assert sorted(traced) == ["read", "write"]
    assert_same_bits(answers(model_of()), plain)
    assert len(traced) == 2


@pytest.mark.slow
def test_training_is_that_of_traced_programs(monkeypatch, tmp_path, traced):
    plain = trained()
    monkeypatch.setenv(KEPT_VARIABLE, str(tmp_path))
    assert_same_bits(trained(), plain)
    assert sorted(traced) == ["evaluation", "update"]
    assert_same_bits(trained(), plain)
    assert len(traced) == 2


@pytest.mark.slow
def test_gradients_of_tables_are_whole(monkeypatch, tmp_path, traced):
    """TensorFlow's gradient of an embedding is of the rows that were read, an array of another kind."""

    def gradients():
        model = model_of()
        found = tensorflow_step.Step(model, None, SMALL).gradients(TRANSLATION, make_batch(TRANSLATION))
        shapes = [tuple(v.shape) for v in model.trainable_variables_for(TRANSLATION)]
        assert [gradient.shape for gradient in found] == shapes
        return found

    plain = gradients()
    monkeypatch.setenv(KEPT_VARIABLE, str(tmp_path))
    for _ in range(2):
        for one, other in zip(gradients(), plain):
            np.testing.assert_allclose(one, other, atol=1e-4)  # sums have no fixed order here
        assert traced == ["gradients"]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [False, True])
def test_a_program_that_was_prepared_has_not_run_and_gives_the_same_bits(monkeypatch, tmp_path, kept):
    if kept:
        monkeypatch.setenv(KEPT_VARIABLE, str(tmp_path))
    assert_same_bits(trained(prepared=True), trained())


def test_programs_are_prepared_by_several_threads(folder):
    """Also while one of them is called."""
    import tensorflow as tf

    counters = [tf.Variable(0.0) for _ in range(4)]
    counting = lambda counter: lambda x: x + counter.assign_add(1.0)
    made = [program(tf.TensorSpec([None], tf.float32))(counting(counter)) for counter in counters]
    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(one.optimise, np.float32([1, 2])) for one in made]
        results = [made[0](np.float32([3])) for _ in range(5)]
    assert [each.result() for each in done] == [None] * 4
    assert [float(c) for c in counters] == [5, 0, 0, 0] and float(results[-1][0]) == 8
    assert [made[1](np.float32([3])).numpy().tolist() for _ in range(2)] == [[4], [5]]


def test_weights_are_the_models_not_those_of_the_time_of_tracing(folder):
    before = classes(model_of())
    model = model_of()
    for variable in model.trainable_variables:
        variable.assign(-variable.value)
    kept = classes(model)
    assert not np.array_equal(kept[0], before[0])
    os.environ.pop(KEPT_VARIABLE)
    assert_same_bits(kept, classes(model))


def path_of(model, called="some", signature=()):
    return keeper_of(model)._path([called], signature, fused=False)


def test_another_model_setting_version_or_device_has_other_programs(folder, monkeypatch):
    model = model_of()
    paths = {path_of(model), path_of(model, "other"), path_of(model_of(replace(SMALL, label_smoothing=0.2)))}
    monkeypatch.setenv("T2T_KERNELS", "reference")
    paths.add(path_of(model_of()))
    monkeypatch.delenv("T2T_KERNELS")
    process = tensorflow_kept._process()
    for change in ({"sources": "changed"}, {"versions": ["9"]}, {"devices": ["GPU:0"]}, {"keras": ["float16"]}):
        monkeypatch.setattr(tensorflow_kept, "_process", lambda change=change: process | change)
        paths.add(path_of(model_of()))
    monkeypatch.setattr(tensorflow_kept, "_process", lambda: process)
    specs = [replace(TRANSLATION, inputs=replace(TRANSLATION.inputs, vocabulary_digest="another")), PICTURES]
    paths.add(path_of(make_model(SMALL, specs)))
    frozen = model_of()
    frozen.encoder.trainable = False
    paths.add(path_of(frozen))
    assert len(paths) == 10
    assert path_of(model_of()) in paths


OTHER_TRAINING = {
    "learning_rate": 0.5,
    "learning_rate_schedule": "exponential",
    "learning_rate_warmup_steps": 77,
    "learning_rate_decay_rate": 0.1,
    "learning_rate_decay_steps": 5,
    "train_steps": 9,
    "batch_tokens": 999,
    "batch_examples": 3,
    "length_window": 2,
    "sorted_epochs": 4,
    "mixture": "schedule",
    "mixture_temperature": 3.0,
    "mixture_schedule": "linear @0 1 2 @9 1 1",
    "image_positions": 7,
    "audio_positions_per_second": 3.0,
}


def graph_in(path):
    """The functions of a kept program as text, without the numbers that a process counts on, in some order."""
    graph = str(tensorflow_kept.Stored.of_content(compile_cache.read_kept(path)).graph)
    parts = re.sub(r"CustomGradient-\d+|kept_[0-9a-f]{32}_\d+", "", graph).split("\n  function {")
    return sorted(part.rstrip("\n }") for part in parts)  # behind the last one is the end of the whole


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "muon", "adafactor"])
def test_what_only_the_trainer_reads_changes_no_graph(monkeypatch, tmp_path, optimizer):
    assert set(OTHER_TRAINING) == set(tensorflow_kept.NOT_IN_GRAPHS)
    hparams, programs = replace(SMALL, optimizer=optimizer), []
    other = replace(hparams, **OTHER_TRAINING)
    assert all(getattr(other, name) != getattr(hparams, name) for name in OTHER_TRAINING)
    for number, each in enumerate((hparams, other)):
        monkeypatch.setenv(KEPT_VARIABLE, str(tmp_path / str(number)))
        (tmp_path / str(number)).mkdir()
        trained(1, hparams=each)
        programs.append({path.name: graph_in(path) for path in (tmp_path / str(number)).glob("*.program")})
    assert len(programs[0]) == 2 and min(map(len, programs[0].values())) > 1 and programs[0] == programs[1]


def test_a_change_of_any_source_file_changes_the_digest(monkeypatch, tmp_path):
    assert (tensorflow_kept._PACKAGE / "layers" / "attention.py").exists()
    monkeypatch.setattr(tensorflow_kept, "_PACKAGE", tmp_path)
    (tmp_path / "layers").mkdir()
    seen = set()
    for name, content in (("a.py", "1"), ("a.py", "2"), ("layers/b.py", "2"), ("layers/c.py", "")):
        (tmp_path / name).write_text(content)
        tensorflow_kept._process.cache_clear()
        seen.add(tensorflow_kept._process()["sources"])
    tensorflow_kept._process.cache_clear()
    assert len(seen) == 4


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "folder"])
def test_a_damaged_file_is_traced_anew(folder, traced, damage):
    plain = classes(model_of())
    (path,) = folder.glob("*.program")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes({"flip": content, "cut": content[:-9]}.get(damage, b""))
    if damage == "folder":
        path.unlink()
        path.mkdir()
    assert_same_bits(classes(model_of()), plain)
    assert len(traced) == 2


def test_a_full_disk_costs_a_line(folder, monkeypatch, capsys):
    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(compile_cache, "write_file", full)
    compile_cache._warn.cache_clear()
    kept = classes(model_of())
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ") and "No space left on device" in line and not list(folder.iterdir())
    os.environ.pop(KEPT_VARIABLE)
    assert_same_bits(kept, classes(model_of()))


def test_of_a_users_own_modality_nothing_is_kept(folder, user_folder):
    from t2t_multimodel.cli.user_code import load_user_code

    code = """
from t2t_multimodel.modalities import Text
from t2t_multimodel.registry import register_modality

@register_modality
class Runes(Text):
    pass
"""
    load_user_code(user_folder({"runes.py": code}))
    classes(model_of())
    assert not list(folder.glob("*.program"))


def test_a_tensorflow_with_another_inside_traces(folder, monkeypatch):
    monkeypatch.setattr(tensorflow_kept, "_runtime", lambda: None)
    classes(model_of())
    assert not list(folder.glob("*.program"))


def test_this_tensorflow_has_the_inside_that_is_used():
    import tensorflow as tf

    assert tensorflow_kept._runtime() is not None
    one = program(tf.TensorSpec([None], tf.float32))(lambda x: x + 1)._runs
    with pytest.raises(tf.errors.CancelledError, match="before it was started"):
        tensorflow_program._give_up(one._name, one._inputs(np.float32([1])), one._outputs)


def test_results_of_any_structure_come_back(folder):
    import tensorflow as tf

    model = model_of()

    def function(x, more):
        rows = tf.IndexedSlices(x[:1], tf.constant([1]), tf.constant([2]))
        return {"b": [x + 1, None], "a": (more["y"] * 2, {"c": x}), "c": rows, "d": x}

    signature = (tf.TensorSpec([None], tf.float32), {"y": tf.TensorSpec([], tf.int32)})
    for _ in range(2):
        call = keeper_of(model).program(["structure"], function, signature)
        found = call(np.float32([1, 2]), {"y": np.int32(4)})
        assert list(found) == ["a", "b", "c", "d"] and found["b"][1] is None and isinstance(found["a"], tuple)
        assert found["b"][0].numpy().tolist() == [2, 3] and int(found["a"][0]) == 8
        assert found["a"][1]["c"].numpy().tolist() == found["d"].numpy().tolist() == [1, 2]
        assert found["c"].numpy().tolist() == [0, 1]


def test_constants_made_outside_are_kept_too(folder):
    import tensorflow as tf

    model, table = model_of(), tf.constant(np.arange(1000, dtype=np.float32))
    weight = next(v for v in model.trainable_variables if len(v.shape) == 2)

    def function(index):
        return tf.gather(table, index) + tf.reduce_sum(weight.value)

    expected = float(function(tf.constant(7)))
    for _ in range(2):
        call = keeper_of(model).program(["table"], function, (tf.TensorSpec([], tf.int32),))
        assert float(call(np.int32(7))) == expected
        assert len(list(folder.glob("*.program"))) == 1
