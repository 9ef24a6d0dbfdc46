"""The format saved_model: strings in, answers out, for TensorFlow Serving and whatever loads a SavedModel."""

from pathlib import Path
from typing import Any

from t2t_multimodel.exporting import comparison
from t2t_multimodel.exporting.compact import compact
from t2t_multimodel.exporting.slice import traced_with

BACKEND = "tensorflow"
FIXED_LENGTH = False  # whether all inputs are padded to one length
NEEDS: dict[str, str] = {}
ABOUT = "assets.extra/export.json"  # TensorFlow Serving passes the folder over
DEFAULT, FUSED = "serving_default", "serving_xla"


def write(part: Any, folder: Path, xla: bool = False) -> dict[str, Any]:
    """Writes a SavedModel of a `Slice` into `folder`; returns what it says of itself."""
    import tensorflow as tf

    from t2t_multimodel.exporting.served import Served
    from t2t_multimodel.startup import hold_back_standard_error

    with traced_with("portable"), hold_back_standard_error():
        served = Served(part)
        signatures = {DEFAULT: served.signature()}
        if xla and part.writes_ids:
            signatures[FUSED] = served.signature(fused=True)
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(served.saved, str(folder), signatures, options)
        compact(folder)
    return {
        "signatures": list(signatures),
        "inputs": {name: reader.content for name, reader in served.readers.items()},
        "outputs": sorted(signatures[DEFAULT].structured_outputs),
    }


def compare(part: Any, folder: Path, about: dict[str, Any], questions: Any) -> dict[str, Any]:
    """Loads the folder in a new process and compares every answer of every signature; raises `UserError`."""
    batches = comparison.as_base64(questions)
    asked = {name: batches for name in about["signatures"]}
    right, told = comparison.answers_of_both(part, questions.samples, "answer_saved_model.py", [str(folder)], asked)
    return {name: comparison.check(name, right, _answers(part, of_batches)) for name, of_batches in told.items()}


def _answers(part, batches):
    """The outputs of all batches as `Predictor.decode` gives them."""
    targets, answers = part.spec.targets, []
    for outputs in batches:
        values = outputs["outputs"]
        if values and not isinstance(values[0], str):
            values = [targets.best(answer) for answer in targets.answers({"values": values})]
        answers += values
    return answers
