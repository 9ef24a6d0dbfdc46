"""Promise: the memory of data generation does not grow with the number of problems."""

import weakref

import numpy as np

from t2t_multimodel.data_gen import workers
from t2t_multimodel.modalities import Audio, Label
from t2t_multimodel.problem import Problem

MEBIBYTE = 1 << 20


class Recordings(Problem):
    """Of half a mebibyte each, and one without sound. Not registered: tests over "every problem" are not about it."""

    name = "test_large_recordings"
    inputs, targets = Audio(16000), Label(("a",))
    splits = ("train",)
    size = MEBIBYTE // 2

    def samples(self, split):
        for number in range(150):
            yield {"inputs": number, "targets": "a"}

    def prepare(self, sample):
        if sample["inputs"] == 3:
            raise ValueError("no sound")
        return {**sample, "inputs": np.full(self.size // 2, sample["inputs"], np.int16)}


class ShortRecordings(Recordings):
    name = "test_short_recordings"
    size = 2000


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
