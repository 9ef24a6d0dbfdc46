"""A run with random weights on every kind of data that an export reads and writes."""

from dataclasses import replace

import small_world
from models import randomise

PROBLEMS = ("tiny_ende", "tiny_parse", "tiny_image", "tiny_caption", "tiny_speech", "tiny_question")
BLOCKS = {"encoder_blocks": 1, "decoder_blocks": 1}
HPARAMS = replace(small_world.HPARAMS, train_steps=12, max_target_length=200, max_input_length=200, **BLOCKS)


def make(folder):
    """Makes `folder`/data and `folder`/run; returns the run directory."""
    from t2t_multimodel import registry
    from t2t_multimodel.data_gen.generate import generate

    problems = [registry.problem(name) for name in PROBLEMS]
    for problem in problems:
        problem.train_examples, problem.dev_examples, problem.test_examples = 40, 6, 6
    generate(problems, folder / "data", vocabulary_size=500, workers=1, log=lambda line: None, progress=False)
    trainer = small_world.make_trainer(folder / "data", folder / "run", HPARAMS, PROBLEMS)
    randomise(trainer.model)  # unlike those of a few updates, which answer the same to everything
    trainer.step = HPARAMS.train_steps
    trainer.run()  # saves, as no update is left
    return folder / "run"
