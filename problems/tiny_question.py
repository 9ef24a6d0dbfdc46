"""Questions about pictures: a small synthetic problem with two inputs, made of the scenes of tiny8."""

import itertools
import random
import zlib

from t2t_multimodel.modalities import Image, Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.problems.tiny8 import lexicon, pictures, rendering
from t2t_multimodel.registry import register_problem

_NUMBERS = ("none", "one", "two")


@register_problem
class TinyQuestion(Problem):
    """A picture of one or two things, 32×32 pixels, and an English question about it into the answer.

    Source: drawn here, no licence needed; 20,000 questions to train, 200 dev, 500 test; 65 MB. A quarter each asks for
    a colour, a shape, a number, and yes or no. Within each kind no answer comes much more often than the others: the
    best trivial one is right in one of seven, the likeliest of each question in two of five. No test scene is in the
    training data of tiny8.
    Command: t2t-datagen --problem=tiny_question --data_dir=data. Metric: exact match.
    """

    inputs = {"picture": Image(rendering.SIDE, rendering.SIDE, 3), "question": Text("English")}
    targets = Text("English")
    metrics = ("exact_match",)
    vocabulary_size = 2048
    train_examples = 20000
    dev_examples = 200
    test_examples = 500

    def samples(self, split):
        rng = random.Random(f"tiny question {split}")
        scenes = pictures.caption_scenes(f"question {split}", split)
        asked = (
            (figures, each)
            for figures, _ in scenes
            if (each := ask(rng, [figure[:2] for figure in figures])) is not None
        )
        for i, (figures, (question, answer)) in enumerate(itertools.islice(asked, getattr(self, f"{split}_examples"))):
            picture = (figures, zlib.crc32(f"question {split} {i}".encode()))
            yield {"inputs": {"picture": picture, "question": question}, "targets": answer, "key": f"{split}-{i}"}

    def prepare(self, sample):
        picture = rendering.render(*sample["inputs"]["picture"])
        return {**sample, "inputs": {**sample["inputs"], "picture": picture}}


def ask(rng, things):
    """(question, answer) about a scene of (shape, colour) pairs; None where the draw has no single answer."""
    return rng.choice((_colour, _shape, _number, _whether))(rng, things)


def _colour(rng, things):
    shape, colour = rng.choice(things)
    return (f"what colour is the {shape}", colour) if _count(things, shape) == 1 else None


def _shape(rng, things):
    shape, colour = rng.choice(things)
    return (f"what shape is the {colour} thing", shape) if _count(things, colour) == 1 else None


def _number(rng, things):
    """The answer is drawn first, then something of which there are so many."""
    number = rng.randrange(len(_NUMBERS))
    named = [(colour, f"{colour} things") for colour in lexicon.COLOURS]
    named += [(shape, lexicon.nouns()[shape].english_plural) for shape in lexicon.SHAPES]
    asked = [plural for word, plural in named if _count(things, word) == number]
    asked += ["things"] * (len(things) == number)
    return (f"how many {rng.choice(asked)} are there", _NUMBERS[number]) if asked else None


def _whether(rng, things):
    """Half of the questions are about what is there; of the others most are nearly right."""
    shape, colour = rng.choice(things)
    if rng.random() < 0.5:
        return f"is there a {colour} {shape}", "yes"
    if rng.random() < 0.5:
        shape = rng.choice([s for s, _ in things if s != shape] or lexicon.SHAPES)
    else:
        colour = rng.choice(lexicon.COLOURS)
    return (f"is there a {colour} {shape}", "no") if (shape, colour) not in things else None


def _count(things, word):
    return sum(word in thing for thing in things)
