"""What a training step takes of memory, counted from shapes before any array is made: `t2t-trainer --dry_run`."""

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

import keras

from t2t_multimodel.input.batching import BatchStream
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.training.backend import adapter, chosen_devices, scope
from t2t_multimodel.training.optimizer import make_optimizer
from t2t_multimodel.training.parts import set_parts
from t2t_multimodel.training.run import Run, build_model

GIB = 2**30


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on one device; `gradients` and `activations` are of the problem that takes most."""

    weights: int  # and the model's random state
    gradients: int  # clipping by the global norm needs all of them at once
    optimizer: int
    activations: int | None  # and what else XLA plans to have at once; None: not counted
    largest: str  # the problem and its batch that these are of
    count: int  # numbers in the weights
    device: str
    memory: int | None  # that the device has for this process; None: unknown
    devices: str = ""  # what several devices share, in words

    @property
    def total(self):
        return self.weights + self.gradients + self.optimizer + (self.activations or 0)

    def lines(self):
        """The plan for people."""
        gib = lambda size: f"{size / GIB:8.2f} GiB"
        counted = self.activations is not None
        activations = gib(self.activations) if counted else "     not counted: XLA can, with --backend=jax"
        return [
            *([self.devices, "on each of them:"] if self.devices else []),
            f"weights      {gib(self.weights)}  ({self.count:,} numbers{' in all' if self.devices else ''})",
            f"gradients    {gib(self.gradients)}",
            f"optimizer    {gib(self.optimizer)}",
            f"activations  {activations}",
            f"in all       {gib(self.total)}  ({self.largest}){'' if counted else ' at least'}",
            f"{self.device}: {self._verdict()}",
        ]

    def _verdict(self):
        if self.memory is None:
            return "how much memory it has is unknown"
        has = f"{self.memory / GIB:.1f} GiB of memory"
        if self.total > self.memory:
            return f"{has}: this does not fit"
        if self.activations is None:
            return f"{has}: weights, gradients and optimizer fit"
        return f"{has}: this fits, if other programs leave as much"


def plan_memory(settings):
    """The `MemoryPlan` of the run that `settings`, a `RunSettings`, asks for. No weight is made, no file written.

    Raises:
      UserError: as the `Trainer` does for missing data and impossible settings.
    """
    hparams, backend = settings.resolved.hparams, adapter()
    devices = chosen_devices(settings, hparams)
    held = size_of if devices is None else lambda variables: size_of(variables, devices.held)
    stores = {name: ExampleStore(settings.data_dir, name) for name in settings.mixture.problem_names}
    run = Run.of(settings.model, settings.seed, keras.backend.backend(), stores, hparams)

    def make():
        model = build_model(run, hparams, within_memory=False)
        optimizer = make_optimizer(hparams, model.trainable_variables)
        set_parts(model, optimizer, hparams)
        return model, optimizer

    with scope(devices):
        model, optimizer = backend.abstractly(make)
    step = backend.Step(model, optimizer, hparams, **({} if devices is None else {"devices": devices}))
    plans = []
    for batch in _largest_batches(stores, run, hparams, backend.STATIC_SHAPES):
        spec = run.problems[batch.problem].spec
        gradients = held(model.trainable_variables_for(spec))
        planned = step.planned_bytes([(spec, batch.arrays)] * hparams.gradient_accumulation_steps)
        activations = planned and max(0, planned["temporary"] + planned["results"] - gradients)
        plans.append((gradients, activations, f"{batch.problem}, {len(batch.arrays['command'])} rows"))
    gradients, activations, largest = max(plans, key=lambda plan: plan[0] + (plan[1] or 0))
    memory, device = backend.device_memory()
    if device.lower() == "cpu":
        memory = machine_memory()  # which all devices that a processor stands for share
        memory = memory and memory // (1 if devices is None else devices.count)
    count = sum(math.prod(v.shape) for v in model.trainable_variables)
    said = "" if devices is None else str(devices)
    sizes = held(model.variables), gradients, held(optimizer.variables), activations
    return MemoryPlan(*sizes, largest, count, device, memory, said)


def _largest_batches(stores, run, hparams, few_shapes):
    """For each program of the training step, which problems of one signature share, the largest batch of an epoch."""
    chosen = {}
    for name, store in stores.items():
        batch = BatchStream(store, "train", hparams, 0, bucket=few_shapes).largest()
        size = sum(array.nbytes for array in batch.arrays.values())
        signature = run.problems[name].spec.signature
        if signature not in chosen or size > chosen[signature][0]:
            chosen[signature] = size, batch
    return [batch for _, batch in chosen.values()]


def size_of(variables, shape_of=lambda variable: variable.shape):
    """Bytes of all of them, or of what `shape_of` says of each."""
    sizes = {"bfloat16": 2, "float16": 2, "int64": 8, "uint8": 1}  # others have four
    return sum(math.prod(shape_of(v)) * sizes.get(keras.backend.standardize_dtype(v.dtype), 4) for v in variables)


def machine_memory():
    """Bytes that this process may take: the machine's, or the least that its control groups allow; None if unknown."""
    found = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(ValueError, OSError):  # "max" where there is no limit
            found.append(int(Path(file).read_text(encoding="ascii")))
    return min(found, default=None)
