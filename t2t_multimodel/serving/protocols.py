"""The three forms that a request and its answers have: TensorFlow Serving's REST, the Open Inference Protocol, plain.

Each form is a function from the JSON of a request to a `Query`, of at most `most` inputs, and one from its answers to
the JSON of the response.
"""

import base64
import binascii
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from t2t_multimodel.serving.refusals import Refused, refuse_too_many

_INTEGERS = {"UINT8": np.uint8, "INT16": np.int16}
_FLOATS = {"FP32": np.float32, "FP64": np.float64}
_MOST_DIMENSIONS = 8
_MOST_ROW = 2**30


@dataclasses.dataclass(frozen=True)
class Query:
    """Inputs of one problem, as `Predictor.check` takes them, and how to decode them."""

    inputs: list
    decode_hparams: dict
    form: str = "row"  # how they were given: "row", "column" or "single"
    id: str | None = None  # of the Open Inference Protocol, given back
    stream: bool = False  # whether the answer is sent while it is written
    first_row: int = 0  # the number of the first input, by which random numbers differ


def input_of(modality: Any, value: Any) -> Any:
    """What a client gives as an input, as `Predictor.check` takes it: text, bytes of a file, arrays; never a path.

    Raises:
      Refused: 400, it is none of these.
    """
    if modality.members:
        if not isinstance(value, Mapping):
            names = ", ".join(name for name, _ in modality.members)
            raise Refused(400, f"an input is an object with {names}")
        members = dict(modality.members)
        return {name: input_of(members[name], each) if name in members else None for name, each in value.items()}
    if isinstance(value, Mapping):
        if set(value) != {"b64"} or not isinstance(value["b64"], str):
            raise Refused(400, 'an input is a value, or bytes as {"b64": "…"} alone')
        content = from_base64(value["b64"])
        return _text(content) if modality.line_is_data else content
    if isinstance(value, str) and not modality.line_is_data:
        raise Refused(400, f'an input of kind {modality.modality_name} is {{"b64": "…"}}, the bytes of a file')
    if isinstance(value, list):
        return array_of(modality, value)
    return value


def from_base64(text: str) -> bytes:
    """The bytes; raises `Refused` for text that is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, f"b64 is no base64: {error}") from None


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(400, f"the bytes are no UTF-8 text: {error.reason} at byte {error.start}") from None


def array_of(modality: Any, values: list) -> Any:
    """Nested lists of numbers as the array that the modality stores; what is no such array stays as it is."""
    stored = modality.stored()
    spec = stored.get("values")
    if spec is None or len(stored) > 1:
        return values
    try:
        array = np.asarray(values)
    except ValueError:
        raise Refused(400, "the lists of an array must have equal lengths") from None
    if array.dtype.kind not in "iuf":
        return values
    wanted = np.dtype(spec.dtype)
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if array.dtype.kind == "f" or array.size and not limits.min <= array.min() <= array.max() <= limits.max:
            raise Refused(400, f"an array of kind {modality.modality_name} has whole numbers of {wanted}")
    return array.astype(wanted)


def _object(body: Any, known: tuple[str, ...], what: str) -> dict:
    if not isinstance(body, dict):
        raise Refused(400, f"the body is {what}")
    unknown = next((name for name in body if name not in known), None)
    if unknown is not None:
        raise Refused(400, f"unknown field {unknown!r:.60}; the body is {what}")
    hparams = body.get("decode_hparams", {})
    if not isinstance(hparams, dict):
        raise Refused(400, 'decode_hparams is an object such as {"return_beams": 4}')
    return hparams


def answer_as_json(answer: Any) -> Any:
    """An answer as JSON has it: text, numbers, lists; null for a number that is none."""
    if isinstance(answer, np.ndarray | np.generic):
        answer = answer.tolist()
    if isinstance(answer, list | tuple):
        return [answer_as_json(each) for each in answer]
    return None if isinstance(answer, float) and not math.isfinite(answer) else answer


def _rows(answers: list, scored: bool) -> list:
    """The answers to several inputs: each an answer, or a list of {"answer", "score"}."""
    if not scored:
        return [answer_as_json(answer) for answer in answers]
    return [[{"answer": answer_as_json(each), "score": round(score, 6)} for each, score in row] for row in answers]


# ---- TensorFlow Serving


def parse_predict(body: Any, modality: Any, most: int) -> Query:
    """The body of `:predict`: {"instances": [input, …]} or, for one array of all, {"inputs": [input, …]}."""
    what = '{"instances": [input, …]}'
    hparams = _object(body, ("instances", "inputs", "signature_name", "decode_hparams"), what)
    if body.get("signature_name", "serving_default") != "serving_default":
        raise Refused(400, "signature_name is serving_default or left out")
    form = "row" if "instances" in body else "column"
    values = body.get("instances", body.get("inputs"))
    if ("instances" in body) == ("inputs" in body) or not isinstance(values, list) or not values:
        raise Refused(400, f"the body is {what}, with an input at least")
    refuse_too_many(len(values), most)
    if not modality.members:  # a named tensor, as clients of exported models send it
        values = [v["inputs"] if isinstance(v, dict) and set(v) == {"inputs"} else v for v in values]
    return Query([input_of(modality, value) for value in values], hparams, form)


def predict_response(query: Query, answers: list, scored: bool) -> dict:
    """{"predictions": [answer, …]}, or {"outputs": …} where a column was sent."""
    return {"predictions" if query.form == "row" else "outputs": _rows(answers, scored)}


# ---- The Open Inference Protocol


def parse_infer(body: Any, modality: Any, most: int) -> Query:
    """The body of `/infer`: {"inputs": [{"name", "shape", "datatype", "data"}]}, one tensor for each input's name.

    BYTES are text, or base64 where the problem reads pictures or sound; numbers are arrays with the rows first.
    """
    what = '{"inputs": [{"name": "inputs", "shape": [1], "datatype": "BYTES", "data": ["…"]}]}'
    _object(body, ("id", "inputs", "outputs", "parameters"), what)
    hparams = body.get("parameters", {})
    if not isinstance(hparams, dict) or not isinstance(body.get("id", ""), str):
        raise Refused(400, f"parameters is an object and id a text; the body is {what}")
    tensors = body.get("inputs")
    wanted = dict(modality.members) or {"inputs": modality}
    if not isinstance(tensors, list) or not all(
        isinstance(t, dict) and isinstance(t.get("name"), str) for t in tensors
    ):
        raise Refused(400, f"the body is {what}")
    given = {tensor["name"]: tensor for tensor in tensors}
    if set(given) != set(wanted) or len(tensors) != len(wanted):
        raise Refused(400, f"the input tensors are {', '.join(wanted)}")
    columns = {name: _tensor_rows(given[name], member, most) for name, member in wanted.items()}
    if len({len(column) for column in columns.values()}) != 1:
        raise Refused(400, "all tensors must have the same number of rows")
    if modality.members:
        values: list = [dict(zip(columns, row)) for row in zip(*columns.values())]
    else:
        values = columns["inputs"]
    return Query(values, hparams, id=body.get("id"))


def _tensor_rows(tensor: dict, modality: Any, most: int) -> list:
    """The rows of a tensor, each as `Predictor.check` takes it."""
    shape, kind, data = tensor.get("shape"), tensor.get("datatype"), tensor.get("data")
    if not isinstance(shape, list) or not 0 < len(shape) <= _MOST_DIMENSIONS or not isinstance(data, list):
        raise Refused(400, f"a tensor has a shape, a list of 1 to {_MOST_DIMENSIONS} sizes, and data, a list")
    if not all(isinstance(size, int) and not isinstance(size, bool) and 0 < size < 2**31 for size in shape):
        raise Refused(400, f"the shape {shape!r:.60} must be of whole numbers above 0")
    refuse_too_many(shape[0], most)
    if kind == "BYTES":
        if math.prod(shape) != len(data) or shape[0] != len(data) or not all(isinstance(v, str) for v in data):
            raise Refused(400, "a tensor of BYTES has the shape [rows] or [rows, 1], and a text for each")
        return list(data) if modality.line_is_data else [from_base64(value) for value in data]
    if not isinstance(kind, str) or kind not in _INTEGERS | _FLOATS:
        raise Refused(400, f"the datatype is BYTES, {', '.join(_INTEGERS | _FLOATS)}, not {kind!r:.40}")
    flat = data
    while flat and isinstance(flat[0], list):  # data may be nested
        if not all(isinstance(part, list) for part in flat):
            raise Refused(400, "data must be flat, or nested as the shape says")
        flat = [value for part in flat for value in part]
    if len(flat) != math.prod(shape):
        raise Refused(400, f"the shape {shape!r:.60} has {math.prod(shape):,} values, data has {len(flat):,}")
    array = array_of(modality, flat)
    if not isinstance(array, np.ndarray):
        raise Refused(400, f"an input of kind {modality.modality_name} is no array of {kind}")
    return list(array.reshape(shape))


def infer_response(query: Query, answers: list, scored: bool, name: str, version: str) -> dict:
    """The tensors "outputs" and, of several answers, "scores", [rows, answers]."""
    rows: list = [[answer_as_json(each) for each, _ in row] for row in answers] if scored else _rows(answers, False)
    most = max(map(len, rows)) if scored else 0
    outputs = [_as_tensor("outputs", [row + [""] * (most - len(row)) for row in rows] if scored else rows)]
    if scored:
        scores = [[score for _, score in row] + [-1e9] * (most - len(row)) for row in answers]
        outputs.append(_as_tensor("scores", scores))
    response = {"model_name": name, "model_version": version, "outputs": outputs}
    return response | ({"id": query.id} if query.id is not None else {})


def _as_tensor(name: str, rows: list) -> dict:
    shape, flat = [len(rows)], rows
    while flat and isinstance(flat[0], list):
        shape.append(len(flat[0]))
        flat = [value for part in flat for value in part]
    is_text = all(isinstance(value, str) for value in flat)
    return {"name": name, "shape": shape, "datatype": "BYTES" if is_text else "FP32", "data": flat}


# ---- Plain JSON


def parse_decode(body: Any, modality: Any, most: int) -> Query:
    """The body of `/decode`: {"problem": name, "input": input} or {"problem": name, "inputs": [input, …]}.

    With "stream": true it has one "input". "first_row" is the number of the first input.
    """
    what = '{"problem": "…", "input": …}, or with "inputs", a list'
    hparams = _object(body, ("problem", "input", "inputs", "decode_hparams", "stream", "first_row"), what)
    if ("input" in body) == ("inputs" in body):
        raise Refused(400, f"the body is {what}")
    stream = body.get("stream", False)
    if not isinstance(stream, bool):
        raise Refused(400, "stream is true or false")
    if stream and "inputs" in body:
        raise Refused(400, 'a stream has one input; send {"problem": "…", "input": …, "stream": true}')
    first_row = body.get("first_row", 0)
    if not isinstance(first_row, int) or isinstance(first_row, bool) or not 0 <= first_row <= _MOST_ROW:
        raise Refused(400, f"first_row is a whole number from 0 to {_MOST_ROW:,}")
    values = [body["input"]] if "input" in body else body["inputs"]
    if not isinstance(values, list) or not values:
        raise Refused(400, f"the body is {what}, with an input at least")
    refuse_too_many(len(values), most)
    form = "single" if "input" in body else "row"
    return Query([input_of(modality, value) for value in values], hparams, form, stream=stream, first_row=first_row)


def parse_explain(body: Any, modality: Any) -> Query:
    """The body of `/explain`: {"problem": name, "input": input}."""
    what = '{"problem": "…", "input": …}'
    hparams = _object(body, ("problem", "input", "decode_hparams"), what)
    if "input" not in body:
        raise Refused(400, f"the body is {what}")
    return Query([input_of(modality, body["input"])], hparams, "single")


def decode_response(query: Query, answers: list, scored: bool) -> dict:
    """{"answer": …} to an input, with scores also {"beams": [{"answer", "score"}, …]}; {"answers": […]} to inputs."""
    rows = _rows(answers, scored)
    if query.form != "single":
        return {"answers": rows}
    if not scored:
        return {"answer": rows[0]}
    return {"answer": rows[0][0]["answer"] if rows[0] else "", "beams": rows[0]}
