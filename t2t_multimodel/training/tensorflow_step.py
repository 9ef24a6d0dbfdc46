"""The training step on TensorFlow: the one place of the trainer that knows it (see jax_step.py for its twin)."""

import keras
import numpy as np
import tensorflow as tf

from t2t_multimodel import startup
from t2t_multimodel.modalities.arrays import joined_name
from t2t_multimodel.models.observation import by_kind
from t2t_multimodel.training import tensorflow_kernels
from t2t_multimodel.training.joint_loss import by_variable, shared, surgery, weighed
from t2t_multimodel.training.tensorflow_kept import keeper_of
from t2t_multimodel.training.tensorflow_program import program, tracing

tensorflow_kernels.add()

STATIC_SHAPES = False  # one trace serves every length
UPDATES_UNDER_WAY = 0  # an update ends with its call
PREPARED_AT_ONCE = startup.processors()  # programs: TensorFlow optimises each by one thread
PREPARED_BESIDE = False  # an update has no way to wait for its program alone
REPORTED = ("cross_entropy", "weight", "load_balance_loss", "dropped_token_fraction")
REPORTED_WHERE_THERE = ("ctc_loss", "ctc_too_long")  # of problems that have them


class Step:
    """Updates a model's variables from batches. One traced graph for each signature, whatever the lengths.

    Gradients come from `tf.gradients` with pairwise aggregation: a tape's AddN sums three or more terms in an order
    that depends on which buffer is free, so two runs would differ in the last bits.
    """

    def __init__(self, model, optimizer, hparams):
        self.model, self.optimizer, self.hparams = model, optimizer, hparams
        # Grappler turns trees of additions, of gradients too, back into such an AddN wherever it knows the shapes.
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
        self._updates, self._gradients, self._applies, self._evaluations = {}, {}, {}, {}
        self._plain_gradients, self._surgeries = {}, {}
        self._weight_signature = [tf.TensorSpec([], tf.float32)] if hparams.loss_balance != "none" else []

    def variables(self):
        """Everything that makes up the state of training, in a fixed order: weights, random state, optimiser."""
        return [*self.model.variables, *self.optimizer.variables]

    def update(self, microbatches, learning_rate, weights=None):
        """One update from the average over `microbatches`, a list of (spec, batch of numpy arrays).

        Args: weights: of the loss of each of them, with `hparams.loss_balance`; None: 1.

        Returns:
          for each draw a dict of floats: loss and what `REPORTED` names; and the gradient's norm before clipping.
        """
        rate = tf.constant(learning_rate, tf.float32)
        of_losses = [[]] * len(microbatches)
        if self.hparams.loss_balance != "none":
            of_losses = [[tf.constant(w, tf.float32)] for w in weights or [1.0] * len(microbatches)]
        if len(microbatches) == 1:
            spec, batch = microbatches[0]
            norm, reports = self._update(spec)(batch, rate, *of_losses[0])
            return [_floats(reports)], float(norm)
        results = (self._gradient(spec)(batch, *weight) for (spec, batch), weight in zip(microbatches, of_losses))
        specs = tuple(spec for spec, _ in microbatches)
        combined = self._operated if self.hparams.gradient_surgery else self._mean
        gradients, trained, reports = combined(specs, results)
        norm = self._apply(trained)(gradients, rate)
        return list(map(_floats, reports)), float(norm)

    def programs_of(self, microbatches):
        """The names of the graphs that an update from `microbatches` runs; each is traced when it is first needed."""
        signatures = [spec.signature for spec, _ in microbatches]
        if len(signatures) == 1:
            return [("update", signatures[0])]
        return [*(("gradient", signature) for signature in signatures), ("apply", frozenset(signatures))]

    def prepare(self, name, microbatches):
        """Traces and optimises the program of a name that `programs_of(microbatches)` has, and runs nothing."""
        kind, of = name
        rate = tf.constant(0.0)
        if kind == "apply":
            _, trained = by_variable(self.model, [spec for spec, _ in microbatches])
            self._apply(trained).optimise([tf.zeros(v.shape) for v in trained], rate)
            return
        spec, batch = next((spec, batch) for spec, batch in microbatches if spec.signature == of)
        weight = [tf.constant(1.0) for _ in self._weight_signature]
        if kind == "update":
            self._update(spec).optimise(batch, rate, *weight)
        else:
            self._gradient(spec).optimise(batch, *weight)

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
        signature = {name: shape for name, shape in batch_signature(spec).items() if name in batch}
        key = function.__name__, spec.signature, tuple(signature)
        if key not in self._evaluations:

            @program(signature, keeper=keeper_of(self.model), called=key)  # the same with and without an optimizer
            def evaluation(batch):
                return function(batch, spec)

            self._evaluations[key] = evaluation
        return {name: np.asarray(value) for name, value in self._evaluations[key](batch).items()}

    def gradients(self, spec, batch):
        """The gradient of the mean cross entropy for `trainable_variables_for(spec)`, numpy arrays; updates nothing.

        As in evaluation: without the experts' noise and balancing loss, which have nothing to do with the problem.
        """
        if spec.signature not in self._plain_gradients:
            trained = [v.value for v in self.model.trainable_variables_for(spec)]

            @self._program(("gradients", spec.signature), batch_signature(spec))
            def gradients(batch):
                _, report = self.model.loss(batch, spec, training=False)
                zero = tf.UnconnectedGradients.ZERO  # the noise's weights take no part
                found = tf.gradients(report["cross_entropy"], trained, unconnected_gradients=zero)
                return [tf.convert_to_tensor(gradient) for gradient in found]  # that of a table has rows alone

            self._plain_gradients[spec.signature] = gradients
        return [gradient.numpy() for gradient in self._plain_gradients[spec.signature](batch)]

    def planned_bytes(self, microbatches):
        """None: what a graph takes at once depends on which operations run first; see the twin."""

    def _program(self, called, *signature):
        """The decorator `program` of what is `called` so."""
        return program(*signature, keeper=keeper_of(self.model, self.optimizer), called=called)

    def _mean(self, specs, results):
        """(the mean of gradients of several microbatches, the variables that they are of, the reports).

        Args: results: an iterator over (gradients, report) of each, which are added up as they come.
        """
        total, reports = {}, []
        for spec, (gradients, report) in zip(specs, results):
            reports.append(report)
            for variable in reversed(self.model.trainable_variables_for(spec)):
                before, gradient = total.get(id(variable)), gradients.pop()
                total[id(variable)] = gradient if before is None else before + gradient
        trained = [v for v in self.model.trainable_variables if id(v) in total]
        return [total.pop(id(v)) / len(specs) for v in trained], trained, reports

    def _operated(self, specs, results):
        """The same after gradient surgery, which takes the gradients of all at once."""
        found, reports = zip(*results)
        key = tuple(spec.signature for spec in specs)
        if key not in self._surgeries:
            owners, trained = by_variable(self.model, specs)
            variables = [self.model.trainable_variables_for(spec) for spec in specs]

            @self._program(
                ("surgery", key), [[tf.TensorSpec(v.shape, tf.float32) for v in of_spec] for of_spec in variables]
            )
            def operate(gradients):
                return surgery(gradients, owners, shared(self.model, trained))

            self._surgeries[key] = (operate, trained)
        operate, trained = self._surgeries[key]
        return operate(list(found)), trained, reports

    def _loss_and_gradients(self, spec, batch, trained, weight=None):
        loss, report = self.model.loss(batch, spec, training=True)
        method = tf.AggregationMethod.EXPERIMENTAL_TREE
        objective = weighed(loss, report, weight)
        gradients = tf.gradients(objective, [v.value for v in trained], aggregation_method=method)
        missing = [v.path for v, g in zip(trained, gradients) if g is None]
        if missing:
            raise RuntimeError(f"no gradient reaches {', '.join(missing)}")
        gradients = [tf.convert_to_tensor(g) for g in gradients]
        return gradients, {"loss": loss} | _reported(report)

    def _clip_and_apply(self, gradients, trained, rate):
        norm = tf.linalg.global_norm(gradients)
        if self.hparams.clip_norm:
            scale = tf.minimum(1.0, self.hparams.clip_norm / tf.maximum(norm, 1e-12))
            gradients = [g * scale for g in gradients]
        self.optimizer.learning_rate.assign(rate)
        self.optimizer.apply(gradients, trained)
        return norm

    def _update(self, spec):
        if spec.signature not in self._updates:
            trained = self.model.trainable_variables_for(spec)
            rate = tf.TensorSpec([], tf.float32)

            @self._program(("update", spec.signature), batch_signature(spec), rate, *self._weight_signature)
            def update(batch, rate, *weight):
                gradients, report = self._loss_and_gradients(spec, batch, trained, *weight)
                return self._clip_and_apply(gradients, trained, rate), report

            self._updates[spec.signature] = update
        return self._updates[spec.signature]

    def _gradient(self, spec):
        if spec.signature not in self._gradients:
            trained = self.model.trainable_variables_for(spec)

            @self._program(("gradient", spec.signature), batch_signature(spec), *self._weight_signature)
            def gradient(batch, *weight):
                return self._loss_and_gradients(spec, batch, trained, *weight)

            self._gradients[spec.signature] = gradient
        return self._gradients[spec.signature]

    def _apply(self, trained):
        key = tuple(v.path for v in trained)
        if key not in self._applies:
            shapes = [tf.TensorSpec(v.shape, tf.float32) for v in trained]

            @self._program(("apply", key), shapes, tf.TensorSpec([], tf.float32))
            def apply(gradients, rate):
                return self._clip_and_apply(gradients, trained, rate)

            self._applies[key] = apply
        return self._applies[key]


def batch_signature(spec):
    """The shapes of a batch with everything dynamic that may be: one trace serves every length."""
    shapes = {"command": ([None], tf.int32), "example_weights": ([None], tf.float32)}
    for side in ("inputs", "targets"):
        for name, (shape, dtype) in getattr(spec, side).tensors().items():
            shapes[joined_name(side, name)] = ([None, *shape], tf.as_dtype(dtype))
    return {name: tf.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in shapes.items()}


def _floats(report):
    return {name: float(value) for name, value in report.items()}


def compiled(model, spec, function, called=None, with_targets=False):
    """`function(batch)` of a model as a graph that serves batches of all lengths; the batch has no targets.

    Args: called: as of `fused`. with_targets: the batch has targets.
    """
    targets = set() if with_targets else {joined_name("targets", name) for name in spec.targets.tensors()}
    signature = {name: shape for name, shape in batch_signature(spec).items() if name not in targets}
    serving = program(signature, keeper=called and keeper_of(model), called=called)(function)
    return lambda batch: serving({name: batch[name] for name in signature})


def fused(model, function, any_rows=False, called=None):
    """`function(*trees of arrays)` of a model as one XLA program for each set of shapes.

    For loops of many small operations: a graph takes longer to call each of them than to compute it.

    Args:
      any_rows: whether the first axis of every array is that of the rows, so that one graph serves all numbers of them.
      called: plain values that tell the function from all others of the model, so that its graphs may be kept on disk
        (`tensorflow_kept.py`); None: they are not.
    """
    graphs = {}
    keeper = called and keeper_of(model)

    def of_any_rows(leaf):
        return (None, *leaf.shape[1:]) if any_rows and leaf.shape else tuple(leaf.shape)

    def call(*trees):
        shapes = tuple((leaf.dtype, of_any_rows(leaf)) for leaf in tf.nest.flatten(trees))
        if shapes not in graphs:
            with tracing:
                if shapes not in graphs:  # one function for each: TensorFlow warns of one that is traced often
                    spec = lambda leaf: tf.TensorSpec(of_any_rows(leaf), leaf.dtype)
                    signature = tf.nest.map_structure(spec, trees)
                    kept = keeper and keeper.program(called, function, signature, fused=True)
                    traced = tf.function(function, autograph=False, jit_compile=True)
                    graphs[shapes] = kept or traced.get_concrete_function(*signature)
        return graphs[shapes](*trees)

    return call


def to_host(arrays):
    """A dict or a tuple of results as numpy arrays."""
    if isinstance(arrays, dict):
        return {name: np.asarray(array) for name, array in arrays.items()}
    return tuple(map(np.asarray, arrays))


def in_place(array):
    """A value for a variable that is the memory of a numpy array, where that begins at a multiple of 64 bytes."""
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def accelerated():
    """Whether there is a device that is no processor; looking takes none of its memory."""
    return any(device.device_type != "CPU" for device in tf.config.list_physical_devices())


def seed(value):
    """Seeds what is drawn once: initial weights, and the seeds of the model's own generators."""
    keras.utils.set_random_seed(value)


def abstractly(make):
    """`make()`, which makes layers and optimizers, without arrays: their variables have a shape and no value."""
    with tf.Graph().as_default():  # its operations never run
        return make()


def device_memory():
    """(None, the name of the first device): TensorFlow does not tell how much memory one has."""
    return None, tf.config.list_logical_devices()[0].device_type.lower()


def peak_device_memory():
    """The most bytes of the first device's own memory that were taken at once; None for a processor."""
    devices = [device for device in tf.config.list_logical_devices() if device.device_type == "GPU"]
    return tf.config.experimental.get_memory_info(devices[0].name)["peak"] if devices else None


def _reported(report):
    return {name: report[name] for name in (*REPORTED, *(name for name in REPORTED_WHERE_THERE if name in report))}
