"""`check_problem` passes what ships and what people have in files, and names every way of breaking the contract."""

import json
import re
import threading

import numpy as np
import pytest
import soundfile
from own_files import make
from PIL import Image as PillowImage

from t2t_multimodel import mixture
from t2t_multimodel.modalities import Audio, Image, Label, Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.problems import BracketedTrees, CaptionedImages, LabelledImages, SentencePairs, TranscribedSpeech
from t2t_multimodel.testing import FaultyProblem, check_problem, find_faults

# ---- Sound problems


@pytest.mark.slow
@pytest.mark.parametrize("name", mixture.parse("tiny8").problem_names)
def test_every_shipped_problem_passes(name):
    check_problem(name, prepared=8, read=300, worker=name in ("tiny_ende", "tiny_caption"))


def test_every_form_of_own_files_passes(tmp_path):
    for number, split in enumerate(("train", "dev")):
        random = np.random.default_rng(number)
        for base in ("pictures", "captions", "speech"):
            (tmp_path / base / split).mkdir(parents=True)
        rows = [(f"word {split} {i} of many", f"Wort {split} {i} von vielen") for i in range(6)]
        (tmp_path / f"{split}.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in rows))
        trees = (f"(S (NP (DT the) (NN {split}{i})) (VP (VBZ runs)))\n" for i in range(4))
        (tmp_path / f"{split}.mrg").write_text("".join(trees))
        for name in ("owl", "wren"):
            (tmp_path / "pictures" / split / name).mkdir()
            picture = PillowImage.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8))
            picture.save(tmp_path / "pictures" / split / name / "1.png")
            picture.save(tmp_path / "captions" / split / f"{name}.png")
        entries = [{"file": f"{n}.png", "captions": [f"it is one {n}", f"here is one {n}"]} for n in ("owl", "wren")]
        (tmp_path / "captions" / split / "captions.json").write_text(json.dumps(entries))
        soundfile.write(tmp_path / "speech" / split / "a.wav", random.uniform(-0.5, 0.5, 800), 8000)
        (tmp_path / "speech" / split / "transcripts.tsv").write_text("a.wav\tgood morning\n")
    for base, folder, more in (
        (SentencePairs, "", {}),
        (BracketedTrees, "", {}),
        (LabelledImages, "pictures", {"image": Image(8, 8, 3)}),
        (CaptionedImages, "captions", {"image": Image(8, 8, 1)}),
        (TranscribedSpeech, "speech", {"audio": Audio(8000)}),
    ):
        check_problem(make(base, tmp_path / folder, **more), worker=False)


# ---- Broken ones: each class breaks one promise. They are not registered, and have no docstring only where that is it.


class Sound(Problem):
    """Numbers to words."""

    inputs, targets = Text("digits"), Text("English")
    metrics = ("cer",)
    splits = ("train", "dev")

    def samples(self, split):
        for i in range(6):
            yield {"inputs": f"{split} {i}", "targets": f"the {split} number {i}", "key": f"{split}/{i}"}


def each(change):
    """A `samples` that puts the dict `change(split, number)` into every sample."""

    def samples(self, split):
        for number, sample in enumerate(Sound.samples(self, split)):
            yield {**sample, **change(split, number)}

    return samples


class NoFeatures(Sound):
    inputs = None


class FeatureClass(Sound):
    targets = Text


class NoSamples(Problem):
    """Says nothing."""

    inputs, targets = Text(), Text()


class OneTrain(Sound):
    splits = ("train",)


class OneText(Sound):
    splits = "train"


class WrongMetric(Sound):
    metrics = ("bleuu",)


class ShortBleu(Sound):
    metrics = ("bleu",)
    samples = each(lambda split, number: {"targets": f"{split} {number}"})


class NoTrees(Sound):
    metrics = ("bracket_f1",)


class Tuples(Sound):
    def samples(self, split):
        yield ("a", "b")


class Nothing(Sound):
    def samples(self, split):
        return None


class OnlyTrainHasSome(Sound):
    def samples(self, split):
        yield from Sound.samples(self, split) if split == "train" else ()


class FailsAtThree(Sound):
    def samples(self, split):
        for number, sample in enumerate(Sound.samples(self, split)):
            yield sample if number < 3 else 1 / 0


class NoTarget(Sound):
    def prepare(self, sample):
        return {"inputs": sample["inputs"]}


class EmptyTarget(Sound):
    samples = each(lambda split, number: {"targets": " "} if number == 2 else {})


class WrongShape(Sound):
    inputs = Image(4, 4, 3)
    samples = each(lambda split, number: {"inputs": np.full((4, 5, 3), number, np.uint8)})


class UnknownClass(Sound):
    metrics = None
    targets = Label(("a", "b"))
    samples = each(lambda split, number: {"targets": "abcdef"[number]})


class SameKey(Sound):
    samples = each(lambda split, number: {"key": f"{split}/{number // 2}"})


class KeyInBoth(Sound):
    samples = each(lambda split, number: {"key": str(number)})


class NumberAsKey(Sound):
    samples = each(lambda split, number: {"key": number})


class DevInTrain(Sound):
    samples = each(lambda split, number: {"inputs": str(number), "targets": f"the number {number}"})


class RandomOrder(Sound):
    def samples(self, split):
        samples = list(Sound.samples(self, split))
        yield from (samples[i] for i in np.random.default_rng().permutation(6))


class OnlyOnce(Sound):
    def __init__(self):
        self.rest = {split: iter(list(Sound.samples(self, split))) for split in self.splits}

    def samples(self, split):
        yield from self.rest[split]


class RandomPrepare(Sound):
    inputs = Audio(8000)

    def prepare(self, sample):
        return {**sample, "inputs": np.random.default_rng().integers(-9, 9, 50).astype(np.int16)}


class Lock(Sound):
    def __init__(self):
        self.lock = threading.Lock()


HERE = []  # filled in this process only


class NeedsThisProcess(Sound):
    def prepare(self, sample):
        return {**sample, "inputs": f"{sample['inputs']} {HERE[0]}"}


class BadLine(Sound):
    def samples(self, split):
        yield from Sound.samples(self, split)
        yield {"key": "train.tsv:7", "bad": "/data/train.tsv:7: 1 column between tabs"}


class TargetNotAmongReferences(Sound):
    samples = each(lambda split, number: {"references": ["something else"]})


class SomeReferences(Sound):
    samples = each(lambda split, number: {"references": [f"the {split} number {number}"]} if number > 2 else {})


class AddressAsArgument(Sound):
    def __init__(self):
        self.rule = (object(),)

    rule = ()


FAULTS = {
    NoFeatures: "this problem has no inputs",
    FeatureClass: r"its targets are the class Text, no modality: write Text\(\)",
    NoSamples: r"it must define samples\(self, split\)",
    OneTrain: r"it has no split 'dev' to be scored on",
    OneText: r"its splits must be a tuple of names, .* not 'train'",
    WrongMetric: r"unknown metric 'bleuu'; did you mean 'bleu'",
    ShortBleu: r"its metric bleu of the right answers is 0, not 100; BLEU needs answers of four words and more",
    NoTrees: r"its metric bracket_f1 can't be computed on the right answers: ",
    Tuples: r"samples\('train'\) failed after 0 samples: .*must yield dicts .* of type tuple",
    Nothing: r"must yield samples, it returns None",
    OnlyTrainHasSome: r"samples\('dev'\) yields nothing",
    FailsAtThree: r"samples\('dev'\) failed after 3 samples: ZeroDivisionError: .*\(test_check_problem\.py:\d+\)",
    NoTarget: r"split 'train', sample 'train/0': the sample has no 'targets'; it has 'inputs'",
    EmptyTarget: r"sample 'dev/2': its targets are not what the feature says: the text is empty",
    WrongShape: r"sample 'dev/0': its inputs are not .* shape \(4, 4, 3\) expected, got \(4, 5, 3\)",
    UnknownClass: r"sample 'train/2': its targets .* 'c' is not one of the 2 classes",
    SameKey: r"two samples of split 'dev' have the key 'dev/0'",
    KeyInBoth: r"the key '0' is in the splits 'train' and 'dev'",
    NumberAsKey: r"sample 1 of split 'train' has the key 1",
    DevInTrain: r"the splits 'train' and 'dev' share 6 samples of the same content, for instance 'train/\d' and",
    RandomOrder: r"samples\('train'\) is not the same every time",
    OnlyOnce: r"samples\('train'\) yields fewer samples at its second call",
    RandomPrepare: r"'train/0': prepare gives something else at its second call",
    Lock: r"it can't be sent to a worker process",
    NeedsThisProcess: r"a worker process can't prepare its samples: IndexError",
    BadLine: r"split 'dev': a bad record: /data/train\.tsv:7: 1 column",
    TargetNotAmongReferences: r"'dev/0': its target 'the dev number 0' is not among its references",
    SomeReferences: r"it has references, which the first sample of no split has",
    AddressAsArgument: r"its attribute rule is written .*, with a place in memory",
}
IN_A_WORKER = (Lock, NeedsThisProcess)


def test_the_problem_that_they_break_is_sound():
    check_problem(Sound)
    check_problem(Sound())


@pytest.mark.parametrize("broken", FAULTS, ids=lambda cls: cls.__name__)
def test_a_broken_promise_is_named(broken, monkeypatch):
    monkeypatch.setattr("test_check_problem.HERE", ["here"])
    findings = find_faults(broken, worker=broken in IN_A_WORKER)
    assert any(re.search(FAULTS[broken], finding) for finding in findings), findings
    assert not any("\n" in finding for finding in findings)


def test_all_that_is_wrong_is_listed_at_once():
    class Several(Sound):
        metrics = ("bleu",)
        samples = each(lambda split, number: {"inputs": "" if number == 5 else "a", "targets": "b", "key": str(number)})

    with pytest.raises(FaultyProblem) as error:
        check_problem(Several, worker=False)
    text = str(error.value)
    assert text.startswith("problem several: ") and len(error.value.findings) == text.count("\n- ") >= 6
    for words in ("is in the splits", "the text is empty", "of the same content", "BLEU needs", "more such keys"):
        assert words in text, words


def test_what_is_no_problem_or_has_no_data_is_one_finding(tmp_path):
    assert find_faults(dict) == ["it can't be made: dict is not derived from Problem"]
    assert "did you mean 'tiny_ende'" in find_faults("tiny_endee")[0]
    (finding,) = find_faults(make(SentencePairs, tmp_path / "nowhere"))
    assert "no such folder" in finding
