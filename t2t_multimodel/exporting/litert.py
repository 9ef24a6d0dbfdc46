"""The format litert: problems with classes or numbers, for LiteRT (TensorFlow Lite); arrays in, probabilities out."""

import re
import tempfile
from pathlib import Path
from typing import Any

from t2t_multimodel.exporting import arrays
from t2t_multimodel.exporting.slice import traced_with
from t2t_multimodel.files import write_file

BACKEND = "tensorflow"
FIXED_LENGTH = False  # whether all inputs are padded to one length
NEEDS: dict[str, str] = {}
ABOUT = arrays.ABOUT
FILE = "model.tflite"


def write(part: Any, folder: Path, xla: bool = False) -> dict[str, Any]:
    """Writes a `Slice` into `folder`; returns what it says of itself."""
    arrays.require_classes(part, "litert")
    import tensorflow as tf

    from t2t_multimodel.startup import hold_back_standard_error

    specs = {
        name: tf.TensorSpec([None, *shape], tf.as_dtype(dtype), name=name)
        for name, (shape, dtype) in arrays.signature_of(part).items()
    }
    module = tf.Module()
    module.answer = tf.function(lambda **batch: arrays.predicted(part, batch), autograph=False)
    with traced_with("reference"), tempfile.TemporaryDirectory() as temporary, hold_back_standard_error():
        concrete = module.answer.get_concrete_function(**specs)
        module.weights = list(concrete.graph.variables)
        # By way of a SavedModel: converted from the function itself, the weights would be those of a fresh model.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, temporary, {"serving_default": concrete}, options)
        content, error = _converted(temporary)
    if error:
        raise arrays.refusal(part, "litert", re.findall(r"\btf\.([A-Z]\w+)", str(error)))
    write_file(folder / FILE, content)
    return arrays.write_beside(part, folder, arrays.outputs_of(part))


def compare(part: Any, folder: Path, about: dict[str, Any], questions: Any) -> dict[str, Any]:
    """Asks TensorFlow's interpreter in a new process; raises `UserError` where answers differ."""
    return arrays.compare(part, folder, questions, FILE)


def _converted(folder):
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        return tf.lite.TFLiteConverter.from_saved_model(folder).convert(), None
    except ConverterError as error:  # it has the program in text, thousands of lines
        return None, error
