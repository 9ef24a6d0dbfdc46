"""Sentence pairs in tab-separated files: translation, or any other text-to-text problem."""

import functools

from t2t_multimodel.data_gen.readers.lines import bad_sample, read_columns
from t2t_multimodel.modalities import Text
from t2t_multimodel.problems.file_problem import FileProblem
from t2t_multimodel.problems.splits_of_train import shared_out


class SentencePairs(FileProblem):
    """Text to text from `<directory>/{train,dev,test}.tsv`, one pair per line: source ⇥ target, UTF-8, no header.

        @register_problem
        class MenuGerman(SentencePairs):
            \"\"\"Dishes on menus, English to German. Own collection, 20,000 pairs. Metric: BLEU, expect 31.\"\"\"
            directory = "menus"
            languages = ("English", "German")

    The other direction is `menu_german_rev`; to register it under another name, derive a class with `reverse = True`.
    """

    languages = ("", "")  # of the first and the second column, for reports
    reverse = False  # True: from the second column to the first

    _form = "train.tsv, dev.tsv, test.tsv, one pair per line: source ⇥ target"
    _split_suffix = ".tsv"

    @functools.cached_property
    def inputs(self):
        return Text(self.languages[1 if self.reverse else 0])

    @functools.cached_property
    def targets(self):
        return Text(self.languages[0 if self.reverse else 1])

    @shared_out
    def read_samples(self, split):
        path = self.split_path(split)
        names = [language or side for language, side in zip(self.languages, ("source", "target"))]
        for number, cells in read_columns(path, names, bad_sample, max_line_length=self.max_line_length):
            if isinstance(cells, dict):
                yield cells
                continue
            first, second = cells
            inputs, targets = (second, first) if self.reverse else (first, second)
            yield {"inputs": inputs, "targets": targets, "key": f"{path.name}:{number}"}

    def hashed_text(self, sample):
        return sample["targets" if self.reverse else "inputs"]  # the first column, whatever the direction
