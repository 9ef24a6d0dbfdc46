"""Reads stores again and compares every byte with their manifests: `t2t-datagen --verify`."""

import json
import pathlib
import zipfile

import numpy as np

from t2t_multimodel import startup
from t2t_multimodel.data_gen import examples
from t2t_multimodel.data_gen.files import sha256_of
from t2t_multimodel.data_gen.progress import Bars
from t2t_multimodel.data_gen.shards import INDEX_DTYPES, index_name
from t2t_multimodel.data_gen.store import VOCABULARY_FOLDER, read_manifest
from t2t_multimodel.errors import UserError, datagen_command
from t2t_multimodel.modalities import Modality
from t2t_multimodel.modalities.arrays import stored_name
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
        folder = data_dir / name
        manifest = read_manifest(folder)
        if manifest is None:
            found = [f"no data for problem {name!r} in {data_dir}; run: {datagen_command(name, data_dir)}"]
        else:
            try:
                total = sum(split["bytes"] for split in manifest["splits"].values())
                with Bars(progress).bytes(f"{name}: checking", total) as advance:
                    found = list(_damage(folder, manifest, data_dir / VOCABULARY_FOLDER, advance))
            except (KeyError, TypeError, AttributeError) as error:
                found = [f"{folder / 'manifest.json'}: damaged (unexpected content: {error!r})"]
        for line in found:
            log(line)
        if not found:
            total = sum(split["examples"] for split in manifest["splits"].values())
            log(f"{name}: {total:,} examples, every byte as it was written")
        damage += found
    if damage:
        more = f" (and {len(damage) - 1} more, listed above)" if len(damage) > 1 else ""
        raise UserError(f"{damage[0]}{more}; t2t-datagen with --overwrite writes a damaged store again")


def _damage(folder, manifest, vocabulary_folder, advance):
    """Yields a line for every fault of one store; calls `advance` with the bytes that were checked."""
    size = 0
    if manifest["vocabulary"]:
        vocabulary = Vocabulary.load(vocabulary_folder)
        size = vocabulary.size
        if vocabulary.digest != manifest["vocabulary"]["digest"]:
            yield f"{folder}: it uses another vocabulary than the one in {vocabulary_folder}"
    for name in ("dataset_info.json", "features.json"):
        try:
            json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            yield f"{folder / name}: can't be read ({error})"
    for split, about in manifest["splits"].items():
        if sum(file["examples"] for file in about["files"].values()) != about["examples"]:
            yield f"{folder / 'manifest.json'}: the shards of {split!r} do not add up to {about['examples']} examples"
        index = None
        try:
            index = _read_index(folder / index_name(split))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            yield f"{folder / index_name(split)}: can't be read ({error})"
        else:
            if len(index["size"]) != about["examples"]:
                rows = len(index["size"])
                yield f"{folder / index_name(split)}: {rows} rows instead of {about['examples']}"
        first_row = 0
        for number, (name, file) in enumerate(about["files"].items()):
            rows = slice(first_row, first_row + file["examples"])
            first_row = rows.stop
            shard_index = index and {column: values[rows] for column, values in index.items()}
            yield from _shard_damage(folder / name, number, file, shard_index, manifest, size)
            advance(file["bytes"])


def _shard_damage(path, number, about, index, manifest, vocabulary_size):
    """Yields the faults of one shard: of the whole file, or of the first faulty record."""
    if not path.exists():
        yield f"{path}: is missing"
        return
    size = path.stat().st_size
    if size != about["bytes"]:
        yield f"{path}: {size} bytes instead of {about['bytes']}" + (": truncated" if size < about["bytes"] else "")
    count = 0
    try:
        for count, (content, offset) in enumerate(_records(path), 1):
            row = None
            if index is not None and count <= len(index["size"]):
                row = {column: values[count - 1].tolist() for column, values in index.items()}
            wrong = _record_damage(content, offset, number, row, manifest, vocabulary_size)
            if wrong:
                yield f"{path}, record {count - 1}: {wrong}"
                return
    except _BadChecksum:
        yield f"{path}, record {count}: it is cut off or its checksum is wrong"
        return
    if count != about["examples"]:
        yield f"{path}: {count} records instead of {about['examples']}"
    elif size == about["bytes"] and sha256_of(path) != about["sha256"]:
        yield f"{path}: its sha256 differs from the manifest"


def _record_damage(content, offset, number, row, manifest, vocabulary_size):
    """What is wrong with a record; None if nothing is."""
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        fields = tf_example_pb2.Example.FromString(content).features.feature
    except Exception as error:  # protobuf's DecodeError; its module differs between versions
        return f"it is no tf.train.Example ({error})"
    if row is not None and (row["shard"], row["offset"], row["size"]) != (number, offset, len(content)):
        return f"it lies at byte {offset}, {len(content)} bytes long; the index says {row['offset']}, {row['size']}"
    for side in examples.SIDES:
        modality = Modality.from_json(manifest[side])
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


class _BadChecksum(Exception):
    pass


def _records(path):
    """Yields (content, offset in the file) of a TFRecord file; the reader checks the checksums."""
    import tensorflow as tf

    offset = 12
    try:
        for content in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield content, offset
            offset += len(content) + 16
    except tf.errors.DataLossError:
        raise _BadChecksum from None


def _read_index(path):
    with np.load(path, allow_pickle=False) as stored:
        index = {name: stored[name] for name in INDEX_DTYPES}
    return index
