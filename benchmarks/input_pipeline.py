"""Examples a second of the input streams by themselves, and how long a trainer waits for them.

    python benchmarks/input_pipeline.py [--texts=N] [--pictures=N]

Short texts are pairs of 5 to 30 ids a side, pictures 64×64×3 with one of 10 classes, both as stores on disk. The limit
is the reading and parsing of the records in large batches.
The trainer is multimodel_tiny on both problems in turn: its loop of draws and updates, as `training/trainer.py` has it,
and the same updates on batches that lie in memory, in turn.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import numpy as np
from common import REPOSITORY, figure, import_backend, make_model, make_step, median, report

sys.path.append(str(REPOSITORY / "tests"))

TEXTS_PER_SECOND, PICTURES_PER_SECOND, MOST_WAITING = 60_000, 3_000, 0.02  # marks
SECONDS = 2.0  # of each measurement of a stream
RECORDS = 4096  # parsed together for the limit


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=40_000)
    parser.add_argument("--pictures", type=int, default=4_000)
    parser.add_argument("--steps", type=int, default=30, help="updates of each kind in a round of the trainer's loop")
    flags = parser.parse_args(argv)
    import_backend()
    from t2t_multimodel import registry
    from t2t_multimodel.input.store import ExampleStore

    hparams = registry.hparams_sets.get("multimodel_tiny")()
    with tempfile.TemporaryDirectory() as folder:
        write_stores(pathlib.Path(folder), flags.texts, flags.pictures)
        stores = {name: ExampleStore(folder, name) for name in ("texts", "pictures")}
        rates, limits = stream_rates(stores, hparams), parsing_rates(stores)
        waiting = trainer_waits(stores, hparams, flags.steps)
        for store in stores.values():
            store.close()
    report(
        "input_pipeline",
        [
            figure(
                "input stream of short texts",
                rates["texts"],
                "examples/s",
                at_least=TEXTS_PER_SECOND,
                limit=limits["texts"],
                limit_is=f"reading and parsing {RECORDS} records at a time",
            ),
            figure(
                "input stream of pictures 64×64×3",
                rates["pictures"],
                "pictures/s",
                at_least=PICTURES_PER_SECOND,
                limit=limits["pictures"],
                limit_is=f"reading and parsing {RECORDS} records at a time",
            ),
            figure(
                "trainer waiting for its input, multimodel_tiny", waiting["share"], "of its time", at_most=MOST_WAITING
            ),
            figure(
                "step with its input stream",
                waiting["step"],
                "s",
                limit=waiting["step_from_memory"],
                limit_is="the same batches from memory",
            ),
        ],
        rows={name: round(waiting["rows"][name], 1) for name in stores},
    )


def write_stores(folder, texts, pictures):
    """The stores `texts` and `pictures`."""
    import stores

    from t2t_multimodel.modalities import Image, Label, Text

    random = np.random.default_rng(0)
    stores.write_store(folder, "texts", Text(), Text(), {"train": stores.text_samples(texts, 5, 30)}, shards=4)
    classes = tuple(map(str, range(10)))
    samples = [
        {"inputs": random.integers(0, 256, (64, 64, 3), np.uint8), "targets": classes[i % 10]} for i in range(pictures)
    ]
    stores.write_store(folder, "pictures", Image(64, 64, 3), Label(classes), {"train": samples}, shards=4)


def open_stream(store, hparams):
    from t2t_multimodel.input.batching import BatchStream
    from t2t_multimodel.training.backend import adapter

    return BatchStream(store, "train", hparams, 0, bucket=adapter().STATIC_SHAPES)


def stream_rates(stores, hparams):
    """{store: examples a second}, nothing else being done."""
    rates = {}
    for name, store in stores.items():
        stream = open_stream(store, hparams)
        for _ in range(2 * hparams.length_window):  # the first window, and what the disk has to give once
            stream.next()
        examples, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            examples += stream.next().examples
        rates[name] = examples / (time.perf_counter() - start)
        stream.close()
    return rates


def parsing_rates(stores):
    """{store: examples a second} of `Split.columns` on large batches in the order of the disk."""
    rates = {}
    for name, store in stores.items():
        split = store.split("train")
        rows = np.arange(min(len(split), RECORDS))
        split.columns(rows)
        times = []
        while sum(times) < SECONDS / 2:
            start = time.perf_counter()
            split.columns(rows)
            times.append(time.perf_counter() - start)
        rates[name] = len(rows) / median(times)
    return rates


def trainer_waits(stores, hparams, steps):
    """The share of its time that a trainer's loop waits for batches, and a step's seconds with and without streams."""
    specs = {name: store.spec for name, store in stores.items()}
    step = make_step(make_model(hparams, list(specs.values())), hparams)
    streams = {name: open_stream(store, hparams) for name, store in stores.items()}
    kept = {name: [stream.next() for _ in range(8)] for name, stream in streams.items()}
    rows = {name: sum(batch.examples for batch in batches) / len(batches) for name, batches in kept.items()}
    waited = 0.0

    def from_streams(number):
        nonlocal waited
        for name in specs:
            start = time.perf_counter()
            batch = streams[name].next()
            waited += time.perf_counter() - start
            step.update([(specs[name], batch.arrays)], 1e-3)

    def from_memory(number):
        for name in specs:
            step.update([(specs[name], kept[name][number % 8].arrays)], 1e-3)

    for number in range(3):  # traces
        from_streams(number)
        from_memory(number)
    waited = 0.0
    times = {from_streams: [], from_memory: []}
    for _ in range(3):
        for function, taken in times.items():
            start = time.perf_counter()
            for number in range(steps):
                function(number)
            taken.append((time.perf_counter() - start) / (steps * len(specs)))
    for stream in streams.values():
        stream.close()
    whole = sum(times[from_streams]) * steps * len(specs)
    return {
        "share": waited / whole,
        "step": median(times[from_streams]),
        "step_from_memory": median(times[from_memory]),
        "rows": rows,
    }


if __name__ == "__main__":
    main()
