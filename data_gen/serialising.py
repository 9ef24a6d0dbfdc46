"""Samples → serialised `tf.train.Example`s: the plain formula by protobuf, and for a batch, several times as fast.

The values of an example are {name: value}; a value is `varints` of ids (bytes), the number of a class, an array (uint8
pixels, int16 sound), a string, or a list of strings.
"""

import numpy as np

from t2t_multimodel.vocabulary import varints

_BYTES, _INT64 = b"\x0a", b"\x1a"  # the fields of `Feature` that are used: bytes_list, int64_list


def serialise(example):
    """The bytes of an example: those of TFDS's `features.serialize_example`, in the same order on every run.

    TFDS checks and converts every value first, which takes seven times as long.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    message = tf_example_pb2.Example()
    for name, value in example.items():
        feature = message.features.feature[name]
        if isinstance(value, bytes):  # field 1, packed
            feature.int64_list.MergeFromString(b"\x0a" + varints([len(value)]) + value)
        elif isinstance(value, np.ndarray):
            feature.bytes_list.value.append(value.tobytes())
        elif isinstance(value, (str, list)):
            feature.bytes_list.value.extend([text.encode() for text in ([value] if isinstance(value, str) else value)])
        else:
            feature.int64_list.value.append(value)
    return message.SerializeToString(deterministic=True)


def serialise_all(columns):
    """`[serialise(example) …]` of several examples.

    Args:
      columns: {name: a list with the value of each example}; the values of a name are of one kind, and there is one.
    """
    parts = []
    # As protobuf's deterministic maps have them: sorted, but "inputs" behind "inputs/edges", which begins with it.
    for name in sorted(columns, key=lambda name: name.encode() + b"\xff"):
        list_of, values = _as_bytes(columns[name])
        if values is None or not all(values):  # there are two ways to write an empty list
            return [serialise(dict(zip(columns, example))) for example in zip(*columns.values())]
        heads = _Heads(name.encode(), list_of, single=not isinstance(columns[name][0], list))
        parts += [map(heads.__getitem__, map(len, values)), values]
    contents, heads = map(b"".join, zip(*parts)), _HeadsOfExamples()
    return [heads[len(content)] + content for content in contents]


def _as_bytes(values):
    """(the field of `Feature` that holds values like these, their contents); the contents are None for other kinds."""
    first = values[0]
    if isinstance(first, bytes):
        return _INT64, values
    if isinstance(first, np.ndarray):
        return _BYTES, [value.tobytes() for value in values]
    if isinstance(first, str):
        return _BYTES, [value.encode() for value in values]
    if isinstance(first, list):
        return _BYTES, [b"".join(_field(text.encode()) for text in texts) for texts in values]
    return _INT64, [varints([value]) for value in values] if min(values) >= 0 else None


def _field(content):
    """Field 1 of a message, of a kind that has a length."""
    return b"\x0a" + varints([len(content)]) + content


class _Heads(dict):
    """{length of a value: what stands before it in the entry of a name}, made when asked for."""

    def __init__(self, name, list_of, single):
        self._name, self._list_of, self._single = _field(name), list_of, single

    def __missing__(self, length):
        head = b"\x0a" + varints([length]) if self._single else b""  # the only value of the list, or all of its ids
        head = self._list_of + varints([len(head) + length]) + head
        head = self._name + b"\x12" + varints([len(head) + length]) + head
        self[length] = head = b"\x0a" + varints([len(head) + length]) + head
        return head


class _HeadsOfExamples(dict):
    """{length of all entries: what stands before them}."""

    def __missing__(self, length):
        self[length] = head = b"\x0a" + varints([length])
        return head
