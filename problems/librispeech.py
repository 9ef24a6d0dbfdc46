"""LibriSpeech: speech recognition of English audiobooks; the free stand-in for `wsj_speech`.

Source: OpenSLR, resource 12 (Panayotov et al. 2015), from LibriVox recordings. Licence: CC BY 4.0.
Size: train-clean-100, the default, has 28,539 utterances, 100.6 hours, 6.3 GB as an archive, 12 GB as examples;
dev-clean 2,703 and test-clean 2,620 utterances, 5.4 hours each. All of train is 960 hours, 60 GB.
How to get it: download train-clean-100, dev-clean and test-clean from OpenSLR and unpack them in `librispeech/` under
the manual folder, so that `librispeech/LibriSpeech/train-clean-100/<speaker>/<chapter>/` is there. Or prepare the data
set `librispeech` of TensorFlow Datasets in the download folder; it is used without such a tree.
Command: t2t-datagen --problem=librispeech --data_dir=data --manual_dir=corpora
Other subsets, in your own file (--t2t_usr_dir):

    @register_problem
    class Librispeech960(Librispeech):
        \"\"\"English audiobooks (all of LibriSpeech) into words.\"\"\"
        train_subsets = ("train-clean-100", "train-clean-360", "train-other-500")

Metric: word error rate on test-clean. Expect about 0.15 from attention alone on 100 hours without a language model.
"""

import numpy as np

from t2t_multimodel.data_gen.readers import tfds_data
from t2t_multimodel.data_gen.readers.corpora import Corpus
from t2t_multimodel.data_gen.readers.lines import read_lines
from t2t_multimodel.data_gen.readers.recordings import read_recording
from t2t_multimodel.modalities import Audio, Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_problem

LIBRISPEECH = Corpus(
    folder_name="librispeech",
    title="LibriSpeech",
    obtain="from OpenSLR (resource 12), free",
    layout="the folder LibriSpeech with train-clean-100, dev-clean and test-clean; or prepared by TensorFlow Datasets "
    "in the download folder",
)


@register_problem
class Librispeech(Problem):
    """English audiobooks (LibriSpeech, the 100 hours of clean speech), 16 kHz, into lower-case words."""

    corpus = LIBRISPEECH
    train_subsets = ("train-clean-100",)
    dev_subsets = ("dev-clean",)
    test_subsets = ("test-clean",)
    metrics = ("wer", "cer")
    inputs = Audio(rate=16000)
    targets = Text("English")

    def samples(self, split):
        tree = self._tree()
        for subset in getattr(self, f"{split}_subsets"):
            yield from self._from_tree(tree / subset) if tree else self._from_tfds(subset)

    def prepare(self, sample):
        if "fault" in sample:
            raise ValueError(sample["fault"])
        if not isinstance(sample["inputs"], str):  # TensorFlow Datasets has decoded it already
            return {**sample, "inputs": sample["inputs"].astype(np.int16)}
        try:
            return {**sample, "inputs": read_recording(sample["inputs"], self.inputs.rate, self.inputs.max_seconds)}
        except ValueError as error:
            raise ValueError(f"{error} ({sample['key']} of its chapter's .trans.txt)") from error

    def source_files(self):
        tree = self._tree()
        subsets = [subset for split in self.splits for subset in getattr(self, f"{split}_subsets")]
        if not tree:
            return tfds_data.files_of(self._prepared(), map(_tfds_split, subsets))
        chapters = [chapter for subset in subsets for chapter in _chapters(tree / subset)]
        files = [path for chapter in chapters for path in sorted(chapter.iterdir())]
        return [str(path) for path in files if path.suffix == ".flac" or path.name.endswith(".trans.txt")]

    def _tree(self):
        """The folder with the subsets; None if TensorFlow Datasets has the corpus; else raises `MissingCorpus`."""
        folder = self.corpus.folder
        subsets = {subset for split in self.splits for subset in getattr(self, f"{split}_subsets")}
        for candidate in (folder / "LibriSpeech", folder):
            there = {subset for subset in subsets if (candidate / subset).is_dir()}
            if there == subsets:
                return candidate
            if there:
                raise self.corpus.missing(candidate / min(subsets - there))
        self._prepared()
        return None

    def _from_tree(self, subset):
        for chapter in _chapters(subset):
            yield from _chapter_samples(chapter)

    def _prepared(self):
        """The TFDS builder."""
        missing = self.corpus.missing(self.corpus.folder / "LibriSpeech")
        return tfds_data.prepared("librispeech", missing, download=False)

    def _from_tfds(self, subset):
        values = tfds_data.read_values(self._prepared(), _tfds_split(subset), ("speech", "text", "id"))
        for _, (sound, text, name) in values:
            yield {"inputs": sound, "targets": text.decode().lower(), "key": name.decode()}


def _chapters(subset):
    """The chapter folders of a subset, `<speaker>/<chapter>`, sorted."""
    return sorted(path for path in subset.glob("*/*") if path.is_dir())


def _chapter_samples(folder):
    """The samples of a chapter: its lines "103-1240-0000 CHAPTER ONE …", and recordings without a line."""
    list_file = folder / f"{folder.parent.name}-{folder.name}.trans.txt"
    recordings = {path.stem: path for path in sorted(folder.glob("*.flac"))}
    if list_file.exists():
        for number, line in read_lines(list_file):
            name, _, text = line.strip().partition(" ")
            if not name:
                continue
            sample = {"inputs": str(folder / f"{name}.flac"), "targets": text.strip().lower(), "key": name}
            if not sample["targets"]:
                sample["fault"] = f"{list_file}:{number}: no words behind {name!r}; expected: name, blank, transcript"
            elif name not in recordings:
                sample["fault"] = f"{sample['inputs']}: no such file, though {list_file}:{number} has its transcript"
            recordings.pop(name, None)
            yield sample
    for name, path in recordings.items():
        lacks = f"no line of {list_file} begins with {name}" if list_file.exists() else f"there is no {list_file}"
        yield {"inputs": str(path), "targets": None, "key": name, "fault": f"{path}: has no transcript: {lacks}"}


def _tfds_split(subset):
    """ "train-clean-100" → "train_clean100", the name in TensorFlow Datasets."""
    name, kind, *hours = subset.split("-")
    return f"{name}_{kind}{''.join(hours)}"
