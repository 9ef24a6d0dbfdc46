"""ImageNet, ILSVRC 2012: image classification with 1,000 classes. Read directly from the official tars."""

import functools
import pathlib
import re

from t2t_multimodel.data_gen.readers import tfds_data
from t2t_multimodel.data_gen.readers.corpora import Corpus
from t2t_multimodel.data_gen.readers.members import read_content, tar_members
from t2t_multimodel.data_gen.readers.parts import part_of
from t2t_multimodel.data_gen.readers.pictures import SUFFIXES, read_picture
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Image, Label
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_problem

TRAIN_TAR, VALIDATION_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
CORPUS = Corpus(
    "imagenet",
    "ImageNet ILSVRC 2012, the tars of training and validation pictures",
    "from image-net.org, after registration, under its terms (non-commercial research)",
    f"{TRAIN_TAR} and {VALIDATION_TAR}; or unpacked, train/<synset>/*.JPEG and val/<synset>/*.JPEG",
    stand_in="cifar10",
)
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_TFDS_SPLITS = {"train": "train", "dev": "train", "test": "validation"}


@register_problem
class Imagenet(Problem):
    """ImageNet ILSVRC 2012: a photograph, 64×64 pixels, into one of 1,000 classes.

    Source: Russakovsky et al. 2015; from image-net.org after registration, for non-commercial research.
    Size: tars of 148 GB (1,281,167 pictures) and 6.7 GB (50,000); as examples 12,288 bytes a picture, 16 GB in all.
    Splits: test is the official validation set, with known labels; dev is a hundredth of the training
    pictures by SHA-256 of their file names (`readers/parts.py`); train is the rest.
    Files: `imagenet/` in the manual folder with the two official tars, which stay packed; or the tree
    train/<synset>/*.JPEG, val/<synset>/*.JPEG (val/*.JPEG too); or, in the download folder, the `imagenet2012` that
    `tfds build` prepared.
    Command: t2t-datagen --problem=imagenet --data_dir=data --manual_dir=DIR
    Metric: top-1 and top-5 accuracy. The paper's joint model has 66 % and 86 %; not measured yet at 64×64.

    Pictures are resized by the shorter side and center-cropped to `image`. The model can add random crops and flips in
    training: --hparams="image_shift=0.125,image_augment=true". Another size needs another class:

        @register_problem
        class Imagenet128(Imagenet):
            \"\"\"ImageNet at 128×128 pixels.\"\"\"
            image = Image(128, 128, 3, fit="crop")
    """

    image = Image(64, 64, 3, fit="crop")
    dev_part = 100  # dev is one in this many training pictures

    @functools.cached_property
    def inputs(self):
        return self.image

    @functools.cached_property
    def targets(self):
        return Label(self.classes)

    @functools.cached_property
    def classes(self):
        """The 1,000 synsets, sorted, from TFDS's list ("n01440764", …), so labels do not depend on the files."""
        return tuple(_labels("labels.txt"))

    def samples(self, split):
        for place, name, synset in self._pictures(_TFDS_SPLITS[split]):
            if split == "test" or (part_of(name, self.dev_part) == 0) == (split == "dev"):
                yield {"inputs": place, "targets": synset, "key": name}

    def prepare(self, sample):
        place, image = sample["inputs"], self.image
        content = place if isinstance(place, bytes) else read_content(place)
        called = sample["key"] if isinstance(place, bytes) else place
        pixels = read_picture(called, *image.shape, fit=image.fit, content=content, max_pixels=image.max_pixels)
        return {**sample, "inputs": pixels}

    def source_files(self):
        form, found = self._source
        if form == "tfds":
            return tfds_data.files_of(found, set(_TFDS_SPLITS.values()))
        if form == "tars":
            return [str(path) for path in found.values()]
        # A class folder represents its pictures: its modification time changes when files are added or removed.
        return [str(folder) for top in found.values() for folder in [top, *_folders(top)]]

    @functools.cached_property
    def _source(self):
        """(format, source): "tars" or "tree" with {"train": path, "validation": path}, or "tfds" with its builder."""
        folder = CORPUS.folder
        tars = {"train": folder / TRAIN_TAR, "validation": folder / VALIDATION_TAR}
        tree = {"train": folder / "train", "validation": folder / "val"}
        for form, paths in (("tars", tars), ("tree", tree)):
            if any(path.exists() for path in paths.values()):
                for path in paths.values():
                    CORPUS.require(path.name)
                return form, paths
        return "tfds", tfds_data.prepared("imagenet2012", CORPUS.missing(), download=False)

    def __getstate__(self):  # for worker processes: they need no source, and a builder can't be pickled
        return {name: value for name, value in vars(self).items() if name != "_source"}

    def _pictures(self, part):
        """Yields (path, archive member or bytes; file name; synset) of "train" or "validation"."""
        form, found = self._source
        if form == "tfds":
            for _, (content, label, name) in tfds_data.read_values(found, part, ("image", "label", "file_name")):
                yield content, name.decode(), self.classes[label]
        elif form == "tree":
            yield from self._of_tree(found[part])
        elif part == "train":
            for inner in tar_members(found[part]):
                synset = inner.name.removeprefix("./").removesuffix(".tar")
                self._check_synset(synset, inner)
                for member in tar_members(found[part], inner):
                    yield member, pathlib.PurePosixPath(member.name).name, synset
        else:
            for member in tar_members(found[part]):
                name = pathlib.PurePosixPath(member.name).name
                yield member, name, _validation_synset(name, member)

    def _of_tree(self, top):
        for folder in [top, *_folders(top)]:
            files = sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES)
            if folder == top:  # validation pictures as unpacked from their tar
                for file in files:
                    yield str(file), file.name, _validation_synset(file.name, file)
                continue
            self._check_synset(folder.name, folder)
            for file in files:
                yield str(file), file.name, folder.name

    def _check_synset(self, synset, where):
        if synset not in self._known:
            raise UserError(f"{where}: {synset!r} is not one of the 1,000 synsets of ILSVRC 2012 (n01440764, …)")

    @functools.cached_property
    def _known(self):
        return frozenset(self.classes)


@functools.cache
def _labels(file):
    """One of TFDS's lists for ImageNet: `labels.txt`, or `validation_labels.txt` in picture order."""
    path = tfds_data.package_folder() / "datasets" / "imagenet2012" / file
    try:
        return tuple(path.read_text(encoding="ascii").split())
    except FileNotFoundError:
        raise UserError(f"{path}: this release of tensorflow_datasets lacks it; 4.9.7 has it") from None


def _validation_synset(name, where):
    """The synset of ILSVRC2012_val_NNNNNNNN.JPEG: line NNNNNNNN of the list of validation labels."""
    labels = _labels("validation_labels.txt")
    number = int(match[1]) if (match := _VALIDATION_NAME.fullmatch(name)) else 0
    if not 1 <= number <= len(labels):
        expected = f"ILSVRC2012_val_00000001.JPEG to {len(labels):08d}.JPEG"
        raise UserError(f"{where}: not a validation picture; those are called {expected}")
    return labels[number - 1]


def _folders(top):
    return sorted(entry for entry in top.iterdir() if entry.is_dir())
