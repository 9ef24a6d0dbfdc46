"""Base class of problems over the user's own files: finds the folder and the splits, with clear errors."""

import functools
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from t2t_multimodel.data_gen.readers.compressed import SUFFIXES
from t2t_multimodel.data_gen.readers.lines import MAX_LINE_LENGTH
from t2t_multimodel.errors import MustDefine, UserError, unknown_name
from t2t_multimodel.problem import Problem
from t2t_multimodel.problems.shared_samples import HeldOutSamples
from t2t_multimodel.problems.splits_of_train import percents

SPLITS = ("train", "dev", "test")
_BACK = "\\"
_FEW = 3  # names in a line on what is passed over


class FileProblem(Problem):
    """A problem over a folder of files. Derive from its subclasses; there is one for each file format.

    The splits of the problem are those of train, dev and test that exist in the folder.
    """

    directory = None  # the folder; relative to the file that sets it; ~ and $VARIABLES are expanded
    files: Mapping = {}  # {split: its file or folder below `directory`}; {}: by the names below
    dev_percent = 0.0  # of the samples of train that become dev, if there is no dev: by the hash of their inputs
    test_percent = 0.0
    max_line_length = MAX_LINE_LENGTH  # characters of a line of text; a longer one is a bad record
    # True: names in lists, and links, may lead to pictures and recordings outside of the folder. False: those are bad
    # records, so that no list from elsewhere can name other files of this machine.
    allow_outside_files = False

    _form = "train, dev, test"  # the expected content of the folder, for errors
    _split_suffix = ""  # ".tsv": a split is the file "train.tsv"; "": it is the folder "train"

    def samples(self, split):
        """Yields `read_samples(split)`; after train, says how many of them are in dev or test too."""
        if split != "train" or self.__dict__.get("_compared"):
            yield from self.read_samples(split)
            return
        held_out, shared, first = self._held_out_samples, 0, ""
        for sample in self.read_samples(split):
            yield sample
            if held_out and "bad" not in sample and held_out.holds(sample):
                shared += 1
                first = first or str(sample.get("key", ""))
        self._compared = True
        if shared:
            others = " or ".join(s for s in self.splits if s != "train")
            examples = "1 example is" if shared == 1 else f"{shared:,} examples are"
            print(
                f"{self._called} train: {examples} in {others} too (the first: {few_names([first])}), so scores there "
                "are too good; remove them from one of both",
                file=sys.stderr,
            )

    def read_samples(self, split):
        """Yields the raw samples of a split, as `Problem.samples` says."""
        raise MustDefine(self, "read_samples(split)")

    def _splits_to_compare(self):
        """The splits that may have samples of train."""
        return [split for split in self.splits if split != "train"]

    @property
    def _held_out_samples(self):
        """What dev and test hold; None without them."""
        others = self._splits_to_compare()
        held_out = HeldOutSamples(self)
        for split in others:
            for sample in self.read_samples(split):
                if "bad" not in sample:
                    held_out.add(sample)
        return held_out if others else None

    @property
    def folder(self):
        """The `Path` of the folder with the data.

        Raises:
          UserError: the class has no `directory`, or the folder does not exist; the message says what is expected.
        """
        if not self.directory:
            raise UserError(
                f'problem {self._called} has no directory: add a line directory = "…" to the class, a folder with '
                f"{self._form}"
            )
        folder = self.base_folder() / os.path.expandvars(os.path.expanduser(self.directory))
        if not os.path.isdir(folder):
            unset = re.search(r"\$\{?(\w+)", str(folder))
            reason = f"environment variable {unset[1]} is not set" if unset else f"no such folder: {folder}"
            raise UserError(
                f"problem {self._called}: {reason} (directory = {str(self.directory)!r}); expected there: {self._form}"
            )
        return folder

    def base_folder(self):
        """The folder that a relative `directory` starts from: that of the file that sets `directory`."""
        for cls in type(self).__mro__:
            if cls.__dict__.get("directory"):
                file = getattr(sys.modules.get(cls.__module__), "__file__", None)
                return Path(file).resolve().parent if file else Path.cwd()  # no file: in an interactive interpreter
        return Path.cwd()

    def split_path(self, split):
        """The file or folder of `split`; that of train for one that is taken from it.

        Raises:
          UserError: the problem has no such split.
        """
        if split not in self.splits:
            raise UserError(
                f"problem {self._called} has no split {split!r}: no {split}{self._split_suffix} in {self.folder}; "
                f"it has {', '.join(self.splits)}"
            )
        split = "train" if split in self.made_splits else split
        path = compressed_or_not(self.folder / self.files.get(split, f"{split}{self._split_suffix}"))
        if not self._split_suffix and not os.path.isdir(path):
            raise UserError(f"problem {self._called}: {path} is no folder; expected: {self._form}")
        return path

    def check_inside(self, path):
        """Raises `ValueError` if the file at `path` is outside of the folder, unless `allow_outside_files`."""
        if _BACK in os.path.basename(path) and not os.path.lexists(path):
            name = os.path.basename(path)
            raise ValueError(
                f"{path}: no such file; its name is written with backslashes: write {name.replace(_BACK, '/')}"
            )
        if self.allow_outside_files:
            return
        try:
            real = os.path.realpath(path)
        except (OSError, ValueError):  # no such name; reading says so
            return
        if not real.startswith(self._real_folder):
            raise ValueError(
                f"{path}: is {real}, outside of {self.folder}; put it there, or set allow_outside_files = True in the "
                "class"
            )

    @functools.cached_property
    def _real_folder(self):
        return os.path.join(os.path.realpath(self.folder), "")

    def say_unlisted(self, split, listed, list_name, suffixes):
        """Prints a line on the files of a split with one of `suffixes` that its list does not name."""
        if split in self.__dict__.get("_said", ()):
            return
        top, listed = self.split_path(split), {os.path.normpath(name) for name in listed}
        found = []
        for folder, folders, files in os.walk(top):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside = (os.path.relpath(os.path.join(folder, name), top) for name in sorted(files) if name[0] != ".")
            found += [name for name in inside if name.lower().endswith(suffixes) and name not in listed]
        if found:
            names = few_names(found)
            self.say_once(split, f"passed over: {len(found):,} × not named in {list_name} ({names})")

    def say_once(self, split, said):
        """Prints a line on a split, the first time that it is read."""
        if said and split not in self.__dict__.setdefault("_said", set()):
            self._said.add(split)
            print(f"{self._called} {split}: {said}", file=sys.stderr)

    @functools.cached_property
    def splits(self):
        there = self._splits_there
        return tuple(split for split in SPLITS if split in there or split in self.made_splits)

    @functools.cached_property
    def made_splits(self):
        """{split: percent} of the splits that are taken from train."""
        return percents(self, self._splits_there)

    def hashed_text(self, sample):
        """What decides whether a sample of train becomes one of dev or test: its inputs, or the place of its file."""
        if self.inputs.reads_files:
            place = os.path.relpath(sample["inputs"], self.folder)
            return os.fsencode(place).decode("utf-8", "backslashreplace")
        return sample["inputs"]

    @functools.cached_property
    def _splits_there(self):
        """The splits that the folder has files of."""
        folder = self.folder
        for split, name in self.files.items():
            if split not in SPLITS:
                raise unknown_name(f"split in files of {self._called}", split, SPLITS)
            if not os.path.lexists(folder / name):
                raise UserError(f"problem {self._called}: {folder} has no {name} (files of {split})")
        if self.files:
            return tuple(self.files)
        present = {entry.name for entry in folder.iterdir()}
        endings = ("", *SUFFIXES) if self._split_suffix else ("",)
        found = tuple(split for split in SPLITS if any(split + self._split_suffix + e in present for e in endings))
        if not found:
            names = ", ".join(sorted(present)[:8]) or "nothing"
            raise UserError(f"problem {self._called}: expected in {folder}: {self._form}; found: {names}")
        return found

    def source_files(self):
        return list(dict.fromkeys(str(self.split_path(split)) for split in self.splits))

    def arguments(self):
        return super().arguments() | ({"files": repr(dict(self.files))} if self.files else {})

    @property
    def _called(self):
        return self.name or type(self).__name__


def compressed_or_not(path):
    """The `Path` of a file of text that may be compressed: `path`, or that with .gz, .xz, .bz2 or .zst behind it.

    Raises:
      UserError: there are several of them.
    """
    there = [
        one for one in (path, *(path.with_name(path.name + suffix) for suffix in SUFFIXES)) if os.path.lexists(one)
    ]
    if len(there) > 1:
        raise UserError(f"{there[0]} and {there[1]} are the same text twice; keep one of them")
    return there[0] if there else path


def few_names(names):
    """The first of `names`, with escapes for what can't be printed."""
    shown = (name if name.isprintable() else repr(name)[1:-1] for name in names[:_FEW])
    return ", ".join(shown) + (", …" if len(names) > _FEW else "")


def picture_sample(sample, image):
    """`sample` with the path in its "inputs" replaced by the picture, in the size of the feature `image`."""
    from t2t_multimodel.data_gen.readers.pictures import read_picture

    pixels = read_picture(sample["inputs"], *image.shape, fit=image.fit, max_pixels=image.max_pixels)
    return {**sample, "inputs": pixels}
