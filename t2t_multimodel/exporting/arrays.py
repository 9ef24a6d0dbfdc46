"""What the formats without strings have in common: a problem's model as a function of arrays, and questions as arrays.

The caller cuts text into ids and decodes pictures and recordings; the README beside the model says how.
"""

from pathlib import Path
from typing import Any

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.exporting import comparison
from t2t_multimodel.modalities.arrays import joined_name

ABOUT = "export.json"
POSITIONS_STEP = 64


def require_classes(part: Any, format: str) -> None:
    """Raises `UserError` for a problem that writes text: only formats with its loop in them can have it."""
    if part.writes_ids:
        raise UserError(
            f"{part.spec.name} writes text, which --format={format} can't hold: neither the tokenizer nor the search "
            "has a form in it; --format=saved_model has both"
        )


def refusal(part: Any, format: str, operations: Any) -> UserError:
    """What is raised where a format has no form for TensorFlow's `operations`, by name."""
    named = ", ".join(sorted(set(operations))) or "one that its converter did not name"
    return UserError(
        f"{part.spec.name}: --format={format} has no form for operations of this model ({named:.200}); "
        "--format=saved_model has all"
    )


def lengths_of(part: Any) -> Any:
    """What inputs are padded to where shapes must be fixed: the longest of training, as `Modality.pad` takes it."""
    inputs, found = part.spec.inputs, []
    for _, modality in inputs.members or (("", inputs),):
        length = 0
        if modality.variable_length:
            most = getattr(part.hparams, modality.limit_hparam("inputs")) * modality.length_per_unit
            length = -(-int(most + modality.end_of_sequence) // POSITIONS_STEP) * POSITIONS_STEP
        found.append(length)
    return np.array(found) if inputs.members else found[0]


def signature_of(part: Any) -> dict[str, tuple[tuple[int | None, ...], str]]:
    """{name: (shape without the batch, dtype)} of the inputs; `None` where a length varies."""
    return {joined_name("inputs", name): shape for name, shape in part.spec.inputs.tensors().items()}


def predicted(part: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """The answers to a batch of `signature_of`, in `keras.ops`: "scores" [batch, classes] in the order of the classes,
    probabilities; or the values that the head predicts.
    """
    from keras import ops

    rows = ops.shape(next(iter(batch.values())))[0]
    command = ops.zeros((rows,), dtype="int32") + part.spec.command_id
    whole = batch | {"command": command, "example_weights": ops.ones((rows,), dtype="float32")}
    outputs, _ = part.model(whole, spec=part.spec)
    if part.spec.targets.ranked:
        return {"scores": ops.softmax(outputs)}
    return {"values": part.model.head(part.spec).predict(outputs)["values"]}


def batches(part: Any, questions: Any, input_length: Any = 0, size: int = 8) -> list[dict[str, Any]]:
    """`questions` as arrays of `signature_of`, in batches of several sizes."""
    from t2t_multimodel.input.padding import make_batch

    columns, _ = part.spec.inputs.columns(questions.samples, part.vocabulary)
    made = []
    for rows in questions.batches(size):
        some = {name: [column[i] for i in rows] for name, column in columns.items()}
        arrays = make_batch(part.spec, some, input_length=input_length)
        made.append({name: arrays[name] for name in signature_of(part)})
    return made


def example(part: Any, input_length: Any) -> dict[str, Any]:
    """Arrays of `signature_of` of one made-up input, padded to `input_length`."""
    from t2t_multimodel.exporting.comparison import Questions
    from t2t_multimodel.exporting.readers import reader_of

    inputs, random = part.spec.inputs, np.random.default_rng(0)
    made = {
        name: reader_of(modality, part.vocabulary).made_up(random)
        for name, modality in inputs.members or (("inputs", inputs),)
    }
    return batches(part, Questions([made if inputs.members else made["inputs"]], [], ""), input_length)[0]


def as_json(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Batches of arrays as a process is asked them: {name: {"dtype", "shape", "values"}}."""
    return [
        {name: {"dtype": str(a.dtype), "shape": list(a.shape), "values": a.ravel().tolist()} for name, a in b.items()}
        for b in made
    ]


def compare(part: Any, folder: Path, questions: Any, file: str, input_length: Any = 0) -> dict[str, Any]:
    """Asks the file, in a new process, and compares every answer with the run's own; raises `UserError`."""
    asked = as_json(batches(part, questions, input_length))
    right, told = comparison.answers_of_both(part, questions.samples, "answer_arrays.py", [str(folder / file)], asked)
    return {file: comparison.check(file, right, answers(part, told))}


def answers(part: Any, told: list[dict[str, Any]]) -> list[Any]:
    """The outputs of all batches as `Predictor.decode` gives them."""
    targets, found = part.spec.targets, []
    for outputs in told:
        if "ids" in outputs:
            found += [part.vocabulary.decode(row) for row in outputs["ids"]]
        elif "scores" in outputs:
            found += [targets.value_names[int(np.argmax(row))] for row in outputs["scores"]]
        else:
            found += [targets.best(answer) for answer in targets.answers(outputs)]
    return found


def write_beside(part: Any, folder: Path, outputs: dict[str, str], input_length: Any = 0) -> dict[str, Any]:
    """Writes what a caller needs beside the model, the vocabulary; returns what the export says of itself."""
    if part.vocabulary is not None and (part.spec.inputs.uses_vocabulary or part.spec.targets.uses_vocabulary):
        part.vocabulary.copy_to(folder / "vocabulary")
    inputs = {
        name: {"dtype": dtype, "shape": ["batch", *("length" if n is None else n for n in shape)]}
        for name, (shape, dtype) in signature_of(part).items()
    }
    about: dict[str, Any] = {"inputs": inputs, "outputs": outputs, "modality": part.spec.inputs.to_json()}
    if np.any(input_length):
        about["input_length"] = np.asarray(input_length).tolist()
    if part.spec.targets.value_names:
        about["names"] = list(part.spec.targets.value_names)
    return about


def outputs_of(part: Any) -> dict[str, str]:
    """What the outputs of a problem without text are, in words."""
    if part.spec.targets.ranked:
        return {"scores": "float32 [batch, classes]: the probability of each of `names`"}
    return {"values": "float32 [batch, …]: what the head predicts"}
