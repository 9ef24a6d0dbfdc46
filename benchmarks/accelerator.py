"""A GPU's training step and decoding on the JAX backend, and its kernels; needs JAX and Keras, and no TensorFlow.

    python benchmarks/accelerator.py [--hparams_set=multimodel_base] [--rows=64 --length=64]
    python benchmarks/accelerator.py --hparams_set=multimodel_tiny --rows=4 --decode_rows=1     on a processor

The batches are arrays made here. A step is that of the trainer's JAX adapter, in the mixed precision of --precision;
the limit is the card's own rate at large products of the same 16-bit numbers, measured in turn with the step. The
package need not be installed: in a checkout the benchmarks find it beside themselves.
"""

import argparse
import collections
import functools
import gzip
import json
import math
import os
import pathlib
import sys
import tempfile

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")  # of a GPU's memory, for JAX; it would take 0.75

import arithmetic  # noqa: E402
import common  # noqa: E402
from common import figure, in_turn, median, not_run, report, seconds  # noqa: E402

MOST_OF_THE_RATE = 0.4  # the mark
TOP = 10  # kernels shown


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hparams_set", default="", help="default: multimodel_base, on an accelerator only")
    parser.add_argument("--hparams", default="", help='changes to the set: "name=value,name=value"')
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.add_argument("--rows", type=int, default=64, help="of a training step")
    parser.add_argument("--length", type=int, default=64, help="ids a side")
    parser.add_argument("--rounds", type=int, default=4, help="of three steps and three products")
    parser.add_argument("--decode_rows", default="1,32,256", help="batches to decode; none where empty")
    parser.add_argument("--decode_length", type=int, default=128, help="ids written")
    flags = parser.parse_args(argv)
    try:
        import jax
    except ImportError:
        not_run("JAX is not installed")
    device = jax.devices()[0]
    if device.platform == "cpu" and not flags.hparams_set:
        not_run("JAX finds no accelerator; --hparams_set=multimodel_tiny measures the processor")
    flags.hparams_set = flags.hparams_set or "multimodel_base"
    hparams = settings(flags)
    spec = common.text_problem()
    model = common.make_model(hparams, [spec])
    figures, values = train(model, hparams, spec, flags, device)
    report("accelerator", figures, device=device.device_kind, precision=hparams.precision, **values)
    failed = [rows for rows in flags.decode_rows.split(",") if rows and not decoded(model, spec, int(rows), flags)]
    if failed:
        raise SystemExit(f"decoding failed at batch {', '.join(failed)}")


def decoded(model, spec, rows, flags):
    """Measures and reports the decoding of one size of batch; False where it failed, most likely for want of memory."""
    try:
        rate, first = decode(model, spec, rows, flags.length, flags.decode_length)
    except Exception as error:  # of the backend's own kind; the sizes that follow are measured all the same
        print(f"decoding, batch {rows}: {type(error).__name__}: {error}", file=sys.stderr)
        return False
    what = f"{flags.hparams_set}, greedy decoding, batch {rows}, {flags.length} ids in, {flags.decode_length} out"
    report("accelerator", [figure(what, rate, "tokens/s")], first_seconds=first)
    return True


def settings(flags):
    from t2t_multimodel import hyperparameters, registry

    hparams = registry.hparams_sets.get(flags.hparams_set)()
    changes = {"precision": flags.precision} | hyperparameters.parse(flags.hparams)
    return hyperparameters.override(hparams, changes, "--hparams")


def train(model, hparams, spec, flags, device):
    """(figures, values) of a training step."""
    step = common.make_step(model, hparams)
    batch = common.text_batch(flags.rows, flags.length)
    update = functools.partial(step.update, [(spec, batch)], 1e-4)
    first, _ = seconds(update, 2)
    product, product_operations = matrix_product(hparams.precision, 8192 if device.platform != "cpu" else 1024)
    product()
    times = in_turn({"step": update, "product": product}, flags.rounds, 3)
    taken = median(times["step"])
    matrix_rate = product_operations / median(times["product"])
    operations = arithmetic.training(hparams, spec, batch)
    tokens = 2 * flags.rows * flags.length
    memory = (device.memory_stats() or {}).get("peak_bytes_in_use")
    name = f"{flags.hparams_set}, {flags.rows} × ({flags.length} + {flags.length}) ids"
    of_optimizer = sum(math.prod(each.shape) for each in step.optimizer.variables)
    counted = 4 * (2 * model.count_params() + of_optimizer) / 2**30  # weights, gradients, averages, in 32 bits
    figures = [
        figure(
            f"{name}: training",
            tokens / taken,
            "tokens/s",
            limit=tokens * matrix_rate / operations,
            limit_is="all of its arithmetic as fast as large products",
        ),
        figure(
            f"{name}: arithmetic",
            operations / taken / matrix_rate,
            "of the card's rate at products",
            at_least=MOST_OF_THE_RATE if device.platform != "cpu" else None,
        ),
    ]
    if memory:
        figures.append(
            figure(f"{name}: memory", memory / 2**30, "GiB", limit=counted, limit_is="weights, gradients, optimiser")
        )
    of_kernels = kernels(update)
    step.variables()  # have their values from here on
    return figures, {
        "weights": model.count_params(),
        "step_seconds": taken,
        "step_seconds_min": min(times["step"]),
        "first_step_seconds": first,
        "step_teraflop": operations / 1e12,
        "matrix_teraflops": matrix_rate / 1e12,
        "kernels": of_kernels,
    }


def matrix_product(precision, size):
    """(function, operations) of a large product in the numbers that the step multiplies."""
    import jax

    dtype = "bfloat16" if precision == "mixed_bfloat16" else "float32"
    a = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(jax.numpy.matmul)
    return lambda: product(a, a).block_until_ready(), 2 * size**3


def decode(model, spec, rows, length, written):
    """(tokens a second, seconds of the first call, compilation included)."""
    from t2t_multimodel.decoding.batch_decoder import BatchDecoder
    from t2t_multimodel.training.backend import adapter

    net = model.head(spec)
    bias = net.bias.numpy().copy()
    bias[1] = -1e9  # no end-of-sequence: every row is decoded to the end
    net.bias.assign(bias)
    decoder = BatchDecoder(model, adapter())
    run = functools.partial(decoder.ids, spec, common.text_batch(rows, length), written)
    first, *times = seconds(run, 4)
    return rows * written / median(times), first


def kernels(update, steps=3):
    """The kernels that took most of the time, [[name, share of all kernels' time]]; or why there are none."""
    import jax

    with tempfile.TemporaryDirectory() as folder:
        try:
            with jax.profiler.trace(folder):
                for _ in range(steps):
                    update()
            (trace,) = pathlib.Path(folder).rglob("*.trace.json.gz")
            with gzip.open(trace, "rt", encoding="utf-8") as file:
                events = json.load(file)["traceEvents"]
        except Exception as error:  # whatever the profiler fails with, the figures stand
            return f"no profile: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return top_kernels(events)


def top_kernels(events):
    """[[name, share of time]] from the events of a trace: those of devices, or of XLA's own threads on a processor."""
    names = {"process_name": {}, "thread_name": {}}
    for event in events:
        if event.get("ph") == "M" and event.get("name") in names:
            key = (event["pid"], event.get("tid")) if event["name"] == "thread_name" else event["pid"]
            names[event["name"]][key] = event["args"]["name"]
    on_device = any("/device:" in name for name in names["process_name"].values())
    totals = collections.Counter()
    for event in events:
        if event.get("ph") != "X":
            continue
        process = names["process_name"].get(event["pid"], "")
        thread = names["thread_name"].get((event["pid"], event.get("tid")), "")
        mine = "/device:" in process and "Stream" in thread if on_device else "XLA" in thread
        if mine and not event["name"].startswith(("ThreadpoolListener", "ThunkExecutor", "end:")):
            totals[event["name"]] += event.get("dur", 0.0)
    whole = sum(totals.values()) or 1.0
    return [[name, round(taken / whole, 3)] for name, taken in totals.most_common(TOP)]


if __name__ == "__main__":
    main()
