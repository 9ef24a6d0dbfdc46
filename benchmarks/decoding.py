"""Milliseconds a decoded token: hidden 128, 16 experts, batch 8, 64 ids in, 64 to 1,024 out, greedy and beam 4.

    python benchmarks/decoding.py [hidden]

The limit is the time of the arithmetic alone, every position computed once, at the speed of 2048³ products; a matrix
with 8 rows can't come near it, since its weights are read for 8 rows as for 2048. Two workers (`--workers=2` of
t2t-decoder) decode the batch in halves, and two whole batches at once.
"""

import dataclasses
import functools
import os
import sys

import arithmetic
from common import figure, import_backend, in_turn, matrix_product, median, report, text_batch, text_model

ROWS, LENGTH = 8, 64
# beam → (lengths, the mark: milliseconds a token at hidden 128)
GREEDY, BEAM = ((64, 128, 1024), 0.15), ((64, 128), 0.5)
WORKERS, WRITTEN_BY_WORKERS, MARKS_OF_WORKERS = 2, 128, {1: 0.055, 4: 0.19}


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a `Decoding` is made from."""

    hidden: int
    changes: dict  # to the `HParams`


@dataclasses.dataclass(frozen=True)
class Part:
    """Random sources, to be decoded to so many ids each."""

    rows: int
    read: int
    written: int
    beam: int


class Decoding:
    """A model that never ends a text, so that every row is decoded to the end: a worker of `processes`, or alone."""

    def __init__(self, setup):
        self.model, self.hparams, self.spec = text_model(setup.hidden, **setup.changes)
        from t2t_multimodel.decoding.batch_decoder import BatchDecoder
        from t2t_multimodel.training.backend import adapter

        net = self.model.head(self.spec)
        bias = net.bias.numpy()
        bias[1] = -1e9  # no end-of-sequence
        net.bias.assign(bias)
        self.decoder = BatchDecoder(self.model, adapter())
        self.parameters = self.model.count_params()

    def do(self, task):
        """The ids of a `Part`; of "about" the process."""
        if task == "about":
            return {"process": os.getpid(), "parameters": self.parameters}
        batch = text_batch(task.rows, task.read)
        return self.decoder.ids(self.spec, batch, task.written, task.beam)


def worker(setup):
    """A `Decoding` of one processor, in a process of its own."""
    from t2t_multimodel.training.worker_process import ONE_PROCESSOR

    os.environ.update(ONE_PROCESSOR)
    import_backend()
    return Decoding(setup)


def processes(count, setup):
    """So many worker processes, each with a model of its own."""
    from t2t_multimodel.training.worker_pool import WorkerPool

    return WorkerPool(count, worker, setup)


def main(hidden=128, rows=ROWS, greedy=GREEDY[0], beam=BEAM[0], rounds=3, workers=WORKERS, **changes):
    setup = Setup(hidden, changes)
    alone = Decoding(setup)
    hparams, spec = alone.hparams, alone.spec
    functions = {
        (size, length): functools.partial(alone.do, Part(rows, LENGTH, length, size))
        for size, lengths in ((1, greedy), (4, beam))
        for length in lengths
    }
    first = {key: in_turn({key: function}, 1, 1)[key][0] for key, function in functions.items()}
    product, product_operations = matrix_product()
    product()
    times = in_turn(functions | {"product": product}, rounds, 1)
    rate = product_operations / median(times.pop("product"))
    milliseconds = {key: 1000 * median(taken) / (rows * key[1]) for key, taken in times.items()}
    for size, lengths, most in ((1, greedy, GREEDY[1]), (4, beam, BEAM[1])):
        name = "greedy" if size == 1 else f"beam {size}"
        figures = []
        for length in lengths:
            operations = arithmetic.decoding(hparams, spec, rows, LENGTH, length, size)
            figures.append(
                figure(
                    f"{name} decoding, hidden {hidden}, {length} ids",
                    milliseconds[size, length],
                    "ms/token",
                    at_most=most if hidden == 128 else None,
                    limit=1000 * operations / rate / (rows * length),
                    limit_is="its arithmetic as fast as 2048³ products",
                )
            )
        longest, shortest = lengths[-1], lengths[0]
        if longest != shortest:
            what = f"{name} decoding, hidden {hidden}: a token of {longest} over one of {shortest}"
            growth = milliseconds[size, longest] / milliseconds[size, shortest]
            figures.append(figure(what, growth, "times the time"))
        report(
            "decoding",
            figures,
            hidden=hidden,
            beam=size,
            rows=rows,
            first_seconds={length: round(first[size, length], 2) for length in lengths},
            milliseconds_per_position={length: round(rows * milliseconds[size, length], 3) for length in lengths},
        )
    with processes(workers, setup) as pool:
        by_workers(pool, alone, rows, WRITTEN_BY_WORKERS if not changes else greedy[0], rounds)


def by_workers(pool, alone, rows, written, rounds):
    """What workers take for one batch in equal parts, and for a whole batch each, beside one process."""
    hidden, count = alone.hparams.hidden_size, pool.count
    functions = {}
    for beam in MARKS_OF_WORKERS:
        part = Part(rows // count, LENGTH, written, beam)
        whole = dataclasses.replace(part, rows=rows)
        functions[beam, "one process"] = functools.partial(alone.do, whole)
        functions[beam, "halves"] = lambda tasks=[part] * count: list(pool.begin(tasks)())
        functions[beam, "whole"] = lambda tasks=[whole] * count: list(pool.begin(tasks)())
    in_turn(functions, 1, 1)  # compiles
    times = in_turn(functions, rounds, 2)
    for beam, most in MARKS_OF_WORKERS.items():
        name = "greedy" if beam == 1 else f"beam {beam}"
        tokens = {"one process": rows, "halves": rows, "whole": rows * count}
        each = {how: 1000 * median(times[beam, how]) / (tokens[how] * written) for how in tokens}
        figures = [
            figure(
                f"{name} decoding, {count} workers, hidden {hidden}, {written} ids, {what}",
                each[how],
                "ms/token",
                at_most=most if how == "halves" and (hidden, count) == (128, 2) else None,
                limit=each["one process"] / count,
                limit_is="one process, over the workers",
            )
            for how, what in (("halves", "a batch in equal parts"), ("whole", "a whole batch each"))
        ]
        report("decoding", figures, hidden=hidden, beam=beam, rows=rows, workers=count, one_process=each["one process"])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
