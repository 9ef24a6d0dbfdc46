"""What the benchmarks share: the model of the measured size, the machine's own limit, one way of reporting."""

import json
import os
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402

VOCABULARY = 8192


def text_model(hidden=128, experts=16):
    """(model, hparams, spec): full paper depth, one text problem with a vocabulary of 8192."""
    from t2t_multimodel import startup

    startup.import_tensorflow()
    from t2t_multimodel.features import FeatureSpec, ProblemSpec
    from t2t_multimodel.hyperparameters import HParams
    from t2t_multimodel.model.multimodel import MultiModel

    hparams = HParams(
        hidden_size=hidden, num_experts=experts, expert_filter_size=2 * hidden, dropout=0.0, max_target_length=2048
    )
    text = FeatureSpec("text", "text", vocabulary_size=VOCABULARY)
    spec = ProblemSpec("text", text, text, 5)
    return MultiModel(hparams, [spec]), hparams, spec


def text_batch(rows, length, seed=0):
    """A batch of random ids without padding."""
    random = np.random.default_rng(seed)
    ids = random.integers(70, VOCABULARY, (2, rows, length)).astype("int32")
    return {
        "inputs": ids[0], "targets": ids[1], "command": np.full(rows, 5, "int32"),
        "example_weights": np.ones(rows, "float32"),
    }  # fmt: skip


def seconds(function, runs):
    """Seconds of each of `runs` calls."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def matrix_gigaflops(size=2048, runs=7):
    """GFLOP/s of this machine's float32 matrix product, the limit that a step is held against."""
    from keras import ops

    a = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(size, size)).astype("float32"))
    times = seconds(lambda: np.asarray(ops.matmul(a, a)), runs)
    return 2 * size**3 / min(times) / 1e9


def report(name, **values):
    """Prints one JSON line, and the same as a readable row."""
    values = {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}
    environment = {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "backend": os.environ["KERAS_BACKEND"]}
    print(json.dumps({"benchmark": name, **values, "environment": environment}))
    print(name + ": " + ", ".join(f"{key} {value}" for key, value in values.items()))
