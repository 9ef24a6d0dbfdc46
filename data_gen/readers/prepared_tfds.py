"""Data sets that TensorFlow Datasets has prepared under the download folder, read with pictures as encoded bytes."""

import importlib.util
import pathlib

from t2t_multimodel.data_gen.readers.corpora import download_folder
from t2t_multimodel.errors import UserError


def prepared(name):
    """The builder of the newest version of `name` prepared under the download folder; None where there is none.

    The data set is what `tfds build NAME --data_dir=DOWNLOAD_DIR` leaves; nothing is downloaded here.
    """
    if not (download_folder() / name).is_dir():  # so that TensorFlow is imported only where it is needed
        return None
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=str(download_folder()), try_gcs=False)
    except Exception as error:  # what TFDS raises for a broken folder depends on what is broken
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise UserError(f"{download_folder() / name}: TensorFlow Datasets can't open it ({reason})") from error
    return builder if builder.is_prepared() else None


def files(builder):
    """Paths of the files of a prepared data set."""
    return [str(path) for path in sorted(pathlib.Path(str(builder.data_path)).iterdir()) if path.is_file()]


def records(builder, split, columns):
    """Yields the examples of a split as dicts of numpy values, in the order of the files; "image" stays encoded bytes.

    Args:
      columns: the features that are read.
    """
    import tensorflow_datasets as tfds

    decoders = tfds.decode.PartialDecoding(dict.fromkeys(columns, True), {"image": tfds.decode.SkipDecoding()})
    yield from tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False, decoders=decoders))


def data_folder():
    """The folder of the installed `tensorflow_datasets`, whose lists of labels are read without importing it."""
    spec = importlib.util.find_spec("tensorflow_datasets")
    return pathlib.Path(spec.submodule_search_locations[0])
