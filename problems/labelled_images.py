"""Pictures in folders named by class: image classification."""

import functools
import os

from t2t_multimodel.data_gen.readers.pictures import SUFFIXES
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Image, Label
from t2t_multimodel.problems.file_problem import FileProblem, few_names, picture_sample
from t2t_multimodel.problems.splits_of_train import shared_out

_OF_THE_SYSTEM = (".DS_Store", ".directory", "Thumbs.db", "desktop.ini")  # file managers leave them; never data


class LabelledImages(FileProblem):
    """Picture to class from `<directory>/{train,dev,test}/<class>/*.png`, or .jpg, .webp, .gif, .bmp, .tif, .ppm.

        @register_problem
        class CityBirds(LabelledImages):
            \"\"\"Which of 40 birds is in the picture. Own photographs, 12,000 files. Metric: top-1, expect 91 %.\"\"\"
            directory = "birds"
            image = Image(64, 64, 3)

    The classes are the names of the folders in train, sorted. Other files, links to nothing and folders inside a class
    are passed over, with one line on stderr that counts them by reason and names some.
    """

    image = Image(64, 64, 3)  # pictures are resized to this; 1 channel = grey

    _form = "train/<class>/*.png, dev/<class>/*.png, test/<class>/*.png"

    @functools.cached_property
    def inputs(self):
        return self.image

    @functools.cached_property
    def targets(self):
        return Label(self.classes)

    @functools.cached_property
    def classes(self):
        return tuple(self._class_folders("train"))

    @shared_out
    def read_samples(self, split):
        folders, top = self._class_folders(split), self.split_path(split)
        for name in folders:
            if name not in self.classes:
                known = ", ".join(self.classes[:20])
                raise UserError(f"{top / name}: a class that train lacks; train has {known}")
        passed_over = {}
        for entry in _entries(top):
            if not os.path.isdir(entry.path):
                _pass_over(passed_over, _odd(entry) or "outside of the class folders", entry.name)
        for name in folders:
            pictures, others = self._pictures(top / name)
            for reason, entry in others:
                _pass_over(passed_over, reason, f"{name}/{entry}")
            for picture in pictures:
                key = os.fsencode(f"{split}/{name}/{picture.name}").decode("utf-8", "backslashreplace")
                yield {"inputs": str(picture), "targets": name, "key": key}
        self.say_once(split, _in_words(passed_over))

    def prepare(self, sample):
        self.check_inside(sample["inputs"])
        return picture_sample(sample, self.inputs)

    def source_files(self):
        return [sample["inputs"] for split in self.splits for sample in self.read_samples(split)]

    def _class_folders(self, split):
        folder = self.split_path(split)
        names = [entry.name for entry in _entries(folder) if os.path.isdir(entry.path) and entry.name[0] != "."]
        if not names:
            raise UserError(f"problem {self._called}: no class folders in {folder}; expected: {self._form}")
        for name in names:
            if name != name.encode("utf-8", "replace").decode():
                raise UserError(f"{folder}: the name of the class folder {name!r} is not UTF-8; rename it")
        return names

    def _pictures(self, folder):
        """(the `Path`s of the pictures of a class, [(reason, name)] of what is passed over)."""
        pictures, others, endings = [], [], set()
        for entry in _entries(folder):
            suffix = os.path.splitext(entry.name)[1]
            reason = _odd(entry)
            if not reason and suffix.lower() not in SUFFIXES:
                endings.add(suffix or entry.name)
                reason = f"the ending {suffix} is not read" if suffix else "no ending"
            if reason:
                others.append((reason, entry.name))
            else:
                pictures.append(folder / entry.name)
        if not pictures:
            found = ", ".join(f"{name} ({reason})" for reason, name in others[:3]) or "it is empty"
            found = f"files there end in {', '.join(sorted(endings))}" if endings else found
            raise UserError(f"{folder}: no pictures ({', '.join('*' + suffix for suffix in SUFFIXES)}); {found}")
        return pictures, others


def _entries(folder):
    """The `os.DirEntry`s of a folder, sorted by name."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _odd(entry):
    """Why an entry can't be a picture, whatever its ending; "" if it may be one."""
    if entry.name.startswith("."):
        return "hidden"
    if entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path):  # the first asks no file system
        return ""
    if os.path.isdir(entry.path):
        return "a folder inside a class"
    return "not a regular file" if os.path.exists(entry.path) else "a link to nothing"


def _pass_over(passed_over, reason, name):
    if os.path.basename(name) not in _OF_THE_SYSTEM:
        passed_over.setdefault(reason, []).append(name)


def _in_words(passed_over):
    """ "passed over: 5 entries: 3 × the ending .HEIC is not read (cat/1.HEIC, …); 2 × no ending (…)"; "" for none."""
    if not passed_over:
        return ""
    total = sum(map(len, passed_over.values()))
    clauses = []
    for reason, names in passed_over.items():
        clauses.append(f"{len(names):,} × {reason} ({few_names(names)})")
    return f"passed over: {total:,} {'entry' if total == 1 else 'entries'}: {'; '.join(clauses)}"
