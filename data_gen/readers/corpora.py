"""Corpora that the user must obtain: their folders, and the error for a missing one.

Every corpus has its own folder in the manual folder (`t2t-datagen --manual_dir=DIR`, else `$T2T_MANUAL_DIR`, else
`DATA_DIR/manual`). What TensorFlow Datasets downloads and prepares is in the download folder (`--download_dir`, else
`DATA_DIR/downloads`).
"""

import os
import pathlib
from dataclasses import dataclass

from t2t_multimodel.errors import UserError

_folders = {"manual": None, "download": None, "may_write": True}


class MissingCorpus(UserError):
    """A corpus is missing. `t2t-datagen --skip_missing` continues without its problem."""


def set_folders(data_dir, manual_dir=None, download_dir=None, may_write=True):
    """Sets the folders of the corpora; a command calls it once, before it reads any problem.

    With `may_write=False`, for a dry run, nothing is downloaded, unpacked or prepared.
    """
    _folders["may_write"] = may_write
    data_dir = pathlib.Path(data_dir)
    _folders["manual"] = pathlib.Path(manual_dir or os.environ.get("T2T_MANUAL_DIR") or data_dir / "manual")
    _folders["download"] = pathlib.Path(download_dir or data_dir / "downloads")


def folders():
    """The folders set by `set_folders`, for `use_folders` in a worker process."""
    return dict(_folders)


def use_folders(folders):
    """Sets the folders that `folders()` returned in the parent process."""
    _folders.update(folders)


def manual_folder():
    """The `Path` of the folder that holds the folders of all corpora."""
    return _folders["manual"] or pathlib.Path(os.environ.get("T2T_MANUAL_DIR", "manual"))


def download_folder():
    """The `Path` of the folder for downloaded and prepared data."""
    return _folders["download"] or pathlib.Path("downloads")


def may_write():
    """Whether problems may download, unpack and prepare files."""
    return _folders["may_write"]


@dataclass(frozen=True)
class Corpus:
    """One corpus as its owner distributes it."""

    folder_name: str  # under the manual folder, e.g. "wsj_speech"
    title: str  # "Wall Street Journal speech, LDC93S6A and LDC94S13A"
    obtain: str  # where to get it: "from the Linguistic Data Consortium, under its licence"
    layout: str  # what the folder holds: "the discs' folders 11-1.1, 11-2.1, …"
    stand_in: str = ""  # a similar problem with a free corpus

    @property
    def folder(self):
        """Its `Path`; the folder may be missing."""
        return manual_folder() / self.folder_name

    def require(self, *parts):
        """The `Path` of `parts` in the folder; raises `MissingCorpus` if it does not exist."""
        path = self.folder.joinpath(*parts)
        if not path.exists():
            raise self.missing(path)
        return path

    def missing(self, path=None):
        """The error: what the corpus is, where to get it, where to put it, and its free stand-in."""
        stand_in = f"; {self.stand_in} is a free stand-in" if self.stand_in else ""
        return MissingCorpus(
            f"no {path or self.folder}: {self.title} has to be obtained {self.obtain} and put there "
            f"({self.layout}; --manual_dir sets the folder){stand_in}"
        )
