"""What a traced TensorFlow graph need not hold twice: constants, and what is computed from the lengths of arrays."""

import contextlib

import tensorflow as tf

# Without state: from the same inputs they make the same. Those of the second line where they compute with int32, as
# lengths are; arrays that a gradient may be taken of stay apart.
OF_SHAPES = {"BroadcastGradientArgs", "Const", "Shape"}
OF_INTEGERS = {
    "AddV2",
    "ExpandDims",
    "FloorDiv",
    "FloorMod",
    "Maximum",
    "Minimum",
    "Mul",
    "Neg",
    "Pack",
    "StridedSlice",
    "Sub",
}
LARGEST = 256  # bytes of a constant that is looked up; larger ones are hardly ever made twice


@contextlib.contextmanager
def each_once():
    """Within it, or as a decorator of it, a function that is traced gets such an operation once for each set of inputs
    and attributes.

    A training step's thousands of constants are a hundred different ones; every one takes its time to trace, to
    optimise and, since an executor starts with what waits for nothing, at the beginning of each call. (Grappler would
    merge them in its arithmetic optimisation, which is off: see `tensorflow_step.Step`.)
    """
    graph = tf.compat.v1.get_default_graph()
    make = getattr(graph, "_create_op_internal", None)
    if make is None:  # a TensorFlow that makes operations in another way: they stay as many as there are
        yield
        return
    made = {}

    def make_once(op_type, inputs, dtypes=None, input_types=None, name=None, attrs=None, *more, **named):
        make_one = lambda: make(op_type, inputs, dtypes, input_types, name, attrs, *more, **named)
        key = _key(op_type, inputs, attrs or {})
        if key is None:
            return make_one()
        if key not in made:
            made[key] = make_one(), inputs  # which stay while their ids are keys
        return made[key][0]

    graph._create_op_internal = make_once
    try:
        yield
    finally:
        if hasattr(make, "__self__"):  # the graph's own method
            del graph._create_op_internal
        else:  # that of an `each_once` around this one
            graph._create_op_internal = make


def _key(kind, inputs, attributes):
    """What tells operations apart that may be one; None for those that may not."""
    dtype = attributes["T"].type if "T" in attributes else None
    of_integers = kind in OF_INTEGERS and dtype == tf.int32.as_datatype_enum
    if kind not in OF_SHAPES and not of_integers:
        return None
    values = tuple((name, attributes[name].SerializeToString()) for name in sorted(attributes))
    if sum(len(value) for _, value in values) > LARGEST:
        return None
    return kind, tuple(map(id, inputs)), values
