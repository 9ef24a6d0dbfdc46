"""Lists the files below a folder: case of names ignored, always in the same order."""

import os
import pathlib


def files_below(folder, *suffixes):
    """Yields the `Path` of each file below `folder` with one of the `suffixes`, case ignored, sorted.

    Links to folders are followed, since discs are often joined by links; hidden files and folders are skipped.
    """
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link to a parent folder
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield pathlib.Path(parent, name)
