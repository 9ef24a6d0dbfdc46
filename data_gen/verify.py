"""Reads stores again and compares every byte with their manifests: `t2t-datagen --verify`."""

import os
import pathlib

import numpy as np

from t2t_multimodel import startup, tfrecord
from t2t_multimodel.data_gen import examples
from t2t_multimodel.data_gen.progress import Bars
from t2t_multimodel.data_gen.store import VOCABULARY_FOLDER, open_store
from t2t_multimodel.digests import sha256_of_file
from t2t_multimodel.errors import UserError, datagen_command
from t2t_multimodel.json_files import DamagedFile
from t2t_multimodel.modalities import Modality
from t2t_multimodel.modalities.arrays import stored_name
from t2t_multimodel.store_folder import metadata_of
from t2t_multimodel.store_index import INDEX_COLUMNS, read_index
from t2t_multimodel.vocabulary import Vocabulary


def verify(problem_names, data_dir, log=print, progress=None):
    """Checks the stores of the given problems: sizes, digests, record checksums, index, counts, range of ids.

    Args:
      log: called with each line for the user.
      progress: whether to show progress bars on stderr; None: if it is a terminal.

    Raises:
      UserError: a store is missing or damaged. The message names the first fault; all faults are logged before.
    """
    data_dir = pathlib.Path(data_dir)
    startup.import_tensorflow()
    damage = []
    for name in problem_names:
        try:
            opened = open_store(data_dir / name)
            if opened is None:
                found = [f"no data for problem {name!r} in {data_dir}; run: {datagen_command(name, data_dir)}"]
            else:
                files, manifest = opened
                total = sum(split["bytes"] for split in manifest["splits"].values())
                with Bars(progress).bytes(f"{name}: checking", total) as advance:
                    found = list(_damage(files, manifest, data_dir / VOCABULARY_FOLDER, advance))
        except UserError as error:
            found = [str(error)]
        for line in found:
            log(line)
        if not found:
            total = sum(split["examples"] for split in manifest["splits"].values())
            log(f"{name}: {total:,} examples, every byte as it was written")
        damage += found
    if damage:
        more = f" (and {len(damage) - 1} more, listed above)" if len(damage) > 1 else ""
        raise UserError(f"{damage[0]}{more}; t2t-datagen with --overwrite writes a damaged store again")


def _damage(files, manifest, vocabulary_folder, advance):
    """Yields a line for every fault of one store; calls `advance` with the bytes that were checked."""
    size = 0
    if manifest["vocabulary"]:
        vocabulary = Vocabulary.load(vocabulary_folder)
        size = vocabulary.size
        if vocabulary.digest != manifest["vocabulary"]["digest"]:
            yield f"{files.path}: it uses another vocabulary than the one in {vocabulary_folder}"
    for name, about in metadata_of(manifest).items():
        if fault := files.size_fault(name, about) or _digest_fault(files, name, about):
            yield f"{files.path / name}: {fault}"
    modalities = {side: Modality.from_json(manifest[side]) for side in examples.SIDES}
    members = len(modalities["inputs"].members)
    for split, about in manifest["splits"].items():
        index = None
        try:
            index = dict(zip(INDEX_COLUMNS, read_index(files, manifest, split, members, "")))
        except DamagedFile as error:
            yield str(error)
        first_row = 0
        for number, (name, file) in enumerate(about["files"].items()):
            rows = slice(first_row, first_row + file["examples"])
            first_row = rows.stop
            shard_index = index and {column: values[rows] for column, values in index.items()}
            yield from _shard_damage(files, name, number, file, shard_index, modalities, size)
            advance(file["bytes"])


def _digest_fault(files, name, about):
    with files.open(name, "") as file:
        return "" if sha256_of_file(file) == about["sha256"] else "its sha256 differs from the manifest"


def _shard_damage(files, name, number, about, index, modalities, vocabulary_size):
    """Yields the faults of one shard: of the whole file, or of the first faulty record."""
    path, count = files.path / name, 0
    if fault := files.size_fault(name, about):
        yield f"{path}: {fault}"
    try:
        file = files.open(name, "")
    except DamagedFile as error:
        if not fault:
            yield str(error)
        return
    with open(file.fileno(), "rb", closefd=False) as buffered, file:
        size = os.fstat(file.fileno()).st_size
        for count, (offset, content) in enumerate(tfrecord.records(buffered, size), 1):
            row = None
            if index is not None and count <= len(index["size"]):
                row = {column: values[count - 1].tolist() for column, values in index.items()}
            wrong = (
                "it is cut off or its checksum is wrong"
                if content is None
                else _record_damage(content, offset, number, row, modalities, vocabulary_size)
            )
            if wrong:
                yield f"{path}, record {count - 1}: {wrong}"
                return
    if count != about["examples"]:
        yield f"{path}: {count} records instead of {about['examples']}"
    elif not fault and (fault := _digest_fault(files, name, about)):
        yield f"{path}: {fault}"


def _record_damage(content, offset, number, row, modalities, vocabulary_size):
    """What is wrong with a record; None if nothing is."""
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        fields = tf_example_pb2.Example.FromString(content).features.feature
    except Exception as error:  # protobuf's DecodeError; its module differs between versions
        return f"it is no tf.train.Example ({error})"
    if row is not None and (row["shard"], row["offset"], row["size"]) != (number, offset, len(content)):
        return f"it lies at byte {offset}, {len(content)} bytes long; the index says {row['offset']}, {row['size']}"
    for side, modality in modalities.items():
        arrays, wrong = _arrays(modality, side, fields)
        if not wrong:
            wrong = modality.stored_fault(arrays)
        if wrong:
            return f"{side}: {wrong}"
        length = modality.stored_length(arrays)
        if row is not None and not np.array_equal(row[f"{side[:-1]}_length"], length):
            return f"{side}: {length} long; the index says {row[f'{side[:-1]}_length']}"
    return None


def _arrays(modality, side, fields):
    """({name: array} of one side of a stored example, what is wrong with it or "")."""
    arrays = {}
    for name, spec in modality.stored().items():
        feature = fields[stored_name(side, name)]
        if spec.storage != "bytes":
            numbers = np.array(feature.int64_list.value, np.int64)
            if spec.storage == "class" and len(numbers) != 1:
                return {}, f"{len(numbers)} numbers where one belongs"
            arrays[name] = int(numbers[0]) if spec.storage == "class" else numbers
            continue
        values = list(feature.bytes_list.value)
        size = spec.row_bytes
        if len(values) != 1 or len(values[0]) % size or not (spec.varies or len(values[0]) == size):
            return {}, f"{sum(map(len, values))} bytes are no {modality.modality_name} of {spec.dtype} {spec.shape}"
        arrays[name] = np.frombuffer(values[0], spec.stored_dtype).reshape(-1 if spec.varies else 1, *spec.row_shape)
        arrays[name] = arrays[name] if spec.varies else arrays[name][0]
    return arrays, ""
