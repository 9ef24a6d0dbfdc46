"""What XLA plans for one training step of multimodel_base: with and without `remat=block`, Adam and Adafactor.

    python benchmarks/step_memory.py [--rows=64 --length=64] [--hparams_set=multimodel_base]

Nothing is made but the program: the variables have shapes and no values, so it needs little memory itself. JAX on
whatever device it finds; of a processor XLA's plan includes all arrays of the program, which live in one block.
"""

import argparse
import importlib.util
import os
import time

os.environ["KERAS_BACKEND"] = "jax"

from common import figure, make_model, make_step, not_run, report, text_batch, text_problem  # noqa: E402

GIB = 2**30
KINDS = (("adam", "none"), ("adafactor", "none"), ("adafactor", "block"))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hparams_set", default="multimodel_base")
    parser.add_argument("--hparams", default="", help='changes to the set: "name=value,name=value"')
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=64, help="ids a side")
    flags = parser.parse_args(argv)
    if importlib.util.find_spec("jax") is None:
        not_run("JAX is not installed")
    figures, values = [], {}
    for optimizer, remat in KINDS:
        planned, gradients, seconds = plan(flags, optimizer, remat)
        what = f"{flags.hparams_set}, {flags.rows} × ({flags.length} + {flags.length}) ids, {optimizer}, remat={remat}"
        within = (planned["temporary"] + planned["results"]) / GIB
        figures.append(
            figure(
                f"{what}: temporary, as XLA plans it", within, "GiB", limit=gradients / GIB, limit_is="the gradients"
            )
        )
        figures.append(figure(f"{what}: in all", within + planned["arguments"] / GIB, "GiB"))
        values[f"compiling_{optimizer}_{remat}_seconds"] = seconds
    report("step_memory", figures, **values)


def plan(flags, optimizer, remat):
    """(`Step.planned_bytes`, bytes of the gradients, seconds that it took)."""
    from t2t_multimodel import hyperparameters, registry
    from t2t_multimodel.training.backend import adapter
    from t2t_multimodel.training.memory_plan import size_of

    start = time.monotonic()
    changes = hyperparameters.parse(flags.hparams) | {"optimizer": optimizer, "remat": remat}
    hparams = hyperparameters.override(registry.hparams_sets.get(flags.hparams_set)(), changes, "--hparams")
    spec = text_problem()
    step = adapter().abstractly(lambda: make_step(make_model(hparams, [spec]), hparams))
    planned = step.planned_bytes([(spec, text_batch(flags.rows, flags.length))])
    return planned, size_of(step.model.trainable_variables), time.monotonic() - start


if __name__ == "__main__":
    main()
