"""Constants and the arithmetic of shapes stand once in a traced graph, and the graph computes the same; a program does
without its graph.
"""

import collections
import gc
import weakref

import numpy as np
import pytest
from models import BACKEND, HPARAMS, TRANSLATION, make_model

if BACKEND != "tensorflow":
    pytest.skip("what JAX traces is not such a graph", allow_module_level=True)

import tensorflow as tf
from tensorflow.python.eager.polymorphic_function.concrete_function import ConcreteFunction
from tensorflow.python.framework import ops as framework

from t2t_multimodel.training import tensorflow_program
from t2t_multimodel.training.optimizer import make_optimizer
from t2t_multimodel.training.tensorflow_graph import each_once
from t2t_multimodel.training.tensorflow_program import program
from t2t_multimodel.training.tensorflow_step import Step


def padded_rows(x):
    """Shapes, slices and constants of many kinds, twice."""
    return padded_sum(x, 2.0) + padded_sum(x, 3.0)


def padded_sum(x, factor):
    rows, columns = tf.unstack(tf.shape(x))
    wide = tf.pad(x * factor, [[0, 0], [1, (columns + 1) % 2]])
    total = tf.reduce_sum(tf.reshape(wide, [rows * tf.shape(wide)[1], 1]) * 2.0)
    return total + tf.cond(rows > 2, lambda: tf.cast(rows, tf.float32) * 2.0, lambda: factor)


def kinds(function):
    return collections.Counter(operation.type for operation in function.get_concrete_function().graph.get_operations())


@pytest.mark.parametrize("shape", [(2, 3), (3, 4)], ids=str)
def test_same_results_of_fewer_operations(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    signature = [tf.TensorSpec([None, None], tf.float32)]
    plain = tf.function(padded_rows, input_signature=signature, autograph=False)
    cached_for_split = tf.function(each_once()(padded_rows), input_signature=signature, autograph=False)
    np.testing.assert_array_equal(cached_for_split(x), plain(x))
    assert (
        kinds(cached_for_split)["Const"] < kinds(plain)["Const"]
        and kinds(cached_for_split)["Shape"] < kinds(plain)["Shape"]
    )
    assert hasattr(cached_for_split.get_concrete_function().graph._create_op_internal, "__self__")  # its own again


def test_functions_within_and_gradients():
    """A function that calls another one, and its gradients, by an array that is sliced alike twice too."""
    inner = tf.function(lambda x: tf.reduce_sum(x * 2.0 + x * 3.0), autograph=False)

    @tf.function(autograph=False)
    @each_once()
    def outer(x):
        with each_once():
            first, second = x[0], x[0]
        y = inner(x) + first * second
        return tf.gradients(y, x)[0], tf.gradients(y, first)[0]

    of_x, of_first = outer(tf.constant([3.0, 4.0]))
    np.testing.assert_allclose(of_x, [11.0, 5.0])
    np.testing.assert_allclose(of_first, 3.0)


@pytest.mark.slow
def test_a_training_step_has_no_constant_twice(monkeypatch):
    graphs = []
    monkeypatch.setattr(tensorflow_program, "_without_graph", lambda concrete: graphs.append(concrete.graph))
    model = make_model(specs=[TRANSLATION])
    step = Step(model, make_optimizer(HPARAMS, model.trainable_variables), HPARAMS)
    step._update(TRANSLATION)
    operations = graphs[0].get_operations()
    values = collections.Counter(
        operation.node_def.attr["value"].SerializeToString() for operation in operations if operation.type == "Const"
    )
    assert len(operations) > 1000 and max(values.values()) == 1


@tf.custom_gradient
def doubled(x):
    return 2.0 * x, lambda upstream: 3.0 * upstream  # no right gradient, but one that shows


def signed_sum(x, weight, graphs):
    graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
    y = tf.cond(tf.reduce_sum(x) > 0.0, lambda: doubled(x), lambda: -doubled(x))
    return {"sum": tf.reduce_sum(doubled(y) * weight), "nothing": None, "gradient": tf.gradients(y, x)}


@pytest.mark.parametrize("knows_functions", [True, False], ids=["usual", "another_tensorflow"])
def test_a_program_computes_and_its_graph_is_gone(knows_functions, monkeypatch):
    if not knows_functions:
        monkeypatch.delattr(ConcreteFunction, "inference_fn")
    weight, graphs = tf.Variable(10.0), []
    registered = set(framework.gradient_registry._registry)
    summed = program({"x": tf.TensorSpec([None], tf.float32)})(lambda batch: signed_sum(batch["x"], weight, graphs))
    for x, total in (([1.0, 2.0], 120.0), ([-1.0], 40.0)):
        result = summed({"x": np.asarray(x, "float32")})
        assert float(result["sum"]) == total and result["nothing"] is None
        np.testing.assert_array_equal(result["gradient"][0], np.full(len(x), 3.0 if total == 120.0 else -3.0))
    weight.assign(1.0)
    assert float(summed({"x": np.ones(1, "float32")})["sum"]) == 4.0
    gc.collect()
    assert (graphs[0]() is None) == knows_functions
    assert (set(framework.gradient_registry._registry) == registered) == knows_functions


def test_a_function_that_two_programs_call_can_be_differentiated_in_both():
    inner = tf.function(doubled, autograph=False)
    signature = tf.TensorSpec([], tf.float32)
    cached_for_split, twice = (lambda x: tf.gradients(inner(x), x)[0]), (lambda x: tf.gradients(inner(x) * 2.0, x)[0])
    for function, expected in ((cached_for_split, 3.0), (twice, 6.0), (cached_for_split, 3.0)):
        assert float(program(signature)(function)(np.float32(5.0))) == expected
