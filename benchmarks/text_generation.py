"""Sentence pairs into examples: pairs a second with 2 workers, and the memory that each process takes at most.

    python benchmarks/text_generation.py [pairs fewest_words most_words]     # both of CASES unless one is named

The text is made up: words of a side drawn from 60,000 by Zipf's law, frequent words being short; and in every fourth
line a number of its own, as names and numbers keep new words coming in real text. It is a tab-separated file, read by
`SentencePairs`. Timed is all that `t2t-datagen` does: the vocabulary is trained on a sample of the text, and the
imports (TensorFlow's too) are in the whole. Memory is what the system says of each process while it runs.

Tensor2Tensor, in one process and without making its vocabulary, made 11,300 examples a second of pairs of 4 to 22
words (make_corpus.py --kind zipf), and 18,200 of real message catalogues, of 46 bytes a side: the second case compares
with it, and is timed without imports and vocabulary, as it was.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
from common import figure, report

WORKERS = 2
CASES = (5_000_000, 20, 30), (1_000_000, 4, 22)  # pairs, fewest and most words of a side
OF_ALL, OF_EXAMPLES = {CASES[0]: 25_000}, {CASES[1]: 50_000}  # marks: pairs a second, in all and of that stage alone
TARGET_GB = 1.5  # for a worker
_WORDS, _PHRASES = 60_000, 1 << 16


def main(*case):
    for each in [case] if case else CASES:
        measure(*each)


def measure(pairs, fewest, most):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_pairs(folder, pairs, fewest, most)
        size = (folder / "train.tsv").stat().st_size
        start = time.perf_counter()
        command = [sys.executable, __file__, "--generate", str(folder)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        peaks = Peaks(child.pid)
        said = json.loads(child.communicate()[0].strip().rpartition("\n")[2])
        seconds = time.perf_counter() - start
        parent, workers = peaks.gigabytes()
        parent_cpu, workers_cpu = peaks.processor_seconds()
        what = f"t2t-datagen of {pairs:,} sentence pairs of {fewest} to {most} words, {WORKERS} workers"
        case = pairs, fewest, most
        figures = [
            figure(f"{what}, imports and vocabulary included", pairs / seconds, "pairs/s", at_least=OF_ALL.get(case)),
            figure(
                f"{what}, making the examples alone",
                pairs / said["examples"],
                "pairs/s",
                at_least=OF_EXAMPLES.get(case),
            ),
            figure("the same, peak memory of a worker", max(workers), "GB", at_most=TARGET_GB),
            figure("the same, peak memory of the first process", parent, "GB"),
        ]
        report(
            "text_generation",
            figures,
            pairs=pairs,
            words=f"{fewest} to {most}",
            tokens_a_side=said["tokens"] / pairs / 2,
            text_mb=size / 1e6,
            workers=WORKERS,
            seconds=seconds,
            imports_seconds=seconds - said["vocabulary"] - said["examples"],
            vocabulary_seconds=said["vocabulary"],
            examples_seconds=said["examples"],
            parent_processor_seconds=parent_cpu,
            workers_processor_seconds=workers_cpu,
        )


def generate(folder):
    """In a process of its own: makes the store, and prints the seconds of each stage."""
    from t2t_multimodel.data_gen import generate
    from t2t_multimodel.problems import SentencePairs

    problem = SentencePairs()
    problem.name, problem.directory = "pairs", str(folder)
    seconds = {}

    def stage_is_over(line):
        if line.startswith("vocabulary:"):
            seconds["vocabulary"] = time.perf_counter() - start

    generate.startup.import_tensorflow()
    start = time.perf_counter()
    (result,) = generate.generate([problem], folder / "data", workers=WORKERS, log=stage_is_over, progress=False)
    seconds["examples"] = time.perf_counter() - start - seconds["vocabulary"]
    train = result.manifest["splits"]["train"]
    print(json.dumps(seconds | {"tokens": train["input_tokens"] + train["target_tokens"]}))


def write_pairs(folder, count, fewest=20, most=30):
    """train.tsv with `count` pairs, dev.tsv with 100; two phrases, each of half the words, make a sentence."""
    random = np.random.default_rng(7)
    sides = [phrases(random, consonants, fewest // 2, most // 2) for consonants in ("bcdfghjklm", "npqrstvwxz")]
    for split, pairs in (("dev", 100), ("train", count)):
        with open(folder / f"{split}.tsv", "w", encoding="utf-8") as file:
            for start in range(0, pairs, 100_000):
                rows = min(100_000, pairs - start)
                picked = random.integers(0, _PHRASES, (rows, 2)).tolist()
                numbers = random.integers(0, 10_000_000, rows).tolist()
                ends = [f" {number}." if i % 4 == 0 else "." for i, number in enumerate(numbers)]
                file.writelines(
                    "\t".join(f"{side[one]} {side[other]}{end}" for side in sides) + "\n"
                    for (one, other), end in zip(picked, ends)
                )


def phrases(random, consonants, fewest=10, most=15):
    """A list of phrases of `fewest` to `most` words of one invented language."""
    syllables = np.array([consonant + vowel for consonant in consonants for vowel in "aeiouy"])
    words = set()
    while len(words) < _WORDS:
        words.update("".join(random.choice(syllables, random.integers(1, 6))) for _ in range(_WORDS))
    words = np.array(sorted(words, key=lambda word: (len(word), word))[:_WORDS])
    chances = 1 / np.arange(1, _WORDS + 1)
    lengths = random.integers(fewest, most + 1, _PHRASES)
    drawn = words[random.choice(_WORDS, lengths.sum(), p=chances / chances.sum())].tolist()
    ends = np.cumsum(lengths).tolist()
    return [" ".join(drawn[start:end]) for start, end in zip([0, *ends], ends)]


class Peaks:
    """Watches a process and its children, from outside, until they end."""

    def __init__(self, pid):
        self._pid, self._peaks, self._cpu = pid, {}, {}
        threading.Thread(target=self._watch, daemon=True).start()

    def gigabytes(self):
        """(of the process, [of each of its children])"""
        return self._peaks[self._pid], [peak for pid, peak in self._peaks.items() if pid != self._pid]

    def processor_seconds(self):
        """(of the process, of all workers)"""
        return self._cpu[self._pid], sum(self._cpu.values()) - self._cpu[self._pid]

    def _watch(self):
        import psutil

        while True:
            try:
                main = psutil.Process(self._pid)
                for process in (main, *main.children(recursive=True)):
                    taken = process.memory_info().rss / 1e9
                    self._peaks[process.pid] = max(taken, self._peaks.get(process.pid, 0))
                    self._cpu[process.pid] = sum(process.cpu_times()[:2])
            except psutil.Error:
                pass
            time.sleep(0.1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--generate"]:
        generate(pathlib.Path(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]))
