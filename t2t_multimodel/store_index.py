"""The index of a split: where each record is and how long its sides are; read in full and checked."""

import math
import os
import zipfile

import numpy as np

from t2t_multimodel import machine, tfrecord
from t2t_multimodel.digests import sha256_of_file
from t2t_multimodel.errors import UserError
from t2t_multimodel.json_files import damaged
from t2t_multimodel.store_folder import index_name

INDEX_COLUMNS = {"shard": "<i4", "offset": "<i8", "size": "<i4", "input_length": "<i4", "target_length": "<i4"}


def read_index(files, manifest, split, members, advice):
    """The columns of the index of a split, in the order of `INDEX_COLUMNS`, one row per record.

    Args:
      files: the `StoreFolder`. manifest: its manifest.
      members: how many lengths the inputs of a record have; 0: a single one.
      advice: what to do if the index is damaged; ends the error.

    Raises:
      DamagedFile: the file is not the manifest's, or its columns do not describe the shards.
      UserError: it does not fit into memory.
    """
    name, about = index_name(split), manifest["splits"][split]
    path = files.path / name
    if fault := files.size_fault(name, manifest["files"][name]):
        raise damaged(path, fault, advice)
    if manifest["files"][name]["bytes"] > machine.memory():  # before it is read for its digest
        raise UserError(
            f"{path} has {machine.gibibytes(manifest['files'][name]['bytes'])} for {about['examples']:,} examples, "
            f"more than this machine's memory ({machine.gibibytes(machine.memory())}); use a larger machine"
        )
    with files.open(name, advice) as file:
        if sha256_of_file(file) != manifest["files"][name]["sha256"]:
            raise damaged(path, "its sha256 is not the manifest's", advice)
        try:
            shapes = {column: (about["examples"],) for column in INDEX_COLUMNS}
            if members:
                shapes["input_length"] += (members,)
            columns = _arrays(file, shapes)
        # zipfile raises NotImplementedError for a compression that it does not know.
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
            raise damaged(path, str(error) or type(error).__name__, advice) from None
    if fault := _fault(columns, about["files"]):
        raise damaged(path, fault, advice)
    return [columns[column] for column in INDEX_COLUMNS]


def _arrays(file, shapes):
    """The arrays of an .npz file; nothing larger than `shapes` is read."""
    size, arrays = os.fstat(file.fileno()).st_size, {}
    with zipfile.ZipFile(file) as archive:
        for column, shape in shapes.items():
            member = archive.getinfo(f"{column}.npy")
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > size or member.flag_bits & 1:
                raise ValueError(f"{column} is not stored as it is")
            with archive.open(member) as array:
                version = np.lib.format.read_magic(array)
                if version != (1, 0):
                    raise ValueError(f"{column} is of version {version} of the .npy format")
                found, fortran, dtype = np.lib.format.read_array_header_1_0(array)
                if found[:1] != shape[:1]:
                    raise ValueError(f"{found[0] if found else 'no'} rows instead of {shape[0]}")
                if math.prod(shape) * dtype.itemsize > member.file_size:
                    raise ValueError(f"{column} is cut off")
                if (found, dtype.str) != (shape, INDEX_COLUMNS[column]) or (fortran and len(shape) > 1):
                    raise ValueError(f"{column} is of shape {found} and type {dtype.str}")
                values = np.empty(shape, dtype)
                if array.readinto(memoryview(values).cast("B")) != values.nbytes:
                    raise ValueError(f"{column} is cut off")
                arrays[column] = values
    return arrays


def _fault(columns, shards):
    """Why the records that an index describes do not fill `shards` ({name: {"bytes", "examples"}}); "" if they do."""
    if min(columns[name].min(initial=0) for name in ("size", "input_length", "target_length")) < 0:
        return "it has a negative length"
    first = 0
    for number, shard in enumerate(shards.values()):  # one at a time: an index may have a hundred million rows
        rows = slice(first, first + shard["examples"])
        first = rows.stop
        if (columns["shard"][rows] != number).any():
            return "it names other shards than there are"
        sizes = columns["size"][rows].astype(np.int64)
        ends = np.cumsum(sizes + tfrecord.BEFORE + tfrecord.AFTER)
        if (int(ends[-1]) if len(ends) else 0) != shard["bytes"]:
            return "its records do not fill the shards"
        if not np.array_equal(columns["offset"][rows], ends - sizes - tfrecord.AFTER):
            return "its records do not follow each other"
    return ""
