"""Parses records, serialised `tf.train.Example`s, by protobuf alone: JAX trains without TensorFlow in the process."""

import functools

import numpy as np

from t2t_multimodel.modalities import Ragged

# What a feature holds, as `ArraySpec.storage` calls it, and texts: the field of `Feature` that has it.
_FIELDS = {"int64_list": "int64_list", "class": "int64_list", "bytes": "bytes_list", "texts": "bytes_list"}


def parse_records(records, features):
    """The features of several records.

    Args:
      records: serialised examples, a list of bytes.
      features: {name: kind}; "int64_list" and "texts" are lists that may be empty or missing, "class" and "bytes" one
        value in each record.

    Returns:
      {name: column}: for "int64_list" a `Ragged` of int64, for "class" int64 [records], for "bytes" a list of bytes,
      for "texts" a list of lists of bytes.

    Raises:
      ValueError: a record is no example, lacks a feature, or holds another kind of values in it.
    """
    from google.protobuf.message import DecodeError

    example = _example_class()
    found = {name: [] for name in features}
    wanted = [(name, _FIELDS[kind], found[name].append) for name, kind in features.items()]
    for record in records:
        try:
            feature = example.FromString(record).features.feature
        except DecodeError as error:
            raise ValueError(f"no example: {error}") from None
        for name, field, add in wanted:
            kind = feature[name].WhichOneof("kind") if name in feature else None
            values = getattr(feature[name], kind).value if kind else ()
            if values and kind != field:
                raise ValueError(f"{name} is a {kind}, not a {field}")
            add(values)
    return {name: _column(name, features[name], of_each) for name, of_each in found.items()}


def _column(name, kind, of_each):
    """The values of a feature in each record, as `parse_records` returns them."""
    if kind == "texts":
        return [list(values) for values in of_each]
    lengths = np.fromiter(map(len, of_each), np.int64, len(of_each))
    if kind == "int64_list":
        values = [number for values in of_each for number in values]
        return Ragged(np.array(values, np.int64), lengths)
    if (lengths != 1).any():
        raise ValueError(f"{name} has {lengths[lengths != 1][0]} values, not one")
    single = [values[0] for values in of_each]
    return single if kind == "bytes" else np.array(single, np.int64)


@functools.cache
def _example_class():
    """The class of `tf.train.Example`, made from its definition (tensorflow/core/example/{example,feature}.proto)."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="t2t_multimodel/example.proto", package="t2t", syntax="proto3")

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, (field, kind, more) in enumerate(fields, 1):
            made.field.add(name=field, number=number, type=kind, **{"label": kinds.LABEL_OPTIONAL} | more)
        return made

    def of(name):
        return {"type_name": f".t2t.{name}"}

    repeated = {"label": kinds.LABEL_REPEATED}
    message("BytesList", ("value", kinds.TYPE_BYTES, repeated))
    message("FloatList", ("value", kinds.TYPE_FLOAT, repeated))
    message("Int64List", ("value", kinds.TYPE_INT64, repeated))
    lists = (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))
    either = {"oneof_index": 0}
    feature = message("Feature", *((name, kinds.TYPE_MESSAGE, of(kind) | either) for name, kind in lists))
    feature.oneof_decl.add(name="kind")
    features = message("Features", ("feature", kinds.TYPE_MESSAGE, of("Features.FeatureEntry") | repeated))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    optional = {"label": kinds.LABEL_OPTIONAL}
    entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, **optional)
    entry.field.add(name="value", number=2, type=kinds.TYPE_MESSAGE, **optional, **of("Feature"))
    message("Example", ("features", kinds.TYPE_MESSAGE, of("Features")))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t2t.Example"))
