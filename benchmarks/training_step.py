"""Tokens a second of a training step: hidden 128, 16 × (64 + 64) tokens, 16 experts, vocabulary 8192, full paper depth.

    python benchmarks/training_step.py [hidden]
"""

import sys
import time

from common import matrix_gigaflops, report, seconds, text_batch, text_model

ROWS, LENGTH = 16, 64


def main(hidden=128):
    model, hparams, spec = text_model(hidden)
    from t2t_multimodel.training.backend import adapter
    from t2t_multimodel.training.optimizer import make_optimizer

    step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    batch = text_batch(ROWS, LENGTH)
    start = time.perf_counter()
    step.update([(spec, batch)], 1e-3)
    first = time.perf_counter() - start
    limit, times = [], []
    for _ in range(3):  # the limit and the step in turn, so that both see the same machine
        limit.append(matrix_gigaflops())
        times += seconds(lambda: step.update([(spec, batch)], 1e-3), 8)
    median = sorted(times)[len(times) // 2]
    tokens = 2 * ROWS * LENGTH
    report(
        "training_step", hidden=hidden, tokens=tokens, first_step_seconds=first, step_seconds_median=median,
        step_seconds_min=min(times), tokens_per_second=tokens / median, tokens_per_second_best=tokens / min(times),
        matrix_gigaflops=max(limit),
    )  # fmt: skip


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
