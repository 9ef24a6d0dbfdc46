"""The training step on JAX: the one place of the trainer that knows it (see tensorflow_step.py for its twin)."""

import contextlib
import functools
import random

import jax
import keras
import numpy as np

from t2t_multimodel.modalities.arrays import joined_name

STATIC_SHAPES = True  # every shape is compiled anew
UPDATES_UNDER_WAY = 2
REPORTED = ("cross_entropy", "weight", "load_balance_loss", "dropped_token_fraction")
REPORTED_WHERE_THERE = ("ctc_loss", "ctc_too_long")  # of problems that have them


class Step:
    """Updates a model's variables from batches. One compiled program for each signature and shape: batches come in few
    shapes.

    An update is begun and not waited for. The new values of the variables stay here until they are asked for: the
    Keras variables have no values meanwhile (their memory was used again), and get them by `variables()`, `evaluate`
    and `gradients`.
    """

    def __init__(self, model, optimizer, hparams, devices=None):
        """Args: devices: `Devices` on which the variables were made; None: a single one."""
        model.devices = devices  # for `compiled` and `fused`
        self.devices = devices
        self.model, self.optimizer, self.hparams = model, optimizer, hparams
        self._updates, self._gradients, self._evaluations = {}, {}, {}
        self._values = None  # of the variables, after an update; None: the variables have them
        self.stop = 0  # what this process was told; with several processes a part of each update

    def variables(self):
        """Everything that makes up the state of training, in a fixed order: weights, random state, optimiser."""
        self._write_variables()
        return self._all_variables()

    def update(self, microbatches, learning_rate):
        """One update from the average over `microbatches`, a list of (spec, batch of numpy arrays); see the twin.

        Returns:
          what the twin returns, as arrays that may not be computed yet: `float` of one waits for it. With several
          processes the batches are this one's rows of them, and the first report has also "stop": the largest `stop` of
          all processes.
        """
        specs = tuple(spec for spec, _ in microbatches)
        key = tuple(spec.signature for spec in specs)
        if key not in self._updates:
            self._updates[key] = self._compiled_update(specs)
        batches = [batch for _, batch in microbatches]
        values = self._values or [v.value for v in self._all_variables()]
        stops = ()
        if self._several:
            batches = jax.tree.map(self.devices.put_part, batches)
            stops = (self.devices.put_part(np.full(self.devices.own, self.stop, np.int32)),)
        self._values, norm, reports = self._updates[key](values, batches, np.float32(learning_rate), *stops)
        return reports, norm

    def evaluate(self, spec, batch):
        """Teacher-forced statistics of each target as `MultiModel.evaluate` gives them; numpy arrays."""
        return self._found(self.model.evaluate, spec, batch)

    def observe(self, spec, batch):
        """What `MultiModel.observe` gives; numpy arrays."""
        return self._found(self.model.observe, spec, batch)

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
          {"arguments": bytes of variables and batches, "temporary": bytes of all that lives within the program at once
          (activations, gradients), "results": bytes of what does not take the place of an argument}.
        """
        update = self._compiled_update(tuple(spec for spec, _ in microbatches))
        variables = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in self._all_variables()]
        batches = [batch for _, batch in microbatches]
        found = update.lower(variables, batches, np.float32(0)).compile().memory_analysis()
        return {
            "arguments": found.argument_size_in_bytes,
            "temporary": found.temp_size_in_bytes,
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
        return [*self.model.variables, *self.optimizer.variables]

    def _write_variables(self):
        """Gives the Keras variables what the updates so far made of them."""
        values, self._values = self._values, None
        for variable, value in zip(self._all_variables() if values else (), values or ()):
            variable.assign(value)

    def _compiled_update(self, specs):
        places = {}
        if self.devices:
            # Pinned, so that the variables stay where they were made, and their memory is used again.
            of_variables = [v.value.sharding for v in self._all_variables()]
            whole, rows = self.devices.whole, self.devices.rows
            given = (of_variables, rows, whole, *((rows,) if self._several else ()))
            places = {"in_shardings": given, "out_shardings": (of_variables, whole, whole)}
        return jax.jit(self._make_update(specs), donate_argnums=0, **places)

    def _make_update(self, specs):
        trainable, state = self.model.trainable_variables, self.model.non_trainable_variables
        trained_ids = {id(v) for spec in specs for v in self.model.trainable_variables_for(spec)}
        trained = [v for v in trainable if id(v) in trained_ids]
        variables = self._all_variables()

        def loss_of(weights, rest, batches):
            total, reports = 0.0, []
            with keras.StatelessScope(state_mapping=[*zip(trained, weights), *rest]) as scope:
                for spec, batch in zip(specs, batches):
                    loss, report = self.model.loss(batch, spec, training=True)
                    total = total + loss / len(specs)
                    reports.append({"loss": loss} | _reported(report))
                return total, (reports, [scope.get_current_value(v) for v in state])

        def update(values, batches, rate, stops=None):
            by_id = {id(v): value for v, value in zip(variables, values)}
            rest = [(v, by_id[id(v)]) for v in self.model.variables if id(v) not in trained_ids]
            weights = [by_id[id(v)] for v in trained]
            with _scope(self.devices):
                gradients, (reports, new_state) = jax.grad(loss_of, has_aux=True)(weights, rest, batches)
            norm = jax.numpy.sqrt(sum(jax.numpy.sum(g.astype("float32") ** 2) for g in gradients))
            if self.hparams.clip_norm:
                scale = jax.numpy.minimum(1.0, self.hparams.clip_norm / jax.numpy.maximum(norm, 1e-12))
                gradients = [g * scale for g in gradients]
            if stops is not None:
                reports[0]["stop"] = stops.max()
            by_id |= {id(v): value for v, value in zip(state, new_state)}
            by_id[id(self.optimizer.learning_rate)] = rate
            # Inside the scope the optimiser's assignments are recorded, not made; a subset of the variables is welcome.
            with keras.StatelessScope(state_mapping=[(v, by_id[id(v)]) for v in variables]) as scope:
                self.optimizer.apply(gradients, trained)
                return [scope.get_current_value(v) for v in variables], norm, reports

        return update


def compiled(model, spec, function, called=None):
    """`function(batch without targets)` of a model as one program for each set of shapes; `called` says nothing."""
    program = fused(model, function)
    targets = {joined_name("targets", name) for name in spec.targets.tensors()}
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


def _reported(report):
    return {name: report[name] for name in (*REPORTED, *(name for name in REPORTED_WHERE_THERE if name in report))}
