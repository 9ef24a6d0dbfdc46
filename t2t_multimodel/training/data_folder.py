"""Which folder a run's data is in: a note in the run directory, so that a report of the run needs no --data_dir.

`data_dir.json` holds the folder twice: as its place on this machine, and as seen from the run directory, so that it is
found where a run was moved alone and where both were. It is no part of `run.json`, which says what was trained on:
where that lies decides nothing. Like `environment.json` it is of no consequence where it is missing or damaged; unlike
it, it names folders, and is not for showing.
"""

import json
import os
from pathlib import Path

from t2t_multimodel.errors import UserError
from t2t_multimodel.files import write_file
from t2t_multimodel.training.evaluation import open_stores

DATA_FOLDER_FILE = "data_dir.json"


class NoData(Exception):
    """Why the data of a run can't be used; its text names no folder of this machine, `details` may."""

    def __init__(self, reason, details=""):
        super().__init__(reason)
        self.details = details


def remember(output_dir, data_dir):
    """Writes down that the run in `output_dir` is trained on the data of `data_dir`."""
    folder = {
        "data_dir": os.path.abspath(data_dir),
        "from_output_dir": os.path.relpath(os.path.realpath(data_dir), os.path.realpath(output_dir)),
    }
    write_file(Path(output_dir) / DATA_FOLDER_FILE, (json.dumps(folder, indent=1, ensure_ascii=False) + "\n").encode())


def recall(output_dir):
    """The folder of the run's data, where it is still there.

    Raises:
      NoData: nobody wrote it down, or it is gone.
    """
    try:
        noted = json.loads((Path(output_dir) / DATA_FOLDER_FILE).read_text(encoding="utf-8"))
        places = [os.fspath(noted["data_dir"]), os.path.join(os.path.realpath(output_dir), noted["from_output_dir"])]
    except (OSError, ValueError, KeyError, TypeError):
        raise NoData("the run does not say which folder its data is in") from None
    for place in places:
        if os.path.isdir(place):
            return Path(os.path.normpath(place))
    raise NoData("the folder of its data is no longer there", places[0])


def recalled_stores(output_dir, run, names):
    """{name: `ExampleStore`} of problems of a run, from the folder that it was trained on.

    Raises:
      NoData: that is unknown or gone, or holds other data now.
    """
    folder = recall(output_dir)
    try:
        stores = open_stores(folder, run, names)
        for store in stores.values():
            store.vocabulary()
    except UserError as error:
        raise NoData("the folder of its data no longer holds what it was trained on", str(error)) from None
    changed = [name for name, store in stores.items() if store.digest != run.problem(name).digest]
    if changed:
        raise NoData(f"the data was made anew with other content since ({', '.join(changed)})", str(folder))
    return stores
