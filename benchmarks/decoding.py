"""Milliseconds a decoded token: hidden 128, 16 experts, batch 8, 64 ids in, 64 to 1,024 out, greedy and beam 4.

    python benchmarks/decoding.py [hidden]

The limit is the time of the arithmetic alone, every position computed once, at the speed of 2048³ products; a matrix
with 8 rows can't come near it, since its weights are read for 8 rows as for 2048.
"""

import functools
import sys

import arithmetic
from common import figure, in_turn, matrix_product, median, report, text_batch, text_model

ROWS, LENGTH = 8, 64
# beam → (lengths, the mark: milliseconds a token at hidden 128)
GREEDY, BEAM = ((64, 128, 1024), 0.15), ((64, 128), 0.5)


def main(hidden=128, rows=ROWS, greedy=GREEDY[0], beam=BEAM[0], rounds=3):
    model, hparams, spec = text_model(hidden)
    from t2t_multimodel.decoding.batch_decoder import BatchDecoder
    from t2t_multimodel.training.backend import adapter

    net = model.head(spec)
    bias = net.bias.numpy()
    bias[1] = -1e9  # no end-of-sequence: every row is decoded to the end
    net.bias.assign(bias)
    decoder = BatchDecoder(model, adapter())
    batch = text_batch(rows, LENGTH)
    functions = {
        (size, length): functools.partial(decoder.ids, spec, batch, length, size)
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


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
