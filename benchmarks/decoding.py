"""Milliseconds a decoded token: hidden 128, 16 experts, batch 8, 64 ids in, 64 to 512 out, greedy and beam 4.

    python benchmarks/decoding.py [hidden]
"""

import functools
import sys

from common import report, seconds, text_batch, text_model

ROWS, LENGTH = 8, 64


def main(hidden=128):
    model, _, spec = text_model(hidden)
    from t2t_multimodel.decoding.batch_decoder import BatchDecoder
    from t2t_multimodel.training.backend import adapter

    net = model.nets[spec.targets.name]
    bias = net.bias.numpy()
    bias[1] = -1e9  # no end-of-sequence: every row is decoded to the end
    net.bias.assign(bias)
    decoder = BatchDecoder(model, adapter())
    batch = text_batch(ROWS, LENGTH)
    for beam, lengths in ((1, (64, 128, 512, 1024)), (4, (64, 128))):
        for length in lengths:
            first, *times = seconds(functools.partial(decoder.ids, spec, batch, length, beam), 4)
            best = min(times)
            report(
                "decoding", hidden=hidden, beam=beam, target=length, first_seconds=first,
                milliseconds_per_token=1000 * best / (ROWS * length), milliseconds_per_position=1000 * best / length,
            )  # fmt: skip


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
