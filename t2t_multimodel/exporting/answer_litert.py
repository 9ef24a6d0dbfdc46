"""Answers questions with TensorFlow's LiteRT interpreter, in a process that has nothing of this package.

    python -I answer_litert.py MODEL QUESTIONS.json ANSWERS.json

QUESTIONS.json: [{input: {"dtype", "shape", "values"}}, …], a batch each; ANSWERS.json: [{output: […]}, …].
"""

import json
import os
import sys

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(model, questions, answers):
    import tensorflow as tf

    runner = tf.lite.Interpreter(model_path=model).get_signature_runner()

    def answer(batch):
        return runner(**batch)

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
