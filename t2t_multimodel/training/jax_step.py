"""The training step on JAX: the one place of the trainer that knows it (see tensorflow_step.py for its twin)."""

import random

import jax
import keras
import numpy as np

from t2t_multimodel.modalities.arrays import joined_name

STATIC_SHAPES = True  # every shape is compiled anew
REPORTED = ("cross_entropy", "weight", "load_balance_loss", "dropped_token_fraction")


class Step:
    """Updates a model's variables from batches. One compiled program for each signature and shape: batches come in few
    shapes.
    """

    def __init__(self, model, optimizer, hparams):
        self.model, self.optimizer, self.hparams = model, optimizer, hparams
        self._updates, self._gradients, self._evaluations = {}, {}, {}

    def variables(self):
        """Everything that makes up the state of training, in a fixed order: weights, random state, optimiser."""
        return [*self.model.variables, *self.optimizer.variables]

    def update(self, microbatches, learning_rate):
        """One update from the average over `microbatches`, a list of (spec, batch of numpy arrays); see the twin."""
        specs = tuple(spec for spec, _ in microbatches)
        key = tuple(spec.signature for spec in specs)
        if key not in self._updates:
            self._updates[key] = jax.jit(self._make_update(specs), donate_argnums=0)
        variables = self.variables()
        batches = [batch for _, batch in microbatches]
        values, norm, reports = self._updates[key]([v.value for v in variables], batches, np.float32(learning_rate))
        for variable, value in zip(variables, values):
            variable.assign(value)
        return [{name: float(value) for name, value in report.items()} for report in reports], float(norm)

    def evaluate(self, spec, batch):
        """Teacher-forced statistics of each target as `MultiModel.evaluate` gives them; numpy arrays."""
        if spec.signature not in self._evaluations:

            def evaluation(values, batch):
                with keras.StatelessScope(state_mapping=list(zip(self.model.variables, values))):
                    return self.model.evaluate(batch, spec)

            self._evaluations[spec.signature] = jax.jit(evaluation)
        values = [v.value for v in self.model.variables]
        found = self._evaluations[spec.signature](values, batch)
        return {name: np.asarray(value) for name, value in found.items()}

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
        update = jax.jit(self._make_update(tuple(spec for spec, _ in microbatches)), donate_argnums=0)
        variables = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in self.variables()]
        batches = [batch for _, batch in microbatches]
        found = update.lower(variables, batches, np.float32(0)).compile().memory_analysis()
        return {
            "arguments": found.argument_size_in_bytes,
            "temporary": found.temp_size_in_bytes,
            "results": found.output_size_in_bytes - found.alias_size_in_bytes,
        }

    def _make_update(self, specs):
        trainable, state = self.model.trainable_variables, self.model.non_trainable_variables
        trained_ids = {id(v) for spec in specs for v in self.model.trainable_variables_for(spec)}
        trained = [v for v in trainable if id(v) in trained_ids]
        variables = self.variables()

        def loss_of(weights, rest, batches):
            total, reports = 0.0, []
            with keras.StatelessScope(state_mapping=[*zip(trained, weights), *rest]) as scope:
                for spec, batch in zip(specs, batches):
                    loss, report = self.model.loss(batch, spec, training=True)
                    total = total + loss / len(specs)
                    reports.append({"loss": loss} | {name: report[name] for name in REPORTED})
                return total, (reports, [scope.get_current_value(v) for v in state])

        def update(values, batches, rate):
            by_id = {id(v): value for v, value in zip(variables, values)}
            rest = [(v, by_id[id(v)]) for v in self.model.variables if id(v) not in trained_ids]
            weights = [by_id[id(v)] for v in trained]
            gradients, (reports, new_state) = jax.grad(loss_of, has_aux=True)(weights, rest, batches)
            norm = jax.numpy.sqrt(sum(jax.numpy.sum(g.astype("float32") ** 2) for g in gradients))
            if self.hparams.clip_norm:
                scale = jax.numpy.minimum(1.0, self.hparams.clip_norm / jax.numpy.maximum(norm, 1e-12))
                gradients = [g * scale for g in gradients]
            by_id |= {id(v): value for v, value in zip(state, new_state)}
            by_id[id(self.optimizer.learning_rate)] = rate
            # Inside the scope the optimiser's assignments are recorded, not made; a subset of the variables is welcome.
            with keras.StatelessScope(state_mapping=[(v, by_id[id(v)]) for v in variables]) as scope:
                self.optimizer.apply(gradients, trained)
                return [scope.get_current_value(v) for v in variables], norm, reports

        return update


def compiled(model, spec, function):
    """`function(batch without targets)` of a model as one program for each set of shapes."""
    program = fused(model, function)
    targets = {joined_name("targets", name) for name in spec.targets.tensors()}
    return lambda batch: program({name: array for name, array in batch.items() if name not in targets})


def fused(model, function):
    """`function(*trees of arrays)` of a model as one program for each set of shapes."""

    def with_values(values, *arrays):
        with keras.StatelessScope(state_mapping=list(zip(model.variables, values))):
            return function(*arrays)

    program = jax.jit(with_values)
    return lambda *arrays: program([v.value for v in model.variables], *arrays)


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
