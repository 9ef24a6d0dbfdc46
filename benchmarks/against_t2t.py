"""This project against Tensor2Tensor 1.9.0's MultiModel: training steps, decoding, pictures; both in turn, A B A B.

    python benchmarks/against_t2t.py --baseline=DIR --environment=VENV [--parts=text_128,text_512,pictures,greedy,beam]

DIR is the folder with the original's scripts (bench_train.py, bench_decode.py), VENV the environment that its setup.sh
makes: `sh DIR/setup.sh VENV`. Every measurement is a process of its own on all processors.

Training is compared twice. "Same layers": the original's model, layer for layer, out of this project's parts
(original.py): equal hidden size, widths, experts, layers and parameters, dropout off on both sides. "Own layers": this
project's MultiModel at full paper depth with as many experts, which is the other arithmetic of the paper. Both in
float32, as the original computes, and with precision=mixed_bfloat16, of which it has nothing. In decoding this project
runs its own layers with experts as large as the original's. Beside each training step stands the limit, how many times
as fast it would be if its arithmetic were nothing but large float32 products.
"""

import argparse
import functools
import json
import math
import pathlib
import subprocess
import sys

import arithmetic
import common
from common import figure, median, not_run, report, seconds

EXPERTS = 16
ROWS, LENGTH = 16, 64  # of a training step's texts
PICTURES = {"original": 4, "own": 32}  # rows of a training step; what each model is at ease with
DECODED_ROWS = 8
LAYERS = {
    "original": "same layers",
    "original_bfloat16": "same layers, mixed_bfloat16",
    "own": "own layers",
    "own_bfloat16": "own layers, mixed_bfloat16",
}
# part → (kind, hidden size, length written, beam, the mark: how many times as fast)
PARTS = {
    "text_128": ("text", 128, 0, 0, 3),
    "text_512": ("text", 512, 0, 0, 5),
    "pictures": ("image", 128, 0, 0, None),
    "greedy": ("decode", 128, 128, 1, None),
    "beam": ("decode", 128, 64, 4, None),
}
EQUAL = "dropout=0,attention_dropout=0,weight_decay=0"  # what the original does besides, and is left out on both sides


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=pathlib.Path, help="folder of the original's scripts")
    parser.add_argument("--environment", type=pathlib.Path, help="the environment that its setup.sh made")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=2, help="processes of each kind")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of a process")
    parser.add_argument("--ours", help=argparse.SUPPRESS)  # the process that measures this project: part/arrangement
    flags = parser.parse_args(argv)
    if flags.ours:
        print(json.dumps(measure_ours(*flags.ours.split("/"), flags.steps)))
        return
    if not flags.baseline or not (flags.baseline / "bench_train.py").is_file():
        not_run(
            "give --baseline=DIR, the folder of the original's scripts (bench_train.py, setup.sh), and "
            "--environment=VENV, which `sh DIR/setup.sh VENV` makes"
        )
    python = flags.environment / "bin" / "python" if flags.environment else None
    if not python or not python.exists():
        not_run(f"no environment with Tensor2Tensor: sh {flags.baseline.name}/setup.sh VENV, then --environment=VENV")
    for part in flags.parts.split(","):
        compare(part, flags, python)


def compare(part, flags, python):
    """Measures one part in turn and reports it."""
    kind, hidden, written, beam, least = PARTS[part]
    arrangements = LAYERS if kind != "decode" else ("own",)
    values = {name: [] for name in ("t2t", *arrangements)}
    for _ in range(flags.rounds):
        values["t2t"].append(measure_t2t(part, flags, python))
        for arrangement in arrangements:
            command = [sys.executable, __file__, f"--ours={part}/{arrangement}", f"--steps={flags.steps}"]
            values[arrangement].append(last_json(command))
    rates = {name: median([value["rate"] for value in runs]) for name, runs in values.items()}
    unit = {"text": "target tokens/s", "image": "pictures/s", "decode": "tokens/s"}[kind]
    what = {
        "text": f"training step, hidden {hidden}",
        "image": f"training on pictures 64×64×3, hidden {hidden}",
        "decode": f"{'greedy' if beam == 1 else f'beam {beam}'} decoding, {written} ids, hidden {hidden}",
    }[kind]
    figures = []
    for name in arrangements:
        limits = [run["limit"] for run in values[name] if "limit" in run]
        figures.append(
            figure(
                f"{what}, against Tensor2Tensor, {LAYERS[name]}",
                rates[name] / rates["t2t"],
                "times as fast",
                at_least=least if name.startswith("original") else None,
                limit=median(limits) / rates["t2t"] if limits else None,
                limit_is="all of its arithmetic as fast as 2048³ products" if limits else "",
            )
        )
    details = {f"{name}_{key}": runs[-1][key] for name, runs in values.items() for key in runs[-1] if key != "rate"}
    rounds = {f"{name}_rounds": [round(run["rate"], 2) for run in runs] for name, runs in values.items()}
    report("against_t2t", figures, part=part, unit=unit, **rates, **details, **rounds)


def measure_t2t(part, flags, python):
    kind, hidden, written, beam, _ = PARTS[part]
    sizes = [f"--hidden={hidden}", f"--experts={EXPERTS}"]
    if kind == "decode":
        command = [
            "bench_decode.py",
            *sizes,
            f"--batch={DECODED_ROWS}",
            f"--inputs={LENGTH}",
            f"--target={written}",
            f"--beam={beam}",
            "--runs=3",
        ]
        line = last_json([str(python), *command], flags.baseline)
        return {"rate": line["tokens_per_s"], "parameters": line["params"]}
    rows = ROWS if kind == "text" else PICTURES["original"]
    command = [
        "bench_train.py",
        f"--problem={kind}",
        *sizes,
        f"--batch={rows}",
        f"--steps={flags.steps}",
        f"--hparams={EQUAL}",
    ]
    line = last_json([str(python), *command], flags.baseline)
    each = rows * (LENGTH if kind == "text" else 1)
    return {"rate": each / line["step_s_median"], "parameters": line["params"]}


def measure_ours(part, arrangement, steps):
    """What this project makes of a part; runs in a process of its own."""
    kind, hidden, written, beam, _ = PARTS[part]
    common.import_backend()
    import original

    if kind == "decode":
        hparams = common.body(
            hidden,
            EXPERTS,
            experts_per_token=original.EXPERTS_PER_TOKEN,
            expert_filter_size=original.DECODER_EXPERT_SIZE,
        )
        return decode(hparams, common.text_problem(), written, beam)
    layers, _, precision = arrangement.partition("_")
    precision = f"mixed_{precision}" if precision else "float32"
    rows = ROWS if kind == "text" else PICTURES[layers]
    batch = common.text_batch(ROWS, LENGTH) if kind == "text" else common.picture_batch(rows)
    if layers == "original":
        spec = original.text_problem() if kind == "text" else common.picture_problem()
        hparams = original.hparams_of(hidden, EXPERTS)
        model = common.in_precision(precision, lambda: original.Original(hparams, spec, *original.SETS[hidden]))
    else:
        hparams = common.body(hidden, EXPERTS, precision=precision)
        spec = common.text_problem() if kind == "text" else common.picture_problem()
        model = common.make_model(hparams, [spec])
    step = common.make_step(model, hparams)
    update = functools.partial(step.update, [(spec, batch)], 1e-3)
    seconds(update, 3)
    count = original.operations if layers == "original" else arithmetic.training
    result = common.against_matrix(update, count(hparams, spec, batch), rounds=2, runs=-(-steps // 2))
    rate = rows * (LENGTH if kind == "text" else 1) / result["seconds"]
    parameters = sum(math.prod(v.shape) for v in model.trainable_variables_for(spec))
    return {"rate": rate, "parameters": parameters, "limit": rate / result["fraction"]}


def decode(hparams, spec, written, beam):
    from t2t_multimodel.decoding.batch_decoder import BatchDecoder
    from t2t_multimodel.training.backend import adapter

    model = common.make_model(hparams, [spec])
    net = model.head(spec)
    bias = net.bias.numpy()
    bias[1] = -1e9  # no end-of-sequence: every row is decoded to the end
    net.bias.assign(bias)
    decoder = BatchDecoder(model, adapter())
    run = functools.partial(decoder.ids, spec, common.text_batch(DECODED_ROWS, LENGTH), written, beam)
    run()
    return {"rate": DECODED_ROWS * written / median(seconds(run, 3)), "parameters": model.count_params()}


def last_json(command, folder=None):
    """The last line of a command's output, which is JSON."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise SystemExit(f"{pathlib.Path(command[1]).name} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
