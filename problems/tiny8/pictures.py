"""The scenes that are drawn: one object for the classes, one or two for the captions."""

import random

from t2t_multimodel.problems.tiny8 import english, lexicon, rendering
from t2t_multimodel.problems.tiny8.scenes import Clause, Place, Sentence, Thing, split_of

CLASSES = tuple(f"{colour}_{shape}" for shape in lexicon.SHAPES for colour in lexicon.COLOURS)
_RADII = {"small": (4.0, 4.8), "big": (6.4, 7.0)}  # pixels, in captions
_AROUND_RADIUS = (10.5, 11.5)  # of what another thing is inside of
_AROUND_SHAPES = ("circle", "square", "diamond", "ring")
_ONE_OBJECT = 0.2  # share of the captions


def classes_scene(seed):
    """One large object somewhere.

    Returns:
      (class name, figures for `rendering.render`).
    """
    rng = random.Random(f"tiny8 class {seed}")
    shape, colour = rng.choice(lexicon.SHAPES), rng.choice(lexicon.COLOURS)
    radius = rng.uniform(7, 11)
    x, y = (rng.uniform(radius, rendering.SIDE - radius) for _ in range(2))
    return f"{colour}_{shape}", [(shape, colour, x, y, radius)]


def caption_scenes(seed, split):
    """Yields the captioned scenes of a split without end.

    Returns:
      Yields (figures for `rendering.render`, the descriptions in all true orders, first the one to learn: it starts
      with the upper, left or inner thing).
    """
    rng = random.Random(f"tiny8 caption {seed}")
    while True:
        figures, sentences = _one(rng) if rng.random() < _ONE_OBJECT else _two(rng)
        if split_of(sentences[0]) == split:
            yield figures, [english.text(english.sentence_tree(sentence)) for sentence in sentences]


def _thing(rng, size=None, shapes=lexicon.SHAPES):
    return Thing(rng.choice(shapes), adjectives=(size or rng.choice(lexicon.SIZES), rng.choice(lexicon.COLOURS)))


def _figure(thing, x, y, radius):
    return (thing.noun, thing.adjectives[1], x, y, radius)


def _one(rng):
    thing = _thing(rng)
    radius = rng.uniform(*_RADII[thing.adjectives[0]])
    x, y = (rng.uniform(radius + 1, rendering.SIDE - radius - 1) for _ in range(2))
    return [_figure(thing, x, y, radius)], [Sentence("there_is", (Clause("is", thing),))]


def _two(rng):
    relation = rng.choice(("above", "left", "above", "left", "inside"))
    if relation == "inside":
        inner, outer = _thing(rng, "small"), _thing(rng, "big", _AROUND_SHAPES)
        while inner.adjectives[1] == outer.adjectives[1]:  # it would not be seen
            inner = _thing(rng, "small")
        radius = rng.uniform(*_AROUND_RADIUS)
        x, y = (rng.uniform(radius + 0.5, rendering.SIDE - radius - 0.5) for _ in range(2))
        figures = [_figure(outer, x, y, radius), _figure(inner, x, y, rng.uniform(*_RADII["small"]))]
        return figures, _both_orders(inner, relation, outer)
    first, second = _thing(rng), _thing(rng)
    radii = [rng.uniform(*_RADII[thing.adjectives[0]]) for thing in (first, second)]
    free = rendering.SIDE - 2 * sum(radii)  # along the axis of the relation; the gap is at least a fifth of it
    before, gap = sorted(rng.uniform(0, free * 0.8) for _ in range(2))
    along = (before + radii[0], gap + free * 0.2 + 2 * radii[0] + radii[1])
    middle = rng.uniform(max(radii) + 1, rendering.SIDE - max(radii) - 1)
    across = [middle + rng.uniform(-1, 1) for _ in range(2)]
    centres = zip(along, across) if relation == "left" else zip(across, along)
    figures = [_figure(thing, *xy, radius) for thing, xy, radius in zip((first, second), centres, radii)]
    return figures, _both_orders(first, relation, second)


def _both_orders(first, relation, second):
    inverse = lexicon.relations()[relation].inverse
    return [
        Sentence("plain", (Clause("is", subject, place=Place(name, ground)),))
        for subject, name, ground in ((first, relation, second), (second, inverse, first))
    ]
