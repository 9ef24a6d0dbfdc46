"""Folders as people unpack them: every file below, whatever the case of its name, always in the same order."""

import os
import pathlib


def files_below(folder, *suffixes):
    """Yields the `Path` of each file below `folder` whose name ends in one of `suffixes`, case ignored, sorted.

    Links to folders are followed, as discs are often joined by them; hidden files and folders are passed over.
    """
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link back to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield pathlib.Path(parent, name)
