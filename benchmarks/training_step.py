"""Tokens a second of a training step, and how near its arithmetic comes to the speed of matrix products.

    python benchmarks/training_step.py [hidden …]

16 × (64 + 64) tokens, 16 experts, a vocabulary of 8192, full paper depth; hidden 128 and 512 unless others are named.
Each in float32 and with --hparams=precision=mixed_bfloat16; both are held against float32 products.
"""

import functools
import sys

import arithmetic
from common import PRECISIONS, against_matrix, figure, make_step, report, seconds, text_batch, text_model

ROWS, LENGTH = 16, 64
TOKENS_PER_SECOND = {128: 20_000}  # marks
FRACTION = {512: 0.7}
COMPILATION = {128: 20.0}


def main(*sizes, rows=ROWS, length=LENGTH, rounds=4, precisions=PRECISIONS, **changes):
    """`changes`: other hparams than those measured, for tests."""
    for hidden in sizes or (128, 512):
        for precision in precisions:
            measure(hidden, rows, length, rounds, changes | {"precision": precision})


def measure(hidden, rows, length, rounds, changes):
    model, hparams, spec = text_model(hidden, **changes)
    step = make_step(model, hparams)
    batch = text_batch(rows, length)
    update = functools.partial(step.update, [(spec, batch)], 1e-3)
    first, second = seconds(update, 2)
    operations = arithmetic.training(hparams, spec, batch)
    result = against_matrix(update, operations, rounds)
    tokens = 2 * rows * length
    rate, compilation = tokens / result["seconds"], first - result["seconds"]
    at = f"training step, hidden {hidden}, {hparams.precision}"
    report(
        "training_step",
        [
            figure(
                at,
                rate,
                "tokens/s",
                at_least=TOKENS_PER_SECOND.get(hidden),
                limit=rate / result["fraction"],
                limit_is="all of its arithmetic as fast as 2048³ products",
            ),
            figure(
                f"{at}, arithmetic",
                result["fraction"],
                "of the speed of 2048³ float32 products",
                at_least=FRACTION.get(hidden),
            ),
            figure(f"{at}, tracing and compiling", compilation, "s", at_most=COMPILATION.get(hidden)),
        ],
        hidden=hidden,
        precision=hparams.precision,
        tokens=tokens,
        parameters=model.count_params(),
        step_gigaflop=operations / 1e9,
        first_seconds=first,
        second_seconds=second,
        **result,
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
