"""Pictures a second of training the image and class nets with the encoder between them: 64×64×3 → 10 classes.

    python benchmarks/image_step.py [hidden [rows]]

In float32 and with --hparams=precision=mixed_bfloat16; both are held against float32 products.
"""

import functools
import sys

import arithmetic
from common import (
    PRECISIONS,
    against_matrix,
    body,
    figure,
    make_model,
    make_step,
    picture_batch,
    picture_problem,
    report,
    seconds,
)

PICTURES_PER_SECOND = {128: 300}  # the mark


def main(hidden=128, rows=32, **sizes):
    for precision in PRECISIONS:
        measure(hidden, rows, precision, **sizes)


def measure(hidden, rows, precision, side=64, experts=16, rounds=4):
    hparams, spec = body(hidden, experts, precision=precision), picture_problem(side)
    model = make_model(hparams, [spec])
    step = make_step(model, hparams)
    batch = picture_batch(rows, side)
    update = functools.partial(step.update, [(spec, batch)], 1e-3)
    first, _ = seconds(update, 2)
    counted = arithmetic.parts(hparams, spec, batch, training=True)
    operations = 3 * sum(counted.values())
    result = against_matrix(update, operations, rounds)
    rate = rows / result["seconds"]
    report(
        "image_step",
        [
            figure(
                f"training on pictures {side}×{side}×3 → 10 classes, hidden {hidden}, {precision}",
                rate,
                "pictures/s",
                at_least=PICTURES_PER_SECOND.get(hidden) if side == 64 else None,
                limit=rate / result["fraction"],
                limit_is="all of its arithmetic as fast as 2048³ products",
            ),
        ],
        hidden=hidden,
        rows=rows,
        precision=precision,
        step_gigaflop=operations / 1e9,
        share_of_arithmetic={part: round(3 * count / operations, 3) for part, count in counted.items()},
        tracing_seconds=first - result["seconds"],
        **result,
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
