"""Trains one problem jointly with two of tiny8, as small as learning can be seen; for tests of modalities."""

import dataclasses

from small_world import HPARAMS, make_trainer

BESIDE = ("tiny_ende", "tiny_image")


def learn(problem, folder, steps, **changes):
    """Data, training and evaluation on dev, all in this process.

    Args:
      problem: a `Problem` with few examples. folder: an empty one. changes: of the hparams.

    Returns:
      ({metric: value} of the problem, {metric: (value, trivial answer)} of the best trivial answers).
    """
    from t2t_multimodel import registry
    from t2t_multimodel.cli.baselines import baselines
    from t2t_multimodel.data_gen.generate import generate

    others = [registry.problem(name) for name in BESIDE]
    for other in others:
        other.train_examples, other.dev_examples, other.test_examples = 200, 8, 8
    generate([problem, *others], folder / "data", vocabulary_size=400, workers=1, log=lambda _: None, progress=False)
    settings = {
        "hidden_size": 32,
        "encoder_blocks": 1,
        "decoder_blocks": 1,
        "mixer_blocks": 0,
        "attention_blocks": 0,
        "dropout": 0.0,
        "image_stem_filters": (16, 16),
        "image_residual_filters": (0,),
        "image_norm": "picture",
        "batch_tokens": 1024,
        "batch_examples": 32,
        "learning_rate_schedule": "cosine",
        "learning_rate_warmup_steps": 20,
        "train_steps": steps,
    }
    hparams = dataclasses.replace(HPARAMS, **(settings | changes))
    mixture = ((problem.name, 3.0), *((name, 0.5) for name in BESIDE))
    trainer = make_trainer(folder / "data", folder / "run", hparams, mixture, save_interval=10**6, log_interval=50)
    assert trainer.run() == 0
    scores = trainer.evaluator.evaluate(trainer.stores[problem.name], "dev")
    return scores, baselines(folder / "data", problem.name, "dev")


def beyond_trivial(scores, trivial, metric, margin):
    """The metric must be better than the best trivial answer, by a margin."""
    from t2t_multimodel import metrics

    sign = 1.0 if metrics.get(metric).higher_is_better else -1.0
    assert sign * (scores[metric] - trivial[metric][0]) > margin, (scores, trivial)
