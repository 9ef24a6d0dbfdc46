"""The arrays of a checkpoint in several files, one of each process that trained: whole variables and pieces of them.

A piece is called `path[2:4/8,0:32/32]`: along each axis of the variable from where to where it reaches, of how many.
"""

import itertools
import math
import re
import zlib
from typing import Any, NamedTuple

import numpy as np

_PIECE = re.compile(r"(.*)\[([0-9]+:[0-9]+/[0-9]+(?:,[0-9]+:[0-9]+/[0-9]+)*)\]", re.S)


class Piece(NamedTuple):
    """A part of a variable, or all of it, that this process writes."""

    path: str
    name: str  # in the file
    shape: tuple[int, ...]
    dtype: Any
    array: Any  # on a device


def file_names(count):
    """The names of the files of `count` processes, in their order."""
    return [f"arrays-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def pieces_of(variables):
    """The `Piece`s that this process writes; those of all processes are each variable once.

    Args:
      variables: Keras variables on the devices of all processes, with paths that are unique.
    """
    pieces = []
    for variable in variables:
        array = variable.value
        parts = [tuple(s.indices(n)[:2] for s, n in zip(shard.index, array.shape)) for shard in array.global_shards]
        copies = parts.count(parts[0])
        turn = zlib.crc32(variable.path.encode()) % copies  # which of equal copies is written: all devices have a share
        for shard in array.addressable_shards:
            if shard.replica_id == turn:
                name = variable.path if copies == len(parts) else _piece_name(variable.path, shard.index, array.shape)
                data = shard.data
                pieces.append(Piece(variable.path, name, tuple(data.shape), np.dtype(array.dtype), data))
    return pieces


def path_of(name):
    """The path of the variable that a name in a file is of."""
    found = _PIECE.fullmatch(name)
    return found[1] if found else name


def joined(files):
    """{path: array} of the {name: array} of all files.

    Raises:
      ValueError: a variable is there twice, or not all of it.
    """
    if len(files) == 1:
        return files[0]
    arrays, pieces = {}, {}
    for file in files:
        for name in list(file):
            path, array = path_of(name), file.pop(name)
            if path == name:
                if path in arrays:
                    raise ValueError(f"{path} is there twice")
                arrays[path] = array
            else:
                pieces.setdefault(path, []).append((_ranges(name), array))
    for path in list(pieces):
        if path in arrays:
            raise ValueError(f"{path} is there twice")
        arrays[path] = _put_together(path, pieces.pop(path))
    return arrays


def _put_together(path, pieces):
    """One array of [(its (start, end, total) on each axis, array)]: cells of a grid, each once."""
    totals = {tuple(total for _, _, total in ranges) for ranges, _ in pieces}
    dtypes = {array.dtype for _, array in pieces}
    if len(totals) > 1 or len(dtypes) > 1:
        raise ValueError(f"the pieces of {path} do not belong together")
    shape = totals.pop()
    edges = []
    for axis, total in enumerate(shape):
        starts = sorted({ranges[axis][0] for ranges, _ in pieces})
        edges.append(list(zip(starts, [*starts[1:], total])))
    cells = set(itertools.product(*edges))
    there = [tuple((start, end) for start, end, _ in ranges) for ranges, _ in pieces]
    if any(axis[0][0] != 0 for axis in edges) or set(there) != cells or len(there) != len(cells):
        raise ValueError(f"the pieces of {path} are not the whole of it")
    if sum(array.size for _, array in pieces) != math.prod(shape):
        raise ValueError(f"the pieces of {path} have other sizes than their names say")
    whole = np.empty(shape, dtypes.pop())
    for cell, (_, array) in zip(there, pieces):
        place = tuple(slice(*bounds) for bounds in cell)
        if whole[place].shape != array.shape:
            raise ValueError(f"a piece of {path} has shape {array.shape} instead of {whole[place].shape}")
        whole[place] = array
    return whole


def _piece_name(path, index, shape):
    ranges = (slice_.indices(total)[:2] for slice_, total in zip(index, shape))
    return f"{path}[{','.join(f'{start}:{end}/{n}' for (start, end), n in zip(ranges, shape))}]"


def _ranges(name):
    """((start, end, total) on each axis) of the name of a piece."""
    return tuple(tuple(map(int, re.split("[:/]", axis))) for axis in _PIECE.fullmatch(name)[2].split(","))
