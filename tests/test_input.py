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
from stores import SmallVocabulary, random_ids, text_samples, write_store

from t2t_multimodel.errors import UserError
from t2t_multimodel.features import EOS_ID, Audio, FeatureSpec, Image, Label, ProblemSpec, Text
from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.input.batching import BatchStream, evaluation_batches
from t2t_multimodel.input.mixture_stream import MixtureStream
from t2t_multimodel.input.padding import encode_inputs
from t2t_multimodel.input.plan import BatchPlan
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.mixture import Mixture, MixtureSchedule

HPARAMS = replace(HParams(), batch_tokens=256, batch_examples=8, length_window=4, image_positions=16)
RANDOM = np.random.default_rng(0)
PICTURES = [{"inputs": RANDOM.integers(0, 256, (6, 5, 3)).astype(np.uint8), "targets": "xyz"[i % 3]} for i in range(30)]
RECORDINGS = [
    {"inputs": RANDOM.integers(-32768, 32768, RANDOM.integers(400, 4000)).astype(np.int16), "targets": ids}
    for ids in random_ids(25, 1, 9)
]
TEXTS = text_samples(150)
CAPTIONS = [
    {"inputs": p["inputs"], "targets": [70 + i], "references": [f"one {i}", "zwei ü"]} for i, p in enumerate(PICTURES)
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with four problems: text → text, picture → class, sound → text, picture → text."""
    folder = tmp_path_factory.mktemp("data")
    write_store(folder, "words", Text(), Text(), {"train": TEXTS, "dev": TEXTS[:20]}, shards=3)
    write_store(folder, "shapes", Image(6, 5, 3), Label(("x", "y", "z")), {"train": PICTURES, "test": PICTURES[:7]})
    write_store(folder, "speech", Audio(1000), Text(), {"train": RECORDINGS})
    write_store(folder, "captions", Image(6, 5, 3), Text(), {"train": CAPTIONS}, shards=1)
    return folder


@pytest.fixture
def copy(data, tmp_path):
    """A copy of `words` that a test may damage: (data folder, store folder)."""
    shutil.copytree(data / "words", tmp_path / "words")
    return tmp_path, tmp_path / "words"


def stream(data, name, seed=1, hparams=HPARAMS, **options):
    return BatchStream(ExampleStore(data, name), "train", hparams, seed, **options)


def take(batches, count):
    return [batches.next() for _ in range(count)]


def assert_same(batches, others):
    assert len(batches) == len(others)
    for one, other in zip(batches, others):
        assert one.arrays.keys() == other.arrays.keys()
        for name in one.arrays:
            np.testing.assert_array_equal(one.arrays[name], other.arrays[name])
        assert (one.epoch, one.position, one.rows.tolist()) == (other.epoch, other.position, other.rows.tolist())


# ---- The store


@pytest.mark.parametrize(
    "name, samples",
    [("words", TEXTS), ("shapes", PICTURES), ("speech", RECORDINGS), ("captions", CAPTIONS)],
)
def test_examples_come_back_as_they_were_written(data, name, samples):
    rows = RANDOM.permutation(len(samples))[:20]
    examples = ExampleStore(data, name).split("train").examples(rows)
    for row, example in zip(rows, examples):
        np.testing.assert_array_equal(example["inputs"], samples[row]["inputs"])
        targets = samples[row]["targets"]
        np.testing.assert_array_equal(example["targets"], "xyz".index(targets) if name == "shapes" else targets)
        assert example["key"] == f"train-{row}"
        assert example.get("references") == samples[row].get("references")
    assert ExampleStore(data, name).split("train").examples([]) == []


def test_what_a_store_says_of_itself(data):
    words, shapes = ExampleStore(data, "words"), ExampleStore(data, "shapes")
    assert words.spec == ProblemSpec("words", *2 * [Text().spec("", SmallVocabulary)], 3)
    assert words.vocabulary_folder == data / "vocabulary"
    assert shapes.vocabulary_folder is None
    assert (shapes.classes, words.classes) == (("x", "y", "z"), ())
    assert (shapes.evaluation_split, words.evaluation_split) == ("test", "dev")
    assert words.metrics == ("exact_match",)
    assert len(words.split("train")) == 150
    with pytest.raises(UserError, match="'train'"):
        words.split("trian")


def test_digest_follows_what_training_can_see(copy):
    data, folder = copy
    before = ExampleStore(data, "words").digest
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"description": "other words"}))
    assert ExampleStore(data, "words").digest == before
    path.write_text(json.dumps(manifest | {"command": {"name": "to_words", "id": 4}}))
    assert ExampleStore(data, "words").digest != before


def test_missing_data_names_the_command(tmp_path):
    with pytest.raises(UserError) as error:
        ExampleStore(tmp_path, "words")
    assert f"t2t-datagen --problem=words --data_dir={tmp_path}" in str(error.value)


def _edit_manifest(**changes):
    def edit(folder):
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def _cut(name, size=-7):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


SHARD = "words-train.tfrecord-00001-of-00003"


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda f: (f / "manifest.json").unlink(), ["incomplete", "manifest.json"]),
        (_cut("manifest.json"), ["manifest.json", "damaged"]),
        (_edit_manifest(format_version=99), ["format version 99"]),
        (_edit_manifest(problem="other"), ["'other'"]),
        (_edit_manifest(splits=None), ["manifest.json", "damaged"]),
        (_edit_manifest(inputs={"colour": 1}), ["manifest.json", "damaged"]),
        (_edit_manifest(command=None), ["manifest.json", "damaged"]),
        (lambda f: (f / SHARD).unlink(), ["incomplete", SHARD]),
        (_cut(SHARD), ["truncated shard", SHARD, "bytes instead of"]),
        (lambda f: (f / SHARD).open("ab").write(b"more"), ["changed shard", SHARD]),
        (lambda f: (f / "index-train.npz").unlink(), ["incomplete", "index-train.npz"]),
        (_cut("index-train.npz"), ["index-train.npz", "damaged"]),
        (lambda f: shutil.copy(f / "index-dev.npz", f / "index-train.npz"), ["20 rows instead of 150"]),
    ],
)
def test_damaged_stores_are_one_clear_line(copy, damage, words):
    data, folder = copy
    damage(folder)
    with pytest.raises(UserError) as error:
        ExampleStore(data, "words").split("train")
    for word in [*words, f"t2t-datagen --problem=words --data_dir={data}"]:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("garbage", [b"\xff", b"\0"])
def test_damaged_records_are_noticed_when_they_are_read(copy, garbage):
    data, folder = copy
    size = (folder / SHARD).stat().st_size
    (folder / SHARD).write_bytes(garbage * size)
    split = ExampleStore(data, "words").split("train")
    with pytest.raises(UserError, match="damaged|not as long"):
        split.columns(np.arange(150))


def test_a_shard_cut_while_it_is_open_is_noticed(copy):
    data, folder = copy
    split = ExampleStore(data, "words").split("train")
    split.read([0, 149])
    with open(folder / SHARD, "r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match="truncated shard"):
        split.read(np.arange(150))


# ---- Batches


def test_text_batch_holds_its_examples_and_nothing_else(data):
    for batch in take(stream(data, "words", length_multiple=8), 40):
        inputs, targets = batch.arrays["inputs"], batch.arrays["targets"]
        assert inputs.dtype == targets.dtype == batch.arrays["command"].dtype == np.int32
        assert inputs.shape[1] % 8 == targets.shape[1] % 8 == 0
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
    for batch in take(stream(data, "speech", audio_multiple=160), 10):
        inputs, lengths = batch.arrays["inputs"], batch.arrays["inputs_length"]
        assert (inputs.dtype, lengths.dtype) == (np.float32, np.int32)
        assert inputs.shape[1] % 160 == 0
        for row, sound, length in zip(batch.rows, inputs, lengths):
            np.testing.assert_array_equal(sound[:length] * 32768, RECORDINGS[row]["inputs"])
            assert not sound[length:].any()


@pytest.mark.parametrize("options", [{}, {"bucket": True}, {"length_multiple": 8}])
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


TEXT_TO_TEXT = ProblemSpec("p", *2 * [FeatureSpec("text", "text", vocabulary_size=100)], 3)


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
    "name, changes", [("words", {"max_input_length": 0}), ("speech", {"max_audio_seconds": 0.1}),
                      ("shapes", {"batch_tokens": 15})]
)  # fmt: skip
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


def test_bucketed_sound_has_few_lengths_that_keep_the_multiple(data):
    lengths = {b.arrays["inputs"].shape[1] for b in take(stream(data, "speech", bucket=True, audio_multiple=7), 40)}
    assert len(lengths) <= 6
    assert not any(length % 7 for length in lengths)


def test_fixed_rows_without_buckets(data):
    batches = take(stream(data, "shapes", fixed_rows=True), 12)
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


def test_what_goes_wrong_in_the_thread_is_raised_by_next(copy):
    data, folder = copy
    batches = stream(data, "words")
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
        ("shapes", "a.png", "uint8 picture"),
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


# ---- The stream of a mixture

MIX = (("words", 3), ("shapes", 1), ("speech", 1))


def mixture_stream(data, seed=1, problems=MIX, **changes):
    hparams = replace(HPARAMS, **changes)
    schedule = MixtureSchedule(Mixture("mix", "", problems), hparams)
    return MixtureStream({name: stream(data, name, seed, hparams) for name, _ in problems}, schedule, seed)


def play(mixed, steps, count=None):
    """Draws for `steps`; the losses follow from the batches, as a model's would."""
    batches = []
    for step in steps:
        for batch in mixed.draws(step, count):
            batches.append(batch)
            mixed.record_loss(batch.problem, 5.0 / (1 + step * len(batch.problem)) + batch.rows.sum() % 7 / 10)
    return batches


@pytest.mark.parametrize("kind", ["fixed", "adaptive"])
def test_mixture_resumes_exactly(data, kind):
    undisturbed = mixture_stream(data, mixture=kind, problems_per_step=2)
    play(undisturbed, range(37))
    state = json.loads(json.dumps(undisturbed.state()))
    resumed = mixture_stream(data, mixture=kind, problems_per_step=2)
    resumed.restore(state)
    ahead, again = play(undisturbed, range(37, 60)), play(resumed, range(37, 60))
    assert [b.problem for b in ahead] == [b.problem for b in again]
    assert_same(ahead, again)
    assert undisturbed.shares() == resumed.shares()
    undisturbed.close()
    resumed.close()


def test_planned_and_actual_shares(data):
    mixed = mixture_stream(data)
    drawn = Counter(b.problem for b in play(mixed, range(100)))
    assert drawn == {"words": 60, "shapes": 20, "speech": 20}
    for name, share in {"words": 0.6, "shapes": 0.2, "speech": 0.2}.items():
        assert mixed.shares()[name] == pytest.approx((share, share))
        assert mixed.probabilities(5)[name] == pytest.approx(share)
    mixed.close()


def test_adaptive_moves_draws_to_the_slow_learner(data):
    mixed = mixture_stream(data, problems=(("words", 1), ("shapes", 1)), mixture="adaptive")
    before = mixed.probabilities(0)
    for step in range(100):
        mixed.record_loss("words", 4.0)
        mixed.record_loss("shapes", 4.0 * 0.9**step)
    after = mixed.probabilities(100)
    assert before == {"words": 0.5, "shapes": 0.5}
    assert after["words"] > 0.8 > 0.2 > after["shapes"] > 0.1


def test_a_checkpoint_of_other_problems_is_refused(data):
    other = mixture_stream(data, problems=(("words", 1), ("shapes", 1)))
    with pytest.raises(UserError, match="speech"):
        mixture_stream(data).restore(other.state())
