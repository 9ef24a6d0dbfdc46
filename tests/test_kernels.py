"""Every variant of a kernel has the values and gradients of its reference; which one runs is selected in one place."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras import ops
from models import BACKEND, HPARAMS, SPECS, TRANSLATION, gradient, make_batch, make_model, to_numpy, training_outputs

import t2t_multimodel
from t2t_multimodel import registry
from t2t_multimodel.errors import UserError
from t2t_multimodel.kernels import select
from t2t_multimodel.kernels.cross_entropy import cross_entropy_split, entropies, put_along_last_axis
from t2t_multimodel.kernels.ctc import nats_that_fit
from t2t_multimodel.kernels.custom_vjp import custom_vjp
from t2t_multimodel.kernels.dense import dense, reshape_known, residual_add
from t2t_multimodel.kernels.depthwise import depthwise_1d, depthwise_2d
from t2t_multimodel.kernels.ends_passed import ends_passed
from t2t_multimodel.kernels.feed_forward import feed_forward_by_expert
from t2t_multimodel.kernels.gather import gather_rows, ragged_split
from t2t_multimodel.kernels.layer_norm import scaled_rows
from t2t_multimodel.kernels.split_batch import cached_for_split, halved, split_batch
from t2t_multimodel.kernels.strided_slice import strided_slice_2d
from t2t_multimodel.kernels.write_slice import write_slice
from t2t_multimodel.kernels.zero_mean import zero_mean_columns
from t2t_multimodel.models import body
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.optimizer import make_optimizer

PACKAGE = Path(t2t_multimodel.__file__).parent

# ---- Pairs


@dataclass(frozen=True)
class Pair:
    """`call(variant, *arrays)` → an array, of a kernel's variants and of its reference alike."""

    kernel: Any
    call: Any
    shapes: tuple  # of the arrays, float32; the gradient of each is compared
    static: bool = False  # whether all lengths must be known while the program is traced
    differentiated: bool = True  # False: of decoding alone
    backends: tuple = field(default=("tensorflow", "jax"))


def depthwise(kernel_size, dilation, causal, length, masked):
    mask = np.ones((2, length, 1), "float32")
    mask[1, length // 2 :] = 0.0
    given = mask if masked else None
    return Pair(
        depthwise_1d,
        lambda f, x, kernel: ops.reshape(f(x, kernel, ops.shape(x), dilation, causal, given), ops.shape(x)),
        ((2, length, 3), (kernel_size, 3)),
    )


def gathered(rows, copies, gaps):
    rows, copies = np.array(rows, "int32"), np.array(copies, "int32")
    return Pair(gather_rows, lambda f, x: f(x, rows, copies, gaps) ** 2, ((4, 3),))


def put(shape):
    index = np.arange(np.prod(shape), dtype="int32").reshape(*shape, 1) % 7
    call = lambda f, x, values: f(x + 1.0, index, values)  # of a sum, which nothing else reads
    return Pair(put_along_last_axis, call, ((*shape, 7), (*shape, 1)), differentiated=False)


def entropy(smoothing, shape):
    targets = np.arange(np.prod(shape), dtype="int32").reshape(shape) % 7
    return Pair(entropies, lambda f, logits: f(8.0 * logits, targets, smoothing), ((*shape, 7),))


def entropy_of_halves(rows):
    targets = np.arange(rows * 5, dtype="int32").reshape(rows, 5) % 7
    targets, weights = ops.convert_to_tensor(targets), ops.ones((rows, 5))
    joined = lambda loss, *arrays: loss + sum(ops.sum(ops.cos(array)) for array in arrays)
    return Pair(
        cross_entropy_split,
        lambda f, x, w: joined(*f(lambda part: ops.matmul(part, w), x, targets, weights, 0.1)),
        ((rows, 5, 4), (4, 7)),
    )


def of_several(call):
    """Of several results one array, in which each counts otherwise."""
    return lambda f, *arrays: ops.concatenate(
        [ops.reshape(y, [-1]) * (i + 1.0) for i, y in enumerate(call(f, *arrays))], axis=0
    )


PAIRS = {
    **{
        f"depthwise {k} dilation {dilation} {causal=} {length} {masked=}": depthwise(
            k, dilation, causal, length, masked
        )
        for k, dilation in ((1, 1), (3, 1), (5, 1), (3, 2), (5, 4))
        for causal in (True, False)
        for length in (1, 4, 10)
        for masked in (True, False)
    },
    **{f"put along last axis {shape}": put(shape) for shape in ((5,), (2, 3))},
    **{
        f"depthwise 2d {height} x {width}": Pair(
            depthwise_2d, lambda f, x, kernel: f(x, kernel), ((2, height, width, 3), (3, 3, 3))
        )
        for height, width in ((4, 6), (1, 1))
    },
    **{
        f"strided slice {height} x {width} by {down}, {right}": Pair(
            strided_slice_2d,
            lambda f, x, down=down, right=right: f(x, down, right),
            ((2, height, width, 3),),
            static=True,
        )
        for height, width in ((4, 6), (5, 7), (1, 1), (3, 2))
        for down, right in ((1, 1), (2, 2), (2, 1), (3, 2))
    },
    **{
        f"layer norm {rows}": Pair(
            scaled_rows,
            lambda f, x, scale, bias, rows=rows: f(x, scale, bias, [rows, 1, 8]),
            ((rows, 8), (8,), (8,)),
        )
        for rows in (6, 1)
    },
    "zero-mean columns": Pair(
        zero_mean_columns, of_several(lambda f, weights, bias: (y**2 for y in f(weights, bias))), ((4, 3), (3,))
    ),
    **{
        f"dense {shape}": Pair(dense, lambda f, x, w, b: f(x, w, b), ((*shape, 4), (4, 6), (6,)))
        for shape in ((5,), (2, 3), (2, 1, 3))
    },
    "dense without bias": Pair(dense, lambda f, x, w: f(x, w), ((2, 3, 4), (4, 6))),
    "reshape": Pair(reshape_known, lambda f, x: f(x, [-1, 4], ops.shape(x)) ** 2, ((2, 3, 4),)),
    "residual add": Pair(residual_add, lambda f, x, y: f(x * 2.0, y) ** 2, ((5, 3), (5, 3))),
    "residual add of one array": Pair(residual_add, lambda f, x: f(x * 2.0, x) ** 2, ((5, 3),)),
    **{
        f"experts {experts}": Pair(
            feed_forward_by_expert,
            lambda f, x, first, second: f(x, first, second),
            ((experts, 4, 3), (experts, 3, 6), (experts, 6, 3)),
            static=True,
        )
        for experts in (2, 5)
    },
    "gather, some twice, one never": gathered([2, 0, 1, 0, 2], [[1, 3], [2, 5], [0, 4], [5, 5]], gaps=True),
    "gather, each once": gathered([3, 1, 0, 2], [[2], [1], [3], [0]], gaps=False),
    **{
        f"ragged split {counts}": Pair(
            ragged_split,
            of_several(lambda f, x, counts=counts: f(x, ops.convert_to_tensor(np.array(counts, "int32")))),
            ((5, 3),),
            backends=("tensorflow",),  # the lengths are known when the program runs
        )
        for counts in ((2, 0, 3), (5,))
    },
    **{
        f"split batch {rows}": Pair(
            split_batch,
            lambda f, x, y: f(lambda x, y: ops.tanh(x[:, :2]) * ops.sum(y, axis=-1, keepdims=True), x, y),
            ((rows, 3), (rows, 3)),
        )
        for rows in (1, 2, 3, 8)
    },
    **{f"halves at {half}": Pair(halved, of_several(lambda f, x, half=half: f(x, half)), ((5, 3),)) for half in (0, 2)},
    **{
        f"entropies {shape} smoothing {smoothing}": entropy(smoothing, shape)
        for shape in ((3, 5), (1, 5), (4,))
        for smoothing in (0.0, 0.1)
    },
    **{
        f"write {slices} slices at {place}": Pair(
            write_slice,
            lambda f, x, values, place=place: f(x, ops.convert_to_tensor(np.int32(place)), values, 1) ** 2,
            ((3, 6, 2), (3, slices, 2)),
            static=True,
            differentiated=False,
        )
        for slices, place in ((1, 0), (1, 5), (2, 0), (3, 3))
    },
    "ranges, two of them empty": Pair(
        ends_passed,
        lambda f, x: x[0] + ops.cast(f(np.array([0, 3, 3, 7], "int32"), np.arange(9, dtype="int32")), "float32"),
        ((1,),),
        differentiated=False,
    ),
    **{f"cross entropy of halves {rows}": entropy_of_halves(rows) for rows in (1, 4)},
    "ctc": Pair(
        nats_that_fit,
        lambda f, x: f(x, *(np.array(given, "int32") for given in ([[1, 1, 3], [2, 3, 0]], [3, 2], [6, 4]))),
        ((2, 6, 4),),
        static=True,  # test_ctc_loss.py: of any length
    ),
}


def variants():
    """Every variant that may run on this backend, with each pair that uses it."""
    adapter()  # which has some
    for name, pair in PAIRS.items():
        for where, variant in pair.kernel.variants.items():
            if where.split("_")[0] in (BACKEND, select.EVERYWHERE) and BACKEND in pair.backends:
                yield pytest.param(pair, variant, id=f"{name}: {where}")


@pytest.mark.slow
@pytest.mark.parametrize("pair, variant", list(variants()))
def test_a_variant_has_the_values_and_gradients_of_the_reference(pair, variant):
    """Gradients in programs for any length too, where there are such."""
    random = np.random.default_rng(0)
    arrays = [random.normal(size=shape).astype("float32") for shape in pair.shapes]
    tensors = [ops.convert_to_tensor(array) for array in arrays]
    expected = to_numpy(pair.call(pair.kernel.reference, *tensors))
    np.testing.assert_allclose(to_numpy(pair.call(variant, *tensors)), expected, rtol=1e-5, atol=1e-5)
    weights = random.normal(size=expected.shape).astype("float32")
    for i, array in enumerate(arrays if pair.differentiated else ()):
        found, formula = (
            gradient(
                lambda x, function=function, i=i: ops.sum(
                    pair.call(function, *tensors[:i], x, *tensors[i + 1 :]) * weights
                ),
                array,
                any_length=i == 0 and not pair.static,
            )
            for function in (variant, pair.kernel.reference)
        )
        np.testing.assert_allclose(found, formula, rtol=1e-4, atol=1e-5, err_msg=f"argument {i}")


def test_every_kernel_with_a_variant_has_a_pair():
    found = set()
    for path in sorted((PACKAGE / "kernels").glob("*.py")):
        found |= set(re.findall(r"^(\w+) = Kernel\(", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert found == {name for name, value in globals().items() if isinstance(value, select.Kernel)}
    assert {id(pair.kernel) for pair in PAIRS.values()} == {id(globals()[name]) for name in found}


# ---- Their parts


def test_a_written_gradient_is_used():
    """Of one result and of several; here not the right one, but one that shows."""
    double = custom_vjp(lambda x: (2.0 * x, None), lambda _, upstream: 3.0 * upstream)
    np.testing.assert_array_equal(gradient(lambda x: ops.sum(double(x)), np.ones(2, "float32")), [3.0, 3.0])
    both = custom_vjp(lambda x, y: ((x + y, x * y), (x,)), lambda rest, upstream: (rest[0] * upstream[1], None))
    found = gradient(lambda x: sum(ops.sum(z) for z in both(x, ops.ones(2))), np.array([2.0, 5.0], "float32"))
    np.testing.assert_array_equal(found, [2.0, 5.0])
    single = custom_vjp(lambda x: ((x,), None), lambda _, upstream: 4.0 * upstream[0])
    np.testing.assert_array_equal(gradient(lambda x: ops.sum(single(x)[0]), np.ones(2, "float32")), [4.0, 4.0])


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


# ---- The selection


def test_a_variant_runs_on_its_device_only(monkeypatch):
    """The halves for two processors neither on a GPU nor where XLA compiles; the environment overrules all."""
    for_two = (split_batch, cross_entropy_split, feed_forward_by_expert, strided_slice_2d)
    for backend, kind in (("tensorflow", "cpu"), ("tensorflow", "gpu"), ("jax", "cpu"), ("jax", "gpu")):
        monkeypatch.setattr(select, "device", lambda backend=backend, kind=kind: (backend, kind))
        monkeypatch.delenv("T2T_KERNELS", raising=False)
        for kernel in for_two:
            assert (kernel.selected() is not kernel.reference) == ((backend, kind) == ("tensorflow", "cpu"))
        assert (depthwise_1d.selected() is not depthwise_1d.reference) == (backend == "tensorflow")
        assert entropies.selected() is entropies.variants["everywhere"]
        monkeypatch.setenv("T2T_KERNELS", "portable")
        for kernel in for_two:
            assert kernel.selected() is kernel.reference
        assert (depthwise_1d.selected() is not depthwise_1d.reference) == (backend == "tensorflow")
        monkeypatch.setenv("T2T_KERNELS", "reference")
        for kernel in (*for_two, depthwise_1d, entropies):
            assert kernel.selected() is kernel.reference


def test_the_device_is_the_one_that_computes():
    backend, kind = select.device()
    assert backend == BACKEND and kind in ("cpu", "gpu", "tpu")


def test_an_unknown_setting_is_refused_with_one_line(monkeypatch):
    monkeypatch.setenv("T2T_KERNELS", "referense")
    with pytest.raises(UserError, match=r"^unknown value of T2T_KERNELS 'referense'; did you mean 'reference'\?$"):
        registry.models.get("multimodel")(HPARAMS, [TRANSLATION])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_to_text", "image_to_label"])
def test_references_train_the_same(name, monkeypatch):
    """Loss, logits and gradients of a training step, with noise and dropped tokens."""
    fast = training_outputs(SPECS[name])
    monkeypatch.setenv("T2T_KERNELS", "reference")
    plain = training_outputs.__wrapped__(SPECS[name])
    np.testing.assert_allclose(plain["loss"], fast["loss"], rtol=1e-6)
    np.testing.assert_allclose(plain["logits"], fast["logits"], rtol=1e-4, atol=1e-5)
    for path, found in plain["gradients"].items():
        assert (found is None) == (fast["gradients"][path] is None), path
        if found is not None:
            np.testing.assert_allclose(found, fast["gradients"][path], rtol=1e-3, atol=1e-5, err_msg=path)


@pytest.mark.slow
def test_references_have_the_same_gradients_in_programs_for_any_length(monkeypatch):
    """A wide body too, which is computed in halves where that is faster."""
    monkeypatch.setattr(body, "WIDE", 1)
    model, batch, results = make_model(HPARAMS, [TRANSLATION]), make_batch(TRANSLATION), []
    for setting in select.SETTINGS:
        monkeypatch.setenv("T2T_KERNELS", setting)
        step = adapter().Step(model, make_optimizer(HPARAMS, model.trainable_variables), HPARAMS)
        results.append(step.gradients(TRANSLATION, batch))
    for fast, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_allclose(other, fast, rtol=1e-3, atol=1e-5)


def test_only_the_selection_asks_for_the_backend():
    asking = r"backend\(\)|list_devices|T2T_KERNELS\b.*environ|environ.*T2T_KERNELS"
    for folder in ("layers", "kernels", "modalities", "models"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            if path.name != "select.py":
                assert not re.search(asking, path.read_text(encoding="utf-8")), path
