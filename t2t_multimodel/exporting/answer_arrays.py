"""Answers questions with a model of arrays, in a process that has nothing of this package.

    python -I answer_arrays.py MODEL QUESTIONS.json ANSWERS.json

MODEL: a file that ends in .onnx, .tflite or .stablehlo. QUESTIONS.json: [{input: {"dtype", "shape", "values"}}, …], a
batch each; ANSWERS.json: [{output: […]}, …].
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ["JAX_PLATFORMS"] = "cpu"


def main(model, questions, answers):
    answer = _READERS[Path(model).suffix](model)
    with open(questions, encoding="utf-8") as file:
        asked = json.load(file)
    told = [answer({name: _array(**given) for name, given in batch.items()}) for batch in asked]
    if "t2t_multimodel" in sys.modules:
        raise SystemExit("the model was loaded with the package that made it")
    with open(answers, "w", encoding="utf-8") as file:
        json.dump([{name: np.asarray(value).tolist() for name, value in each.items()} for each in told], file)


def _onnx(model):
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(names, batch)))


def _litert(model):
    import tensorflow as tf

    runner = tf.lite.Interpreter(model_path=model).get_signature_runner()
    return lambda batch: runner(**batch)


def _stablehlo(model):
    from jax import export

    with open(model, "rb") as file:
        return export.deserialize(bytearray(file.read())).call


def _array(dtype, shape, values):
    return np.array(values, dtype).reshape(shape)


_READERS = {".onnx": _onnx, ".tflite": _litert, ".stablehlo": _stablehlo}

if __name__ == "__main__":
    main(*sys.argv[1:])
