"""Constants and the arithmetic of shapes stand once in a traced graph, and the graph computes the same."""

import collections

import numpy as np
import pytest
from models import BACKEND, HPARAMS, TRANSLATION, make_model

if BACKEND != "tensorflow":
    pytest.skip("what JAX traces is not such a graph", allow_module_level=True)

import tensorflow as tf

from t2t_multimodel.training.optimizer import make_optimizer
from t2t_multimodel.training.tensorflow_graph import each_once
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
    once = tf.function(each_once()(padded_rows), input_signature=signature, autograph=False)
    np.testing.assert_array_equal(once(x), plain(x))
    assert kinds(once)["Const"] < kinds(plain)["Const"] and kinds(once)["Shape"] < kinds(plain)["Shape"]
    assert hasattr(once.get_concrete_function().graph._create_op_internal, "__self__")  # its own again


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


def test_a_training_step_has_no_constant_twice():
    model = make_model(specs=[TRANSLATION])
    step = Step(model, make_optimizer(HPARAMS, model.trainable_variables), HPARAMS)
    operations = step._update(TRANSLATION).graph.get_operations()
    values = collections.Counter(
        operation.node_def.attr["value"].SerializeToString() for operation in operations if operation.type == "Const"
    )
    assert len(operations) > 1000 and max(values.values()) == 1
