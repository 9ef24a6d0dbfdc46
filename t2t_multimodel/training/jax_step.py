"""The training step on JAX: the one place of the trainer that knows it (see tensorflow_step.py for its twin)."""

import contextlib
import functools
import math
import random

import jax
import keras
import numpy as np

from t2t_multimodel.modalities.arrays import joined_name
from t2t_multimodel.models.observation import by_kind
from t2t_multimodel.training.jax_update import UpdatePrograms

STATIC_SHAPES = True  # every shape is compiled anew
UPDATES_UNDER_WAY = 2
PREPARED_AT_ONCE = 1  # program: XLA compiles it with all processors
PREPARED_BESIDE = True  # an update waits for its own program alone


class Step:
    """Updates a model's variables from batches, by the programs of `jax_update.py`: batches come in few shapes.

    An update is begun and not waited for. The new values of the variables stay here until they are asked for: the
    Keras variables have no values meanwhile (their memory was used again), and get them by `variables()`, `evaluate`
    and `gradients`.
    """

    def __init__(self, model, optimizer, hparams, devices=None):
        """Args: devices: `Devices` on which the variables were made; None: a single one."""
        model.devices = devices  # for `compiled` and `fused`
        self.devices = devices
        self.model, self.optimizer, self.hparams = model, optimizer, hparams
        self._gradients, self._evaluations = {}, {}
        self._programs = UpdatePrograms(model, optimizer, hparams, devices)
        self._values = None  # of the variables, after an update; None: the variables have them
        self.stop = 0  # what this process was told; with several processes a part of each update

    def variables(self):
        """Everything that makes up the state of training, in a fixed order: weights, random state, optimiser."""
        self._write_variables()
        return self._all_variables()

    def update(self, microbatches, learning_rate, weights=None):
        """One update from the average over `microbatches`, a list of (spec, batch of numpy arrays); see the twin.

        Returns:
          what the twin returns, as arrays that may not be computed yet: `float` of one waits for it. With several
          processes the batches are this one's rows of them, and the first report has also "stop": the largest `stop` of
          all processes.
        """
        values = self._values or [v.value for v in self._all_variables()]
        *gradients, last = [self.prepare(name, microbatches) for name in self.programs_of(microbatches)]
        batches, rate, stops = [batch for _, batch in microbatches], {"rate": np.float32(learning_rate)}, ()
        of_losses = [{}] * len(batches)  # what weighs each loss
        if self.hparams.loss_balance != "none":
            of_losses = [{"weight": np.float32(weight)} for weight in weights or [1.0] * len(batches)]
        if self._several:
            batches = jax.tree.map(self.devices.put_part, batches)
            stops = (self.devices.put_part(np.full(self.devices.own, self.stop, np.int32)),)
        if not gradients:
            self._values, norm, report = last(values, batches[0], rate | of_losses[0], *stops)
            return [report], norm
        values, sums, reports = list(values), [self._programs.zeros()], []
        for program, batch, weight in zip(gradients, batches, of_losses):
            found, state, report = program(values, sums.pop(), batch, weight)
            sums.append(found)
            for place, value in zip(self._programs.state_places, state):
                values[place] = value
            reports.append(report)
            if self.hparams.gradient_surgery and len(reports) < len(batches):  # which takes each gradient by itself
                sums.append(self._programs.zeros())
        self._values, norm, more = last(values, sums, rate | {"count": np.float32(len(batches))}, *stops)
        reports[0] |= more
        return reports, norm

    def programs_of(self, microbatches):
        """The names of the programs that an update from `microbatches` runs."""
        return self._programs.names(microbatches)

    def prepare(self, name, microbatches):
        """Compiles the program of a name that `programs_of(microbatches)` has, if it is not there; returns it."""
        return self._programs.get(name, microbatches)

    def evaluate(self, spec, batch):
        """Teacher-forced statistics of each target as `MultiModel.evaluate` gives them; numpy arrays."""
        return self._found(self.model.evaluate, spec, batch)

    def observe(self, spec, batch):
        """What `MultiModel.observe` gives; numpy arrays."""
        return self._found(self.model.observe, spec, batch)

    def capture(self, spec, batch):
        """What `MultiModel.capture` gives, by a compiled program."""
        return by_kind(self._found(self.model.look, spec, batch))

    def _found(self, function, spec, batch):
        key = function.__name__, spec.signature
        if key not in self._evaluations:
            self._evaluations[key] = fused(self.model, lambda batch: function(batch, spec))
        self._write_variables()
        return to_host(self._evaluations[key](batch))

    def gradients(self, spec, batch):
        """The gradient of the mean cross entropy for `trainable_variables_for(spec)`, numpy arrays; updates nothing.

        As in evaluation: without the experts' noise and balancing loss, which have nothing to do with the problem.
        """
        if spec.signature not in self._gradients:
            trained = self.model.trainable_variables_for(spec)
            mine = {id(v) for v in trained}
            others = [v for v in self.model.variables if id(v) not in mine]

            def loss_of(weights, rest, batch):
                with keras.StatelessScope(state_mapping=[*zip(trained, weights), *zip(others, rest)]):
                    return self.model.loss(batch, spec, training=False)[1]["cross_entropy"]

            self._gradients[spec.signature] = (jax.jit(jax.grad(loss_of)), trained, others)
        self._write_variables()
        function, trained, others = self._gradients[spec.signature]
        values = function([v.value for v in trained], [v.value for v in others], batch)
        return [np.asarray(value) for value in values]

    def planned_bytes(self, microbatches):
        """What XLA plans for the program of one update from `microbatches` as `update` takes them.

        Compiles, and makes no array: the variables may be those of `abstractly`.

        Returns:
          of one device: {"arguments": bytes of variables and batches, "temporary": bytes of all that lives within the
          program at once (activations, gradients), "results": bytes of what does not take the place of an argument}.
        """
        name, *more = self.programs_of(microbatches)
        found = self.prepare(name, microbatches).memory_analysis()
        # The sum that the next batch's gradients are added to; surgery has those of all batches.
        kept = (len(microbatches) if self.hparams.gradient_surgery else 1) if more else 0
        held = self.devices.held if self.devices else lambda v: v.shape
        return {
            "arguments": found.argument_size_in_bytes,
            "temporary": found.temp_size_in_bytes
            + kept * sum(4 * math.prod(held(v)) for v in self.model.trainable_variables),
            "results": found.output_size_in_bytes - found.alias_size_in_bytes,
        }

    def spread(self):
        """Puts the variables in their places on the devices of all processes, after they were made or restored."""
        if self._several:
            self.devices.spread(self._all_variables())

    @property
    def _several(self):
        """Whether the devices are those of several processes."""
        return self.devices is not None and self.devices.processes > 1

    def _all_variables(self):
        return self._programs.variables

    def _write_variables(self):
        """Gives the Keras variables what the updates so far made of them."""
        values, self._values = self._values, None
        for variable, value in zip(self._all_variables() if values else (), values or ()):
            variable.assign(value)


def compiled(model, spec, function, called=None, with_targets=False):
    """`function(batch)` of a model as one program for each set of shapes; `called` says nothing; the batch has no
    targets.

    Args: with_targets: the batch has targets.
    """
    program = fused(model, function)
    targets = set() if with_targets else {joined_name("targets", name) for name in spec.targets.tensors()}
    return lambda batch: program({name: array for name, array in batch.items() if name not in targets})


def fused(model, function, any_rows=False, called=None):
    """`function(*trees of arrays)` of a model as one program for each set of shapes, whatever `any_rows` and `called`
    say: JAX keeps compiled programs itself.
    """

    devices = getattr(model, "devices", None)

    def with_values(values, *arrays):
        with keras.StatelessScope(state_mapping=list(zip(model.variables, values))), _scope(devices):
            results = function(*arrays)
        return devices.share_out(results) if devices else results

    def place(array):
        return array if isinstance(array, jax.Array) else devices.put(array)

    def call(*arrays):
        placed = jax.tree.map(place, arrays) if devices else arrays
        return program([v.value for v in model.variables], *placed)

    program = jax.jit(with_values)
    return call


def to_host(arrays):
    """A tree of results as numpy arrays; of rows on devices of several processes all, in each process."""
    leaves = [leaf for leaf in jax.tree.leaves(arrays) if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable]
    if leaves:
        arrays = _whole_everywhere(leaves[0].sharding.mesh)(arrays)
    return jax.tree.map(np.asarray, arrays)


@functools.cache
def _whole_everywhere(mesh):
    """The program that gives every device of a mesh all rows of its arguments."""
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.jit(lambda arrays: arrays, out_shardings=whole)


def _scope(devices):
    return devices.scope() if devices else contextlib.nullcontext()


def in_place(array):
    """What a variable takes: JAX uses an array's memory, where that begins at a multiple of 64 bytes."""
    return array


def accelerated():
    """Whether JAX computes on a device that is no processor."""
    return jax.default_backend() != "cpu"


def seed(value):
    """Seeds what is drawn once: initial weights, and the seeds of the model's own generators.

    What `keras.utils.set_random_seed` does, which also imports TensorFlow if that is installed.
    """
    random.seed(value)
    np.random.seed(value)


def abstractly(make):
    """`make()`, which makes layers and optimizers, without arrays: their variables have a shape and no value."""
    made = []
    jax.eval_shape(lambda: made.append(make()))
    return made[0]


def device_memory():
    """(bytes that this process may take of its first device, its name); (None, name) for a processor."""
    device = jax.local_devices()[0]
    found = device.memory_stats() if device.platform != "cpu" else None
    return (found or {}).get("bytes_limit"), device.device_kind


def peak_device_memory():
    """The most bytes of the first device's own memory that were taken at once; None for a processor."""
    device = jax.local_devices()[0]
    found = device.memory_stats() if device.platform != "cpu" else None
    return (found or {}).get("peak_bytes_in_use")
