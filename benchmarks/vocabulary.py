"""A vocabulary of 8,192 ids from 2 MB of text: seconds, and how well it fits.

    python benchmarks/vocabulary.py [megabytes]

The text is made up, two invented languages with words that follow Zipf's law (benchmarks/text_generation.py). Timed is
`train_vocabulary`, all of it: counting the words, training, writing the files; once in a process that has done it
before. The seconds of the processor stand beside those of the clock, as the trainer has two threads.
"""

import pathlib
import sys
import tempfile
import time

import numpy as np
from common import figure, report
from text_generation import phrases

SIZE, TARGET = 8192, 0.7  # ids, seconds
_RUNS = 5


def main(megabytes=2):
    from t2t_multimodel.data_gen.vocabulary_training import train_vocabulary

    texts = text(megabytes * 1_000_000)
    clock, processor = [], []
    for _ in range(_RUNS + 1):
        with tempfile.TemporaryDirectory() as folder:
            before = time.perf_counter(), time.process_time()
            vocabulary = train_vocabulary(pathlib.Path(folder) / "vocabulary", texts, size=SIZE)
            clock.append(time.perf_counter() - before[0])
            processor.append(time.process_time() - before[1])
    ids = sum(map(len, vocabulary.encode_batch(texts)))
    what = f"vocabulary of {vocabulary.size:,} ids from {megabytes} MB"
    report(
        "vocabulary",
        [figure(what, min(clock[1:]), "s", at_most=TARGET)],
        ids=vocabulary.size,
        megabytes=megabytes,
        texts=len(texts),
        processor_seconds=min(processor[1:]),
        tokens_a_character=ids / sum(map(len, texts)),
    )


def text(size):
    """A list of lines of 10 to 15 words, of both languages by turns, of `size` bytes together."""
    random = np.random.default_rng(7)
    lines, left = [], size
    for pair in zip(*(phrases(random, consonants) for consonants in ("bcdfghjklm", "npqrstvwxz"))):
        for line in pair:
            lines.append(f"{line}.")
            left -= len(line) + 2
            if left <= 0:
                return lines
    raise SystemExit(f"there are {size - left:,} bytes of this text at most")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
