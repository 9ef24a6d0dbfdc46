"""What a layer computes faster than the plain formula has the formula's values and gradients."""

import numpy as np
import pytest
from keras import ops
from models import gradient

from t2t_multimodel.model.convolution import every


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1), (3, 2)], ids=str)
@pytest.mark.parametrize("sides", [(4, 6), (5, 7), (1, 1), (3, 2)], ids=str)
def test_every_second_position(sides, strides):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, *sides, 3)).astype("float32")
    expected = x[:, :: strides[0], :: strides[1]]
    np.testing.assert_array_equal(every(ops.convert_to_tensor(x), *strides), expected)
    weights = random.normal(size=expected.shape).astype("float32")
    of_x = np.zeros_like(x)
    of_x[:, :: strides[0], :: strides[1]] = weights
    found = gradient(lambda x: ops.sum(every(x, *strides) * ops.convert_to_tensor(weights)), x)
    np.testing.assert_array_equal(found, of_x)
