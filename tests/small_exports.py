"""A run with random weights on every kind of data that an export reads and writes.

As a script, python small_exports.py FOLDER: a run of tiny_ende, trained on KERAS_BACKEND, and FOLDER/answers.json.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import small_world
from models import randomise

PROBLEMS = ("tiny_ende", "tiny_parse", "tiny_image", "tiny_caption", "tiny_speech", "tiny_question")
BLOCKS = {"encoder_blocks": 1, "decoder_blocks": 1}
HPARAMS = replace(small_world.HPARAMS, train_steps=12, max_target_length=200, max_input_length=200, **BLOCKS)


TEXTS = ["the old ring rolls into the square", "a star", "  two  blanks ", "Ångström ▁ \ue000 é, Рим", ""]


def make(folder, names=PROBLEMS, updates=0):
    """Makes `folder`/data and `folder`/run; returns the run directory. updates: of the random weights, by training."""
    from t2t_multimodel import registry
    from t2t_multimodel.data_gen.generate import generate

    problems = [registry.problem(name) for name in names]
    for problem in problems:
        problem.train_examples, problem.dev_examples, problem.test_examples = 40, 6, 6
    generate(problems, folder / "data", vocabulary_size=500, workers=1, log=lambda line: None, progress=False)
    trainer = small_world.make_trainer(folder / "data", folder / "run", HPARAMS, names)
    randomise(trainer.model)  # unlike those of a few updates, which answer the same to everything
    trainer.step = HPARAMS.train_steps - updates
    trainer.run()  # saves, also where no update is left
    return folder / "run"


def main(folder):
    from t2t_multimodel import load

    model = load(make(folder, ("tiny_ende",), updates=2))
    answers = model.decode("tiny_ende", TEXTS[:-1], max_length=12)
    (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
