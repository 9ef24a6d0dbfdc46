"""What routing by groups of rows saves on several devices: bytes that each device sends a step, and the time of a step.

    python benchmarks/expert_routing.py [--devices=4 --hidden=128 --experts=32 --rows=32 --length=64]

The model of `hidden` features on so many devices of a CPU (`--xla_force_host_platform_device_count`), the experts
shared out over all of them: with expert_groups=1 every token may take any free slot of its expert, and each device
sorts the tokens of the batch; with as many groups as devices each routes its own rows, and all-to-alls bring them to
their experts. Bytes are counted in the compiled program: what each collective operation takes and gives. The devices
share the processors, so the times say what the work is in all, not how long a wire takes.
"""

import argparse
import importlib.util
import os
import re
import sys

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")
BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "pred": 1}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--experts", type=int, default=32)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=64, help="ids a side")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args(argv)
    several = f"--xla_force_host_platform_device_count={flags.devices}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {several}".strip()
    from common import figure, in_turn, median, not_run, report

    if importlib.util.find_spec("jax") is None:
        not_run("JAX is not installed")
    kinds = {"global": 1, "groups": flags.devices}
    functions, sent = {}, {}
    for name, groups in kinds.items():
        functions[name], text = step_of(flags, groups)
        sent[name] = collective_bytes(text)
    times = {name: median(values) for name, values in in_turn(functions, flags.rounds, 2).items()}
    what = (
        f"{flags.experts} experts over {flags.devices} devices, hidden {flags.hidden}, {flags.rows} × ({flags.length} "
        f"+ {flags.length}) ids: routing by groups"
    )
    share = lambda of: {name: sum(values.values()) for name, values in of.items()}
    mega = {name: total / 1e6 for name, total in share(sent).items()}
    figures = [
        figure(
            f"{what}, bytes of collectives a device",
            mega["groups"],
            "MB a step",
            limit=mega["global"],
            limit_is="global routing",
        ),
        figure(f"{what}, a step", times["groups"], "s", limit=times["global"], limit_is="global routing"),
    ]
    report("expert_routing", figures, **{f"{n}_{op}": b for n, of in sent.items() for op, b in of.items()})


def step_of(flags, groups):
    """(a function that makes an update and waits for it, the text of its program)."""
    from common import body, text_batch, text_problem

    from t2t_multimodel.models.multimodel import MultiModel
    from t2t_multimodel.training.backend import adapter, scope
    from t2t_multimodel.training.devices import Devices
    from t2t_multimodel.training.optimizer import make_optimizer

    multiple = {"expert_groups": groups, "batch_rows_multiple": flags.devices}
    hparams, spec = body(flags.hidden, flags.experts, **multiple), text_problem()
    devices = Devices(flags.devices, flags.devices, num_experts=flags.experts)
    with scope(devices):
        model = MultiModel(hparams, [spec])
        optimizer = make_optimizer(hparams, model.trainable_variables)
    step = adapter().Step(model, optimizer, hparams, devices)
    microbatches = [(spec, text_batch(flags.rows, flags.length))]
    (name,) = step.programs_of(microbatches)
    text = step.prepare(name, microbatches).as_text()
    return lambda: float(step.update(microbatches, 1e-3)[1]), text


def collective_bytes(text):
    """{operation: bytes of the results of all such operations} of a compiled program for one device."""
    found = dict.fromkeys(COLLECTIVES, 0)
    for shapes, operation in re.findall(rf"= (.+?) ({'|'.join(COLLECTIVES)})(?:-start)?\(", text):
        for kind, sides in re.findall(r"(\w+)\[([0-9,]*)\]", shapes):
            size = BYTES[kind]
            for side in filter(None, sides.split(",")):
                size *= int(side)
            found[operation] += size
    return {operation: size for operation, size in found.items() if size}


if __name__ == "__main__":
    sys.exit(main())
