"""One sample → one record of the store: prepare, check, encode, serialise. Runs in the worker processes.

Imports neither TensorFlow nor the rest of data generation, so that a worker starts in half a second.
"""

import dataclasses
import os

import numpy as np

from t2t_multimodel.data_gen.serialising import serialise, serialise_all
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Text
from t2t_multimodel.modalities.arrays import stored_name
from t2t_multimodel.problem import missing_side
from t2t_multimodel.vocabulary import varints

SIDES = ("inputs", "targets")
_KEY = Text()
_NOT_LAST = bytes(range(128, 256))  # bytes of `varints` that more of the same number follow


@dataclasses.dataclass(frozen=True)
class Record:
    """One example as it is stored."""

    key: str
    content: bytes  # a serialised tf.train.Example, the same bytes on every run
    input_length: int | tuple  # ids, samples of sound, or 1; one of each of several inputs
    target_length: int


@dataclasses.dataclass(frozen=True)
class BadRecord:
    """A sample that `prepare` or a feature's check refused."""

    key: str
    file: str  # where the sample names one, else ""
    reason: str

    def __str__(self):
        if f"/{self.key}: " in self.reason:  # it names the place itself
            return self.reason
        where = f" ({self.file})" if self.file and self.file not in self.reason else ""
        return f"{self.key}{where}: {self.reason}"


@dataclasses.dataclass
class Chunk:
    """What became of a run of consecutive samples, in their order."""

    records: list
    bad: list
    text_ids: int = 0
    characters: int = 0


def store_features(problem, with_references):
    """The TFDS features of a problem's store: `inputs`, `targets`, `key` and, for some, `references`."""
    import tensorflow_datasets as tfds

    features = {
        stored_name(side, name): _store_feature(array)
        for side in SIDES
        for name, array in getattr(problem, side).stored().items()
    }
    features["key"] = tfds.features.Text()
    if with_references:
        features["references"] = tfds.features.Sequence(tfds.features.Text())
    return tfds.features.FeaturesDict(features)


def feature_names(problem, with_references):
    """The names of `store_features`, without TFDS."""
    names = [stored_name(side, name) for side in SIDES for name in getattr(problem, side).stored()]
    return (*names, "key", *(["references"] if with_references else []))


def make_records(problem, features, vocabulary, split, start, samples):
    """Makes the records of `samples`, raw samples of `split` from number `start` on.

    Args:
      problem: a `Problem`.
      features: the names of the stored features, such as `store_features(problem, …)`.
      vocabulary: the data folder's `Vocabulary`; None if neither side is text.

    Returns:
      A `Chunk`. A sample that `prepare` or a check refuses, by ValueError, OSError or UserError, is in its `bad`;
      any other exception is a fault in the problem's code and passes through.
    """
    good, bad = [], []
    modalities = [(side, getattr(problem, side)) for side in SIDES]
    for number, raw in enumerate(samples, start):
        key = f"{split}-{number}"
        try:
            key = _checked_key(raw.get("key", key))
            if "bad" in raw:
                raise ValueError(raw["bad"])
            sample = problem.prepare(raw)
            _check(problem, modalities, sample, features)
        except (ValueError, OSError, UserError) as error:
            reason = " ".join(str(error).splitlines()) or type(error).__name__  # a file's name may have a line end
            bad.append(BadRecord(_utf8(key), _utf8(_file_of(problem, raw)), _utf8(reason)))
        else:
            good.append((key, sample))
    chunk = Chunk([], bad)
    if not good:
        return chunk
    stored = [_encode(problem, side, [sample.get(side) for _, sample in good], vocabulary, chunk) for side in SIDES]
    (inputs, input_lengths), (targets, target_lengths) = stored
    columns = {"key": [key for key, _ in good]}
    if "references" in features:
        columns["references"] = [list(sample.get("references", ())) for _, sample in good]
    contents = _serialised(inputs, targets, columns)
    chunk.records = list(map(Record, columns["key"], contents, input_lengths, target_lengths))
    return chunk


def _serialised(inputs, targets, columns):
    """The serialised examples of the stored arrays of both sides and further `columns`, {name: [value of each]}."""
    sides = (inputs, targets)
    names = [list(side[0]) for side in sides]
    if all(list(arrays) == own for side, own in zip(sides, names) for arrays in side):
        sides = [{name: [arrays[name] for arrays in side] for name in own} for side, own in zip(sides, names)]
        return serialise_all(sides[0] | sides[1] | columns)
    rest = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return [serialise(one | other | more) for one, other, more in zip(inputs, targets, rest)]


def key_of(content):
    """The key of a serialised example."""
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example.FromString(content).features.feature["key"].bytes_list.value[0].decode()


def _store_feature(array):
    """The TFDS feature of an `ArraySpec`."""
    import tensorflow_datasets as tfds

    if array.storage == "class":
        return tfds.features.ClassLabel(names=list(array.class_names))
    encoding = {"encoding": "bytes"} if array.storage == "bytes" else {}
    return tfds.features.Tensor(shape=array.shape, dtype=np.dtype(array.dtype).type, **encoding)


def _utf8(text):
    """`text` with escapes in place of what UTF-8 can't hold, such as the bytes of a file name in another encoding."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _checked_key(key):
    if not isinstance(key, str) or not key:
        raise ValueError(f"a sample's key is a string that identifies it, not {key!r}")
    _KEY.check(key)
    return key


def _check(problem, modalities, sample, features):
    if missing := missing_side(problem, sample):
        raise ValueError(missing)
    for side, modality in modalities:
        try:
            modality.check(sample.get(side))
        except ValueError as error:
            raise ValueError(f"{side}: {error}") from None
    references = sample.get("references")
    if references is None:
        return
    if "references" not in features:
        raise ValueError("it has references, which the first sample of no split has: give them to all samples or none")
    if isinstance(references, str):
        raise ValueError("references: a list of texts expected, got one text")
    for reference in references:
        try:
            _KEY.check(reference)
        except ValueError as error:
            raise ValueError(f"references: {error}") from None


def _encode(problem, side, values, vocabulary, chunk):
    """(the stored arrays of each value, their lengths); counts ids and characters of text into `chunk`."""
    modality = getattr(problem, side)
    encoded = modality.encode(values, vocabulary)
    lengths = [modality.stored_length(arrays) for arrays in encoded]
    ids, characters = modality.text_counts(values, lengths)
    chunk.text_ids += ids
    chunk.characters += characters
    specs = modality.stored()
    stored = [
        {stored_name(side, name): _as_stored(specs[name], array) for name, array in arrays.items()}
        for arrays in encoded
    ]
    return stored, lengths


def _as_stored(spec, array):
    """An encoded array as `serialise` takes it."""
    if spec.storage == "bytes":
        return np.asarray(array, spec.stored_dtype)
    if spec.storage == "int64_list" and not isinstance(array, bytes):
        return varints(array)
    return array


def _file_of(problem, raw):
    """The file that a raw sample names in place of a picture or sound; "" where it names none."""
    for side in SIDES:
        given = raw.get(side)
        texts = [text for _, text in getattr(problem, side).texts(given) if isinstance(text, str)]
        for value in given.values() if isinstance(given, dict) else [given]:
            if isinstance(value, (str, os.PathLike)) and value not in texts and os.sep in os.fspath(value):
                return os.fspath(value)  # without a separator it is a class's name
    return ""
