"""Promise: the memory of data generation does not grow with the size of records, nor with the number of problems."""

import weakref

import numpy as np
import pytest

from t2t_multimodel.data_gen import workers
from t2t_multimodel.modalities import Audio, Label
from t2t_multimodel.problem import Problem

MEBIBYTE = 1 << 20


class Recordings(Problem):
    """Of half a mebibyte each, and one without sound. Not registered: tests over "every problem" are not about it."""

    name = "test_large_recordings"
    inputs, targets = Audio(16000), Label(("a",))
    splits = ("train",)
    size, bad = MEBIBYTE // 2, (3,)

    def samples(self, split):
        for number in range(150):
            yield {"inputs": number, "targets": "a"}

    def prepare(self, sample):
        if sample["inputs"] in self.bad:
            raise ValueError("no sound")
        return {**sample, "inputs": np.full(self.size // 2, sample["inputs"], np.int16)}


class ShortRecordings(Recordings):
    name = "test_short_recordings"
    size = 2000


def chunks_of(problem, count):
    with workers.Workers([problem], count) as pool:
        return list(pool.chunks(problem, "train", None, False))


@pytest.mark.parametrize("count", [1, 2])
def test_large_records_are_made_a_few_at_a_time(count, monkeypatch):
    monkeypatch.setattr(workers, "_CHUNK_BYTES", 2 * MEBIBYTE)
    chunks = chunks_of(Recordings(), count)
    sizes = [len(chunk.records.content) for chunk in chunks]
    assert max(sizes) < 2.1 * MEBIBYTE and sizes[20] > 1.4 * MEBIBYTE
    assert [(bad.key, bad.reason) for chunk in chunks for bad in chunk.bad] == [("train-3", "no sound")]
    keys = [
        (high, size)
        for chunk in chunks
        for high, size in zip(chunk.records.columns["high"], chunk.records.columns["size"])
    ]
    assert len(set(keys)) == len(keys) == 149


def test_samples_without_a_record_say_nothing_of_the_size(monkeypatch):
    monkeypatch.setattr(workers, "_CHUNK_BYTES", 2 * MEBIBYTE)
    monkeypatch.setattr(Recordings, "bad", range(40, 80))
    assert max(len(chunk.records.content) for chunk in chunks_of(Recordings(), 1)) < 2.1 * MEBIBYTE


def test_small_records_are_made_many_at_a_time():
    chunks = chunks_of(ShortRecordings(), 1)
    assert [len(chunk.records) + len(chunk.bad) for chunk in chunks] == [1, 1, 2, 4, 8, 16, 32, 32, 32, 22]


def test_the_records_and_their_order_do_not_depend_on_the_pieces(monkeypatch):
    def records():
        chunks = chunks_of(ShortRecordings(), 2)
        return b"".join(c.records.content for c in chunks), [h for c in chunks for h in c.records.columns["high"]]

    expected = records()
    monkeypatch.setattr(workers, "_CHUNK_BYTES", 1)
    assert records() == expected


def test_a_worker_holds_the_problem_and_vocabulary_of_its_latest_task_alone(monkeypatch):
    alive = weakref.WeakSet()

    class Words:
        """In place of a `Vocabulary`."""

        @classmethod
        def load(cls, folder):
            assert not alive, "the one before is still in memory"
            words = cls()
            alive.add(words)
            return words

    monkeypatch.setattr(workers, "Vocabulary", Words)
    problems = ShortRecordings(), Recordings()
    monkeypatch.setattr(workers, "_recipes", [workers.recipe_of(problem) for problem in problems])
    monkeypatch.setattr(workers, "_made", {})
    tasks = [workers._Task(number, "train", "vocabulary", False, 0) for number in (0, 1, 0)]
    samples = workers.sending.send([{"inputs": 1, "targets": "a"}], None)
    first, _, again = [workers._run_task(task, 0, samples).records.content for task in tasks]
    assert first == again and len(alive) == 1
