"""What the tests of problems over people's own files share: a problem over a folder, and all of its samples."""

from pathlib import Path

from t2t_multimodel.errors import UserError


def make(base, folder, **attributes):
    """A problem of the form `base` over `folder`, as a user's few lines would make it."""
    return type("Mine", (base,), {"name": "mine", "directory": str(folder), **attributes})()


def prepared(problem, split):
    """All samples of a split, prepared, each side passing its feature's check."""
    raw = list(problem.samples(split))
    for sample in raw:
        if "bad" in sample:  # as generation does, unless told to leave some out
            raise UserError(sample["bad"])
    samples = [problem.prepare(sample) for sample in raw]
    for sample in samples:
        problem.inputs.check(sample["inputs"])
        problem.targets.check(sample["targets"])
    keys = [sample["key"] for sample in samples]
    assert len(set(keys)) == len(keys)
    assert all(Path(file).exists() for file in problem.source_files())
    return samples
