"""The most memory that a training step takes, beside what it must hold as counted; and what multimodel_base would need.

    python benchmarks/memory.py [--hidden=128,512] [--hparams_set=multimodel_single --rows=4] [--most_gib=14]

Counted are the weights, the optimiser's averages of them, and the activations that the backward pass needs
(`activations`); or the gradients, where those are more: they come as activations go, and clipping by the global norm
needs all at once. Measured are the arrays of 256 KiB and more that there are at most at once (TensorFlow's allocator
counts no smaller ones), and the peak of the resident memory less what TensorFlow takes when it has been imported and
has made one product. What the second has more is small arrays, TensorFlow's program of the step, Python's objects, and
gaps. Each measurement is a process of its own, ended where it exceeds --most_gib. multimodel_base is not built: what it
needs is estimated, its count times the ratio of arrays of the largest model measured, and what that one takes besides.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from common import (
    NOT_RUN,
    body,
    figure,
    import_backend,
    make_model,
    make_step,
    not_run,
    report,
    text_batch,
    text_problem,
)

MOST = 1.3  # the mark: resident memory over parameters, optimiser and activations
GIB = 2**30
MACHINE = 24  # GiB of the machine that multimodel_base should fit
LENGTH = 64


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", default="128,512", help="sizes of the model that benchmarks/common.py builds")
    parser.add_argument("--rows", type=int, default=16, help="of 64 + 64 ids")
    parser.add_argument("--hparams_set", default="", help="measure this set instead")
    parser.add_argument("--most_gib", type=float, default=14.0, help="end a process that takes more than this")
    parser.add_argument("--child", help=argparse.SUPPRESS)  # the process that measures: a hidden size or a set
    flags = parser.parse_args(argv)
    if flags.child:
        print(json.dumps(measure(flags.child, flags.rows)))
        return
    if sys.platform != "linux":
        not_run("reads the resident memory from /proc, which Linux alone has")
    if os.environ["KERAS_BACKEND"] != "tensorflow":
        not_run("asks TensorFlow's allocator")
    figures, values, largest, ratio, besides = [], {}, 0.0, 0.0, 0.0
    for name in flags.hparams_set.split(",") if flags.hparams_set else flags.hidden.split(","):
        measured = in_child(name, flags)
        counted = total(measured["weights"], measured["optimizer"], measured["activations"])
        what = f"memory of a step, {'hidden ' if name.isdigit() else ''}{name}, {flags.rows} × (64 + 64) ids"
        more = "activations" if measured["activations"] > measured["weights"] else "gradients"
        is_counted = {"limit": counted / GIB, "limit_is": f"parameters + optimiser + {more} as counted"}
        figures.append(figure(f"{what}: arrays of 256 KiB and more", measured["arrays"] / GIB, "GiB", **is_counted))
        if counted > largest:
            largest, ratio, besides = counted, measured["arrays"] / counted, measured["peak"] - measured["arrays"]
        figures.append(figure(f"{what}: resident memory", measured["peak"] / GIB, "GiB", **is_counted))
        figures.append(
            figure(f"{what}: resident memory over the count", measured["peak"] / counted, "times", at_most=MOST)
        )
        values |= {f"{name}_{key}_mib": round(value / 2**20, 1) for key, value in measured.items()}
    needed, weights = base_needs(ratio, besides)
    figures.append(
        figure(
            f"multimodel_base, 16 × (64 + 64) ids, {weights / 1e9:.2f} billion weights, would need",
            needed / GIB,
            "GiB",
            at_most=MACHINE,
        )
    )
    report("memory", figures, **values)


def total(weights, optimizer, activations):
    """Bytes that must be there at once: weights, the optimiser's averages, and activations or gradients."""
    return weights + optimizer + max(weights, activations)


def in_child(name, flags):
    """What a process measured; ends it where it takes too much."""
    command = [sys.executable, __file__, f"--child={name}", f"--rows={flags.rows}"]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, text=True)
        try:
            while process.poll() is None:
                if resident(process.pid) > flags.most_gib * GIB:
                    raise SystemExit(f"{name} takes more than {flags.most_gib} GiB (--most_gib)")
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()
        said, errors = (file.seek(0) or file.read() for file in (out, err))
    if process.returncode == NOT_RUN:
        not_run(errors.strip().splitlines()[-1].removeprefix("not run: "))
    if process.returncode:
        raise SystemExit(f"{name} failed: {errors[-2000:]}")
    return json.loads(said.strip().splitlines()[-1])


def measure(name, rows):
    """Bytes: "weights" and "activations" as counted; large "arrays" at most at once, "peak" of all above "base"."""
    import_backend()
    import tensorflow as tf
    from keras import ops

    hparams = body(int(name)) if name.isdigit() else named(name)
    float(ops.sum(ops.matmul(ops.ones((64, 64)), ops.ones((64, 64)))))
    base = peak_resident()
    spec = text_problem()
    model = make_model(hparams, [spec])
    step = make_step(model, hparams)
    for _ in range(3):
        step.update([(spec, text_batch(rows, LENGTH))], 1e-3)
    try:
        arrays = tf.config.experimental.get_memory_info("CPU:0")["peak"]
    except ValueError:
        not_run("this TensorFlow's allocator does not count: it does with oneDNN, on a processor of the x86 kind")
    return {
        "weights": 4 * model.count_params(),
        "optimizer": sum(4 * int(np.prod(each.shape)) for each in step.optimizer.variables),
        "activations": 4 * activations(hparams, rows, LENGTH, LENGTH),
        "arrays": arrays,
        "base": base,
        "peak": peak_resident() - base,
    }


def named(name):
    from t2t_multimodel import registry

    return registry.hparams_sets.get(name)()


def base_needs(ratio, besides, rows=16):
    """(bytes of a step of multimodel_base, weights): counted, times a ratio that was measured, and what is besides."""
    hparams = named("multimodel_base")
    weights = parameters(hparams)  # and two averages of each, since the set has Adam
    return ratio * 4 * total(weights, 2 * weights, activations(hparams, rows, LENGTH, LENGTH)) + besides, weights


def parameters(h, vocabulary=8192):
    """Weights of a text model, as counted."""
    size = h.hidden_size
    norm = 2 * size
    step = lambda taps: taps * size + size * size + size + norm
    block = 2 * step(h.small_kernel) + 2 * step(h.large_kernel)
    attention = 4 * size * size + norm
    experts = h.num_experts * (2 * size * h.expert_filter_size + 2 * size) + norm if h.use_experts else 0
    blocks = h.encoder_blocks + h.attention_blocks + h.mixer_blocks + h.decoder_blocks
    text = 2 * vocabulary * size + vocabulary
    return text + blocks * block + (2 + h.decoder_blocks) * attention + 2 * experts + 2 * norm


def activations(h, rows, length, written):
    """How many numbers of the forward pass the backward pass of a text problem needs.

    Of a convolution step what goes into its depthwise and its pointwise part and into its norm, and what the norm made;
    of attention its normalised input, queries, keys, values, weights and result; of the experts what goes in and out of
    them and lies between, for the k of each token, and four numbers for each gate; the logits and their gradient.
    Dropout keeps a number more for each feature of a block.
    """
    size = h.hidden_size
    source, target = rows * length, rows * written
    block = lambda tokens: tokens * size * (4 * 4 + bool(h.dropout))
    attention = lambda keys: size * (2 * target + 2 * target + 2 * rows * keys) + h.num_heads * target * keys
    gates = 4 * h.num_experts + h.experts_per_token * (2 * size + h.expert_filter_size)
    experts = (source + target) * (gates + 2 * size) if h.use_experts else 0
    blocks = h.attention_blocks + h.mixer_blocks + h.decoder_blocks
    count = h.encoder_blocks * block(source) + blocks * block(target) + experts
    count += attention(written) + (1 + h.decoder_blocks) * attention(length)
    return count + 2 * target * 8192 + 2 * (source + target) * size


def resident(process):
    """Bytes of a process in memory now; 0 where it is gone."""
    try:
        pages = int(pathlib.Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_resident():
    """The most bytes that this process had in memory at once, so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
