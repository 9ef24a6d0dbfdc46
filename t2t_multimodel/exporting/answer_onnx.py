"""Answers questions with ONNX Runtime, in a process that has nothing of this package.

    python -I answer_onnx.py MODEL QUESTIONS.json ANSWERS.json

QUESTIONS.json: [{input: {"dtype", "shape", "values"}}, …], a batch each; ANSWERS.json: [{output: […]}, …].
"""

import json
import sys

import numpy as np


def main(model, questions, answers):
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def answer(batch):
        return dict(zip(names, session.run(names, batch)))

    with open(questions, encoding="utf-8") as file:
        asked = json.load(file)
    told = [answer({name: _array(**given) for name, given in batch.items()}) for batch in asked]
    if "t2t_multimodel" in sys.modules:
        raise SystemExit("the model was loaded with t2t_multimodel")
    with open(answers, "w", encoding="utf-8") as file:
        json.dump([{name: np.asarray(value).tolist() for name, value in each.items()} for each in told], file)


def _array(dtype, shape, values):
    return np.array(values, dtype).reshape(shape)


if __name__ == "__main__":
    main(*sys.argv[1:])
