"""The format onnx: problems with classes or numbers, for ONNX Runtime; arrays in, probabilities out."""

from pathlib import Path
from typing import Any

from t2t_multimodel.exporting import arrays
from t2t_multimodel.exporting.slice import plain_formulas

BACKEND = "tensorflow"
ABOUT = arrays.ABOUT
FILE = "model.onnx"
_OPSET = 18


def write(part: Any, folder: Path, xla: bool = False) -> dict[str, Any]:
    """Writes a `Slice` into `folder`; returns what it says of itself."""
    arrays.require_classes(part, "onnx")
    for package in ("tf2onnx", "onnxruntime"):
        arrays.require_package(package, "onnx")
    import tensorflow as tf
    import tf2onnx

    specs = {
        name: tf.TensorSpec([None, *shape], tf.as_dtype(dtype), name=name)
        for name, (shape, dtype) in arrays.signature_of(part).items()
    }

    def function(*values):
        return arrays.predicted(part, dict(zip(specs, values)))

    traced = tf.function(function, input_signature=list(specs.values()), autograph=False)
    with plain_formulas():
        tf2onnx.convert.from_function(traced, list(specs.values()), opset=_OPSET, output_path=str(folder / FILE))
    return arrays.write_beside(part, folder, arrays.outputs_of(part))


def compare(part: Any, folder: Path, about: dict[str, Any], questions: Any) -> dict[str, Any]:
    """Asks ONNX Runtime in a new process; raises `UserError` where answers differ."""
    return arrays.compare(part, folder, questions, FILE)
