"""What the tests of the input share: stores of four kinds of problems, and batches of them."""

from dataclasses import replace

import numpy as np
from stores import random_ids, text_samples, write_store

from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.input.batching import BatchStream
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.modalities import Audio, Image, Label, Text

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


def make_input_data(folder):
    """A data folder with four problems: text → text, picture → class, sound → text, picture → text."""
    write_store(folder, "words", Text(), Text(), {"train": TEXTS, "dev": TEXTS[:20]}, shards=3)
    write_store(folder, "shapes", Image(6, 5, 3), Label(("x", "y", "z")), {"train": PICTURES, "test": PICTURES[:7]})
    write_store(folder, "speech", Audio(1000), Text(), {"train": RECORDINGS})
    write_store(folder, "captions", Image(6, 5, 3), Text(), {"train": CAPTIONS}, shards=1)
    return folder


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
