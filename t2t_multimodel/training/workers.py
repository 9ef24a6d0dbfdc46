"""Worker processes that answer batches beside each other, each on one processor; their weights are in memory once.

Threads would not do: TensorFlow runs the compiled programs of a process one after the other. What is decoded with N
workers is what one process decodes: the same batches, with the results in their order.
"""

import dataclasses
import json

from keras import ops

from t2t_multimodel import registry
from t2t_multimodel.errors import UserError
from t2t_multimodel.modules import with_packages
from t2t_multimodel.startup import processors
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.run import Stored
from t2t_multimodel.training.shared_weights import SharedWeights
from t2t_multimodel.training.worker_pool import WorkerPool
from t2t_multimodel.training.worker_process import NewWeights, Setup, Worker

MOST_WORKERS = 256
MANY_INPUTS = 10_000  # more are decoded by several processes where nothing else is asked for
_MOST_UNASKED = 8  # each takes memory for its programs
_USED_BY_RUNS = ("models", "modalities", "grammars")  # registries of what a run's model and its answers need


class Workers(WorkerPool):
    """`count` processes that do the `Task`s of a stored run; see `WorkerPool`."""

    def __init__(self, count, stored):
        """Args: stored: a `Stored` run. The attribute `stored` is the same with the weights that the workers share."""
        check_backend(count)
        optimizers = tuple(f"{name}/" for name in registry.optimizers.names())  # an optimizer's variables begin so
        arrays = {path: array for path, array in stored.arrays.items() if not path.startswith(optimizers)}
        if stored.quantize != "none":  # once, not in each process
            arrays = arrays_of(stored.model())
        self._weights = SharedWeights(arrays)
        self.stored = dataclasses.replace(stored, arrays=self._weights.arrays(), as_value=adapter().in_place)
        vocabulary = stored.vocabulary
        setup = Setup(
            _modules_of_users(),
            json.dumps(stored.run.to_json()),
            stored.hparams,
            self._weights,
            vocabulary and (vocabulary.model, dict(vocabulary.commands)),
            stored.source,
            stored.quantize,
        )
        super().__init__(count, Worker, setup)

    def new_weights(self, arrays):
        """Gives all workers other weights, {path: array}; no task may be under way."""
        self._weights.write(arrays)
        self.each(NewWeights())


def workers_of(trainer, workers=None):
    """Workers that have the weights of a `Trainer` as they are now.

    Args:
      workers: those that are given the weights; where they are None or closed, new ones are made.
    """
    count = trainer.settings.eval_workers
    trainer.train_step.variables()  # which on JAX gives the model its weights
    arrays = arrays_of(trainer.model)
    if workers is None or workers.closed:
        vocabulary = next(filter(None, (store.vocabulary() for store in trainer.stores.values())), None)
        source = ("the trainer", "the trainer", "")
        return Workers(count, Stored(trainer.run_record, trainer.hparams, vocabulary, 0, arrays, source))
    workers.new_weights(arrays)
    return workers


def arrays_of(model):
    """{path: array} of a model's variables."""
    return {variable.path: ops.convert_to_numpy(variable) for variable in model.variables}


def chosen_workers(asked, inputs):
    """How many processes decode so many inputs: `asked`, or where that is None what pays.

    To start workers takes as long as decoding a few thousand short texts, each.
    """
    if asked is not None:
        return asked
    if inputs <= MANY_INPUTS or adapter().accelerated():
        return 1
    return min(processors(), _MOST_UNASKED)


def check_backend(count):
    """Raises `UserError` where several workers make no sense: their work is a processor's."""
    if not 1 <= count <= MOST_WORKERS:
        raise UserError(f"workers={count} must be at least 1 and at most {MOST_WORKERS}")
    if count > 1 and adapter().accelerated():
        raise UserError(
            f"workers={count}: workers share out processors, and this machine decodes on another device; "
            "leave them out, or hide the device (CUDA_VISIBLE_DEVICES=-1, JAX_PLATFORMS=cpu)"
        )


def _modules_of_users():
    """The modules, as `with_packages` gives them, that register what does not ship with this package."""
    found = []
    for name in _USED_BY_RUNS:
        for entry in getattr(registry, name).entries():
            value = entry.value
            module = getattr(value, "__module__", type(value).__module__)
            if not module.startswith("t2t_multimodel."):
                found += with_packages(module)
    return tuple(dict.fromkeys(found))
