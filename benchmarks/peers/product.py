"""This project's side of benchmarks/against_peers.py: one kind of work, served in blocks.

python benchmarks/peers/product.py text|picture|decode HIDDEN PRECISION [BEAM WORKERS]
"""

import functools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import common  # noqa: E402
import decoding  # noqa: E402

from peers.blocks import serve  # noqa: E402

EXPERTS, ROWS, PICTURES, LENGTH = 16, 16, 32, 64
DECODED_ROWS, WRITTEN = 8, 128
PRECISIONS = {"float32": "float32", "bf16": "mixed_bfloat16"}  # as the peers call them → a policy of Keras


def main(kind, hidden, precision="float32", beam=1, workers=1, rows=0, written=WRITTEN, **changes):
    """Args: kind: "text" or "picture" for a training step, "decode". rows: 0: as the peers. changes: to `HParams`."""
    hidden, beam, workers = int(hidden), int(beam), int(workers)
    changes["precision"] = PRECISIONS[precision]
    if kind == "decode":
        decode(hidden, beam, workers, rows or DECODED_ROWS, written, changes)
        return
    if kind == "text":
        model, hparams, spec = common.text_model(hidden, EXPERTS, **changes)
        batch = common.text_batch(rows or ROWS, LENGTH)
    else:
        hparams, spec = common.body(hidden, EXPERTS, **changes), common.picture_problem()
        model, batch = common.make_model(hparams, [spec]), common.picture_batch(rows or PICTURES)
    step = common.make_step(model, hparams)
    update = functools.partial(step.update, [(spec, batch)], 1e-3)
    serve(update, lambda: {"loss": update()[0][0]["cross_entropy"], "parameters": model.count_params()})


def decode(hidden, beam, workers, rows, written, changes):
    """With several workers the batch is shared out in equal parts, as CTranslate2's workers share it."""
    part = decoding.Part(rows // workers, LENGTH, written, beam)
    setup = decoding.Setup(hidden, changes)
    if workers == 1:
        worker = decoding.Decoding(setup)
        serve(lambda: worker.do(part), lambda: {"parameters": worker.parameters})
        return
    with decoding.processes(workers, setup) as pool:
        parameters, ids = pool.each("about")[0]["parameters"], [about["process"] for about in pool.each("about")]
        serve(lambda: list(pool.begin([part] * workers)()), lambda: {"parameters": parameters}, ids)


if __name__ == "__main__":
    main(*sys.argv[1:])
