"""Any data set of TensorFlow Datasets as a problem: one feature is the input, another the target."""

import functools
import io
import sys

import numpy as np

from t2t_multimodel.data_gen.readers import tfds_data
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Audio, Image, Label, Text
from t2t_multimodel.problem import Problem

SPLITS = ("train", "dev", "test")
DEV_NAMES = ("validation", "valid", "val", "dev")  # names of the dev split in data sets
CARVED = 20  # without a dev split, one in this many examples of train is dev


class TfdsProblem(Problem):
    """From one feature of a TFDS data set to another; one line in a `--t2t_usr_dir` folder registers it:

        register_problem(TfdsProblem("cifar10", inputs="image", targets="label"))

    or, with its own description and settings, as a class:

        @register_problem
        class Flowers(TfdsProblem):
            \"\"\"Which of five flowers is in the picture. TFDS tf_flowers, 3,670 pictures. Metric: top-1.\"\"\"
            dataset = "tf_flowers"
            inputs, targets = "image", "label"
            image = Image(96, 96, 3)
            tfds_splits = {"train": "train[:80%]", "dev": "train[80%:90%]", "test": "train[90%:]"}

    The features can be text, pictures, sound and classes; a nested feature is named with a slash. TFDS prepares the
    data in the download folder (`--download_dir`), and downloads it if necessary. `dataset` may also be the path of a
    prepared data set. Without `tfds_splits`, train is train, dev is validation, test is test; without a validation
    split, every twentieth example of train is dev instead.
    """

    dataset = None  # name in TFDS, "wmt14_translate/de-en", "mnist:3.0.1", or the folder of a prepared one
    inputs_from = targets_from = None  # names of its features; a class may set them as `inputs`, `targets`
    image = None  # an `Image`: pictures are resized to it; None: their size if it is fixed, else 64 × 64
    audio = None  # an `Audio`; None: at the rate of the data set
    tfds_splits = None  # {"train": "train", "dev": …}, in TFDS's notation

    def __init__(self, dataset=None, *, inputs=None, targets=None, name=None, description=None, **settings):
        unknown = settings.keys() - {"image", "audio", "tfds_splits", "metrics", "command", "vocabulary_size"}
        if unknown:
            raise UserError(
                f"TfdsProblem has no setting {sorted(unknown)[0]!r}; it has image, audio, tfds_splits, "
                "metrics, command and vocabulary_size"
            )
        given = {"dataset": dataset, "inputs_from": inputs, "targets_from": targets}
        vars(self).update({key: value for key, value in (given | settings).items() if value is not None})
        if name or not self.name:
            self.name = name or str(self.dataset).rstrip("/").partition(":")[0].replace("/", "_").replace("-", "_")
        if dataset:  # registered as one line, so these can't come from a class
            self.description = description or f"TFDS data set {dataset}: {inputs} to {targets}."
            caller = sys._getframe(1)
            self.source = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        for key in ("dataset", "inputs_from", "targets_from"):
            if not isinstance(getattr(self, key), str):
                said = 'TfdsProblem("cifar10", inputs="image", targets="label")'
                raise UserError(f"problem {self.name}: {key.removesuffix('_from')} is missing; for instance {said}")

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        for side in ("inputs", "targets"):  # names of TFDS features; the properties return our features
            if isinstance(vars(cls).get(side), str):
                setattr(cls, f"{side}_from", vars(cls)[side])
                delattr(cls, side)

    def __call__(self):
        """A copy: the registry creates problems by calling the registered class or instance."""
        new = type(self).__new__(type(self))
        vars(new).update(vars(self))
        return new

    __copy__ = __call__

    def __getstate__(self):
        # So that a worker does not need the data set, its features are sent with the problem.
        return vars(self) | {"inputs": self.inputs, "targets": self.targets, "_rate": self._rate}

    @functools.cached_property
    def inputs(self):
        return self._feature(self.inputs_from)

    @functools.cached_property
    def targets(self):
        return self._feature(self.targets_from)

    @functools.cached_property
    def _rate(self):
        """The sample rate of the data set's sound; None if neither side is sound."""
        features = tfds_data.builder(self.dataset).info.features
        sides = [tfds_data.feature_of(features, name) for name in (self.inputs_from, self.targets_from)]
        return next((side.sample_rate for side in sides if hasattr(side, "sample_rate")), None)

    @functools.cached_property
    def splits(self):
        return tuple(split for split in SPLITS if split in self._split_names)

    def samples(self, split):
        if split not in self.splits:
            raise UserError(f"problem {self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        names = self._split_names
        carved = split != "test" and names["dev"] == names["train"]
        values = tfds_data.read_values(self._builder, names[split], (self.inputs_from, self.targets_from))
        for number, (key, (inputs, targets)) in enumerate(values):
            if carved and (number % CARVED == 0) != (split == "dev"):
                continue
            yield {"inputs": _raw(self.inputs, inputs), "targets": _raw(self.targets, targets), "key": key}

    def prepare(self, sample):
        return {**sample, **{side: self._prepared(side, sample) for side in ("inputs", "targets")}}

    def source_files(self):
        parts = list(self._split_names.values())
        return tfds_data.files_of(self._builder, parts)

    def arguments(self):
        own = {"image": self.image, "audio": self.audio, "tfds_splits": self.tfds_splits}
        own = super().arguments() | {name: repr(value) for name, value in own.items()}
        return {name: value for name, value in own.items() if name != "source"}

    @property
    def _builder(self):
        return tfds_data.prepared(self.dataset)

    @property
    def _split_names(self):
        """{split: its name in TFDS}; if dev and train are equal, dev is a part of train."""
        there = list(self._builder.info.splits)
        if self.tfds_splits:
            for split, name in self.tfds_splits.items():
                if split not in SPLITS or name.partition("[")[0] not in there:
                    raise UserError(
                        f"problem {self.name}: tfds_splits has {split!r}: {name!r}; the splits to name are "
                        f"{', '.join(SPLITS)}, those of {self.dataset} {', '.join(there)}"
                    )
        given = dict(self.tfds_splits or {name: name for name in ("train", "test") if name in there})
        if "train" not in given:
            raise UserError(
                f"problem {self.name}: {self.dataset} has no split 'train', it has {', '.join(there)}; choose "
                f'them: tfds_splits = {{"train": "{there[0]}[:90%]", …}}'
            )
        if not self.tfds_splits:
            given["dev"] = next((name for name in DEV_NAMES if name in there), "train")
        return {"dev": given["train"]} | given

    def _feature(self, name):
        """Our feature for the TFDS feature called `name`."""
        import tensorflow_datasets as tfds

        declared = tfds_data.feature_of(tfds_data.builder(self.dataset).info.features, name)
        if isinstance(declared, tfds.features.ClassLabel):
            declared = tfds_data.feature_of(self._builder.info.features, name)  # some names come with the data
            return Label(tuple(declared.names or map(str, range(declared.num_classes))))
        if isinstance(declared, tfds.features.Image) and np.dtype(declared.np_dtype).kind == "u":
            height, width, channels = declared.shape
            return self.image or Image(height or 64, width or 64, channels or 3)
        if isinstance(declared, tfds.features.Audio) and np.dtype(declared.np_dtype).kind == "i":
            if len(declared.shape) == 1 and declared.sample_rate:
                return self.audio or Audio(rate=declared.sample_rate)
        if declared.shape == () and declared.np_dtype == np.object_:  # also Text
            return Text()
        said = " ".join(repr(declared).split())
        raise UserError(
            f"problem {self.name}: feature {name!r} of {self.dataset} is {said[:200]}; supported are Text, ClassLabel, "
            "Image of integers, and Audio of integers with one channel and a known rate"
        )

    def _prepared(self, side, sample):
        prepare = _PREPARE.get(type(getattr(self, side)))
        return prepare(self, getattr(self, side), sample[side], sample["key"]) if prepare else sample[side]


def _picture(problem, feature, encoded, key):
    """The pixels of an encoded picture, of the feature's size."""
    from t2t_multimodel.data_gen.readers.pictures import read_picture

    return read_picture(key, *feature.shape, fit=feature.fit, content=encoded, max_pixels=feature.max_pixels)


def _recording(problem, feature, samples, key):
    return _sound(samples, key, problem._rate, feature.rate)


def _sound(samples, key, rate, wanted_rate):
    """int16 `[samples]` at `wanted_rate` Hz, from integers at `rate` Hz or an encoded file."""
    if isinstance(samples, bytes):
        import soundfile

        try:
            channels, rate = soundfile.read(io.BytesIO(samples), dtype="float32", always_2d=True)
        except Exception as error:  # soundfile raises TypeError too
            raise ValueError(f"{key}: can't be decoded as a recording") from error
        sound = channels.mean(axis=1) * 32768.0
    else:
        sound = np.asarray(samples)
        if len(sound) and np.abs(sound).max() > 32768:
            raise ValueError(f"{key}: the sound is louder than 16 bits hold ({np.abs(sound).max()})")
    if rate != wanted_rate:
        import soxr

        sound = soxr.resample(np.asarray(sound, np.float32), rate, wanted_rate)
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)


def _raw(feature, value):
    """A stored value as the input of `prepare`, without slow decoding."""
    convert = _RAW.get(type(feature))
    return convert(feature, value) if convert else value


def _class_name(feature, number):
    return feature.classes[number] if 0 <= number < len(feature.classes) else f"class {number}"


# How TFDS's values become samples: on reading, and in the workers. (The check of text rejects surrogates.)
_RAW = {Text: lambda feature, value: value.decode("utf-8", "surrogateescape"), Label: _class_name}
_PREPARE = {Image: _picture, Audio: _recording}
