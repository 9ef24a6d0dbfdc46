"""Answers questions with a SavedModel, in a process of its own with TensorFlow and tensorflow_text alone.

    python -I answer_saved_model.py FOLDER QUESTIONS.json ANSWERS.json

QUESTIONS.json: {signature: [{input: [base64, …]}, …]}, a batch each; ANSWERS.json: {signature: [{output: […]}, …]}.
"""

import base64
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


def main(folder, questions, answers):
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the tokenizer's operations)

    model = tf.saved_model.load(folder)
    with open(questions, encoding="utf-8") as file:
        asked = json.load(file)
    told = {name: [_answer(tf, model.signatures[name], batch) for batch in batches] for name, batches in asked.items()}
    if "t2t_multimodel" in sys.modules:
        raise SystemExit("the model was loaded with the package that made it")
    with open(answers, "w", encoding="utf-8") as file:
        json.dump(told, file)


def _answer(tf, signature, batch):
    strings = {name: tf.constant([base64.b64decode(each) for each in column]) for name, column in batch.items()}
    return {name: _plain(value.numpy()) for name, value in signature(**strings).items()}


def _plain(array):
    if array.dtype != object:
        return array.tolist()
    return [_plain(row) if getattr(row, "ndim", 0) else row.decode() for row in array]


if __name__ == "__main__":
    main(*sys.argv[1:])
