"""The compiled programs of an update on JAX: one for each problem's signature and shape of a batch.

Where an update averages several batches, there are programs that add up the gradient of one, and one for each set of
problems that applies the sums: a program for each combination of shapes would be too many. With gradient surgery the
gradients stay apart until then.
"""

import concurrent.futures
import contextlib
import threading

import jax
import keras
import numpy as np

from t2t_multimodel.training.joint_loss import by_variable, shared, surgery, weighed

REPORTED = ("cross_entropy", "weight", "load_balance_loss", "dropped_token_fraction")
REPORTED_WHERE_THERE = ("ctc_loss", "ctc_too_long")  # of problems that have them
UPDATE, GRADIENT, APPLY = "update", "gradient", "apply"


class UpdatePrograms:
    """Makes them, and keeps them. May be asked in any thread."""

    def __init__(self, model, optimizer, hparams, devices):
        self.model, self.optimizer, self.hparams, self.devices = model, optimizer, hparams, devices
        self.variables = [*model.variables, *(optimizer.variables if optimizer else ())]
        # What an update changes without a gradient: random states, and nothing that is frozen.
        self._state = [v for v in model.non_trainable_variables if v.dtype == "uint32"]
        self._jitted, self._compiled = {}, {}
        self._lock, self._tracing = threading.Lock(), threading.Lock()

    @property
    def state_places(self):
        """Where in the values of all variables the random states are."""
        indices = {id(v): i for i, v in enumerate(self.variables)}
        return [indices[id(v)] for v in self._state]

    def names(self, microbatches):
        """The names of the programs that an update from `microbatches`, (spec, batch of arrays) pairs, runs."""
        each = [(spec.signature, tuple(array.shape for array in batch.values())) for spec, batch in microbatches]
        if len(each) == 1:
            return [(UPDATE, *each[0])]
        together = tuple if self.hparams.gradient_surgery else frozenset
        return [*((GRADIENT, *one) for one in each), (APPLY, together(signature for signature, _ in each))]

    def get(self, name, microbatches):
        """The compiled program of a name that `names(microbatches)` has:

        - update(values of all variables, batch, {"rate": …} | weight) → values, norm, report
        - gradient(values, sums, batch, weight) → sums with the gradient, values of the random state, report
        - apply(values, list of sums, {"rate": …, "count": how many batches}) → values, norm, {}

        weight is {"weight": of the loss} with `hparams.loss_balance`, else {}. The list has one item, with gradient
        surgery one for each batch. By several processes the first and the last take their `stops` too, and report the
        largest "stop". Where another thread compiles the program, this one waits for it.
        """
        with self._lock:
            found = self._compiled.get(name)
            if found is None:
                mine = self._compiled[name] = concurrent.futures.Future()
        if found is not None:
            return found.result()
        try:
            mine.set_result(self._compile(name, microbatches))
        except BaseException as error:
            with self._lock:
                del self._compiled[name]  # the next one tries again
            mine.set_exception(error)
        return mine.result()

    def zeros(self):
        """The sums before the first gradient."""
        key = "zeros"
        if key not in self._jitted:
            places = {"out_shardings": self._places(self.model.trainable_variables)} if self.devices else {}
            shapes = [(v.shape, v.dtype) for v in self.model.trainable_variables]
            self._jitted[key] = jax.jit(lambda: [jax.numpy.zeros(*each) for each in shapes], **places)
        return self._jitted[key]()

    def _compile(self, name, microbatches):
        kind, key, *_ = name
        with self._tracing:  # of one program at a time; compiling does not hold the interpreter
            if (kind, key) not in self._jitted:
                specs = [spec for spec, _ in microbatches if kind == APPLY or spec.signature == key]
                self._jitted[kind, key] = self._make(kind, specs)
            lowered = self._jitted[kind, key].lower(*self._arguments(name, microbatches))
        return lowered.compile()

    def _make(self, kind, specs):
        """The jitted function of a kind, of programs of several shapes."""
        make = {UPDATE: self._update, GRADIENT: self._gradient, APPLY: self._apply}[kind]
        donated = {UPDATE: 0, GRADIENT: 1, APPLY: 0}[kind]
        places = {}
        if self.devices:
            # Pinned, so that the variables stay where they were made, and their memory is used again.
            whole, rows = self.devices.whole, self.devices.rows
            of_all = self._places(self.variables)
            of_sums = self._places(self.model.trainable_variables)
            stops = (rows,) if self.devices.processes > 1 else ()
            places = {
                UPDATE: ((of_all, rows, whole, *stops), (of_all, whole, whole)),
                GRADIENT: ((of_all, of_sums, rows, whole), (of_sums, self._places(self._state), whole)),
                APPLY: ((of_all, [of_sums] * self._lists(specs), whole, *stops), (of_all, whole, whole)),
            }[kind]
            places = dict(zip(("in_shardings", "out_shardings"), places))
        return jax.jit(make(specs), donate_argnums=donated, **places)

    def _arguments(self, name, microbatches):
        """The arguments of a program without values; each of several processes gives its own rows of a batch."""
        processes = self.devices.processes if self.devices else 1
        values = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in self.variables]
        number = jax.ShapeDtypeStruct((), np.float32)
        weight = {"weight": number} if self.hparams.loss_balance != "none" else {}
        stops = (jax.ShapeDtypeStruct((self.devices.count,), np.int32),) if processes > 1 else ()
        sums = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in self.model.trainable_variables]
        if name[0] == APPLY:
            return values, [sums] * self._lists(microbatches), {"rate": number, "count": number}, *stops
        batch = next(batch for one, batch in microbatches if self.names([(one, batch)])[0][1:] == name[1:])
        batch = {key: jax.ShapeDtypeStruct((len(x) * processes, *x.shape[1:]), x.dtype) for key, x in batch.items()}
        if name[0] == GRADIENT:
            return values, sums, batch, weight
        return values, batch, {"rate": number} | weight, *stops

    def _lists(self, microbatches):
        """How many lists of sums the gradients of these are in."""
        return len(microbatches) if self.hparams.gradient_surgery else 1

    def _places(self, variables):
        return [v._layout or v.value.sharding for v in variables]

    # ---- What is traced

    def _update(self, specs):
        trained = self._trained(specs)

        def update(values, batch, knobs, stops=None):
            by_id = self._by_id(values)
            gradients, report, state = self._loss_gradients(specs[0], trained, by_id, batch, knobs.get("weight"))
            by_id |= {id(v): value for v, value in zip(self._state, state)}
            values, norm = self._applied(by_id, trained, gradients, knobs["rate"])
            return values, norm, report | _largest(stops)

        return update

    def _gradient(self, specs):
        trained = self._trained(specs)

        def gradient(values, sums, batch, knobs):
            by_id = self._by_id(values)
            gradients, report, state = self._loss_gradients(specs[0], trained, by_id, batch, knobs.get("weight"))
            added = {id(v): g for v, g in zip(trained, gradients)}
            every = zip(self.model.trainable_variables, sums)
            return [total + added[id(v)] if id(v) in added else total for v, total in every], state, report

        return gradient

    def _apply(self, specs):
        trained = self._trained(specs)

        def apply(values, sums, knobs, stops=None):
            by_id, count = self._by_id(values), knobs["count"]
            totals = [{id(v): total for v, total in zip(self.model.trainable_variables, each)} for each in sums]
            if self.hparams.gradient_surgery:
                of_specs = map(self.model.trainable_variables_for, specs)
                each = [[total[id(v)] for v in variables] for total, variables in zip(totals, of_specs)]
                gradients = surgery(each, by_variable(self.model, specs)[0], shared(self.model, trained))
            else:
                gradients = [totals[0][id(v)] / count.astype(totals[0][id(v)].dtype) for v in trained]
            values, norm = self._applied(by_id, trained, gradients, knobs["rate"])
            return values, norm, _largest(stops)

        return apply

    def _by_id(self, values):
        return {id(v): value for v, value in zip(self.variables, values)}

    def _trained(self, specs):
        ids = {id(v) for spec in specs for v in self.model.trainable_variables_for(spec)}
        return [v for v in self.model.trainable_variables if id(v) in ids]

    def _loss_gradients(self, spec, trained, by_id, batch, weight):
        """(gradients of `trained`, the report, the new random state) of a batch, its loss times `weight` (None: 1)."""
        trained_ids = {id(v) for v in trained}
        rest = [(v, by_id[id(v)]) for v in self.model.variables if id(v) not in trained_ids]

        def loss_of(weights):
            with keras.StatelessScope(state_mapping=[*zip(trained, weights), *rest]) as scope:
                loss, report = self.model.loss(batch, spec, training=True)
                reported = {"loss": loss} | _reported(report)
                objective = weighed(loss, report, weight)
                return objective, (reported, [scope.get_current_value(v) for v in self._state])

        with self.devices.scope() if self.devices else contextlib.nullcontext():
            gradients, (report, state) = jax.grad(loss_of, has_aux=True)([by_id[id(v)] for v in trained])
        return gradients, report, state

    def _applied(self, by_id, trained, gradients, rate):
        """(values after the optimizer's step, the norm of the gradient before it was clipped)."""
        norm = jax.numpy.sqrt(sum(jax.numpy.sum(g.astype("float32") ** 2) for g in gradients))
        if self.hparams.clip_norm:
            scale = jax.numpy.minimum(1.0, self.hparams.clip_norm / jax.numpy.maximum(norm, 1e-12))
            gradients = [g * scale for g in gradients]
        by_id[id(self.optimizer.learning_rate)] = rate
        # Inside the scope the optimiser's assignments are recorded, not made; a subset of the variables is welcome.
        with keras.StatelessScope(state_mapping=[(v, by_id[id(v)]) for v in self.variables]) as scope:
            self.optimizer.apply(gradients, trained)
            return [scope.get_current_value(v) for v in self.variables], norm


def _largest(stops):
    return {} if stops is None else {"stop": stops.max()}


def _reported(report):
    return {name: report[name] for name in (*REPORTED, *(name for name in REPORTED_WHERE_THERE if name in report))}
