"""Run by test_devices.py with four devices of a CPU: trains on one and on four of them, and writes what happened.

python devices_child.py FILE: writes {mode: {"losses", "norms", "shapes", "products"}} as JSON,
"evaluation" and "decoded" too of the first and the last.
"""

import json
import re
import sys
from dataclasses import replace

import keras
import numpy as np
from models import HPARAMS, TRANSLATION, make_batch

from t2t_multimodel.decoding.batch_decoder import BatchDecoder
from t2t_multimodel.models.multimodel import MultiModel
from t2t_multimodel.training.backend import adapter, scope
from t2t_multimodel.training.devices import Devices
from t2t_multimodel.training.memory_plan import size_of
from t2t_multimodel.training.optimizer import make_optimizer
from t2t_multimodel.training.run import load_variables

SMALL = replace(HPARAMS, num_experts=8, experts_per_token=2, hidden_size=32, expert_filter_size=24, dropout=0.1)
MODES = {  # → devices, expert_devices, shard_weights; None: one device
    "one": None,
    "data": (4, 1, False),
    "expert": (4, 4, False),
    "both": (4, 2, False),
    "weights": (4, 2, True),
}
# The same with the rows of a batch in groups, whose experts are often full.
GROUPS = replace(SMALL, expert_groups=4, batch_rows_multiple=4, expert_capacity_factor=1.0)
GROUPED = {"groups_one": None, "groups": (4, 2, False), "groups_weights": (4, 4, True)}
MUON = replace(SMALL, optimizer="muon")
OF_MUON = {"muon_one": None, "muon": (4, 4, False), "muon_weights": (4, 2, True)}
ROWS, STEPS = 8, 3
TRAINED_LAST = {}  # {path: array} of every variable of the mode that was trained last


def train(places, hparams=SMALL):
    devices = places and Devices(*places, num_experts=hparams.num_experts)
    keras.utils.set_random_seed(3)
    with scope(devices):
        model = MultiModel(hparams, [TRANSLATION])
        optimizer = make_optimizer(hparams, model.trainable_variables)
    step = adapter().Step(model, optimizer, hparams, devices)
    losses, norms, dropped = [], [], []
    for number in range(STEPS):
        reports, norm = step.update([(TRANSLATION, make_batch(TRANSLATION, ROWS, seed=number))], 1e-2)
        losses.append(float(reports[0]["loss"]))
        norms.append(float(norm))
        dropped.append(float(reports[0]["dropped_token_fraction"]))
    variables = {v.path: v.value for v in step.variables()}
    held = sum(array.addressable_shards[0].data.nbytes for array in variables.values())
    TRAINED_LAST.update({path: np.asarray(value) for path, value in variables.items()})
    first = next(v for path, v in variables.items() if path.endswith("encoder/experts/first"))
    momentum = next(v for path, v in variables.items() if path.endswith("encoder_experts_first_momentum"))
    dense = next(v for path, v in variables.items() if path.endswith("attention/query"))
    return {
        "losses": losses,
        "norms": norms,
        "dropped": dropped,
        "shapes": {
            name: list(array.addressable_shards[0].data.shape)
            for name, array in (("first", first), ("momentum", momentum), ("dense", dense))
        },
        "held": held,
        "counted": counted(places, hparams),
        **of_the_experts(step),
    } | (answers(model, step) if hparams is SMALL and places in (MODES["one"], MODES["weights"]) else {})


def counted(places, hparams):
    """Bytes of the variables on one device, before they are made."""
    devices = places and Devices(*places, num_experts=hparams.num_experts)

    def make():
        model = MultiModel(hparams, [TRANSLATION])
        return model, make_optimizer(hparams, model.trainable_variables)

    with scope(devices):
        model, optimizer = adapter().abstractly(make)
    variables = [*model.variables, *optimizer.variables]
    return size_of(variables, devices.held) if devices else size_of(variables)


def answers(model, step):
    """Teacher-forced and decoded ones to rows that the devices can't share evenly."""
    batch = make_batch(TRANSLATION, ROWS - 1)
    return {
        "evaluation": {name: values.tolist() for name, values in step.evaluate(TRANSLATION, batch).items()},
        "decoded": BatchDecoder(model, adapter()).ids(TRANSLATION, batch, 5)[0].tolist(),
    }


def of_the_experts(step):
    """{"products": how many multiplications each product of the experts takes on a device, "sorts": the numbers in each
    sort, "exchanges": all-to-alls}, as the compiled program says.
    """
    microbatches = [(TRANSLATION, make_batch(TRANSLATION, ROWS))]
    (name,) = step.programs_of(microbatches)
    text = step.prepare(name, microbatches).as_text()
    shapes = {
        name: [int(n) for n in numbers.split(",")] for name, numbers in re.findall(r"%(\S+) = f32\[([0-9,]+)\]", text)
    }
    sizes = []
    for result, left, contracted in re.findall(
        r"%(\S+) = \S+ dot\((?:f32\S+ )?%([^,]+),.*lhs_batch_dims=\{0\}, lhs_contracting_dims=\{(\d)\}.*/experts/", text
    ):
        sizes.append(int(np.prod(shapes[result])) * shapes[left][int(contracted)])
    sorts = re.findall(r"= \(s32\[([0-9]+)\][^=]* sort\(", text)
    exchanges = len(re.findall(r" all-to-all(?:-start)?\(", text))
    return {"products": sorted(sizes), "sorts": sorted(map(int, sorts)), "exchanges": exchanges}


def restored(places):
    """Whether variables in these places take what was trained last, and stay in their places: (values, places)."""
    devices = Devices(*places, num_experts=SMALL.num_experts)
    keras.utils.set_random_seed(4)
    with scope(devices):
        model = MultiModel(SMALL, [TRANSLATION])
    before = [v.value.sharding for v in model.variables]
    load_variables(model.variables, TRAINED_LAST, "test")
    values = all(np.array_equal(np.asarray(v.value), TRAINED_LAST[v.path]) for v in model.variables)
    return values, all(v.value.sharding == sharding for v, sharding in zip(model.variables, before))


if __name__ == "__main__":
    results = {mode: train(places, GROUPS) for mode, places in GROUPED.items()}
    results |= {mode: train(places, MUON) for mode, places in OF_MUON.items()}
    results |= {mode: train(places) for mode, places in MODES.items()}
    results["restored"] = restored(MODES["expert"])  # of the last mode, in other places
    with open(sys.argv[1], "w") as file:
        json.dump(results, file)
