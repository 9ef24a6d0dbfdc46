"""Splits that are taken from train where the data has none.

A hash decides, so that a sample stays where it is when others are added or removed.
"""

import functools

from t2t_multimodel.data_gen.readers.parts import part_of
from t2t_multimodel.errors import UserError

_PARTS = 100_000  # of the hashes


def made_split(name, percent):
    """The split of a sample of train.

    Args:
      name: the text that is hashed. Equal ones are in one split.
      percent: {split: how many of a hundred samples}; the others stay in train.
    """
    part, end = part_of(name, _PARTS), 0.0
    for split, share in percent.items():
        end += share * _PARTS / 100
        if part < end:
            return split
    return "train"


def percents(problem, there):
    """{split: percent} of the splits that a problem takes from train, as its `dev_percent` and `test_percent` say.

    Args:
      there: the splits that its files have.

    Raises:
      UserError: a percentage that is none.
    """
    made = {"dev": problem.dev_percent, "test": problem.test_percent}
    for split, percent in made.items():
        if not 0 <= percent < 100:
            called = problem.name or type(problem).__name__
            raise UserError(f"problem {called}: {split}_percent must be from 0 to 100, not {percent!r}")
    return {split: percent for split, percent in made.items() if percent and split not in there}


def shared_out(read_samples):
    """Decorates the `read_samples(split)` of a `FileProblem`, which reads the file that `split_path(split)` names: of
    train, it keeps the samples of the split that is asked for. Bad records stay in train.
    """

    @functools.wraps(read_samples)
    def read(self, split):
        made = self.made_splits
        if not made or split not in ("train", *made):
            yield from read_samples(self, split)
            return
        for sample in read_samples(self, split):
            if split == _split_of(self, sample, made):
                yield sample

    return read


def _split_of(problem, sample, made):
    return "train" if "bad" in sample else made_split(problem.hashed_text(sample), made)
