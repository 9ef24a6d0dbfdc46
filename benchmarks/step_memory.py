"""Memory of a training step of multimodel_base as JAX and XLA count it: Adam and Adafactor, with and without remat.

    python benchmarks/step_memory.py [--rows=64 --length=64] [--hparams_set=multimodel_base]

Counted are what the forward pass keeps for the backward pass, by JAX, and all arrays that the compiled program has at
once, by XLA's plan of it. Nothing is made but the program: the variables have shapes and no values.
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
        planned, gradients, kept, seconds = plan(flags, optimizer, remat)
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
    """(`Step.planned_bytes`, bytes of the gradients, `kept_bytes`, seconds that all took)."""
    from t2t_multimodel import hyperparameters, registry
    from t2t_multimodel.training.backend import adapter
    from t2t_multimodel.training.memory_plan import size_of

    start = time.monotonic()
    changes = hyperparameters.parse(flags.hparams) | {"optimizer": optimizer, "remat": remat}
    hparams = hyperparameters.override(registry.hparams_sets.get(flags.hparams_set)(), changes, "--hparams")
    spec = text_problem()
    step = adapter().abstractly(lambda: make_step(make_model(hparams, [spec]), hparams))
    batch = text_batch(flags.rows, flags.length)
    kept = kept_bytes(step.model, spec, batch)
    planned = step.planned_bytes([(spec, batch)])
    return planned, size_of(step.model.trainable_variables), kept, time.monotonic() - start


def kept_bytes(model, spec, batch):
    """Bytes that the forward pass keeps for the backward pass besides the weights: what JAX's backward function holds.

    Only traced; the variables may be those of `abstractly`.
    """
    import jax
    import keras

    weights, seeds = model.trainable_variables, model.non_trainable_variables

    def loss_of(values, states):
        with keras.StatelessScope(state_mapping=[*zip(weights, values), *zip(seeds, states)]):
            return model.loss(batch, spec, training=True)[0]

    def kept(values, states):
        return jax.vjp(lambda values: loss_of(values, states), values)[1]

    shapes = lambda of: [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in of]
    of_weights = {tuple(v.shape) for v in weights}
    leaves = jax.tree.leaves(jax.eval_shape(kept, shapes(weights), shapes(seeds)))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves if leaf.shape not in of_weights)


if __name__ == "__main__":
    main()
