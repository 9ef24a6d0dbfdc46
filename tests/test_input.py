"""From example stores to batches: nothing lost, nothing twice, nothing over the budget, and resumed exactly."""

import gc
import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from input_data import (
    HPARAMS,
    PICTURES,
    RECORDINGS,
    TEXTS,
    assert_same,
    make_input_data,
    stream,
    take,
)
from stores import SmallVocabulary

from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.input.batching import evaluation_batches
from t2t_multimodel.input.padding import make_batch, samples_of_values
from t2t_multimodel.input.plan import BatchPlan
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.modalities import ProblemSpec, Text
from t2t_multimodel.vocabulary import EOS_ID


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_input_data(tmp_path_factory.mktemp("data"))


# ---- Batches


def test_text_batch_holds_its_examples_and_nothing_else(data):
    for batch in take(stream(data, "words"), 40):
        inputs, targets = batch.arrays["inputs"], batch.arrays["targets"]
        assert inputs.dtype == targets.dtype == batch.arrays["command"].dtype == np.int32
        for array, side in ((inputs, "inputs"), (targets, "targets")):
            for row, ids in zip(batch.rows, array):
                wanted = [*TEXTS[row][side], EOS_ID]
                assert ids.tolist() == wanted + [0] * (len(ids) - len(wanted))
            tokens = batch.input_tokens if side == "inputs" else batch.target_tokens
            assert tokens == np.count_nonzero(array)
        assert batch.arrays["command"].tolist() == [3] * len(inputs)
        assert batch.arrays["example_weights"].tolist() == [1.0] * len(inputs)
        assert (batch.problem, batch.examples) == ("words", len(inputs))


def test_picture_and_class_batch(data):
    for batch in take(stream(data, "shapes"), 6):
        assert batch.arrays["inputs"].dtype == np.uint8
        np.testing.assert_array_equal(batch.arrays["inputs"], [PICTURES[row]["inputs"] for row in batch.rows])
        assert batch.arrays["targets"].tolist() == ["xyz".index(PICTURES[row]["targets"]) for row in batch.rows]
        assert batch.arrays["targets"].dtype == np.int32
        assert (batch.input_tokens, batch.target_tokens) == (16 * batch.examples, batch.examples)


def test_sound_batch(data):
    for batch in take(stream(data, "speech"), 10):
        inputs, lengths = batch.arrays["inputs"], batch.arrays["inputs_length"]
        assert (inputs.dtype, lengths.dtype) == (np.float32, np.int32)
        assert inputs.shape[1] == lengths.max()
        for row, sound, length in zip(batch.rows, inputs, lengths):
            np.testing.assert_array_equal(sound[:length] * 32768, RECORDINGS[row]["inputs"])
            assert not sound[length:].any()


@pytest.mark.parametrize("options", [{}, {"bucket": True}])
@pytest.mark.parametrize("name, count", [("words", 150), ("shapes", 30), ("speech", 25)])
def test_every_example_exactly_once_an_epoch_within_the_budget(data, name, count, options):
    batches = stream(data, name, **options)
    orders = []
    for epoch in range(3):
        seen = []
        while len(seen) < len(batches):
            batch = batches.next()
            assert batch.epoch == epoch
            seen += batch.rows.tolist()
            rows = len(batch.arrays["inputs"])
            assert rows <= HPARAMS.batch_examples
            positions = {"words": batch.arrays["inputs"].shape[1], "shapes": 16}.get(name)
            if positions is None:
                positions = batch.arrays["inputs"].shape[1] / 1000 * HPARAMS.audio_positions_per_second
            positions += batch.arrays["targets"].shape[1] if batch.arrays["targets"].ndim == 2 else 0
            assert rows * positions <= HPARAMS.batch_tokens
        assert sorted(seen) == list(range(count))
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2]
    batches.close()


class Lengths:
    """What a `BatchPlan` looks at of a split."""

    name = "train"

    def __init__(self, pairs):
        self.input_length, self.target_length = np.array(pairs, np.int32).reshape(-1, 2).T

    def __len__(self):
        return len(self.input_length)


TEXT_TO_TEXT = ProblemSpec("p", *2 * [Text(vocabulary_size=100, vocabulary_digest="words")], 3)


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=120),
    tokens=st.integers(10, 400),
    examples=st.integers(1, 9),
    window=st.integers(1, 5),
    bucket=st.booleans(),
)
def test_any_lengths_are_planned_completely_and_within_the_budget(pairs, tokens, examples, window, bucket):
    changes = {"batch_tokens": tokens, "batch_examples": examples, "length_window": window}
    hparams = replace(HParams(), max_input_length=40, max_target_length=30, **changes)
    split = Lengths(pairs)
    try:
        plan = BatchPlan(split, TEXT_TO_TEXT, hparams, 1, bucket=bucket)
    except UserError as error:
        assert "too long" in str(error)
        plan = None
    kept = []
    for batch in [b for w in range(plan.windows) for b in plan.window(0, w)] if plan else []:
        kept += batch.tolist()
        positions = plan.input_padded[batch].max() + plan.target_padded[batch].max()
        assert 0 < len(batch) <= plan.full_rows(batch) <= examples
        assert plan.full_rows(batch) * positions <= tokens
    fits = {i for i, (a, b) in enumerate(pairs) if a <= 40 and b <= 30 and a + b + 2 <= tokens}
    assert len(kept) == len(set(kept)) == len(pairs) - (plan.left_out if plan else len(pairs))
    assert set(kept) == fits if not bucket else set(kept) <= fits
    whole = BatchPlan(split, TEXT_TO_TEXT, hparams, 1, bucket=bucket, training=False)
    assert sorted(np.concatenate(whole.cut(np.arange(len(pairs))))) == list(range(len(pairs)))


def test_little_padding_whether_lengths_of_the_two_sides_go_together_or_not():
    random = np.random.default_rng(0)
    inputs, others = random.integers(4, 60, (2, 6000))
    hparams = replace(HParams(), batch_tokens=2048, batch_examples=1000)
    for pairs in (np.stack([inputs, others], 1), np.stack([inputs, inputs + others // 10], 1)):
        plan = BatchPlan(Lengths(pairs), TEXT_TO_TEXT, hparams, 1)
        padded = sum(len(b) * (pairs[b] + 1).max(0).sum() for w in range(plan.windows) for b in plan.window(0, w))
        assert (pairs + 1).sum() / padded > 0.85


def test_long_examples_are_left_out_of_training_and_counted(data):
    hparams = replace(HPARAMS, max_input_length=10, max_target_length=20)
    batches = stream(data, "words", hparams=hparams)
    kept = {i for i, s in enumerate(TEXTS) if len(s["inputs"]) <= 10 and len(s["targets"]) <= 20}
    assert 0 < len(kept) < 150
    assert (len(batches), batches.left_out) == (len(kept), 150 - len(kept))
    seen = set()
    while len(seen) < len(kept):
        seen |= set(batches.next().rows.tolist())
    assert seen == kept


@pytest.mark.parametrize(
    "name, changes",
    [("words", {"max_input_length": 0}), ("speech", {"max_audio_seconds": 0.1}), ("shapes", {"batch_tokens": 15})],
)
def test_all_too_long_is_an_error(data, name, changes):
    with pytest.raises(UserError, match=f"{name}: all .* too long"):
        stream(data, name, hparams=replace(HPARAMS, **changes))


def test_buckets_make_few_shapes_and_fill_up_with_weightless_zeros(data):
    shapes = set()
    for batch in take(stream(data, "words", bucket=True), 120):
        arrays = batch.arrays
        shapes.add((arrays["inputs"].shape, arrays["targets"].shape))
        assert set(arrays["inputs"].shape[1:] + arrays["targets"].shape[1:]) <= {8, 16, 24, 32}
        weights = arrays["example_weights"]
        assert weights.tolist() == [1.0] * batch.examples + [0.0] * (len(weights) - batch.examples)
        assert not arrays["inputs"][batch.examples :].any()
        assert not arrays["targets"][batch.examples :].any()
    assert len({s[0][1] for s in shapes}) > 1
    by_lengths = Counter((inputs[1], targets[1]) for inputs, targets in shapes)
    assert set(by_lengths.values()) == {1}  # rows follow from the lengths


def test_bucketed_sound_has_few_lengths(data):
    lengths = {b.arrays["inputs"].shape[1] for b in take(stream(data, "speech", bucket=True), 40)}
    assert len(lengths) <= 6


def test_rows_that_fill_up_a_shape_have_no_weight(data):
    batches = take(stream(data, "shapes", bucket=True), 12)
    assert {len(b.arrays["inputs"]) for b in batches} == {8}
    assert {b.examples for b in batches} != {8}  # 30 examples are not a multiple of 8
    assert all(b.arrays["example_weights"].sum() == b.examples for b in batches)


# ---- The exact position


@settings(max_examples=12, deadline=None)
@given(position=st.integers(0, 150), name=st.sampled_from(["words", "shapes", "speech"]), bucket=st.booleans())
def test_restored_at_any_position_it_goes_on_exactly(data, position, name, bucket):
    undisturbed = stream(data, name, bucket=bucket)
    for _ in range(position):
        undisturbed.next()
    state = json.loads(json.dumps(undisturbed.state()))
    resumed = stream(data, name, bucket=bucket)
    resumed.next()  # whatever it did before
    resumed.restore(state)
    assert resumed.state() == state
    assert_same(take(undisturbed, 5), take(resumed, 5))
    undisturbed.close()
    resumed.close()


def test_state_is_small_and_speaks_of_what_was_handed_out(data):
    batches = stream(data, "words")
    first = batches.state()
    taken = take(batches, 3)
    assert len(json.dumps(batches.state())) < 200
    batches.restore(first)
    assert_same(taken, take(batches, 3))


@pytest.mark.slow
def test_same_batches_in_a_new_process(data):
    code = (
        "import sys, zlib; from t2t_multimodel.input.batching import BatchStream;"
        "from t2t_multimodel.input.store import ExampleStore; from t2t_multimodel.hyperparameters import HParams;"
        "s = BatchStream(ExampleStore(sys.argv[1], 'words'), 'train', HParams(batch_tokens=256), 5);"
        "print([zlib.crc32(s.next().arrays['inputs'].tobytes()) for _ in range(30)])"
    )
    there = subprocess.run([sys.executable, "-c", code, str(data)], capture_output=True, text=True, check=True).stdout
    import zlib

    here = stream(data, "words", seed=5, hparams=HParams(batch_tokens=256))
    assert json.loads(there) == [zlib.crc32(b.arrays["inputs"].tobytes()) for b in take(here, 30)]


@pytest.mark.parametrize("change", [{"seed": 2}, {"hparams": replace(HPARAMS, batch_tokens=300)}, {"bucket": True}])
def test_a_position_of_another_order_is_refused(data, change):
    with pytest.raises(UserError, match="words"):
        stream(data, "words", **change).restore(stream(data, "words").state())


def test_seeds_differ(data):
    one, other = (take(stream(data, "words", seed=seed), 5) for seed in (1, 2))
    assert [b.rows.tolist() for b in one] != [b.rows.tolist() for b in other]


# ---- The thread


def input_threads():
    return [t for t in threading.enumerate() if t.name == "t2t-input"]


def test_thread_ends_with_close_and_with_the_stream(data):
    before = len(input_threads())
    closed, forgotten = stream(data, "words"), stream(data, "words")
    assert len(input_threads()) == before  # none before the first batch
    expected = take(closed, 2)
    take(forgotten, 2)
    assert len(input_threads()) == before + 2
    closed.close()
    del forgotten
    gc.collect()
    assert len(input_threads()) == before
    again = stream(data, "words")
    assert_same(expected + [closed.next()], take(again, 3))  # a closed stream goes on
    closed.close()
    again.close()


def test_what_goes_wrong_in_the_thread_is_raised_by_next(data, tmp_path):
    folder = shutil.copytree(data / "words", tmp_path / "words")
    batches = stream(tmp_path, "words")
    before = batches.state()
    for path in folder.glob("words-train*"):
        path.write_bytes(b"\xff" * path.stat().st_size)
    for _ in range(2):  # and again, not a hang
        with pytest.raises(UserError, match="damaged"):
            batches.next()
    assert batches.state() == before


# ---- Evaluation and decoding


@pytest.mark.parametrize("most", [0, 1, 13, 1000])
def test_evaluation_has_every_example_once_the_long_ones_too(data, most):
    hparams = replace(HPARAMS, max_input_length=5, max_target_length=5, batch_tokens=30)
    batches = list(evaluation_batches(ExampleStore(data, "words"), "train", hparams, most))
    assert sorted(np.concatenate([b.rows for b in batches])) == list(range(min(most or 150, 150)))
    for batch in batches:
        for row, ids in zip(batch.rows, batch.arrays["targets"]):
            assert ids[ids > EOS_ID].tolist() == TEXTS[row]["targets"]


def encode_inputs(spec, values, vocabulary=None):
    """The batch of values that a person gives."""
    return make_batch(spec, spec.inputs.columns(samples_of_values(spec, values), vocabulary)[0])


def test_raw_inputs_make_the_arrays_that_training_had(data):
    vocabulary = SmallVocabulary()
    spec = ExampleStore(data, "words").spec
    batch = encode_inputs(spec, ["abc", "", "de"], vocabulary)
    a = vocabulary.encode("a")[0]
    assert batch["inputs"].tolist() == [[a, a + 1, a + 2, 1], [1, 0, 0, 0], [a + 3, a + 4, 1, 0]]
    assert batch["command"].tolist() == [3] * 3
    assert "targets" not in batch
    trained = stream(data, "shapes").next()
    raw = encode_inputs(ExampleStore(data, "shapes").spec, [PICTURES[row]["inputs"] for row in trained.rows])
    np.testing.assert_array_equal(raw["inputs"], trained.arrays["inputs"])
    trained = stream(data, "speech").next()
    raw = encode_inputs(ExampleStore(data, "speech").spec, [RECORDINGS[row]["inputs"] for row in trained.rows])
    np.testing.assert_array_equal(raw["inputs"], trained.arrays["inputs"])
    np.testing.assert_array_equal(raw["inputs_length"], trained.arrays["inputs_length"])


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("words", 5, "must be a string"),
        ("shapes", np.zeros((6, 5, 3)), "uint8 picture"),
        ("shapes", np.zeros((5, 6, 3), np.uint8), "(6, 5, 3)"),
        ("shapes", "no_such.png", "no_such.png"),
        ("speech", np.zeros((5, 2), np.int16), "one channel"),
        ("speech", np.zeros(5, np.float32), "int16"),
        ("speech", np.zeros(0, np.int16), "int16"),
    ],
)
def test_raw_inputs_of_the_wrong_kind_are_refused(data, name, value, words):
    good = {"words": "a", "shapes": PICTURES[0]["inputs"], "speech": RECORDINGS[0]["inputs"]}[name]
    with pytest.raises(UserError) as error:
        encode_inputs(ExampleStore(data, name).spec, [good, value], SmallVocabulary())
    assert f"{name}: input 2" in str(error.value)
    assert words in str(error.value)
