"""Two small problems from pictures like tiny8's, with other targets: numbers, and sets of labels. Not part of tiny8."""

import random
import zlib

from t2t_multimodel.errors import MustDefine
from t2t_multimodel.modalities import Image, LabelSet, Numbers
from t2t_multimodel.problem import Problem
from t2t_multimodel.problems.tiny8 import lexicon, rendering
from t2t_multimodel.registry import register_problem

_MOST = 4  # things in a picture: one in each quarter
_RADII = (3.5, 7.0)  # pixels


class Scenes(Problem):
    """Pictures of one to four things, 32×32 pixels; the input of a raw sample is (figures, seed)."""

    train_examples = 8000
    dev_examples = 200
    test_examples = 500
    inputs = Image(rendering.SIDE, rendering.SIDE, 3)

    def samples(self, split):
        for i in range(getattr(self, f"{split}_examples")):
            name = f"{self.name} {split} {i}"
            figures = scene(random.Random(name))
            inputs = (figures, zlib.crc32(name.encode()))
            yield {"inputs": inputs, "targets": self.target(figures), "key": f"{split}-{i}"}

    def target(self, figures):
        """What is right of a scene."""
        raise MustDefine(self, "target(figures)")

    def prepare(self, sample):
        figures, seed = sample["inputs"]
        return {**sample, "inputs": rendering.render(figures, seed)}


@register_problem
class TinyMeasure(Scenes):
    """A picture of one to four things, 32×32 pixels, into numbers: how many there are, and the area they cover.

    Source: drawn here; 8,000 pictures to train, 200 dev, 500 test; 26 MB. The area is in pixels.
    Command: t2t-datagen --problem=tiny_measure --data_dir=data. Metric: mean absolute error.
    """

    targets = Numbers(names=("things", "area"), mean=(2.5, 146.0), scale=(1.1, 78.0))

    def target(self, figures):
        return [float(len(figures)), rendering.area(figures)]


@register_problem
class TinyTags(Scenes):
    """A picture of one to four things, 32×32 pixels, into the set of their colours and shapes: 14 labels.

    Source: drawn here; 8,000 pictures to train, 200 dev, 500 test; 26 MB.
    Command: t2t-datagen --problem=tiny_tags --data_dir=data. Metric: F1 over all labels.
    """

    targets = LabelSet((*lexicon.COLOURS, *lexicon.SHAPES))

    def target(self, figures):
        return sorted({shape for shape, *_ in figures} | {colour for _, colour, *_ in figures})


def scene(rng):
    """One to four figures for `rendering.render`, each in a quarter of its own: (shape, colour, x, y, radius)."""
    quarter, figures = rendering.SIDE / 2, []
    for place in rng.sample(range(_MOST), rng.randint(1, _MOST)):
        radius = rng.uniform(*_RADII)
        x, y = (quarter * part + rng.uniform(radius, quarter - radius) for part in divmod(place, 2))
        figures.append((rng.choice(lexicon.SHAPES), rng.choice(lexicon.COLOURS), x, y, radius))
    return figures
