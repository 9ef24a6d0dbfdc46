"""Pictures or recordings in folders named by class, as a table with the columns "file_name" and "label"."""

import os

from t2t_multimodel.data_gen.readers import pictures, recordings
from t2t_multimodel.data_gen.readers.tables import Row
from t2t_multimodel.errors import UserError

COLUMNS = ("file_name", "label")
MEDIA = (*pictures.SUFFIXES, *recordings.SUFFIXES)
_HIDDEN = "."


def read(path, form, columns=None):
    """Yields the `Row`s, sorted by class and name; files of other endings are passed over (`others`).

    Raises:
      UserError: there are no class folders, or one has neither pictures nor recordings.
    """
    classes = class_folders(path)
    if not classes:
        raise UserError(f"{path}: no folders named by class; expected: {path}/<class>/*.jpg")
    for name in classes:
        if name != name.encode("utf-8", "replace").decode():
            raise UserError(f"{path}: the name of the class folder {name!r} is not UTF-8; rename it")
        files = [file for file in _names(os.path.join(path, name)) if file.lower().endswith(MEDIA)]
        if not files:
            raise UserError(f"{os.path.join(path, name)}: neither pictures nor recordings ({', '.join(MEDIA)})")
        for file in files:
            place = f"{name}/{os.fsencode(file).decode('utf-8', 'backslashreplace')}"
            if os.path.isfile(os.path.join(path, name, file)):
                yield Row(place, {"file_name": f"{name}/{file}", "label": name})


def class_folders(path):
    """The names of the folders in `path`, sorted; hidden ones do not count."""
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.name[0] != _HIDDEN and entry.is_dir())


def others(path):
    """The names of what is in class folders and no file of a picture or recording (also links to nothing), sorted."""
    below = ((name, _names(os.path.join(path, name))) for name in class_folders(path))
    return [
        f"{name}/{file}" for name, files in below for file in files if not _is_media(os.path.join(path, name, file))
    ]


def _is_media(file):
    return file.lower().endswith(MEDIA) and os.path.isfile(file)


def _names(folder):
    return sorted(name for name in os.listdir(folder) if name[0] != _HIDDEN)
