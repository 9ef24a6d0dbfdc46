"""Records are read as TensorFlow reads them, and a record that is none is an error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2t_multimodel.input.record_parser import parse_records

FEATURES = {"ids": "int64_list", "class": "class", "picture": "bytes", "references": "texts"}
NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5)


def record(**values):
    """A `tf.train.Example` as TensorFlow serialises it; bytes and integers by their type, floats too."""
    import tensorflow as tf

    features = {}
    for name, of in values.items():
        if of and isinstance(of[0], bytes):
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=of))
        elif of and isinstance(of[0], float):
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=of))
        else:
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=of))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(NUMBERS, st.integers(0, 9), st.binary(max_size=9), st.lists(st.binary(max_size=3))), max_size=4)
)
def test_what_was_written_is_read(examples):
    records = [
        record(ids=ids, picture=[picture], references=references, other=[1.5], **{"class": [label]})
        for ids, label, picture, references in examples
    ]
    found = parse_records(records, FEATURES)
    assert found["ids"].lengths.tolist() == [len(ids) for ids, *_ in examples]
    assert found["ids"].values.dtype == np.int64
    assert found["ids"].values.tolist() == [number for ids, *_ in examples for number in ids]
    assert found["class"].tolist() == [label for _, label, *_ in examples]
    assert found["picture"] == [picture for _, _, picture, _ in examples]
    assert found["references"] == [references for *_, references in examples]


WHOLE = {"ids": [1], "class": [2], "picture": [b"p"]}


@pytest.mark.parametrize(
    "content, said",
    [
        (b"\xff\xff\xff", "no example"),
        (lambda: record(**WHOLE)[:-3], "no example"),
        (lambda: record(**WHOLE | {"ids": [b"text"]}), "ids is a bytes_list, not a int64_list"),
        (lambda: record(**WHOLE | {"ids": [0.5]}), "ids is a float_list, not a int64_list"),
        (lambda: record(ids=[1], picture=[b"p"]), "class has 0 values, not one"),
        (lambda: record(**WHOLE | {"class": [1, 2]}), "class has 2 values, not one"),
        (lambda: record(**WHOLE | {"picture": [b"p", b"q"]}), "picture has 2 values, not one"),
    ],
)
def test_a_record_that_is_none_is_an_error(content, said):
    content = content() if callable(content) else content
    with pytest.raises(ValueError, match=said):
        parse_records([record(**WHOLE), content], FEATURES)


def test_no_records_are_no_rows():
    found = parse_records([], FEATURES)
    assert [len(found["ids"].lengths), len(found["class"]), found["picture"], found["references"]] == [0, 0, [], []]
