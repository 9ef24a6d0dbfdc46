"""The format stablehlo: any problem as one program of `jax.export`, for any batch, on CPU and CUDA; arrays in and out.

Text comes in as ids, padded to one length, and leaves as ids: the tokenizer is the vocabulary beside the model.
"""

from pathlib import Path
from typing import Any

import numpy as np

from t2t_multimodel.decode_hparams import beam_of
from t2t_multimodel.errors import UserError
from t2t_multimodel.exporting import arrays
from t2t_multimodel.exporting.slice import traced_with
from t2t_multimodel.files import write_file

BACKEND = "jax"
FIXED_LENGTH = True  # whether all inputs are padded to one length
ABOUT = arrays.ABOUT
FILE = "model.stablehlo"
NEEDS = {"jax": "jax"}  # {package: our extra}
PLATFORMS = ("cpu", "cuda")
_TEXT = {
    "ids": "int32 [batch, ids]: of the vocabulary, 0 after the end-of-sequence (1)",
    "scores": "float32 [batch]: the log probability, with the length penalty if a beam is searched",
}


def write(part: Any, folder: Path, xla: bool = False) -> dict[str, Any]:
    """Writes a `Slice` into `folder`; returns what it says of itself."""
    import jax
    from jax import export

    if part.grammar is not None:
        raise UserError(
            f"{part.spec.name}: its grammar {part.grammar.name!r} reads words, and this format has none; export "
            "without it: --decode_hparams=constrained=0, or --format=saved_model"
        )
    length = arrays.lengths_of(part)
    (batch,) = export.symbolic_shape("batch")
    shapes = {name: a.shape[1:] for name, a in arrays.example(part, length).items()}
    dtypes = {name: dtype for name, (_, dtype) in arrays.signature_of(part).items()}
    specs = {name: jax.ShapeDtypeStruct((batch, *shape), dtypes[name]) for name, shape in shapes.items()}
    answer = _written if part.writes_ids else arrays.predicted
    with traced_with("reference"):
        exported = export.export(jax.jit(lambda given: answer(part, given)), platforms=PLATFORMS)(specs)
    write_file(folder / FILE, bytes(exported.serialize()))
    outputs = _TEXT if part.writes_ids else arrays.outputs_of(part)
    return arrays.write_beside(part, folder, outputs, length) | {"platforms": list(PLATFORMS)}


def compare(part: Any, folder: Path, about: dict[str, Any], questions: Any) -> dict[str, Any]:
    """Asks JAX in a new process; raises `UserError` where answers differ."""
    return arrays.compare(part, folder, questions, FILE, arrays.lengths_of(part))


def _written(part, batch):
    from keras import ops

    from t2t_multimodel.decoding.batch_decoder import BUFFER_STEP
    from t2t_multimodel.decoding.decode import read_source, write_text

    rows = ops.shape(next(iter(batch.values())))[0]
    command = ops.zeros((rows,), dtype="int32") + part.spec.command_id
    whole = batch | {"command": command, "example_weights": ops.ones((rows,), dtype="float32")}
    cache = read_source(part.model, part.spec, whole)
    length = -(-part.limit // BUFFER_STEP) * BUFFER_STEP
    settings = part.settings
    ids, scores = write_text(
        part.model,
        part.spec.targets,
        cache,
        command,
        np.int32(part.limit),
        length,
        beam_of(settings),
        np.float32(settings["alpha"]),
    )
    return {"ids": ids, "scores": scores}
