"""Workers of a trained model: the answers, scores and errors of one process, in their order; weights are there once."""

import json
import os

import keras
import numpy as np
import pytest
from small_run import arguments

import t2t_multimodel
from t2t_multimodel.cli import decoder, evaluate, trainer
from t2t_multimodel.errors import UserError
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.training import shared_weights
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.weight_limit import weights_to_come
from t2t_multimodel.training.workers import MANY_INPUTS, chosen_workers

pytestmark = pytest.mark.usefixtures("kept_programs")

WORDS = [f"{i % 4} {'and ' * (i % 3)}{i % 7}" for i in range(30)]  # eight batches of different lengths
TONES = [(np.sin(np.arange(1600) * 0.1 * (1 + i % 5)) * 9000).astype(np.int16) for i in range(10)]


@pytest.fixture(scope="module")
def one(small_run):
    return t2t_multimodel.load(small_run["output_dir"])


@pytest.fixture(scope="module")
def two(small_run):
    with t2t_multimodel.load(small_run["output_dir"], workers=2) as predictor:
        yield predictor


@pytest.mark.parametrize(
    "problem, inputs, settings",
    [
        ("report_words", WORDS, {"max_length": 8}),
        ("report_words", WORDS, {"max_length": 8, "beam_size": 3, "return_beams": 2}),
        ("report_tones", TONES, {}),
    ],
)
def test_the_answers_are_those_of_one_process(one, two, problem, inputs, settings):
    expected = one.decode(problem, inputs, **settings)
    assert two.decode(problem, inputs, **settings) == expected
    assert len({str(answer) for answer in expected}) > 1 or problem == "report_tones"


def test_the_scores_are_those_of_one_process(one, two):
    targets = [f"answer {i % 5}" for i in range(len(WORDS))]
    np.testing.assert_allclose(
        two.score("report_words", WORDS, targets), one.score("report_words", WORDS, targets), rtol=1e-5
    )


def test_what_is_begun_first_is_finished_while_more_is_read(one, two):
    begun = [two.begin("report_words", WORDS[i : i + 12], first_row=i, max_length=8) for i in (0, 12)]
    answers = [finish() for finish in begun]
    assert answers == [one.decode("report_words", WORDS[i : i + 12], max_length=8) for i in (0, 12)]


def test_few_inputs_stay_in_this_process(one, two, monkeypatch):
    monkeypatch.setattr(two._workers, "submit", lambda task: pytest.fail("given to a worker"))
    assert two.decode("report_words", WORDS[:3], max_length=8) == one.decode("report_words", WORDS[:3], max_length=8)


def test_an_input_that_is_wrong_is_named_as_in_one_process(one, two):
    inputs = [*[np.zeros((16, 16, 3), np.uint8)] * 9, "nowhere.png"]
    said = []
    for predictor in (one, two):
        with pytest.raises(UserError, match="input 10: .*nowhere.png") as error:
            predictor.decode("report_shades", inputs, max_length=8)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_what_a_worker_raises_is_raised_here_and_the_others_go_on(two):
    from t2t_multimodel.training.answerer import Task

    with pytest.raises(UserError, match="unknown problem of this run 'report_word'"):
        two._workers.submit(Task("report_word", {})).result()
    assert len(two.decode("report_words", WORDS, max_length=8)) == len(WORDS)


def test_the_weights_are_in_memory_once(two):
    """What this process writes there is what the workers compute with; the block has no copy in any of them."""
    pool, weights = two._workers, two._workers.stored.arrays
    before = two.decode("report_words", WORDS, max_length=8)
    values = {path: array.copy() for path, array in weights.items()}
    pool.new_weights({path: np.zeros_like(array) for path, array in values.items()})
    assert set(two.decode("report_words", WORDS, max_length=8)) != set(before)
    pool.new_weights(values)
    assert two.decode("report_words", WORDS, max_length=8) == before


def test_shared_arrays_lie_where_they_are_used_in_place():
    values = {"a": np.arange(5, dtype=np.float32), "b": np.array(7, np.uint32), "c": np.ones((3, 2), np.float16)}
    shared = shared_weights.SharedWeights(values)
    for path, array in shared.arrays().items():
        assert array.ctypes.data % shared_weights.ALIGNMENT == 0 and array.dtype == values[path].dtype
        np.testing.assert_array_equal(array, values[path])


def test_a_models_first_weights_take_no_memory():
    """They are zeros that nothing was written to, of the shapes and under the names that the model has otherwise."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("the system does not tell memory in /proc")
    before = anonymous()
    weights = 1 << 26
    with weights_to_come(adapter().in_place):
        layer = Layer(name="large")
        large = layer.add_weight(shape=(weights // 4, 4), initializer="glorot_uniform", name="kernel")
        scalar = layer.add_weight(shape=(), initializer="ones", name="gate")
    assert large.shape == (weights // 4, 4) and scalar.shape == () and large.name == "kernel"
    if keras.backend.backend() == "tensorflow":  # JAX makes a copy, and gives it back when others replace it
        assert anonymous() - before < weights  # bytes, a quarter of what they are
    assert not float(scalar) and not np.asarray(large[:8]).any()


def anonymous():
    """Bytes of memory of this process that are no files', as the system tells it."""
    with open("/proc/self/status") as file:
        status = file.read()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


def test_how_many_workers_there_are_by_default():
    assert chosen_workers(3, 1) == 3 and chosen_workers(None, MANY_INPUTS) == 1
    assert 1 <= chosen_workers(None, MANY_INPUTS + 1) <= 8


# ---- The commands


@pytest.fixture
def decoding(small_run, tmp_path):
    """The flags of t2t-decoder with a file of lines, some of them blank."""
    (tmp_path / "in.txt").write_text("".join(f"{line}\n" if i % 5 else "\n" for i, line in enumerate(WORDS)))
    flags = {name: small_run[name] for name in ("t2t_usr_dir", "output_dir")} | {"problem": "report_words"}
    return flags | {"decode_from_file": tmp_path / "in.txt", "decode_hparams": "max_length=8"}


def test_the_decoder_writes_the_same_lines(decoding, tmp_path, run_command, monkeypatch):
    monkeypatch.setattr(decoder, "WINDOW", 9)
    outputs = []
    for workers in (1, 2):
        given = arguments(decoding, workers=workers, decode_to_file=tmp_path / f"out{workers}")
        status, _, error = run_command(decoder.main, *given)
        assert status == 0, error
        outputs.append((tmp_path / f"out{workers}").read_bytes())
    assert outputs[0] == outputs[1] and outputs[0].count(b"\n") == len(WORDS)


def test_t2t_eval_finds_the_same_scores(small_run, run_command):
    found = []
    for workers in (1, 2):
        given = arguments(small_run | {"problem": "report_tones"}, workers=workers)
        status, out, error = run_command(evaluate.main, *given)
        assert status == 0, error
        found.append(out)
    assert found[0] == found[1]


def test_the_trainers_evaluations_are_those_of_one_process(small_run, tmp_path, run_command):
    """Two evaluations with different weights, in one process and in two."""
    logs = []
    for workers in (1, 2):
        flags = small_run | {"output_dir": tmp_path / f"run{workers}", "problem": "report_tones"}
        more = {"hparams_set": "report_small", "train_steps": 2, "eval_interval": 1, "hparams": "learning_rate=0.5"}
        status, _, error = run_command(trainer.main, *arguments(flags, eval_workers=workers, **more))
        assert status == 0, error
        records = map(json.loads, (flags["output_dir"] / "metrics.jsonl").read_text().splitlines())
        logs.append([record | {"train_seconds": 0} for record in records if record.get("split") == "dev"])
    assert logs[0] == logs[1] and [record["step"] for record in logs[0]] == [1, 2]
    losses = [record["teacher_forced_log_perplexity"] for record in logs[0]]
    assert losses[0] != losses[1]
