"""Real steps of multimodel_base, 2.1 billion weights, on one machine of 24 GiB: peak memory, and a loss that falls.

    python benchmarks/base_step.py [--steps=20 --rows=8 --length=16] [--hparams="remat=block"] [--most_gib=22]

JAX on a processor, Adafactor, float32; the same small batch of random ids at each step, dropout and the experts' noise
included. The model is the hparams set as it is; the peak is of the resident memory of the process, from the making of
the weights on. It is a process of its own, ended where it exceeds --most_gib. XLA's scheduler that trades memory for
concurrency is off: with it all gradients' intermediates would be there at once.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ["KERAS_BACKEND"] = "jax"

from common import figure, make_model, make_step, not_run, report, text_batch, text_problem  # noqa: E402
from memory import GIB, peak_resident, resident  # noqa: E402

SPARING = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
SPARING_OF_JAX = ("0.10.",)  # releases that it was tried with: XLA ends a process that sets a flag it does not know
RATE = 0.01


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hparams_set", default="multimodel_base")
    parser.add_argument("--hparams", default="", help='changes to the set: "name=value,name=value"')
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=16, help="ids a side")
    parser.add_argument("--most_gib", type=float, default=22.0, help="end the process if it takes more than this")
    parser.add_argument("--most_seconds", type=float, default=500.0, help="begin no further step after this")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)  # the process that trains
    flags = parser.parse_args(argv)
    if flags.child:
        train(flags)
        return
    if importlib.util.find_spec("jax") is None:
        not_run("JAX is not installed")
    if sys.platform != "linux":
        not_run("reads the resident memory from /proc, which Linux alone has")
    free = available()
    if flags.hparams_set == "multimodel_base" and free < 20 * GIB:
        not_run(f"multimodel_base needs 20 GiB of free memory; {free / GIB:.1f} GiB are free")
    show(flags, *in_child(flags))


def show(flags, steps, peak):
    """Reports what the child measured: a dict for each step, and its peak resident bytes."""
    losses = [step["loss"] for step in steps]
    took = sorted(step["seconds"] for step in steps[1:] or steps)
    what = f"{flags.hparams_set}, {flags.rows} × ({flags.length} + {flags.length}) ids"
    figures = [
        figure(
            f"{what}: peak resident memory of {len(steps)} training steps",
            peak / GIB,
            "GiB",
            at_most=22,
            limit=steps[0]["counted"] / GIB,
            limit_is="weights + gradients + optimiser",
        ),
        figure(f"{what}: loss of step {len(steps)} over that of step 1", losses[-1] / losses[0], "", at_most=0.99),
        figure(f"{what}: a step", took[len(took) // 2], "s"),
    ]
    first = {"first_step_seconds": steps[0]["seconds"], "making_seconds": steps[0]["making"]}
    report("base_step", figures, weights=steps[0]["weights"], losses=[round(loss, 3) for loss in losses], **first)


def in_child(flags):
    """(what the child said of each step, the most bytes that it had in memory)."""
    arguments = [f"--{name}={value}" for name, value in vars(flags).items() if name != "child"]
    environment = dict(os.environ)
    if importlib.metadata.version("jax").startswith(SPARING_OF_JAX):
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {SPARING}".strip()
    command = [sys.executable, __file__, "--child", *arguments]
    peak, most = 0, flags.most_gib * GIB
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, text=True)
        try:
            while process.poll() is None:
                peak = max(peak, resident(process.pid))
                if peak > most:
                    break
                time.sleep(0.02)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        output.seek(0)
        said = output.read()
    if process.returncode:
        reason = f"took more than {flags.most_gib} GiB" if peak > most else f"ended with {process.returncode}"
        raise SystemExit(f"the training process {reason}, after:\n{said[-1000:]}")
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return lines[:-1], max(peak, lines[-1]["peak"])


def train(flags):
    """Prints a JSON line for each step, and one with the peak."""
    from t2t_multimodel import hyperparameters, registry
    from t2t_multimodel.training.memory_plan import size_of

    start = time.monotonic()
    changes = {"optimizer": "adafactor"} | hyperparameters.parse(flags.hparams)
    hparams = hyperparameters.override(registry.hparams_sets.get(flags.hparams_set)(), changes, "--hparams")
    spec = text_problem()
    model = make_model(hparams, [spec])
    step = make_step(model, hparams)
    batch = text_batch(flags.rows, flags.length)
    counted = size_of(model.variables) + size_of(model.trainable_variables) + size_of(step.optimizer.variables)
    about = {"weights": model.count_params(), "counted": counted, "making": time.monotonic() - start}
    for number in range(1, flags.steps + 1):
        before = time.monotonic()
        if before - start > flags.most_seconds:
            break
        reports, norm = step.update([(spec, batch)], RATE)
        took = time.monotonic() - before
        line = {"step": number, "loss": reports[0]["cross_entropy"], "norm": norm, "seconds": took} | about
        print(json.dumps(line), flush=True)
        about = {}
    print(json.dumps({"peak": peak_resident()}), flush=True)


def available():
    """Bytes of memory that other processes leave."""
    for line in pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
