"""Seconds of a training step against hidden size, length, experts and number of problems: four curves, drawn.

    python benchmarks/growth.py [--curves=hidden,length,experts,problems] [--picture=docs/growth.png]

Beside each curve stands what the arithmetic predicts: the time at the first point times the growth of the counted
operations (`arithmetic.py`), plus the optimiser's update of as many weights, at the pace of its kernel on many. The
points of a curve are measured in turn, each curve in a process of its own. The first point is the smallest, where
overhead weighs most, so a curve below its prediction is the rule. Of problems, each has a vocabulary of its own and so
its own graph; a step draws one of them, so the prediction is a level line.
"""

import argparse
import functools
import json
import pathlib
import subprocess
import sys

import arithmetic
import common
from common import REPOSITORY, body, figure, in_turn, make_step, report, text_batch, text_problem

MOST = 1.1  # the mark: a step over what the arithmetic predicts, at the end of a curve
POINTS = {
    "hidden": (64, 128, 256, 512),
    "length": (16, 64, 256, 512),
    "experts": (8, 60, 120, 240),
    "problems": (1, 2, 4, 8),
}
LABELS = {
    "hidden": "hidden size",
    "length": "ids a side, 4 rows",
    "experts": "experts, 4 a token",
    "problems": "problems, each with a vocabulary of its own",
}
WEIGHT_BYTES = 28  # that Adam's update moves for each weight: reads 4 numbers, writes 3
SMALL = {"encoder_blocks": 2, "attention_blocks": 1, "mixer_blocks": 1, "decoder_blocks": 2}  # a body quick to trace
SMALLEST = {"encoder_blocks": 1, "attention_blocks": 1, "mixer_blocks": 0, "decoder_blocks": 1}  # as fifteen graphs are


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", default=",".join(POINTS))
    parser.add_argument("--picture", type=pathlib.Path, default=REPOSITORY / "docs" / "growth.png")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", type=int, default=4, help="only the first so many points of each curve")
    parser.add_argument("--curve", help=argparse.SUPPRESS)  # the process that measures one
    flags = parser.parse_args(argv)
    if flags.curve:
        print(json.dumps(curve(flags.curve, POINTS[flags.curve][: flags.points], flags.rounds)))
        return
    curves = {name: in_child(name, flags) for name in flags.curves.split(",")}
    figures = []
    for name, (points, measured, predicted) in curves.items():
        figures.append(
            figure(
                f"step against {LABELS[name]}: {points[-1]} over {points[0]}",
                measured[-1] / measured[0],
                "times the time",
                limit=predicted[-1] / predicted[0],
                limit_is="by the arithmetic",
            )
        )
        worst = max(m / p for m, p in zip(measured, predicted))
        figures.append(
            figure(f"step against {LABELS[name]}: over the prediction at worst", worst, "times", at_most=MOST)
        )
    draw(curves, flags.picture)
    report(
        "growth",
        figures,
        **{
            name: {str(point): [round(m, 5), round(p, 5)] for point, m, p in zip(*values)}
            for name, values in curves.items()
        },
    )


def in_child(name, flags):
    """`curve` in a process that gives its memory back."""
    command = [sys.executable, __file__, f"--curve={name}", f"--rounds={flags.rounds}", f"--points={flags.points}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the curve {name} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def curve(name, points, rounds):
    """(points, seconds measured, seconds predicted) of one curve."""
    common.import_backend()
    functions, operations, weights = MAKERS[name](points)
    for function in functions.values():  # traces, all of them before any is timed
        function()
        function()
    times = in_turn(functions, rounds, 3)
    # The least, not the median: a curve should show the program, and nothing makes a step faster than it is.
    measured = [min(times[point]) for point in points]
    bandwidth = max(bytes_per_second(), WEIGHT_BYTES * weights[points[0]] / measured[0])
    update = [WEIGHT_BYTES * weights[point] / bandwidth for point in points]
    passes = measured[0] - update[0]
    predicted = [passes * operations[p] / operations[points[0]] + extra for p, extra in zip(points, update)]
    return points, measured, predicted


def by_models(points, settings, rows, length):
    """A model for each point; `settings(point)` are its `HParams`."""
    functions, operations, weights = {}, {}, {}
    for point in points:
        hparams, spec = settings(point), text_problem()
        model = common.make_model(hparams, [spec])
        batch = text_batch(rows, length)
        functions[point] = functools.partial(make_step(model, hparams).update, [(spec, batch)], 1e-3)
        operations[point] = arithmetic.training(hparams, spec, batch)
        weights[point] = model.count_params()
    return functions, operations, weights


def by_hidden(points):
    return by_models(points, lambda hidden: body(hidden, 16), 8, 64)


def by_experts(points):
    return by_models(points, lambda experts: body(128, experts, **SMALL), 16, 64)


def by_length(points):
    """One model; its graph serves every length."""
    hparams, spec = body(128, 16), text_problem()
    model = common.make_model(hparams, [spec])
    step = make_step(model, hparams)
    batches = {length: text_batch(4, length) for length in points}
    return (
        {length: functools.partial(step.update, [(spec, batch)], 1e-3) for length, batch in batches.items()},
        {length: arithmetic.training(hparams, spec, batch) for length, batch in batches.items()},
        dict.fromkeys(points, model.count_params()),
    )


def by_problems(points):
    """A model for each number of problems; a step takes them in turn, so that every graph has its share."""
    functions, operations, weights = {}, {}, {}
    for count in points:
        hparams = body(128, 8, **SMALLEST)
        specs = [text_problem(f"text{i}", 1024) for i in range(count)]
        model = common.make_model(hparams, specs)
        batch = text_batch(16, 64, vocabulary=1024)
        functions[count] = Turns(make_step(model, hparams), specs, batch)
        operations[count] = arithmetic.training(hparams, specs[0], batch)
        weights[count] = sum(
            v.numpy().size for v in model.trainable_variables_for(specs[0])
        )  # an update touches no more
    for function in functions.values():
        for _ in specs:
            function()
    return functions, operations, weights


class Turns:
    """Called, it makes an update on the next of several problems."""

    def __init__(self, step, specs, batch):
        self._step, self._specs, self._batch, self._calls = step, specs, batch, 0

    def __call__(self):
        self._step.update([(self._specs[self._calls % len(self._specs)], self._batch)], 1e-3)
        self._calls += 1


MAKERS = {"hidden": by_hidden, "length": by_length, "experts": by_experts, "problems": by_problems}


def bytes_per_second():
    """The pace of the optimiser's own kernel on many weights: what its update takes is a matter of memory alone."""
    import keras
    from keras import ops

    from t2t_multimodel.training.optimizer import make_optimizer

    variable = keras.Variable(ops.zeros((4096, 2048)))
    optimizer = make_optimizer(body(), [variable])
    gradient = ops.ones(variable.shape)
    times = in_turn({"update": lambda: optimizer.apply([gradient], [variable])}, 1, 5)["update"]
    return WEIGHT_BYTES * 4096 * 2048 / min(times)


def draw(curves, path):
    """The curves with logarithmic axes; the same factor is the same length in all of them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(1, len(curves), figsize=(4 * len(curves), 3.6), squeeze=False)
    for axis, (name, (points, measured, predicted)) in zip(axes[0], curves.items()):
        axis.plot(points, [1000 * seconds for seconds in measured], "o-", label="measured")
        axis.plot(points, [1000 * seconds for seconds in predicted], "--", color="0.5", label="by the arithmetic")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        low, high = axis.get_ylim()
        if high < 2 * low:  # a curve that is flat looks flat
            middle = (low * high) ** 0.5
            axis.set_ylim(middle / 2, middle * 2)
        axis.set_xticks(points, [str(point) for point in points])
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_xlabel(LABELS[name])
        axis.set_ylabel("milliseconds a step")
        axis.grid(alpha=0.3)
    axes[0][0].legend()
    drawing.tight_layout()
    drawing.savefig(path, dpi=100)
    pyplot.close(drawing)


if __name__ == "__main__":
    main()
