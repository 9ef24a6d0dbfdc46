"""Answers questions with JAX, in a process that has nothing of this package.

    python -I answer_stablehlo.py MODEL QUESTIONS.json ANSWERS.json

QUESTIONS.json: [{input: {"dtype", "shape", "values"}}, …], a batch each; ANSWERS.json: [{output: […]}, …].
"""

import json
import os
import sys

import numpy as np

os.environ["JAX_PLATFORMS"] = "cpu"


def main(model, questions, answers):
    from jax import export

    with open(model, "rb") as file:
        exported = export.deserialize(bytearray(file.read()))

    def answer(batch):
        return exported.call(batch)

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
