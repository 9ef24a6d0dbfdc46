"""The arrays of a checkpoint in one file, in the format safetensors: {name: array}; no code, sizes known in advance."""

import json
import math
import os
import re
import struct

import numpy as np

from t2t_multimodel import machine
from t2t_multimodel.errors import UserError
from t2t_multimodel.json_files import Whole, parse_json
from t2t_multimodel.regular_files import open_regular

_MOST_HEADER_BYTES = 1 << 25  # names, types and shapes; some 200,000 arrays
_HEADER = {str: {"dtype?": str, "shape?": [Whole(0)], "data_offsets?": [Whole(0)]}}
_NAMES = {  # of numpy's types in the header
    "bool": "BOOL",
    "bfloat16": "BF16",
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}
_METADATA = "__metadata__"  # the one name in the header that is no array


def write(path, arrays):
    """Writes {name: array}, of any shape and of number or bool types, bfloat16 included; raises `OSError`."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    # save_file writes an array's memory as it lies: one that is not in C order would come back scrambled.
    # Not np.ascontiguousarray, which makes scalars one-dimensional.
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with open(path, "wb") as file:  # with the mode of every new file, which save_file makes its owner's alone
        mode = os.fstat(file.fileno()).st_mode
    try:
        save_file(ordered, path)
        os.chmod(path, mode)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if not number:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def write_streamed(path, entries):
    """Writes arrays of which one at a time is in memory; raises `OSError`.

    Args:
      entries: (name, numpy dtype, shape, function that gives the array) of each.
    """
    header, end = {}, 0
    for name, dtype, shape, _ in entries:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        header[name] = {"dtype": _NAMES[np.dtype(dtype).name], "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays begin at a multiple of 8
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, dtype, shape, value in entries:
            array = np.asarray(value(), order="C")
            if (array.dtype, array.shape) != (np.dtype(dtype), tuple(shape)):
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not {dtype} {shape}")
            file.write(array.tobytes())


def read(path):
    """{name: array} of a regular file.

    Raises:
      ValueError: it is not what `write` makes. OSError: it can't be read. UserError: it does not fit into memory.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    declared(path)  # raises, where opening it by name might wait for ever
    try:
        return load_file(path)  # which compares the sizes in its header with that of the file
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def declared(path):
    """(number of arrays, number of values in all of them) by the file's header; raises as `read` does."""
    with open_regular(path, links=False) as file:
        require_memory(path, os.fstat(file.fileno()).st_size)
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if size > _MOST_HEADER_BYTES:
            raise ValueError(f"its header has {size:,} bytes; {_MOST_HEADER_BYTES:,} are the most")
        header = parse_json(file.read(size), _HEADER, path)
    shapes = [about.get("shape", []) for name, about in header.items() if name != _METADATA]
    return len(shapes), sum(map(math.prod, shapes))


def require_memory(path, size):
    """Raises `UserError` for a file of `size` bytes that does not fit into this machine's memory."""
    if size > machine.memory():
        raise UserError(
            f"{path} has {machine.gibibytes(size)}, more than this machine's memory "
            f"({machine.gibibytes(machine.memory())}); use a larger machine"
        )
