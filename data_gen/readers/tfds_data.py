"""Data sets of TensorFlow Datasets (TFDS): uses prepared data, or downloads and prepares it; reads in a fixed order.

A problem calls `prepared` to get the builder, or one line about what is missing. With the builder, `files_of` gives the
problem's `source_files`, and `read_values` the values of its samples.

The data sets are in the download folder (`readers/corpora.py`) in TFDS's own layout, `<name>/<config>/<version>`, so
data that was prepared elsewhere can be copied or linked there. Archives that the user has downloaded belong in the
manual folder, under the names that TFDS records for them; they are used if their checksums are right. Nothing is
downloaded without a recorded checksum.
"""

import contextlib
import importlib.util
import os
import pathlib
import socket
import urllib.parse
import urllib.request

from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.data_gen.readers.corpora import MissingCorpus
from t2t_multimodel.errors import UserError, unknown_name

_BATCH, _SOUND_BATCH = 1024, 32  # records parsed together: many times faster than one by one
_builders = {}  # (name, folder) → builder


def builder(name):
    """The TFDS builder of `name` ("cifar10", "wmt14_translate/de-en"), or of a folder that holds a prepared data set.

    Raises:
      UserError: TFDS has no such data set, and no prepared one has this name.
    """
    import tensorflow_datasets as tfds

    folder = corpora.download_folder()
    if (name, folder) not in _builders:
        try:
            with _quiet():
                if os.path.isdir(name):
                    made = tfds.builder_from_directory(name)
                else:
                    made = tfds.builder(name, data_dir=folder)
        except tfds.core.DatasetNotFoundError:
            raise unknown_name(
                "TFDS data set",
                name,
                tfds.list_builders(with_community_datasets=False),
                f"a prepared one would lie in {folder / name}",
            ) from None
        except Exception as error:  # TFDS raises different types for a broken folder
            raise UserError(f"TFDS data set {name!r}: TFDS can't open it: {_first_line(error)}") from error
        _builders[name, folder] = made
    return _builders[name, folder]


def prepared(name, missing=None, download=True):
    """The builder of `name`, with its data prepared; downloads and prepares the data if necessary.

    Args:
      missing: a `MissingCorpus` to raise if the data is neither found nor downloaded.
      download: False: use prepared data only; then `missing` must be given. For sets of tens of GB, or with ffmpeg.

    Raises:
      MissingCorpus: no connection, or files that must be obtained by hand are missing.
      UserError: a file with a wrong checksum, or one without a recorded checksum.
    """
    if is_prepared(name):
        return builder(name)
    if not download:
        raise missing
    import tensorflow_datasets as tfds

    made = builder(name)
    manual, downloads = corpora.manual_folder(), corpora.download_folder() / "tfds"
    missing = missing or MissingCorpus(
        f"no {made.data_dir}: the TFDS data set {name} is not prepared there and can't be downloaded from here; "
        f"prepare it on a machine with a connection and copy it there (--download_dir sets the folder)"
    )
    if not corpora.may_write():
        raise MissingCorpus(f"TFDS data set {name}: not prepared yet; without --dry_run it is, in {made.data_dir}")
    if not _may_get(made, manual, downloads):
        raise missing
    settings = tfds.download.DownloadConfig(
        manual_dir=manual,
        force_checksums_validation=True,
        try_download_gcs=False,  # prepared copies there have no checksums
    )
    try:
        made.download_and_prepare(download_dir=downloads, download_config=settings)
    except tfds.download.DownloadError as error:
        raise MissingCorpus(f"{missing} ({_first_line(error)})") from error
    except Exception as error:  # errors of requests, builders and protobuf
        kind, module = type(error).__name__, type(error).__module__
        if kind == "NonMatchingChecksumError":
            raise UserError(
                f"{_first_line(error).rstrip(':')}: the file is damaged, or differs from the one that TFDS knows; "
                "remove it, and get it again"
            ) from error
        if "Missing checksums" in str(error):
            raise UserError(
                f"TFDS data set {name}: refused to download what no checksum is recorded for: {_first_line(error)}"
            ) from error
        if isinstance(error, (ConnectionError, TimeoutError)) or module.startswith(("requests", "urllib3")):
            raise MissingCorpus(f"{missing} ({kind})") from error
        if isinstance(error, AssertionError):  # TFDS's builders raise it for files that must be obtained by hand
            raise MissingCorpus(f"TFDS data set {name}: {' '.join(str(error).split())}") from error
        raise
    return made


def is_prepared(name):
    """Whether the data set is prepared, so that nothing would be downloaded."""
    if not (os.path.isdir(name) or (corpora.download_folder() / name.partition(":")[0]).is_dir()):
        return False  # without importing TensorFlow
    made = builder(name)
    with _quiet():
        return made.is_prepared()


def files_of(made, splits):
    """The paths of the record files of `splits`, for a problem's `source_files`."""
    return sorted({os.fspath(path) for split in splits for path in _split(made, split).filepaths})


def read_values(made, split, names):
    """Yields `(id, [value of each name])`; the id is TFDS's own, `cifar10-train.tfrecord-00000-of-00001__17`.

    Values are as stored: text and pictures are bytes (a picture is an encoded file), classes and numbers are int, sound
    is an array of integers; a value inside a sequence is an array.

    Args:
      made: a prepared builder.
      split: e.g. "train", or a part of it, "train[:90%]".
      names: of features; a nested feature is named with a slash.

    Raises:
      UserError: no such split, a damaged file, or a file that is not in TFDS's TFRecord format.
    """
    import tensorflow as tf

    spec, stored = {}, made.info.features.get_serialized_info()
    for name in names:
        info = _inside(stored, name)
        kind = tf.int64 if info.tf_dtype.is_integer else info.tf_dtype  # the types of a tf.train.Example
        spec[name] = tf.io.RaggedFeature(kind) if info.shape else tf.io.FixedLenFeature((), kind)
    size = _SOUND_BATCH if any(isinstance(feature, tf.io.RaggedFeature) for feature in spec.values()) else _BATCH
    for part in _parts(made, split):
        file = os.path.basename(part.filename)
        records = tf.data.TFRecordDataset(os.fspath(part.filename)).skip(part.skip).take(part.take)
        number = part.skip
        try:
            for batch in records.batch(size).prefetch(1):
                parsed = tf.io.parse_example(batch, spec)
                for values in zip(*(_rows(parsed[name]) for name in names)):
                    yield f"{file}__{number}", values
                    number += 1
        except (tf.errors.OpError, OSError) as error:
            reason = (getattr(error, "message", "") or str(error)).strip().split("\n")[0]
            raise UserError(f"{part.filename}: can't be read after record {number} ({reason[:120]})") from error


def _rows(values):
    """A list of bytes, ints or int arrays, one per record."""
    if hasattr(values, "row_splits"):
        flat, ends = values.values.numpy(), values.row_splits.numpy()
        return [flat[start:end] for start, end in zip(ends, ends[1:])]
    return values.numpy().tolist()


def feature_of(features, name):
    """The TFDS feature `name`, where "a/b" is b inside a; raises `UserError` with the known names."""
    return _inside(features, name)


def package_folder():
    """The folder of the installed `tensorflow_datasets`, to read its label lists without importing it."""
    return pathlib.Path(importlib.util.find_spec("tensorflow_datasets").submodule_search_locations[0])


def _inside(features, name):
    if name in features:  # COCO's "image/filename" is a plain name
        return features[name]
    inside = features
    for part in name.split("/"):
        try:
            inside = inside[part]
        except (KeyError, TypeError):
            raise unknown_name("feature", name, sorted(features.keys())) from None
    return inside


def _split(made, name):
    if name.partition("[")[0] not in made.info.splits:
        raise UserError(f"{made.data_dir}: no split {name!r}; it has {', '.join(sorted(made.info.splits))}")
    return made.info.splits[name]


def _parts(made, split):
    if made.info.file_format.value != "tfrecord":
        raise UserError(f"{made.data_dir} is prepared as {made.info.file_format.value}; prepare it as tfrecord")
    return _split(made, split).file_instructions


def _may_get(made, manual, downloads):
    """Whether to try a download; without a connection TFDS itself would retry for minutes."""
    infos = made.url_infos or {}
    if not infos or any(urllib.request.getproxies().get(scheme) for scheme in ("http", "https", "all")):
        return True
    if any(info.filename and (manual / info.filename).exists() for info in infos.values()):
        return True
    if any(path.is_file() for path in downloads.rglob("*")):
        return True
    places = {urllib.parse.urlsplit(url)[:2] for url in infos}
    return any(_answers(scheme, place) for scheme, place in sorted(places))


def _answers(scheme, place):
    host, _, port = place.partition(":")
    try:
        socket.create_connection((host, int(port or (80 if scheme == "http" else 443))), timeout=10).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _quiet():
    """Suppresses TFDS's warnings about missing folders."""
    from absl import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _first_line(error):
    return (str(error).strip() or type(error).__name__).split("\n")[0]
