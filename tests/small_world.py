"""A few examples of tiny8 and a model of a few thousand weights: the smallest run that is a run of everything."""

import json
import sys
from pathlib import Path

from t2t_multimodel.hyperparameters import HParams, Resolved
from t2t_multimodel.mixture import Mixture

PROBLEMS = ("tiny_ende", "tiny_image", "tiny_speech")

HPARAMS = HParams(
    hidden_size=8,
    num_heads=2,
    encoder_blocks=2,
    attention_blocks=1,
    mixer_blocks=1,
    decoder_blocks=2,
    num_experts=3,
    experts_per_token=2,
    expert_filter_size=8,
    dropout=0.1,
    large_dilation=2,
    image_stem_filters=(4, 4),
    image_residual_filters=(8, 0),
    audio_blocks=2,
    audio_mel_bins=8,
    audio_frame_milliseconds=64.0,
    audio_hop_milliseconds=64.0,
    batch_tokens=128,
    batch_examples=8,
    learning_rate=5e-3,
    learning_rate_warmup_steps=3,
    length_window=2,
    train_steps=12,
    max_target_length=100,
    max_input_length=100,
)


def make_data(data_dir):
    """Writes small stores of `PROBLEMS` to `data_dir`; returns that as a path."""
    generate_data(data_dir)
    return Path(data_dir)


def generate_data(data_dir, **options):
    """Generates them, with other options of data generation: a seed, overwrite."""
    from t2t_multimodel import registry
    from t2t_multimodel.data_gen.generate import generate

    problems = [registry.problem(name) for name in PROBLEMS]
    for problem in problems:
        problem.train_examples, problem.dev_examples, problem.test_examples = 40, 6, 6
    generate(problems, data_dir, vocabulary_size=400, workers=1, log=lambda line: None, progress=False, **options)


def make_trainer(data_dir, output_dir, hparams=HPARAMS, problems=PROBLEMS, **settings):
    """A `Trainer` of a run in `output_dir`."""
    from t2t_multimodel.training.run_settings import RunSettings
    from t2t_multimodel.training.trainer import Trainer

    resolved = Resolved(hparams)
    mixture = Mixture("small", "a test's", tuple(problems))
    settings = {"schedule": "train", "save_interval": 4, "log_interval": 2, "seed": 3} | settings
    return Trainer(RunSettings(resolved, mixture, str(data_dir), str(output_dir), **settings))


def weights(output_dir, step):
    """Everything that the checkpoint of a step holds, as {name: bytes}, and its state."""
    from t2t_multimodel.training import checkpoints

    checkpoint = checkpoints.load(Path(output_dir) / "checkpoints", step)
    return {name: array.tobytes() for name, array in checkpoint.arrays.items()}, checkpoint.state


def log_lines(output_dir):
    """The records of a run's log, without the times, which no two runs share."""
    times = ("tokens_per_second", "steps_per_second", "train_seconds")
    records = map(json.loads, (Path(output_dir) / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in record.items() if name not in times} for record in records]


if __name__ == "__main__":  # python small_world.py DATA_DIR OUTPUT_DIR SAVE_STEPS TRAIN_STEPS: one run, to be killed
    from dataclasses import replace

    data, output, save_interval, train_steps = sys.argv[1:]
    hparams = replace(HPARAMS, train_steps=int(train_steps), image_augment=True, image_shift=0.1)
    trainer = make_trainer(data, output, hparams, save_interval=int(save_interval))
    sys.exit(trainer.run())
