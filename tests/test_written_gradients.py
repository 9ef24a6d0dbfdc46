"""What a layer computes faster than the plain formula has the formula's values and gradients."""

import numpy as np
import pytest
from keras import ops
from models import gradient

from t2t_multimodel.kernels.dense import dense, residual_add
from t2t_multimodel.kernels.depthwise import depthwise_1d
from t2t_multimodel.kernels.gather import gather_rows
from t2t_multimodel.kernels.split_batch import cached_for_split, halved, split_batch
from t2t_multimodel.layers.convolution import strided_slice_2d, zero_mean_columns
from t2t_multimodel.layers.experts import feed_forward_by_expert
from t2t_multimodel.layers.normalization import EPSILON, scaled_rows


@pytest.mark.parametrize("rows", [6, 1])
@pytest.mark.parametrize("argument", ["x", "scale"])
def test_layer_norm(argument, rows):
    random = np.random.default_rng(0)
    shapes = {"x": (rows, 8), "scale": 8}
    given = {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    weights = ops.convert_to_tensor(random.normal(size=(rows, 8)).astype("float32"))

    def formula(x, scale):
        return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + EPSILON) * scale

    def gradient_of(function):
        constants = {name: ops.convert_to_tensor(value) for name, value in given.items()}
        order = lambda value: (constants | {argument: value}).values()
        result = lambda value: ops.reshape(function(*order(value)), [rows, 8])
        return gradient(lambda value: ops.sum(result(value) * weights), given[argument])

    written = lambda x, scale: scaled_rows(x, scale, [rows, 1, 8])
    found = written(*map(ops.convert_to_tensor, given.values()))
    np.testing.assert_allclose(found, formula(**given)[:, None], atol=1e-5)
    np.testing.assert_allclose(gradient_of(written), gradient_of(formula), atol=1e-5)


@pytest.mark.parametrize("length", [1, 4, 10])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kernel_size, dilation", [(1, 1), (3, 1), (5, 1), (3, 2), (5, 4)], ids=str)
@pytest.mark.parametrize("argument", ["x", "kernel"])
@pytest.mark.parametrize("masked", [True, False])
def test_depthwise_convolution(masked, argument, kernel_size, dilation, causal, length):
    """Lengths that the dilation divides and that it doesn't, shorter than the taps' reach too; with padding."""
    random = np.random.default_rng(0)
    shape, before = (2, length, 3), kernel_size - 1 if causal else (kernel_size - 1) // 2
    given = {
        name: random.normal(size=size).astype("float32") for name, size in (("x", shape), ("kernel", (kernel_size, 3)))
    }
    padding_mask = np.ones((2, length, 1), "float32")
    if masked:
        padding_mask[1, length // 2 :] = 0.0
    weights = ops.convert_to_tensor(random.normal(size=shape).astype("float32"))

    def formula(x, kernel):
        reach = kernel_size * dilation
        padded = ops.pad(x * padding_mask, [[0, 0], [reach, reach], [0, 0]])
        starts = [reach + (tap - before) * dilation for tap in range(kernel_size)]
        return sum(padded[:, start : start + length] * kernel[tap] for tap, start in enumerate(starts))

    def written(x, kernel):
        mask = ops.convert_to_tensor(padding_mask) if masked else None
        rows = depthwise_1d(x, kernel, ops.shape(x), dilation, causal, mask)
        return ops.reshape(rows, shape)

    def gradient_of(function):
        constants = {name: ops.convert_to_tensor(value) for name, value in given.items()}
        order = lambda value: (constants | {argument: value}).values()
        return gradient(lambda value: ops.sum(function(*order(value)) * weights), given[argument])

    tensors = [ops.convert_to_tensor(value) for value in given.values()]
    np.testing.assert_allclose(written(*tensors), formula(*tensors), atol=1e-5)
    np.testing.assert_allclose(gradient_of(written), gradient_of(formula), atol=1e-5)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1), (3, 2)], ids=str)
@pytest.mark.parametrize("sides", [(4, 6), (5, 7), (1, 1), (3, 2)], ids=str)
def test_every_second_position(sides, strides):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, *sides, 3)).astype("float32")
    expected = x[:, :: strides[0], :: strides[1]]
    np.testing.assert_array_equal(strided_slice_2d(ops.convert_to_tensor(x), *strides), expected)
    weights = random.normal(size=expected.shape).astype("float32")
    of_x = np.zeros_like(x)
    of_x[:, :: strides[0], :: strides[1]] = weights
    found = gradient(lambda x: ops.sum(strided_slice_2d(x, *strides) * ops.convert_to_tensor(weights)), x)
    np.testing.assert_array_equal(found, of_x)


@pytest.mark.parametrize(
    "rows, copies, gaps",
    [([2, 0, 1, 0, 2], [[1, 3], [2, 5], [0, 4], [5, 5]], True), ([3, 1, 0, 2], [[2], [1], [3], [0]], False)],
    ids=["some twice, one never", "each once"],
)
def test_picked_rows(rows, copies, gaps):
    random = np.random.default_rng(0)
    given = random.normal(size=(4, 3)).astype("float32")
    weights = ops.convert_to_tensor(random.normal(size=(len(rows), 3)).astype("float32"))
    choice = np.eye(4, dtype="float32")[rows]
    pick = lambda x: gather_rows(x, np.array(rows, "int32"), np.array(copies, "int32"), gaps)
    np.testing.assert_array_equal(pick(ops.convert_to_tensor(given)), given[rows])
    found = gradient(lambda x: ops.sum(pick(x) ** 2 * weights), given)
    formula = gradient(lambda x: ops.sum(ops.matmul(choice, x) ** 2 * weights), given)
    np.testing.assert_allclose(found, formula, rtol=1e-5)


@pytest.mark.parametrize("argument", ["weights", "bias"])
def test_centred_weights(argument):
    random = np.random.default_rng(0)
    given = {"weights": random.normal(size=(4, 3)).astype("float32"), "bias": random.normal(size=3).astype("float32")}
    factor = random.normal(size=given[argument].shape).astype("float32")
    formula = lambda x: x - ops.mean(x, axis=-1, keepdims=True)
    tensors = {name: ops.convert_to_tensor(value) for name, value in given.items()}
    for found, value in zip(zero_mean_columns(*tensors.values()), given.values()):
        np.testing.assert_allclose(found, formula(value), atol=1e-6)
    number = list(given).index(argument)
    written = lambda x: zero_mean_columns(*(tensors | {argument: x}).values())[number]
    found = gradient(lambda x: ops.sum(written(x) ** 2 * factor), given[argument])
    expected = gradient(lambda x: ops.sum(formula(x) ** 2 * factor), given[argument])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("lengths", [(5,), (2, 3), (2, 1, 3)], ids=str)
def test_products_over_the_last_axis(lengths):
    random = np.random.default_rng(0)
    x, weights, bias, factor = (
        random.normal(size=shape).astype("float32") for shape in ((*lengths, 4), (4, 6), (6,), (*lengths, 6))
    )
    np.testing.assert_allclose(dense(*map(ops.convert_to_tensor, (x, weights, bias))), x @ weights + bias, atol=1e-5)
    found = gradient(lambda x: ops.sum(dense(x, ops.convert_to_tensor(weights)) * ops.convert_to_tensor(factor)), x)
    np.testing.assert_allclose(found, factor @ weights.T, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_two_halves_are_the_whole(rows):
    """A batch of one row too, and gradients."""
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(rows, 3)).astype("float32") for _ in range(2))
    weights = ops.convert_to_tensor(random.normal(size=(rows, 2)).astype("float32"))
    function = lambda x, y: ops.tanh(x[:, :2]) * ops.sum(y, axis=-1, keepdims=True)
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    np.testing.assert_allclose(split_batch(function, x, y), function(x, y), rtol=1e-6)
    found = gradient(lambda x: ops.sum(split_batch(function, x, y) * weights), np.asarray(x))
    np.testing.assert_allclose(found, gradient(lambda x: ops.sum(function(x, y) * weights), np.asarray(x)), rtol=1e-6)


def test_sums_that_ask_for_no_shape():
    random = np.random.default_rng(0)
    x = random.normal(size=(5, 3)).astype("float32")
    weights = ops.convert_to_tensor(random.normal(size=(5, 3)).astype("float32"))
    found = gradient(lambda x: ops.sum(residual_add(x * 2.0, x) ** 2 * weights), x)
    np.testing.assert_allclose(found, 18.0 * x * np.asarray(weights), rtol=1e-5)


@pytest.mark.parametrize("half", [0, 2])
def test_halves_of_an_array(half):
    x = np.ones((5, 3), "float32")
    found = gradient(lambda x: ops.sum(halved(x, half)[0]) + 2.0 * ops.sum(halved(x, half)[1]), x)
    np.testing.assert_array_equal(found, np.repeat([[1.0], [2.0]], [half, 5 - half], axis=0) * x)


def test_what_halves_share_is_made_once():
    """And its gradient is that of both; outside of halves nothing is kept."""
    made = []

    def doubled(weights):
        made.append(1)
        return weights * 2.0

    def function(weights, x):
        return x * cached_for_split("doubled", lambda: doubled(weights))

    x = ops.convert_to_tensor(np.arange(8, dtype="float32").reshape(4, 2))
    weights = np.ones(2, "float32")
    found = gradient(lambda w: ops.sum(split_batch(lambda x: function(w, x), x)), weights)
    np.testing.assert_allclose(found, 2.0 * np.sum(np.asarray(x), axis=0))
    assert len(made) == 1
    for _ in range(2):
        function(ops.convert_to_tensor(weights), x)
    assert len(made) == 3


@pytest.mark.parametrize("experts", [2, 5])
@pytest.mark.parametrize("argument", ["x", "first", "second"])
def test_feed_forward_of_each_expert(argument, experts):
    random = np.random.default_rng(0)
    shapes = {"x": (experts, 4, 3), "first": (experts, 3, 6), "second": (experts, 6, 3)}
    given = {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    weights = ops.convert_to_tensor(random.normal(size=shapes["x"]).astype("float32"))
    formula = lambda x, first, second: ops.matmul(ops.relu(ops.matmul(x, first)), second)

    def gradient_of(function):
        constants = {name: ops.convert_to_tensor(value) for name, value in given.items()}
        order = lambda value: (constants | {argument: value}).values()
        return gradient(lambda value: ops.sum(function(*order(value)) * weights), given[argument])

    given_tensors = [ops.convert_to_tensor(value) for value in given.values()]
    np.testing.assert_allclose(feed_forward_by_expert(*given_tensors), formula(*given_tensors), atol=1e-5)
    np.testing.assert_allclose(gradient_of(feed_forward_by_expert), gradient_of(formula), atol=1e-5)
