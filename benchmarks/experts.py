"""What more experts cost: a training step with 60 and with 240 of them at equal k, beside the optimiser's update.

    python benchmarks/experts.py [hidden]

The same tokens meet four times as many experts, so the arithmetic of the forward and backward pass hardly grows, but
more weights come from memory and more gradients go there; the optimiser's update grows with the number of weights. A
step is timed whole, the update by itself: the same optimiser, clipping by the global norm included, on gradients that
are there. Their difference is forward and backward. (A difference of differences moves with the machine's noise, hence
the many rounds.)

With optimizer=lazy_adam the update touches only experts that were used. Beside Adam's stands its update where a quarter
of many experts have a gradient, and where all have one; and a whole step on so few ids that most experts have none.
"""

import dataclasses
import functools
import sys

import arithmetic
from common import body, figure, in_turn, make_model, make_step, median, memory_pass, report, text_batch, text_problem

FEW, MANY = 60, 240
MOST = 0.15  # the mark: how much dearer forward and backward may be, as a share of the step with few


def main(hidden=128, few=FEW, many=MANY, rows=16, length=64, rounds=16):
    functions, weights, operations = {}, {}, {}
    for experts in (few, many):
        hparams, spec = body(hidden, experts), text_problem()
        model = make_model(hparams, [spec])
        batch = text_batch(rows, length)
        step = make_step(model, hparams)
        update = optimizer_update(model, hparams)
        functions[f"step_{experts}"] = functools.partial(step.update, [(spec, batch)], 1e-3)
        functions[f"update_{experts}"] = update
        weights[experts] = model.count_params()
        operations[experts] = arithmetic.training(hparams, spec, batch)
    lazy = dataclasses.replace(hparams, optimizer="lazy_adam")
    functions["lazy_update_quarter"] = optimizer_update(model, lazy, many // 4)
    functions["lazy_update_all"] = optimizer_update(model, lazy)
    little = text_batch(2, 8)
    for settings in (hparams, lazy):
        model = make_model(settings, [spec])
        step = make_step(model, settings)
        functions[f"little_{settings.optimizer}"] = functools.partial(step.update, [(spec, little)], 1e-3)
    functions["memory"], moved = memory_pass()
    for function in functions.values():
        function()
    times = {name: median(values) for name, values in in_turn(functions, rounds, 3).items()}
    passes = {experts: times[f"step_{experts}"] - times[f"update_{experts}"] for experts in (few, many)}
    more = (passes[many] - passes[few]) / times[f"step_{few}"]
    # Every weight is read going forward and going back, and its gradient is written.
    through_memory = 3 * 4 * (weights[many] - weights[few]) / (moved / times["memory"])
    least = operations[many] / operations[few] - 1 + through_memory / times[f"step_{few}"]
    report(
        "experts",
        [
            figure(
                f"{many} experts instead of {few}, hidden {hidden}: forward and backward",
                more,
                "of a step more",
                at_most=MOST,
                limit=least,
                limit_is="arithmetic as counted, and the weights once through memory each way",
            ),
            figure(
                f"{many} experts instead of {few}, hidden {hidden}: whole step",
                times[f"step_{many}"] / times[f"step_{few}"] - 1,
                "of a step more",
            ),
            figure(
                f"optimiser's update, {many} experts",
                1000 * times[f"update_{many}"],
                "ms",
                limit=1000 * times[f"update_{few}"] * weights[many] / weights[few],
                limit_is=f"that of {few} experts × weights",
            ),
            figure(
                f"lazy_adam's update, {many // 4} of {many} experts used",
                1000 * times["lazy_update_quarter"],
                "ms",
                limit=1000 * times[f"update_{many}"],
                limit_is="Adam's update of all",
            ),
            figure(
                f"lazy_adam's update, all of {many} experts used",
                1000 * times["lazy_update_all"],
                "ms",
                limit=1000 * times[f"update_{many}"],
                limit_is="Adam's update of all",
            ),
            figure(
                f"step of 2 × (8 + 8) ids, {many} experts, lazy_adam",
                1000 * times["little_lazy_adam"],
                "ms",
                limit=1000 * times["little_adam"],
                limit_is="with adam",
            ),
        ],
        hidden=hidden,
        weights_few=weights[few],
        weights_many=weights[many],
        passes_few=passes[few],
        passes_many=passes[many],
        **times,
    )


def optimizer_update(model, hparams, used=None):
    """A function that clips and applies made-up gradients to all weights, as a training step does; `used`: to so many
    of the experts, or None for all.
    """
    import keras
    import tensorflow as tf

    from t2t_multimodel.training.adam import by_expert
    from t2t_multimodel.training.optimizer import make_optimizer

    optimizer = make_optimizer(hparams, model.trainable_variables)
    gradients = [keras.random.normal(v.shape, stddev=1e-3) for v in model.trainable_variables]
    if used is not None:
        for i, variable in enumerate(model.trainable_variables):
            if by_expert(variable):
                idle = tf.zeros_like(gradients[i][used:])
                gradients[i] = tf.concat([gradients[i][:used], idle], axis=0)

    @tf.function(autograph=False)
    def update():
        norm = tf.linalg.global_norm(gradients)
        scale = tf.minimum(1.0, hparams.clip_norm / tf.maximum(norm, 1e-12))
        optimizer.apply([g * scale for g in gradients], model.trainable_variables)
        return norm

    return lambda: float(update())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
