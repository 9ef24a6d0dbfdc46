"""Small example stores for tests, written straight from the page of contracts (docs/architecture.md)."""

import hashlib
import json
from pathlib import Path

import numpy as np

from t2t_multimodel.digests import sealed
from t2t_multimodel.modalities import Image, Label, Text
from t2t_multimodel.store_folder import FORMAT_VERSION

INDEX = {"shard": np.int32, "offset": np.int64, "size": np.int32, "input_length": np.int32, "target_length": np.int32}


class SmallVocabulary:
    """A character is its code point + 67: enough of a vocabulary where only ids matter."""

    digest, size = "0123456789abcdef" * 4, 1000

    def encode(self, text, units="subwords"):
        return [ord(c) + 67 for c in text]

    def encode_batch(self, texts, units="subwords"):
        return [self.encode(text) for text in texts]


def write_store(data_dir, name, inputs, targets, samples, *, shards=2, command_id=3, metrics=None, vocabulary=None):
    """Writes the store `data_dir/name` and returns its folder.

    Args:
      inputs, targets: the features.
      samples: {split: [{"inputs", "targets", and maybe "references", "key"}]}, prepared; text as a list of ids.
      shards: files of each split.
    """
    import tensorflow as tf

    folder = Path(data_dir) / name
    folder.mkdir(parents=True)
    vocabulary = vocabulary or SmallVocabulary()
    has_text = isinstance(inputs, Text) or isinstance(targets, Text)
    splits = {}
    for split, examples in samples.items():
        rows, files = {column: [] for column in INDEX}, {}
        for shard, part in enumerate(np.array_split(np.arange(len(examples)), shards)):
            path = folder / f"{name}-{split}.tfrecord-{shard:05d}-of-{shards:05d}"
            offset = 0
            with tf.io.TFRecordWriter(str(path)) as writer:
                for i in part:
                    record = _serialised(inputs, targets, {"key": f"{split}-{i}", **examples[i]})
                    writer.write(record)
                    lengths = (_length(f, examples[i][s]) for f, s in ((inputs, "inputs"), (targets, "targets")))
                    for column, value in zip(INDEX, (shard, offset + 12, len(record), *lengths)):
                        rows[column].append(value)
                    offset += 12 + len(record) + 4  # length and its checksum, payload, checksum
            files[path.name] = facts_of(path) | {"examples": len(part)}
        index = {column: np.array(rows[column], dtype) for column, dtype in INDEX.items()}
        np.savez(folder / f"index-{split}.npz", **index)
        splits[split] = {
            "examples": len(examples),
            "bytes": sum(f["bytes"] for f in files.values()),
            "input_tokens": int(index["input_length"].sum()),
            "target_tokens": int(index["target_length"].sum()),
            "files": files,
        }
    manifest = {
        "format_version": FORMAT_VERSION,
        "problem": name,
        "description": f"The problem {name} of a test.",
        "inputs": inputs.bind(vocabulary).to_json(),
        "targets": targets.bind(vocabulary).to_json(),
        "command": {"name": f"to_{name}", "id": command_id if isinstance(targets, Text) else 0},
        "metrics": list(metrics or (("accuracy_top1",) if isinstance(targets, Label) else ("exact_match",))),
        "evaluation_split": "test" if "test" in samples else "dev",
        "vocabulary": {"digest": vocabulary.digest, "size": vocabulary.size, "file": "vocabulary/bpe.model"}
        if has_text
        else None,
        "splits": splits,
        "files": {path.name: facts_of(path) for path in folder.glob("index-*.npz")},
        "fingerprint": {},
        "dropped": [],
    }
    (folder / "manifest.json").write_bytes(sealed(manifest))
    return folder


def facts_of(path):
    """What a manifest says of a file."""
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def edit_manifest(folder, **changes):
    """Changes values of the manifest of a store, as if it had been written so; returns them all."""
    path = Path(folder) / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_bytes(sealed(manifest))
    return manifest


def random_ids(count, shortest, longest, seed=0):
    """`count` lists of ids, `shortest` to `longest` long."""
    random = np.random.default_rng(seed)
    return [random.integers(67, 1000, random.integers(shortest, longest + 1)).tolist() for _ in range(count)]


def text_samples(count, shortest=1, longest=30, seed=0):
    """`count` samples from text to text."""
    sides = zip(random_ids(count, shortest, longest, seed), random_ids(count, shortest, longest, seed + 1))
    return [{"inputs": i, "targets": t} for i, t in sides]


def _serialised(inputs, targets, sample):
    import tensorflow as tf

    def one(feature, value):
        if isinstance(feature, Text | Label):
            values = [feature.classes.index(value)] if isinstance(feature, Label) else value
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        raw = value.tobytes() if isinstance(feature, Image) else value.astype("<i2").tobytes()
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[raw]))

    features = {"inputs": one(inputs, sample["inputs"]), "targets": one(targets, sample["targets"])}
    strings = {"key": [sample["key"]], "references": sample.get("references", [])}
    for name, values in strings.items():
        encoded = [value.encode() for value in values]
        features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def _length(feature, value):
    return 1 if isinstance(feature, Image | Label) else len(value)
