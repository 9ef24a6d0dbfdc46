"""The description of the server's routes as OpenAPI has it, for tools that make clients."""

from typing import Any

from t2t_multimodel.serving.service import Service

_INPUT = {"description": 'text; {"b64": "…"}, the bytes of a picture or a recording; or an object of several inputs'}
_HPARAMS = {"type": "object", "example": {"return_beams": 4}}
_PREDICT = {
    "type": "object",
    "required": ["instances"],
    "properties": {"instances": {"type": "array", "items": _INPUT}, "decode_hparams": _HPARAMS},
}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string", "enum": ["BYTES", "UINT8", "INT16", "FP32", "FP64"]},
        "data": {"type": "array"},
    },
}
_INFER = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "inputs": {"type": "array", "items": _TENSOR},
        "parameters": _HPARAMS,
    },
}
_REFUSALS = {
    "400": "an input or setting that is wrong",
    "401": "no token, or a wrong one",
    "403": "asked by the page of another site",
    "404": "no such problem or version",
    "408": "the request did not arrive within the time limit",
    "413": "a request that is too large",
    "415": "no JSON",
    "429": "too many requests are under way, or too many inputs wait; Retry-After says for how long to stay away",
    "504": "no answer within the time limit",
}


def openapi(service: Service) -> dict[str, Any]:
    """The document of a server."""
    problem = {
        "name": "problem",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": service.problems},
    }
    decode: dict[str, Any] = {
        "type": "object",
        "required": ["problem"],
        "properties": {
            "problem": problem["schema"],
            "input": _INPUT,
            "inputs": {"type": "array", "items": _INPUT},
            "decode_hparams": _HPARAMS,
            "stream": {"type": "boolean", "description": "send the answer to `input` while it is written"},
            "first_row": {"type": "integer", "description": "number of the first input; sampled answers differ by it"},
        },
    }
    given = decode["properties"]
    explain = {
        "type": "object",
        "required": ["problem", "input"],
        "properties": {name: given[name] for name in ("problem", "input", "decode_hparams")},
    }
    events = {
        "schema": {"type": "string"},
        "example": 'event: part\ndata: {"text": "ein"}\n\nevent: answer\ndata: {"answer": "ein Stern"}\n\n',
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "t2t-server", "version": str(service.predictor.step)},
        "paths": {
            "/decode": {
                "post": _post("Decodes an input or several", decode, content={"text/event-stream": events}),
            },
            "/explain": {"post": _post("An answer, what the model looked at, and the experts that it used", explain)},
            "/problems": {"get": _get("The problems, what they read and write")},
            "/v1/models/{problem}:predict": {
                "post": _post("Decodes inputs, as TensorFlow Serving's REST", _PREDICT, problem)
            },
            "/v1/models/{problem}": {"get": _get("Whether a problem is served", problem)},
            "/v1/models/{problem}/metadata": {"get": _get("What a problem reads and writes", problem)},
            "/v2/health/live": {"get": _get("Whether the server runs")},
            "/v2/health/ready": {"get": _get("Whether it is warm and not about to end")},
            "/v2/models/{problem}": {"get": _get("The tensors of a problem", problem)},
            "/v2/models/{problem}/infer": {
                "post": _post("Decodes inputs, by the Open Inference Protocol", _INFER, problem)
            },
            "/metrics": {"get": _get("Numbers for Prometheus")},
        },
    }


def _get(summary: str, *parameters: Any) -> dict[str, Any]:
    return {"summary": summary, "parameters": list(parameters), "responses": {"200": {"description": "the answer"}}}


def _post(summary: str, schema: Any, *parameters: Any, content: dict[str, Any] | None = None) -> dict[str, Any]:
    answers = {"description": "the answers", "content": {"application/json": {}} | (content or {})}
    refusals = {status: {"description": said} for status, said in _REFUSALS.items()}
    return {
        "summary": summary,
        "parameters": list(parameters),
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": answers} | refusals,
    }
