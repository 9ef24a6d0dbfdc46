"""Programs of TensorFlow on disk: what one process has traced, the next one runs without tracing.

A program is a traced function: its `FunctionDef`s, and what it takes besides its arguments, which are variables of the
model and constants. Its file is named by a digest of all that tracing depends on (`Keeper`), so that another version,
model or setting never finds it. A file holds a digest of its content: a damaged one is traced anew. Without a file, or
where none can be written, a process traces for itself.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import sys
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from t2t_multimodel import registry
from t2t_multimodel.compile_cache import fill_xla, kept_folder, read_kept, write_kept
from t2t_multimodel.training.tensorflow_program import RuntimeFunction, let_go_of_graph

FORMAT = 1
ENDING = ".program"
_PACKAGE = Path(__file__).resolve().parents[1]
# Registries of what is in a graph. Of a user's own, what it depends on can't be known, so nothing is kept.
_IN_GRAPHS = (registry.models, registry.modalities, registry.optimizers, registry.grammars)
# Variables of the environment that may select how something is computed, and those of them that don't.
_THAT_SELECT = ("T2T_KERNELS", "TF_", "XLA_", "KERAS_")
_THAT_DO_NOT = ("TF_CPP_", "TF_NUM_", "TF_XLA_FLAGS", "KERAS_HOME")
# Hparams that no graph depends on: what batches are made of, how many updates, and the rate, which is an argument.
NOT_IN_GRAPHS = (
    *("learning_rate", "learning_rate_schedule", "learning_rate_warmup_steps", "learning_rate_decay_rate"),
    *("learning_rate_decay_steps", "train_steps", "batch_tokens", "batch_examples", "length_window", "sorted_epochs"),
    *("mixture", "mixture_temperature", "mixture_schedule", "image_positions", "audio_positions_per_second"),
)
_keepers: "weakref.WeakKeyDictionary[Any, Keeper]" = weakref.WeakKeyDictionary()


def keeper_of(model, optimizer=None):
    """The `Keeper` of a model's programs; None: they are not kept.

    Args: optimizer: of programs that train; its variables are used too.
    """
    folder = kept_folder()
    if folder is None:
        return None
    owner = optimizer or model
    if owner not in _keepers:
        _keepers[owner] = Keeper(folder, model, optimizer)
    return _keepers[owner]


class Stored(NamedTuple):
    """A traced function as it is stored."""

    graph: tf.compat.v1.GraphDef  # nodes: constants that it takes; library: its functions
    name: str  # of the function that is called
    taken: list  # what it takes behind its arguments: the path of a variable, or None for the next constant
    results: Any  # their structure, of `_skeleton`

    def content(self):
        about = {"name": self.name, "taken": self.taken, "results": self.results}
        return json.dumps(about).encode() + b"\n" + self.graph.SerializeToString(deterministic=True)

    @classmethod
    def of_content(cls, content):
        about, _, graph = content.partition(b"\n")
        return cls(graph=tf.compat.v1.GraphDef.FromString(graph), **json.loads(about))


class Keeper:
    """The programs of one model in a folder.

    What tells a program apart: the sources of this package; versions; variables of the environment that select how it
    computes; devices; the hparams, problems and variables of the model, but for hparams `NOT_IN_GRAPHS`; what it is
    `called`, and its signature.
    """

    def __init__(self, folder, model, optimizer=None):
        self._folder, self._keeps = folder, _all_ours(model) and _runtime() is not None
        variables = [*model.variables, *(optimizer.variables if optimizer else ())]
        self._variables = {variable.path: variable.value for variable in variables}
        self._about = _process() | {
            "environment": {
                name: value
                for name, value in sorted(os.environ.items())
                if name.startswith(_THAT_SELECT) and not name.startswith(_THAT_DO_NOT)
            },
            "variables": [[v.path, list(v.shape), str(v.dtype), v.trainable] for v in variables],
            "optimizer": optimizer and type(optimizer).__qualname__,
        }
        if self._keeps:
            hparams = dataclasses.asdict(model.hparams)
            self._about["hparams"] = {name: value for name, value in hparams.items() if name not in NOT_IN_GRAPHS}
            self._about["specs"] = {name: spec.to_json() for name, spec in model.specs.items()}
        fill_xla(_digest(self._about)[:32])

    def program(self, called, function, signature, fused=False):
        """`function(*trees of tensors)` as it is kept, or traced and kept.

        Args:
          called: plain values that tell it from the other programs of the model.
          signature: a tree of `tf.TensorSpec` for each argument. fused: whether it is an XLA program.

        Returns:
          The function; None where it can't be kept.
        """
        if not self._keeps:
            return None
        path = self._path(called, signature, fused)
        content = read_kept(path)
        if content is not None:
            return self._callable(Stored.of_content(content))
        stored = self._traced(function, signature, fused)
        if stored is None:
            return None
        write_kept(path, stored.content())
        return self._callable(stored)

    def _path(self, called, signature, fused):
        leaves = [(leaf.shape.as_list(), leaf.dtype.name) for leaf in tf.nest.flatten(signature)]
        about = self._about | {"called": called, "signature": leaves, "fused": fused}
        return self._folder / (_digest(about) + ENDING)

    def _traced(self, function, signature, fused):
        skeletons = []

        def flat(*leaves):
            results = function(*tf.nest.pack_sequence_as(signature, leaves))
            skeletons.append(_skeleton(results))
            # One tensor for each number of the skeleton: an `IndexedSlices` would be three.
            return [tf.convert_to_tensor(result) for result in tf.nest.flatten(results) if result is not None]

        traced = tf.function(flat, autograph=False, jit_compile=fused or None)
        concrete = traced.get_concrete_function(*tf.nest.flatten(signature))
        paths = {id(variable.handle): path for path, variable in self._variables.items()}
        graph = tf.compat.v1.GraphDef(library=concrete.graph.as_graph_def().library)
        graph.library.function.append(concrete.function_def)
        taken = []
        for captured in concrete.captured_inputs:
            taken.append(paths.get(id(captured)))
            if taken[-1] is None:
                if captured.dtype == tf.resource:  # of a variable that is not the model's
                    return None
                value = tf.make_tensor_proto(captured.numpy())
                node = graph.node.add(name=f"constant{len(graph.node)}", op="Const")
                node.attr["value"].tensor.CopyFrom(value)
        with contextlib.suppress(AttributeError):  # of a TensorFlow whose inside is another
            let_go_of_graph(concrete.inference_fn)
        return Stored(graph, _rename(graph.library), taken, skeletons[-1])

    def _callable(self, program):
        runtime, name = _runtime(), program.name.encode()
        for function in program.graph.library.function:
            if not runtime.has_function(function.signature.name):
                runtime.add_function_def(function)
        constants = iter([tf.constant(tf.make_ndarray(node.attr["value"].tensor)) for node in program.graph.node])
        taken = [next(constants) if path is None else self._variables[path].handle for path in program.taken]
        top = next(f for f in program.graph.library.function if f.signature.name == program.name).signature
        dtypes = [tf.as_dtype(argument.type) for argument in top.input_arg[: len(top.input_arg) - len(taken)]]
        results, skeleton = len(top.output_arg), program.results

        inputs = lambda *trees: [*map(tf.convert_to_tensor, tf.nest.flatten(trees), dtypes), *taken]
        call = lambda tensors: _filled(skeleton, runtime.call_function(name, tensors, results))
        return RuntimeFunction(name, inputs, call, results)


def _runtime():
    """What runs functions by their names; None of a TensorFlow that has no such thing."""
    try:
        from tensorflow.python.eager.context import context
    except ImportError:
        return None
    runtime = context()
    needed = ("has_function", "add_function_def", "call_function")
    return runtime if all(hasattr(runtime, name) for name in needed) else None


def _all_ours(model):
    """Whether nothing but this package has a part in the graphs of a model."""
    parts = [type(model), *(entry.value for each in _IN_GRAPHS for entry in each.entries())]
    return all(part.__module__.partition(".")[0] == __package__.partition(".")[0] for part in parts)


@functools.cache
def _process():
    """What graphs depend on besides the model, the same for the whole process."""
    sources = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        content = path.read_bytes()
        sources.update(f"{path.relative_to(_PACKAGE)} {len(content)}\n".encode() + content)
    return {
        "format": FORMAT,
        "sources": sources.hexdigest(),
        "versions": [sys.version, tf.version.VERSION, tf.version.GIT_VERSION, keras.__version__, np.__version__],
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "keras": [keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()],
    }


def _digest(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _rename(library):
    """Gives functions names by the content of all, in place, and returns that of the last, which calls the others.

    TensorFlow numbers them in the order in which a process traces: in another process the name may be another
    function's. XLA's own cache has the names in its keys.
    """
    digest = hashlib.sha256(library.SerializeToString(deterministic=True)).hexdigest()[:32]
    names = {function.signature.name: f"kept_{digest}_{i}" for i, function in enumerate(library.function)}
    for function in library.function:
        function.signature.name = names[function.signature.name]
        for node in function.node_def:
            node.op = names.get(node.op, node.op)
            for value in node.attr.values():
                for called in (value.func, *value.list.func) if value.HasField("func") else value.list.func:
                    called.name = names.get(called.name, called.name)
    return library.function[-1].signature.name


def _skeleton(tree, count=None):
    """The structure of a tree of tensors as plain values, with numbers for tensors in the order of `tf.nest`."""
    count = [0] if count is None else count
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {"dict": {name: _skeleton(tree[name], count) for name in sorted(tree)}}
    if isinstance(tree, list | tuple):
        return {type(tree).__name__: [_skeleton(each, count) for each in tree]}
    count[0] += 1
    return count[0] - 1


def _filled(skeleton, leaves):
    if skeleton is None:
        return None
    if isinstance(skeleton, int):
        return leaves[skeleton]
    ((kind, parts),) = skeleton.items()
    if kind == "dict":
        return {name: _filled(part, leaves) for name, part in parts.items()}
    return {"list": list, "tuple": tuple}[kind](_filled(part, leaves) for part in parts)
