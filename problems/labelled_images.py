"""Pictures in folders named by class: image classification."""

import functools

from t2t_multimodel.data_gen.readers.pictures import SUFFIXES
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Image, Label
from t2t_multimodel.problems.file_problem import FileProblem, picture_sample


class LabelledImages(FileProblem):
    """Picture to class from `<directory>/{train,dev,test}/<class>/*.png`, or .jpg, .webp, .gif, .bmp, .tif, .ppm.

        @register_problem
        class CityBirds(LabelledImages):
            \"\"\"Which of 40 birds is in the picture. Own photographs, 12,000 files. Metric: top-1, expect 91 %.\"\"\"
            directory = "birds"
            image = Image(64, 64, 3)

    The classes are the names of the folders in train, sorted.
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

    def samples(self, split):
        folders = self._class_folders(split)
        for name in folders:
            if name not in self.classes:
                known = ", ".join(self.classes[:20])
                raise UserError(f"{self.split_path(split) / name}: a class that train lacks; train has {known}")
        for name in folders:
            for picture in self._pictures(self.split_path(split) / name):
                yield {"inputs": str(picture), "targets": name, "key": f"{split}/{name}/{picture.name}"}

    def prepare(self, sample):
        return picture_sample(sample, self.inputs)

    def source_files(self):
        return [sample["inputs"] for split in self.splits for sample in self.samples(split)]

    def _class_folders(self, split):
        folder = self.split_path(split)
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if not names:
            raise UserError(f"problem {self._called}: no class folders in {folder}; expected: {self._form}")
        return names

    def _pictures(self, folder):
        files = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
        pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
        if not pictures:
            others = sorted({file.suffix or file.name for file in files})
            found = f"files there end in {', '.join(others)}" if others else "it is empty"
            raise UserError(f"{folder}: no pictures ({', '.join('*' + suffix for suffix in SUFFIXES)}); {found}")
        return pictures
