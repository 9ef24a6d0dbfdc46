"""Promise: the parts of a batch, put together, are the batch: each process reads its own rows and no more."""

from dataclasses import replace

import numpy as np
import pytest
from small_world import HPARAMS

from t2t_multimodel import registry
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.input.batching import BatchStream
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.modalities import Audio, Image, Inputs, Label, LabelSet, NoInput, Numbers, Text
from t2t_multimodel.problem import Problem

HPARAMS = replace(HPARAMS, batch_rows_multiple=8, batch_tokens=256)
WHOLE = (0, 1)


class _Small(Problem):
    """23 examples of one kind of data after the other; 23 leave the last batches partly empty."""

    metrics = ("exact_match",)
    vocabulary_size = 400

    def samples(self, split):
        for i in range(23 if split == "train" else 4):
            sides = {"inputs": self.inputs, "targets": self.targets}
            yield {side: self.made(kind, i) for side, kind in sides.items() if not isinstance(kind, NoInput | None)}

    def made(self, kind, i):
        rng = np.random.default_rng(i)
        if isinstance(kind, Inputs):
            return {name: self.made(member, i) for name, member in kind.members}
        return {
            Text: lambda: "word " * rng.integers(1, 12) + str(i),
            Image: lambda: rng.integers(0, 256, (8, 8, 3)).astype(np.uint8),
            Audio: lambda: rng.integers(-3000, 3000, rng.integers(100, 900)).astype(np.int16),
            Label: lambda: "abc"[i % 3],
            LabelSet: lambda: ["a", "b", "c"][: i % 4],
            Numbers: lambda: rng.normal(size=2).astype(np.float32),
        }[type(kind)]()


class Texts(_Small):
    """Text to text."""

    inputs, targets = Text(), Text()


class Picture(_Small):
    """Pictures to labels."""

    inputs, targets = Image(8, 8, 3), Label(("a", "b", "c"))
    metrics = ("accuracy_top1",)


class Sound(_Small):
    """Recordings to several labels."""

    inputs, targets = Audio(1000), LabelSet(labels=("a", "b", "c"))
    metrics = ("f1_micro",)


class Table(_Small):
    """Numbers to numbers."""

    inputs, targets = Numbers(("x", "y")), Numbers(("u", "v"))
    metrics = ("mae",)


class Several(_Small):
    """Several inputs to text."""

    inputs = {"said": Text(), "seen": Image(8, 8, 3), "heard": Audio(1000)}
    targets = Text()


class Nothing(_Small):
    """A language model."""

    inputs, targets = None, Text()


PROBLEMS = (Texts, Picture, Sound, Table, Several, Nothing)
for kind in PROBLEMS:
    kind.name = f"parts_{kind.__name__.lower()}"


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    problems = [problem() for problem in PROBLEMS]
    generate(problems, folder, vocabulary_size=400, workers=1, log=lambda line: None, progress=False)
    return {problem.name: ExampleStore(folder, problem.name) for problem in problems}


def opened(store, part, hparams=HPARAMS):
    return BatchStream(store, "train", hparams, 3, bucket=True, part=part)


def assert_put_together(parts, whole):
    for part in parts:
        assert (part.examples, part.input_tokens, part.target_tokens) == (
            whole.examples,
            whole.input_tokens,
            whole.target_tokens,
        )
        np.testing.assert_array_equal(part.rows, whole.rows)
    for name, array in whole.arrays.items():
        pieces = [part.arrays[name] for part in parts]
        assert {len(piece) for piece in pieces} == {len(array) // len(parts)} and pieces[0].dtype == array.dtype
        np.testing.assert_array_equal(np.concatenate(pieces), array)


def test_every_kind_of_data_is_here(stores):
    sides = [side for store in stores.values() for side in (store.spec.inputs, store.spec.targets)]
    kinds = {m.modality_name for side in sides for m in (side, *(member for _, member in side.members))}
    shipped = {entry.name for entry in registry.modalities.entries() if entry.value.__module__.startswith("t2t_multi")}
    assert kinds >= shipped


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_parts_of_every_batch_are_the_batch(stores, problem, count):
    store = stores[problem().name]
    whole, parts = opened(store, WHOLE), [opened(store, (i, count)) for i in range(count)]
    for _ in range(9):  # more than an epoch
        assert_put_together([part.next() for part in parts], whole.next())
        assert {str(part.state()) for part in parts} == {str(whole.state())}
    for stream in (whole, *parts):
        stream.close()


def test_a_part_without_an_example_is_rows_that_count_nothing(stores):
    store = stores["parts_texts"]
    last = opened(store, (7, 8))
    weights = [last.next().arrays["example_weights"] for _ in range(9)]
    last.close()
    assert any(not w.any() for w in weights)


@pytest.mark.parametrize("before, after", [(1, 4), (4, 2), (2, 8), (8, 1)])
def test_another_number_of_parts_goes_on_at_the_same_place(stores, before, after):
    store = stores["parts_several"]
    whole, old = opened(store, WHOLE), opened(store, (0, before))
    for _ in range(3):
        whole.next(), old.next()
    parts = [opened(store, (i, after)) for i in range(after)]
    for part in parts:
        part.restore(old.state())
    for _ in range(4):
        assert_put_together([part.next() for part in parts], whole.next())
    for stream in (whole, old, *parts):
        stream.close()


def test_only_its_own_records_are_read(stores, monkeypatch):
    store = stores["parts_texts"]
    read, split = [], store.split("train")
    columns = split.columns
    monkeypatch.setattr(split, "columns", lambda rows: read.extend(rows.tolist()) or columns(rows))
    first = opened(store, (0, 2))
    batch = first.next()
    first.close()
    size = len(batch.arrays["command"])
    assert read[: len(batch.rows[:size])] == batch.rows[:size].tolist()
    assert not {*batch.rows[size:].tolist()} & {*read[:size]}


def test_rows_that_have_no_equal_parts_are_a_bug_of_the_caller(stores):
    with pytest.raises(ValueError, match="no 3 equal parts"):
        opened(stores["parts_texts"], (0, 3))
