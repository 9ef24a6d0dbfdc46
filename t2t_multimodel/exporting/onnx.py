"""The format onnx: problems with classes or numbers, for ONNX Runtime; arrays in, probabilities out."""

from pathlib import Path
from typing import Any

from t2t_multimodel.exporting import arrays
from t2t_multimodel.exporting.slice import traced_with
from t2t_multimodel.files import write_file

BACKEND = "tensorflow"
FIXED_LENGTH = False  # whether all inputs are padded to one length
ABOUT = arrays.ABOUT
FILE = "model.onnx"
NEEDS = {"tf2onnx": "onnx", "onnxruntime": "onnx"}  # {package: our extra}
_OPSET = 18


def write(part: Any, folder: Path, xla: bool = False) -> dict[str, Any]:
    """Writes a `Slice` into `folder`; returns what it says of itself."""
    arrays.require_classes(part, "onnx")
    import logging

    import tensorflow as tf
    import tf2onnx

    from t2t_multimodel.startup import hold_back_standard_error

    specs = {
        name: tf.TensorSpec([None, *shape], tf.as_dtype(dtype), name=name)
        for name, (shape, dtype) in arrays.signature_of(part).items()
    }

    def function(*values):
        return arrays.predicted(part, dict(zip(specs, values)))

    traced = tf.function(function, input_signature=list(specs.values()), autograph=False)
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # what has no form in ONNX is found below
    with traced_with("reference"), hold_back_standard_error():
        model, _ = tf2onnx.convert.from_function(traced, list(specs.values()), opset=_OPSET)
    foreign = _foreign(model.graph)
    if foreign:
        raise arrays.refusal(part, "onnx", foreign)
    write_file(folder / FILE, model.SerializeToString())
    return arrays.write_beside(part, folder, arrays.outputs_of(part))


def compare(part: Any, folder: Path, about: dict[str, Any], questions: Any) -> dict[str, Any]:
    """Asks ONNX Runtime in a new process; raises `UserError` where answers differ."""
    return arrays.compare(part, folder, questions, FILE)


def _foreign(graph):
    """The operations of a graph, and of the graphs inside it, that are not ONNX's own."""
    import onnx

    found = set()
    for node in graph.node:
        if not onnx.defs.has(node.op_type, node.domain):
            found.add(node.op_type)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found |= _foreign(inner)
    return found
