"""Promise: small variables that are one array between the programs come back as they were. (JAX)"""

from types import SimpleNamespace

import numpy as np
import pytest

jax = pytest.importorskip("jax")

KINDS = (((), "float32"), ((3, 5), "float32"), ((70, 70), "float32"), ((2,), "uint32"), ((0, 4), "float32"))


@pytest.fixture
def pack():
    from t2t_multimodel.training.jax_pack import Pack

    return Pack(variables())


def variables():
    return [SimpleNamespace(shape=shape, dtype=dtype) for shape, dtype in KINDS]


def values():
    random = np.random.default_rng(1)
    return [jax.numpy.asarray(random.integers(0, 99, shape).astype(dtype)) for shape, dtype in KINDS]


@pytest.mark.parametrize("joined", ["join", "join_on_host"])
@pytest.mark.parametrize("apart", ["split", "split_on_host"])
def test_what_is_joined_comes_apart_again(pack, joined, apart):
    packed = getattr(pack, joined)(values())
    assert [array.shape for array in packed] == [(16,), (70, 70), (2,)]
    assert [place.shape for place in pack.shapes(variables())] == [array.shape for array in packed]
    found = getattr(pack, apart)(packed)
    for value, (shape, dtype), before in zip(found, KINDS, values(), strict=True):
        assert value.shape == shape and value.dtype == dtype
        np.testing.assert_array_equal(value, before)


def test_the_place_of_a_large_one_is_known(pack):
    assert [pack.place_of(index) for index in (2, 3)] == [1, 2]


def test_what_is_cut_over_devices_is_not_packed():
    from t2t_multimodel.training.jax_pack import Pack

    places = [SimpleNamespace(is_fully_replicated=index != 1) for index in range(len(KINDS))]
    put = []
    pack = Pack(variables(), places, lambda array: put.append(array) or array)
    packed = pack.join_on_host(values())
    assert [array.shape for array in packed] == [(1,), (3, 5), (70, 70), (2,)] and put[0] is packed[0]
    for value, before in zip(pack.split_on_host(packed), values(), strict=True):
        np.testing.assert_array_equal(value, before)


def test_the_host_keeps_no_view_of_memory_that_is_used_again(pack):
    packed = pack.join_on_host(values())
    found = pack.split_on_host(packed)
    assert not np.shares_memory(found[1], np.asarray(packed[0]))
