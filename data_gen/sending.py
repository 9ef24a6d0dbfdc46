"""Samples on their way to a worker: the bytes of pictures and recordings go by a file, not through the pipe.

A pipe takes 64 KiB at a time, and both of its ends copy; a file that is removed as soon as it is read hardly gets to
the disk.
"""

import dataclasses
import os
import pickle
import uuid

_FEW_BYTES = 1 << 20  # go through the pipe


@dataclasses.dataclass(frozen=True)
class Sent:
    """What goes through the pipe of the process pool, from a process to its own child."""

    pickled: bytes  # the samples, without the bytes of `media.Content`
    contents: tuple  # these bytes, where they are few
    path: str = ""  # of the file with them, where they are many
    sizes: tuple = ()  # of each in the file, in bytes


def send(samples, folder):
    """The `Sent` of a list of samples; many bytes go into a file in `folder`, if there is one."""
    buffers: list = []
    pickled = pickle.dumps(samples, protocol=5, buffer_callback=buffers.append)
    contents = [buffer.raw() for buffer in buffers]
    sizes = tuple(content.nbytes for content in contents)
    if folder is None or sum(sizes) <= _FEW_BYTES:
        return Sent(pickled, tuple(map(bytes, contents)))
    path = os.path.join(folder, uuid.uuid4().hex)
    with open(path, "wb") as file:
        file.writelines(contents)
    return Sent(pickled, (), path, sizes)


def receive(sent):
    """The samples again; removes the file."""
    contents = sent.contents
    if sent.path:
        with open(sent.path, "rb") as file:
            contents = [file.read(size) for size in sent.sizes]
        os.remove(sent.path)
    return pickle.loads(sent.pickled, buffers=contents)
