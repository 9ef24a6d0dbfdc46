"""A small store, whole and unfinished, and everything that is read from it: for tests that damage it."""

import hashlib
import json
import random
import shutil
from unittest import mock

import numpy as np

from t2t_multimodel.data_gen import shards
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.modalities import Label, Text
from t2t_multimodel.problem import Problem

WORDS = "the red blue green circle square star sleeps jumps sings".split()
SHARD_BYTES = 1500


class FuzzWords(Problem):
    """Sentences with references. Not registered: tests over "every problem" are not about it."""

    name = "fuzz_words"
    inputs, targets = Text(), Text()
    splits = ("train", "dev")

    def samples(self, split):
        for number in range(60 if split == "train" else 20):
            words = random.Random(f"{split}{number}").choices(WORDS, k=5)
            yield {"inputs": " ".join(words), "targets": " ".join(words[::-1]), "key": f"{split}/{number}"}


class FuzzLabels(FuzzWords):
    """The first word as a class, without a vocabulary of targets."""

    name = "fuzz_labels"
    targets = Label(tuple(WORDS))

    def samples(self, split):
        for sample in super().samples(split):
            yield sample | {"targets": sample["inputs"].split()[0]}


def make(data_dir, problems=(FuzzWords,), **options):
    """Generates the stores of `problems`; returns the lines for the user."""
    lines = []
    options = {"workers": 1, "shard_bytes": SHARD_BYTES, "vocabulary_size": 400} | options
    generate([problem() for problem in problems], data_dir, log=lines.append, progress=False, **options)
    return lines


def make_unfinished(data_dir):
    """Leaves the unfinished store of a process that was interrupted at its fourth shard."""
    write, count = shards.write_shard, 0

    def some(*args):
        nonlocal count
        count += 1
        if count > 3:
            raise KeyboardInterrupt
        return write(*args)

    with mock.patch.object(shards, "write_shard", some):
        try:
            make(data_dir)
        except KeyboardInterrupt:
            return
    raise AssertionError("the store has fewer than four shards")


def everything_in(data_dir, name=FuzzWords.name):
    """A digest of all that a reader can get of a store."""
    store = ExampleStore(data_dir, name)
    about = [store.digest, store.metrics, store.evaluation_split, store.decode_hparams, store.spec, store.manifest]
    seen = hashlib.sha256(repr(about).encode())
    vocabulary = store.vocabulary()
    seen.update(repr((vocabulary.size, vocabulary.digest, vocabulary.commands)).encode())
    for split in store.manifest["splits"]:
        for example in store.split(split).examples(np.arange(len(store.split(split)))):
            example["text"] = vocabulary.decode(example["inputs"])
            seen.update(repr([(name, np.asarray(value).tolist()) for name, value in example.items()]).encode())
    store.close()
    return seen.hexdigest()


def content_of(folder):
    """{name: content} of all files that a finished job leaves; of JSON the values: blanks between them mean nothing."""
    return {
        str(path.relative_to(folder)): _parsed(path.read_bytes()) if path.suffix == ".json" else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".datagen.lock"
    }


def _parsed(content):
    try:
        return json.loads(content)
    except ValueError:
        return content


def fresh_copy(source, target):
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(source, target)
