"""Corpora that a person obtains: where they lie, and what to say where they are missing.

Every corpus is a folder of its own under one manual folder (`t2t-datagen --manual_dir=DIR`, else `$T2T_MANUAL_DIR`,
else `DATA_DIR/manual`). What a builder of TensorFlow Datasets downloads and prepares lies under the download folder
(`--download_dir`, else `DATA_DIR/downloads`).
"""

import os
import pathlib
from dataclasses import dataclass

from t2t_multimodel.errors import UserError

_folders = {"manual": None, "download": None, "may_write": True}


class MissingCorpus(UserError):
    """A corpus is not there. `t2t-datagen --skip_missing` goes on without its problem."""


def set_folders(data_dir, manual_dir=None, download_dir=None, may_write=True):
    """Says where corpora lie; called once by a command, before any problem is asked for its samples.

    With `may_write=False`, for a dry run, nothing is downloaded, unpacked or prepared.
    """
    _folders["may_write"] = may_write
    data_dir = pathlib.Path(data_dir)
    _folders["manual"] = pathlib.Path(manual_dir or os.environ.get("T2T_MANUAL_DIR") or data_dir / "manual")
    _folders["download"] = pathlib.Path(download_dir or data_dir / "downloads")


def folders():
    """What `set_folders` has said, for `use_folders` in a worker process."""
    return dict(_folders)


def use_folders(folders):
    """Takes over what `folders()` gave in the parent process."""
    _folders.update(folders)


def manual_folder():
    """The `Path` under which every corpus has its folder."""
    return _folders["manual"] or pathlib.Path(os.environ.get("T2T_MANUAL_DIR", "manual"))


def download_folder():
    """The `Path` of what is downloaded and prepared by TensorFlow Datasets."""
    return _folders["download"] or pathlib.Path("downloads")


def may_write():
    """Whether problems may download, unpack and prepare."""
    return _folders["may_write"]


@dataclass(frozen=True)
class Corpus:
    """One corpus as its owner ships it."""

    folder_name: str  # under the manual folder, e.g. "wsj_speech"
    title: str  # "Wall Street Journal speech, LDC93S6A and LDC94S13A"
    obtain: str  # where a person gets it, by name: "from the Linguistic Data Consortium, under its licence"
    layout: str  # what the folder holds: "the discs' folders 11-1.1, 11-2.1, …"
    stand_in: str = ""  # the problem that a free corpus serves instead

    @property
    def folder(self):
        """Its `Path`, whether it is there or not."""
        return manual_folder() / self.folder_name

    def require(self, *parts):
        """The `Path` of `parts` inside the folder; raises `MissingCorpus` where there is none."""
        path = self.folder.joinpath(*parts)
        if not path.exists():
            raise self.missing(path)
        return path

    def missing(self, path=None):
        """The error that says what the corpus is, where to get it, where to put it, and what stands in for it."""
        stand_in = f"; {self.stand_in} is a free stand-in" if self.stand_in else ""
        return MissingCorpus(
            f"no {path or self.folder}: {self.title} has to be obtained {self.obtain} and put there "
            f"({self.layout}; --manual_dir says where){stand_in}"
        )
