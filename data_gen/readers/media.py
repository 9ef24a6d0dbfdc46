"""Pictures and recordings where they are: in a file, in a table or tar, or as a part of a recording."""

import hashlib
import os
import pickle
from typing import Any, NamedTuple

from t2t_multimodel.data_gen.readers.members import TarMember, read_content
from t2t_multimodel.regular_files import open_regular

_ENDS = 1 << 16  # bytes at both ends of a file that tell it from others of its size


class Content(NamedTuple):
    """A picture or recording that is in a table as its bytes."""

    name: str
    content: bytes

    def __reduce_ex__(self, protocol):
        """Pickled with its bytes apart, where the pickler has a place for them (`data_gen/sending.py`)."""
        return _received, (self.name, pickle.PickleBuffer(self.content) if protocol >= 5 else self.content)

    def __str__(self):
        return self.name


def _received(name, content):
    return Content(name, bytes(content))


class Clip(NamedTuple):
    """A part of a recording."""

    file: Any  # a path, `Content` or `TarMember`
    start: float  # seconds
    end: float | None  # None: to the end of the recording

    def __str__(self):
        return f"{self.file} from {self.start:g} s"


def decode(modality, place):
    """The sample of `modality` that is at `place`: a path, `Content`, `TarMember` or `Clip`; raises `ValueError`."""
    seconds = None
    if isinstance(place, Clip):
        seconds, place = (place.start, place.end), place.file
    if isinstance(place, TarMember):
        return modality.from_media(str(place), read_content(place), seconds)
    if isinstance(place, Content):
        return modality.from_media(place.name, place.content, seconds)
    return modality.from_media(place, None, seconds)


def path_of(place):
    """The path of the file that is read, or None if it is inside of another one."""
    place = place.file if isinstance(place, Clip) else place
    return place if isinstance(place, str) else None


def named(place, folder):
    """A name that is equal for the same picture or recording on every machine: its path below `folder`, or a digest."""
    if isinstance(place, Clip):
        return f"{named(place.file, folder)} {place.start:g}-{place.end}"
    if isinstance(place, Content):
        return hashlib.sha256(place.content).hexdigest()
    if isinstance(place, TarMember):
        return place.name
    return os.path.relpath(place, folder) if os.path.isabs(place) else str(place)


def size_of(place):
    """Bytes of the picture or recording, without reading it; for a `Clip` with its times. None: it can't be told."""
    if isinstance(place, Clip):
        size = size_of(place.file)
        return None if size is None else (size, place.start, place.end)
    if isinstance(place, Content):
        return len(place.content)
    if isinstance(place, TarMember):
        return place.size
    try:
        return os.stat(place).st_size
    except (OSError, ValueError):
        return None


def ends_of(place):
    """A digest of the first and last 64 KiB, which with the size tells files apart; None if they can't be read."""
    if isinstance(place, Clip):
        return ends_of(place.file)
    try:
        if isinstance(place, Content):
            content = place.content
        elif isinstance(place, TarMember):
            content = read_content(place)
        else:
            with open_regular(place) as file:
                content = file.read(_ENDS)
                if os.fstat(file.fileno()).st_size > 2 * _ENDS:
                    file.seek(-_ENDS, os.SEEK_END)
                content += file.read(_ENDS)
    except (OSError, ValueError):
        return None
    return hashlib.sha256(content[:_ENDS] + content[_ENDS:][-_ENDS:]).digest()
