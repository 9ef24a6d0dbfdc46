"""What the benchmarks share: models and batches of measured sizes, the machine's own limit, one way of reporting."""

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
try:
    import t2t_multimodel.hparams
except ImportError:  # a checkout that is not installed: the folders beside the package are parts of it
    sys.path.append(str(REPOSITORY))
    import t2t_multimodel

    t2t_multimodel.__path__.append(str(REPOSITORY))

from t2t_multimodel import startup  # noqa: E402

startup.set_environment()  # threads too, as every command has them

VOCABULARY = 8192
PRECISIONS = ("float32", "mixed_bfloat16")  # that a training step is measured in
NOT_RUN = 2  # exit status of a benchmark that lacks what it needs; its last line of standard error says what


def body(hidden=128, experts=16, **changes):
    """`HParams` of full paper depth without dropout, as wide as is measured; `changes` to any other field."""
    from t2t_multimodel.hyperparameters import HParams

    sizes = {"hidden_size": hidden, "num_experts": experts, "expert_filter_size": 2 * hidden, "dropout": 0.0}
    return HParams(**sizes | {"max_target_length": 2048} | changes)


def text_problem(name="text", vocabulary=VOCABULARY):
    """The `ProblemSpec` of a text problem; of one vocabulary, equal names share weights."""
    from t2t_multimodel.modalities import ProblemSpec, Text

    text = Text(vocabulary_size=vocabulary, vocabulary_digest=name)
    return ProblemSpec(name, text, text, 5)


def picture_problem(side=64, classes=10):
    from t2t_multimodel.modalities import Image, Label, ProblemSpec

    picture = Image(side, side, 3)
    return ProblemSpec("pictures", picture, Label(tuple(map(str, range(classes)))), 0)


def make_model(hparams, specs):
    """The MultiModel of the backend that is set, in the precision that the hparams name."""
    import_backend()
    from t2t_multimodel.models.multimodel import MultiModel

    return in_precision(hparams.precision, lambda: MultiModel(hparams, specs))


def in_precision(precision, make):
    """`make()`, a model that computes in that precision."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return make()
    finally:
        keras.config.set_dtype_policy(before)


def import_backend():
    """Imports what Keras computes with, quietly; before anything imports keras."""
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        startup.import_tensorflow()


def make_step(model, hparams):
    """The trainer's own step for a model: `step.update([(spec, batch)], learning_rate)`, made to wait for its end."""
    from t2t_multimodel.training.backend import adapter
    from t2t_multimodel.training.optimizer import make_optimizer

    step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    begin = step.update

    def update(microbatches, rate):
        reports, norm = begin(microbatches, rate)
        return [{name: float(value) for name, value in report.items()} for report in reports], float(norm)

    step.update = update
    return step


def text_model(hidden=128, experts=16, **changes):
    """(model, hparams, spec): full paper depth, one text problem with a vocabulary of 8192."""
    hparams, spec = body(hidden, experts, **changes), text_problem()
    return make_model(hparams, [spec]), hparams, spec


def text_batch(rows, length, seed=0, vocabulary=VOCABULARY, target_length=None):
    """A batch of random ids without padding."""
    random = np.random.default_rng(seed)
    return {
        "inputs": random.integers(70, vocabulary, (rows, length)).astype("int32"),
        "targets": random.integers(70, vocabulary, (rows, target_length or length)).astype("int32"),
        "command": np.full(rows, 5, "int32"),
        "example_weights": np.ones(rows, "float32"),
    }


def picture_batch(rows, side=64, classes=10, seed=0):
    """A batch of noise."""
    random = np.random.default_rng(seed)
    return {
        "inputs": random.integers(0, 256, (rows, side, side, 3)).astype("uint8"),
        "targets": random.integers(0, classes, rows).astype("int32"),
        "command": np.zeros(rows, "int32"),
        "example_weights": np.ones(rows, "float32"),
    }


def command(log, module, **flags):
    """Runs a command of the package with these flags; what it prints is added to the file `log`.

    Raises:
      SystemExit: it failed.
    """
    asked = [f"--{name}={value}" for name, value in flags.items()]
    with open(log, "a", encoding="utf-8") as file:
        called = [sys.executable, "-m", f"t2t_multimodel.cli.{module}", *asked]
        status = subprocess.run(called, stdout=file, stderr=file, check=False).returncode
    if status:
        raise SystemExit(f"{module} failed with status {status}: see {log}")


def seconds(function, runs):
    """Seconds of each of `runs` calls."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def in_turn(functions, rounds=4, runs=3):
    """Seconds of each of {name: function}, `runs` calls of one, then of the next, `rounds` times over: A B A B.

    Whatever else the machine does meanwhile meets all of them alike, so that ratios can be trusted.
    """
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name] += seconds(function, runs)
    return times


def median(values):
    return float(np.median(values))


def matrix_product(size=2048):
    """(function, operations): two float32 matrix products at once, the limit that a step is held against.

    They are the backend's, in the threads that it has: two operations at a time, each with half of the processors.
    (NumPy's are half as fast where its library does not know a new processor.)
    """
    import keras

    a, b = (keras.random.normal((size, size), seed=seed) for seed in (0, 1))
    if os.environ["KERAS_BACKEND"] == "jax":
        import jax

        products = jax.jit(lambda a, b: (a @ b, b @ a))
        return lambda: jax.block_until_ready(products(a, b)), 4 * size**3
    import tensorflow as tf

    products = tf.function(lambda: (tf.matmul(a, b), tf.matmul(b, a)), autograph=False)
    return products, 4 * size**3


def memory_pass(numbers=1 << 24):
    """(function, bytes): two large arrays at once, read and written: how fast numbers come from memory and go there."""
    import keras
    import tensorflow as tf

    a, b = (keras.random.normal((numbers,), seed=seed) for seed in (0, 1))
    return tf.function(lambda: (a + 1.0, b + 1.0), autograph=False), 4 * 4 * numbers


def against_matrix(function, operations, rounds=4, runs=4):
    """How near a function comes to the speed of matrix products, both in turn.

    Returns:
      {"seconds": median, "seconds_min", "gigaflops": by the median, "matrix_gigaflops": by the median,
      "fraction": of the two}.
    """
    product, product_operations = matrix_product()
    product()
    times = in_turn({"function": function, "product": product}, rounds, runs)
    gigaflops = operations / median(times["function"]) / 1e9
    matrix = product_operations / median(times["product"]) / 1e9
    return {
        "seconds": median(times["function"]),
        "seconds_min": min(times["function"]),
        "gigaflops": gigaflops,
        "matrix_gigaflops": matrix,
        "fraction": gigaflops / matrix,
    }


def figure(what, value, unit="", *, at_least=None, at_most=None, limit=None, limit_is="", ratio=None):
    """One line of docs/performance.md.

    Args:
      what: e.g. "training step, hidden 128". value: what was measured, in `unit`.
      at_least, at_most: the mark.
      limit: what it is held against, in the same unit; `limit_is` says what that is.
      ratio: of value and limit; None: value / limit.
    """
    if ratio is None and limit:
        ratio = value / limit
    entries = {
        "what": what,
        "value": value,
        "unit": unit,
        "at_least": at_least,
        "at_most": at_most,
        "limit": limit,
        "limit_is": limit_is,
        "ratio": ratio,
    }
    return {key: _rounded(entry) for key, entry in entries.items() if entry not in (None, "")}


def report(name, figures=(), **values):
    """Prints one JSON line, and the same as a readable row. `figures` are what the page on performance shows."""
    values = {key: _rounded(value) for key, value in values.items()}
    line = {"benchmark": name, **({"figures": list(figures)} if figures else {}), **values}
    print(json.dumps(line | {"environment": environment()}), flush=True)
    print(name + ": " + ", ".join(f"{key} {value}" for key, value in values.items()))
    for entry in figures:
        print("  " + figure_row(entry), flush=True)


def figure_row(entry):
    """A `figure` as a line of text."""
    text = f"{entry['what']}: {entry['value']:,} {entry.get('unit', '')}".rstrip()
    if "limit" in entry:
        text += f"; limit {entry['limit']:,} ({entry['limit_is']})"
    if "ratio" in entry:
        text += f"; ratio {entry['ratio']}"
    if mark(entry):
        text += f"; mark {mark(entry)}: {'reached' if reached(entry) else 'missed'}"
    return text


def mark(entry):
    """ "≥ 20,000", or "" where there is none."""
    for name, sign in (("at_least", "≥"), ("at_most", "≤")):
        if name in entry:
            return f"{sign} {entry[name]:,}"
    return ""


def reached(entry):
    """Whether a figure reaches its mark; None where it has none."""
    if "at_least" in entry:
        return entry["value"] >= entry["at_least"]
    return entry["value"] <= entry["at_most"] if "at_most" in entry else None


def environment():
    """The machine and what runs on it, as far as a figure depends on them."""
    backend = os.environ["KERAS_BACKEND"]
    versions = {name: importlib.metadata.version(name) for name in (backend, "keras")}
    return {
        "machine": processor(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "backend": backend,
        "python": platform.python_version(),
        **versions,
        "date": time.strftime("%Y-%m-%d"),
        **accelerator(),
    }


def accelerator():
    """{"device": its name} where JAX computes on one, else nothing."""
    jax = sys.modules.get("jax") if os.environ["KERAS_BACKEND"] == "jax" else None
    device = jax.devices()[0] if jax else None
    return {"device": device.device_kind} if device and device.platform != "cpu" else {}


def processor():
    """The processor's name, as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def not_run(reason):
    """Ends a benchmark that lacks what it needs."""
    print(f"not run: {reason}", file=sys.stderr)
    raise SystemExit(NOT_RUN)


def _rounded(value):
    """Four significant digits; whole numbers stay as they are."""
    if not isinstance(value, float) or not np.isfinite(value):
        return value
    return float(f"{value:.4g}") if abs(value) < 1e4 else round(value)
