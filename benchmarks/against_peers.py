"""This project against what a user would pick today: its model in PyTorch, MarianMT, CTranslate2; in turn, A B A B.

    python benchmarks/against_peers.py --peers=DIR --environment=VENV [--parts=text_128,text_512,…,greedy,beam]

DIR is the folder with the peers' scripts (peer_step.py, peer_decode.py, other_step.py, other_decode.py, tuned.sh), VENV
an environment for them: `python3 -m venv VENV && VENV/bin/pip install torch numpy transformers ctranslate2
sentencepiece`. Each side is a process of its own, made ready first; steps are on all processors, decoding is by two
workers. Then one short block of each in turn while the others wait. Only blocks that nothing else on the machine
disturbed count (`peers/turns.py`).

"PyTorch" is the same model with the same parameters, as it is installed; "tuned" is told to use AVX-512 (MKL does not
on AMD), keeps large arrays, and computes its dilated convolutions by hand; "compiled" is torch.compile of that.
MarianMT and CTranslate2 are another model, a Transformer of about as many parameters.
"""

import argparse
import os
import pathlib
import shutil
import sys
import tempfile

from common import figure, not_run, report
from peers.turns import Side, take_turns

from t2t_multimodel.startup import processors

PRODUCT = pathlib.Path(__file__).parent / "peers" / "product.py"
THREADS = str(processors())  # of a step
WORKERS = "2"  # that decode, each on a processor
SECONDS = "6"  # of a peer that is not served; it takes the place of the argument
# part → (kind, hidden size, precision, beam)
PARTS = {
    "text_128": ("text", "128", "float32", 0),
    "text_512": ("text", "512", "float32", 0),
    "text_512_bfloat16": ("text", "512", "bf16", 0),
    "pictures": ("picture", "128", "float32", 0),
    "greedy": ("decode", "128", "float32", 1),
    "beam": ("decode", "128", "float32", 4),
}
# part → {peer: the mark: how many times as fast as it}
MARKS = {
    "text_128": {"PyTorch, tuned": 1.35},
    "text_512": {"PyTorch, tuned": 1.15},
    "pictures": {"PyTorch, tuned": 1.2},
    "greedy": {"CTranslate2, float32": 1.0},
    "beam": {"CTranslate2, float32": 1.0},
}
WORK = {
    "text": "training step, hidden {hidden}, {precision}",
    "picture": "training on pictures 64×64×3, hidden {hidden}, {precision}",
    "decode": "{search} decoding of 8 × 128 ids, hidden {hidden}, 2 workers",
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=pathlib.Path, help="folder of the peers' scripts")
    parser.add_argument("--environment", type=pathlib.Path, help="an environment with torch, and what else there is")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=6, help="quiet blocks of each")
    parser.add_argument("--patience", type=float, default=240, help="seconds to wait for quiet blocks, for each part")
    flags = parser.parse_args(argv)
    if not flags.peers or not (flags.peers / "peer_step.py").is_file():
        not_run(
            "give --peers=DIR, the folder of the peers' scripts (peer_step.py, peer_decode.py, …), and "
            "--environment=VENV, an environment with torch, transformers and ctranslate2"
        )
    if not os.access(flags.peers / "tuned.sh", os.X_OK):
        not_run(f"{flags.peers} has no tuned.sh that can be executed")
    python = flags.environment.absolute() / "bin" / "python" if flags.environment else None
    if not python or not python.exists():
        not_run(
            "no environment with PyTorch: python3 -m venv VENV && VENV/bin/pip install torch, then --environment=VENV"
        )
    for part in flags.parts.split(","):
        if part not in PARTS:
            raise SystemExit(f"no part {part!r}; there are: {', '.join(PARTS)}")
        compare(part, flags, python)


def commands(part, folder, python):
    """{side: its command}; this project's is the first."""
    kind, hidden, precision, beam = PARTS[part]
    tuned = folder / "tuned.sh"
    with_workers = [str(beam), WORKERS] if beam else []
    found = {"product": [sys.executable, PRODUCT, kind, hidden, precision, *with_workers]}
    if not beam:
        step = [python, "peer_step.py", kind, hidden]
        how = [precision, THREADS, SECONDS]
        found["PyTorch"] = [*step, "eager", *how, "conv1d", "loop"]
        found["PyTorch, tuned"] = [tuned, *step, "eager", *how, "fold", "loop"]
        found["PyTorch, compiled"] = [tuned, *step, "compile", *how, "fold", "box"]
        if part == "text_128":
            found["MarianMT"] = [tuned, python, "other_step.py", hidden, "1024", "eager", precision, THREADS, SECONDS]
        return found
    if beam == 1:
        decode = [python, "peer_decode.py", hidden]
        found["PyTorch"] = [*decode, "eager", WORKERS, SECONDS]
        found["PyTorch, tuned"] = [tuned, *decode, "eager", WORKERS, SECONDS]
        found["PyTorch, compiled"] = [tuned, *decode, "compile", WORKERS, SECONDS]
    for weights in ("float32", "int8"):
        other = [python, "other_decode.py", hidden, str(beam), weights, WORKERS, SECONDS]
        found[f"CTranslate2, {weights}"] = other
    return found


def copy_of(folder, place):
    """A copy of the scripts: they write beside themselves, and the folder may be one that can't be written."""
    place.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            shutil.copy(path, place)
    return place


def compare(part, flags, python):
    """Measures one part in turn and reports it; a peer that the environment lacks is left out and named."""
    with tempfile.TemporaryDirectory() as work:
        folder = copy_of(flags.peers, pathlib.Path(work) / "peers")
        environment = {"SERVE": "1", "TORCHINDUCTOR_CACHE_DIR": f"{work}/cache"}
        sides, missing = {}, {}
        try:
            for name, command in commands(part, folder, python).items():
                side = Side(command, None if name == "product" else folder, environment)
                sides[name] = side
                try:
                    side.wait("READY")  # one after the other: two that compile would take each other's time
                except RuntimeError as error:
                    if name == "product":
                        raise SystemExit(str(error)) from None
                    sides.pop(name).end()
                    missing[name] = str(error)
            if len(sides) == 1:
                raise SystemExit(f"no peer runs: {next(iter(missing.values()))}")
            try:
                take_turns(list(sides.values()), flags.rounds, flags.patience)
            except RuntimeError as error:
                raise SystemExit(str(error)) from None
            results = {name: side.result() for name, side in sides.items()}
        finally:
            for side in sides.values():
                side.end()
    show(part, sides, results, missing)


def show(part, sides, results, missing):
    kind, hidden, precision, beam = PARTS[part]
    search = "greedy" if beam == 1 else f"beam {beam}"
    named = "mixed_bfloat16" if precision == "bf16" else precision
    what = WORK[kind].format(hidden=hidden, precision=named, search=search)
    own = sides["product"].seconds
    figures = [
        figure(
            f"{what}, against {name}",
            side.seconds / own,
            "times as fast",
            at_least=MARKS.get(part, {}).get(name),
        )
        for name, side in sides.items()
        if name != "product"
    ]
    report(
        "against_peers",
        figures,
        part=part,
        milliseconds={name: round(1000 * side.seconds, 3) for name, side in sides.items()},
        processor_milliseconds={
            name: round(1000 * min(processor for _, processor, _ in side.blocks), 3) for name, side in sides.items()
        },
        quiet_blocks={name: f"{len(side.quiet)} of {len(side.blocks)}" for name, side in sides.items()},
        parameters={name: result.get("parameters") for name, result in results.items()},
        **({"missing": missing} if missing else {}),
    )


if __name__ == "__main__":
    main()
