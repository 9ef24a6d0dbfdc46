"""A traced TensorFlow function that keeps what runs and lets go of the graph that it was traced in."""

import contextlib
import itertools
import threading

import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.python.framework import ops as framework
from tensorflow.python.framework.func_graph import FuncGraph

from t2t_multimodel.startup import give_back_memory
from t2t_multimodel.training.tensorflow_graph import each_once

tracing = threading.RLock()  # held by the thread that traces: others compile and run meanwhile


def program(*signature, keeper=None, called=None):
    """A decorator that makes a `Program` of a function with arguments of that signature (`tf.function`'s).

    Args: keeper, called: of `tensorflow_kept.py`, where it may be kept on disk.
    """
    return lambda function: Program(function, signature, keeper, called)


class Program:
    """A function of tensors, or of what becomes tensors, traced when this is made. It has arguments without defaults,
    all of them given by position; a gradient tape around a call of it finds nothing.

    TensorFlow keeps the graph of a traced function for ever, to differentiate it later, which is never done here. Of
    the 180 MiB that the program of a training step takes, more than half are its graph of 15,000 operations, and every
    problem has such programs. (What knows TensorFlow's inside is in `_without_graph` and below.)
    """

    def __init__(self, function, signature, keeper=None, called=None):
        with tracing:
            self._runs = keeper and keeper.program(called, each_once()(function), signature)
            if self._runs is None:
                traced = tf.function(each_once()(function), input_signature=signature, autograph=False)
                # (Called by way of `traced` it would hash its type, with a thousand variables, each time.)
                self._runs = _without_graph(traced.get_concrete_function())
                del traced
        self._has_run = False
        give_back_memory()  # that of tracing, before what runs takes its own

    def __call__(self, *arguments):
        if not self._has_run:
            self._has_run = True
            self.optimise(*arguments)  # its memory is free again when the call takes its own
        return self._runs(*arguments)

    def optimise(self, *arguments):
        """Does what TensorFlow does at a first call, for a training step seconds of optimising its graph, and runs
        nothing. A processor does one program; threads may do several programs at once.

        Args: arguments: as of a call, of any sizes.
        """
        if isinstance(self._runs, RuntimeFunction):
            self._runs.optimise(*arguments)
            give_back_memory()


class RuntimeFunction:
    """A function that TensorFlow's runtime knows by its name."""

    def __init__(self, name, inputs, call, outputs):
        """
        Args:
          name: bytes. inputs: of the arguments of a call the list of tensors that it takes. call: runs it on them.
          outputs: how many tensors it gives.
        """
        self._name, self._inputs, self._call, self._outputs = name, inputs, call, outputs

    def __call__(self, *arguments):
        return self._call(self._inputs(*arguments))

    def optimise(self, *arguments):
        """See `Program.optimise`. Where a TensorFlow has other ways inside, the first call has this work to do."""
        inputs = self._inputs(*arguments)
        with contextlib.suppress(tf.errors.CancelledError, ImportError, AttributeError):
            _give_up(self._name, inputs, self._outputs)


def _give_up(name, inputs, outputs):
    """A call that is cancelled before it begins: the runtime gets the function ready to run, and raises
    `CancelledError`.
    """
    from tensorflow.python.eager import cancellation, execute
    from tensorflow.python.eager.context import context

    cancelled = cancellation.CancellationManager()
    cancelled.start_cancel()
    options = tuple(itertools.chain(*context().function_call_options.as_attrs().items()))
    execute.execute_with_cancellation(
        name.decode(), outputs, inputs, options, context(), cancellation_manager=cancelled
    )


def _without_graph(concrete):
    """Calls what the runtime made of a concrete function; where a TensorFlow keeps its functions in another way, the
    function itself with its graph.
    """
    try:
        function = concrete.inference_fn
        call, kind, name = function.call_preflattened, function.function_type, function.name
        captured = kind.unpack_captures(concrete.captured_inputs)
        outputs = len(kind.flat_outputs)
        let_go_of_graph(function)
        function._cached_definition = FunctionDef(signature=function.definition.signature)  # a call looks at no more
    except AttributeError:
        return concrete
    inputs = lambda *arguments: kind.unpack_inputs(kind.bind(*arguments)) + captured
    return RuntimeFunction(name, inputs, call, outputs)


def let_go_of_graph(function):
    """Has a function of the runtime, `ConcreteFunction.inference_fn`, and what it calls forget their graphs."""
    graph = function._cached_graph
    if graph is None:
        return
    registry = framework.gradient_registry._registry
    for operation in graph.get_operations():
        # Each use of a `custom_gradient` is an entry of its own, which holds arrays of the graph.
        if operation.type == "IdentityN" and "_gradient_op_type" in operation.node_def.attr:
            registry.pop(operation.get_attr("_gradient_op_type").decode(), None)
    for part in function.children:
        # Branches and loops have graphs of other kinds; a function that others may call too keeps its graph.
        if type(part._cached_graph) is not FuncGraph:
            let_go_of_graph(part)
    function._cached_graph = None
