"""Sentence pairs in two aligned files, the usual format of parallel corpora: line n translates line n of the other."""

import functools

from t2t_multimodel.data_gen.readers.compressed import without_suffix
from t2t_multimodel.data_gen.readers.parallel import HeldOut, distinct, find_sources
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Text
from t2t_multimodel.problems.file_problem import SPLITS, FileProblem
from t2t_multimodel.problems.splits_of_train import made_split

_BEST_FIRST = ("sgm", "lines", "tsv")  # the preferred format if a test set exists in several


class ParallelText(FileProblem):
    """Text to text from `<directory>/{train,dev,test}.en` and `.de`, or the suffixes in `sides`.

        @register_problem
        class ManualsGerman(ParallelText):
            \"\"\"Instruction manuals, English to German. From work, 400,000 pairs. Metric: BLEU, expect 35.\"\"\"
            directory = "manuals"
            sides = ("en", "de")

    Also read: files with .gz, .xz, .bz2 or .zst at the end; several training files (`train.news.en`,
    `train-law.en`: all names that start with the split's name, also in subfolders); tab-separated files with the order
    of columns in the name (`train.en-de.tsv`); the test sets of WMT (`test-src.en.sgm` beside `test-ref.de.sgm`).

    Files of other names: `files = {"train": "corpus", "dev": "held-out"}`, how the names of each split begin.

    The other direction is `manuals_german_rev`, or a class with `sides = ("de", "en")`. A training pair that is also in
    dev or test is skipped; the number of skipped pairs is printed.
    """

    sides = ("", "")  # the suffixes of the files: input language, target language
    languages = ("", "")  # their names, for reports
    skip_empty = False  # True: training pairs with an empty side are skipped; False: they are bad records

    _form = "train, dev, test, each as two files that end in .<side>, or .<side>.gz"
    _names = {split: (split,) for split in SPLITS}  # prefixes of the file names of each split

    @functools.cached_property
    def inputs(self):
        return Text(self.languages[0] or self.sides[0])

    @functools.cached_property
    def targets(self):
        return Text(self.languages[1] or self.sides[1])

    @functools.cached_property
    def _splits_there(self):
        found = tuple(split for split in SPLITS if self._sources[split])
        if not found:
            there = ", ".join(sorted(path.name for path in self.folder.iterdir())[:8]) or "nothing"
            first, second = self.sides
            raise UserError(
                f"problem {self._called}: expected in {self.folder}: train.{first} and train.{second} "
                f"(dev, test alike; .gz, .sgm and .tsv too); found: {there}"
            )
        return found

    def samples(self, split):
        if split not in self.splits:
            raise UserError(f"problem {self._called} has no split {split!r}; it has {', '.join(self.splits)}")
        held_out = self._held_out() if split == "train" else HeldOut()
        known = empty = 0
        for name, number, inputs, targets, place in self.pairs(split):
            if bad := _bad(inputs, targets):
                yield bad
                continue
            sample = {"inputs": inputs, "targets": targets, "key": f"{name}:{number}"}
            if not inputs.strip() or not targets.strip():
                if split == "train" and self.skip_empty:
                    empty += 1
                    continue
                sample["bad"] = f"{place(number, bool(inputs.strip()))}: empty, so the pair has one side only"
            elif max(len(inputs), len(targets)) > self.max_line_length:  # of a segment; lines are held to it where read
                where = place(number, len(targets) > self.max_line_length)
                allowed = f"the {self.max_line_length:,} characters that max_line_length allows"
                sample["bad"] = f"{where}: longer than {allowed}"
            elif held_out.holds(inputs, targets):
                known += 1
                continue
            yield sample
        self._say_passed_over(split, known, empty)

    def read_samples(self, split):
        return self.samples(split)

    def prepare(self, sample):
        if "bad" in sample:
            raise ValueError(sample["bad"])
        return sample

    def pairs(self, split):
        """Yields `(name of the text, number, input, target, place)`; `place(number, second)` is the position of a side.

        A side that can't be read is a bad sample (a dict).
        """
        made = self.made_splits if split in ("train", *self.made_splits) else {}
        for source in self._sources["train" if split in made else split]:
            for number, inputs, targets in source.pairs(self.max_line_length):
                if not made or split == self._split_of_pair(inputs, targets, made):
                    yield source.name, number, inputs, targets, source.place

    def source_files(self):
        return [str(path) for split in self._splits_there for source in self._sources[split] for path in source.paths]

    @functools.cached_property
    def _sources(self):
        """{split: its `ParallelSource`s}"""
        if not all(self.sides) or self.sides[0] == self.sides[1]:
            raise UserError(f'problem {self._called}: give the class a line sides = ("en", "de"): how its files end')
        found, alone = self._find()
        found = distinct(found)
        for path in alone:
            if self._split_of(path.name):
                is_first = without_suffix(path.name).endswith(f".{self.sides[0]}")
                raise UserError(f"{path}: its other side, the same name with .{self.sides[is_first]}, is not there")
        by_split = {split: [source for source in found if self._split_of(source.stem) == split] for split in SPLITS}
        by_split |= {split: _one(by_split[split]) for split in ("dev", "test")}
        self._check_sources(by_split)
        return by_split

    def _split_of_pair(self, inputs, targets, made):
        """The split of a pair of train; the same in both directions."""
        text = inputs if self.sides[0] < self.sides[1] else targets
        return "train" if isinstance(text, dict) else made_split(text, made)

    def _split_of(self, name):
        """The split of a file, by its name; None without one."""
        names = {split: (beginning,) for split, beginning in self.files.items()} or self._names
        for split, beginnings in names.items():
            if any(name == start or name.startswith(tuple(start + mark for mark in ".-_")) for start in beginnings):
                return split
        return None

    def _find(self):
        """`(all ParallelSources, paths without a partner)` of the problem's folder."""
        return find_sources(self.folder, *self.sides)

    def _check_sources(self, by_split):
        """Raises `UserError` if the problem needs other files."""

    def _held_out(self):
        held_out = HeldOut()
        for split in self.splits:
            if split != "train":
                for _, _, inputs, targets, _ in self.pairs(split):
                    if not _bad(inputs, targets):
                        held_out.add(inputs, targets)
        return held_out

    def _say_passed_over(self, split, known, empty):
        said = []
        if known:
            said.append(f"{known:,} hold sentences of {' or '.join(s for s in self.splits if s != 'train')}")
        if empty:
            said.append(f"{empty:,} have an empty side")
        self.say_once(split, said and f"pairs passed over: {', '.join(said)}")


def _bad(*sides):
    return next((side for side in sides if isinstance(side, dict)), None)


def _one(sources):
    """The source of a dev or test split, in the preferred format; raises `UserError` if there are several."""
    for form in _BEST_FIRST:
        there = [source for source in sources if source.form == form]
        if len(there) > 1:
            paths = " and ".join(str(source.paths[0]) for source in there)
            raise UserError(f"{paths}: which of these is meant? Keep one; what is tested on must be one known set")
        if there:
            return there
    return []
