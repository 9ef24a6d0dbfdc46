"""A SavedModel made small computes what it did, effects in their order included."""

import pytest

from t2t_multimodel.exporting.compact import compact


def make_module():
    """Repeated constants and reads, a loop, a branch, a call, a string; and a function with an effect."""
    import tensorflow as tf

    class Counting(tf.Module):
        def __init__(self):
            self.weights = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="a_variable_with_a_long_name")
            self.calls = tf.Variable(0, name="calls")

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def answer(self, x):
            def layer(x):
                with tf.name_scope("a_scope_with_a_long_name"):
                    rows = tf.shape(x)[0]
                    y = tf.matmul(x, self.weights.read_value()) * 2.0 + 0.5
                    return tf.reshape(tf.identity(y), [rows, 2])

            for _ in range(4):
                x = layer(x)
            loop = lambda i, x: (i + 1, tf.where(x > 10.0, x / 2.0, self.inner(x)))
            _, x = tf.while_loop(lambda i, x: i < 5, loop, [0, x])
            x = tf.cond(tf.reduce_sum(x) > 0.0, lambda: x + self.weights[0], lambda: x - self.weights[1])
            return {"outputs": x, "same": tf.identity(x), "name": tf.strings.as_string(x)}

        @tf.function
        def inner(self, x):
            return x + tf.reduce_sum(self.weights)

        @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="more")])
        def count(self, more):
            before = self.calls.read_value()
            self.calls.assign_add(more)
            middle = self.calls.read_value()
            self.calls.assign_add(more)
            tf.debugging.assert_less(middle, 100)
            return {"before": before, "middle": middle, "after": self.calls.read_value(), "more": more}

    return Counting()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """(a folder with a SavedModel, the same made small)."""
    import tensorflow as tf

    module, folders = make_module(), []
    for name in ("plain", "small"):
        folders.append(tmp_path_factory.mktemp(name))
        tf.saved_model.save(module, folders[-1], {"answer": module.answer, "count": module.count})
    compact(folders[1])
    return folders


def loaded(folder):
    import tensorflow as tf

    return tf.saved_model.load(folder).signatures


def test_it_computes_the_same(folders):
    import tensorflow as tf

    plain, small = map(loaded, folders)
    for rows in (1, 3):
        x = tf.random.stateless_normal([rows, 2], [1, rows])
        wanted, found = plain["answer"](x=x), small["answer"](x=x)
        assert wanted.keys() == found.keys()
        for name in wanted:
            assert (wanted[name].numpy() == found[name].numpy()).all(), name


def test_effects_stay_in_their_order(folders):
    import tensorflow as tf

    for signatures in map(loaded, folders):
        for first in (0, 6):
            found = {name: int(value) for name, value in signatures["count"](more=tf.constant(3)).items()}
            assert found == {"before": first, "middle": first + 3, "after": first + 6, "more": 3}
        with pytest.raises(tf.errors.InvalidArgumentError):
            signatures["count"](more=tf.constant(500))


def test_it_is_small_and_only_what_repeats_is_gone(folders):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    sizes, nodes = [], []
    for folder in folders:
        content = (folder / "saved_model.pb").read_bytes()
        (graph,) = SavedModel.FromString(content).meta_graphs
        functions = {f.signature.name: f for f in graph.graph_def.library.function}
        (answer,) = (f for name, f in functions.items() if name.startswith("__inference_answer"))
        nodes.append([node.op for node in answer.node_def])
        sizes.append(len(content))
    assert sizes[1] < 0.6 * sizes[0]
    plain, small = nodes
    assert small.count("MatMul") == plain.count("MatMul") == 4
    assert plain.count("ReadVariableOp") > small.count("ReadVariableOp") == 1
    assert small.count("Identity") < plain.count("Identity")


def test_it_is_read_by_the_loader_of_sessions_too(folders):
    """As TensorFlow Serving and other programs in C++ do: variables are restored by the saved operations."""
    import tensorflow as tf

    x = [[0.5, -1.0]]
    wanted = loaded(folders[0])["answer"](x=tf.constant(x))["outputs"].numpy()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(folders[1]))
        signature = graph.signature_def["answer"]
        found = session.run(signature.outputs["outputs"].name, {signature.inputs["x"].name: x})
    assert (found == wanted).all()
