"""Numbers of Tensor2Tensor 1.9.0 (tests/golden): where a function is the same, so are its results."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import GOLDEN
from keras import ops
from models import HPARAMS, LABEL, WAVEFORM, program, to_numpy

from t2t_multimodel.decoding.search import EMPTY, beam_search
from t2t_multimodel.kernels.cross_entropy import cross_entropy
from t2t_multimodel.kernels.depthwise import depthwise_1d
from t2t_multimodel.layers.attention import MultiHeadAttention, scaled_dot_product, timing_signal
from t2t_multimodel.layers.convolution import ConvStep, ConvStep2D
from t2t_multimodel.layers.experts import MixtureOfExperts, dispatch
from t2t_multimodel.layers.experts.mixture import BLOCK
from t2t_multimodel.layers.experts.router import cv_squared, probability_in_top_k, top_k_gates
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.layers.masks import MASKED, causal_bias, padding_bias
from t2t_multimodel.layers.normalization import LayerNorm
from t2t_multimodel.modalities import ProblemSpec, Text
from t2t_multimodel.modalities.text_nets import TextNet
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.optimizer import learning_rate, make_optimizer


def golden(name):
    """The arrays of one file, {name: array}."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def close(actual, expected, tolerance=1e-5):
    np.testing.assert_allclose(to_numpy(actual), expected, atol=tolerance, rtol=tolerance)


def assign(layer, **values):
    """Sets attributes of a layer that are variables."""
    for name, value in values.items():
        getattr(layer, name).assign(value)


# ---- Attention


@pytest.mark.parametrize("case", range(5))
def test_timing_signal(case):
    """T2T's rates are 10000^(−j/(n−1)) for its n sine channels, the paper's 10000^(−2j/depth): with depth 2(n−1) the
    same but for T2T's last. T2T has all sines first, then all cosines."""
    numbers = golden("timing")
    length, channels, start = numbers["cases_length_channels_start"][case]
    check_signal(numbers[f"signal_1d_{case}"][0], start + np.arange(length), channels // 2)


def test_timing_signal_of_the_slicenet():
    check_signal(golden("timing")["signal_2d16"], np.arange(12), 16)


def check_signal(expected, times, n):
    ours = to_numpy(timing_signal(ops.convert_to_tensor(times.astype("float32")), 2 * (n - 1)))
    close(ours[:, 0::2], expected[:, : n - 1])
    close(ours[:, 1::2], expected[:, n : 2 * n - 1])


@pytest.mark.parametrize("case", ["no_bias", "padding", "causal"])
def test_dot_product_attention(case):
    numbers = golden("attention")
    keys, values = (numbers["self_kv"],) * 2 if case == "causal" else (numbers["k"], numbers["v"])
    biases = {"no_bias": None, "padding": padding_bias(1.0 - numbers["memory_padding"]), "causal": causal_bias(5)}
    q, keys, values = (ops.convert_to_tensor(array) for array in (numbers["q"], keys, values))
    close(scaled_dot_product(q, keys, values, biases[case]), numbers[f"dpa_{case}"])


def test_biases():
    """Padding and the future are masked where T2T masks them."""
    numbers = golden("attention")
    close(padding_bias(1.0 - numbers["memory_padding"]), numbers["bias_ignore_padding"] / -1e9 * MASKED)
    close(causal_bias(5), numbers["bias_lower_triangle"] / -1e9 * MASKED)


@pytest.mark.parametrize("scope", ["self", "encdec"])
def test_multi_head_attention(scope):
    numbers = golden("attention")
    layer = MultiHeadAttention(16, int(numbers["num_heads"]), name=scope)
    theirs = {"query": "q", "key": "k", "value": "v", "output": "output_transform"}
    assign(layer, **{f"{ours}_weight": numbers[f"var/{scope}/{name}/kernel"] for ours, name in theirs.items()})
    x = ops.convert_to_tensor(numbers["mha_x"])
    if scope == "self":
        close(layer(x, x, causal_bias(5)), numbers["mha_self_causal"])
    else:
        bias = padding_bias(1.0 - numbers["memory_padding"])
        close(layer(x, ops.convert_to_tensor(numbers["mha_memory"]), bias), numbers["mha_encdec"])


# ---- Mixture of experts


@pytest.mark.parametrize("k", [2, 4])
def test_noisy_gates(k):
    """Gates, largest logits, probability in the top k, and the load that comes of it, for given noisy logits."""
    numbers = golden("moe")
    clean, noisy, deviation = (numbers[name] for name in ("clean_values", "noisy_values", "noise_stddev"))
    gates, ids, top_values = top_k_gates(ops.convert_to_tensor(noisy), k)
    dense = np.zeros_like(noisy)
    np.put_along_axis(dense, to_numpy(ids), to_numpy(gates), axis=1)
    close(dense, numbers[f"logits_gates_k{k}"])
    close(top_values, numbers[f"logits_top_k{k}"])
    tensors = (ops.convert_to_tensor(array) for array in (clean, noisy, deviation))
    probability = probability_in_top_k(*tensors, top_values, k)
    close(probability, numbers[f"prob_in_top_k{k}"])
    close(ops.sum(probability, axis=0), numbers[f"load_k{k}"])


def test_cv_squared():
    numbers = golden("moe")
    close([float(cv_squared(ops.convert_to_tensor(row))) for row in numbers["cv_in"]], numbers["cv_squared"])


def experts(numbers, k, scope):
    """Our layer with T2T's gate and expert weights; capacity for all.

    T2T multiplies the second layer's result by √(size / hidden size), here √(12/20): ours gets it in the weights.
    """
    hparams = replace(
        HPARAMS,
        hidden_size=12,
        num_experts=8,
        experts_per_token=k,
        expert_filter_size=20,
        expert_balance_weight=1.0,
        expert_capacity_factor=8.0 / k,
    )
    layer = MixtureOfExperts(hparams, name=f"experts_{k}")
    assign(layer, gate_weight=numbers[f"var/{scope}/w_gate"])
    assign(layer, first=np.stack([numbers[f"var/moe_k{k}/parallel_{e}/w_0"] for e in range(8)]))
    assign(layer, second=np.stack([numbers[f"var/moe_k{k}/parallel_{e}/w_1"] for e in range(8)]) * (12 / 20) ** 0.5)
    return layer


@pytest.mark.parametrize("k", [2, 4])
def test_gates_and_load_in_evaluation(k):
    numbers = golden("moe")
    layer = experts(numbers, k, f"gating_k{k}")
    tokens = ops.convert_to_tensor(numbers["x"])
    routing, loss, load = layer.router(tokens, ops.ones((24, 1)), training=False)
    close(routing.dense_gates(), numbers[f"eval_gates_k{k}"])
    expected = numbers[f"eval_load_k{k}"]
    close(load, expected / expected.sum())
    # The balancing loss of these gates: CV² of the importance and of the load.
    importance = numbers[f"eval_gates_k{k}"].sum(axis=0)
    close(loss, sum(v.var() / v.mean() ** 2 for v in (importance, expected)))


@pytest.mark.parametrize("path", ["all experts", "ragged", "padded", "blocks", "blocks of one"])
@pytest.mark.parametrize("k", [2, 4])
def test_mixture_of_experts(k, path, monkeypatch):
    """Every way of evaluating the experts has T2T's result, and the loss is T2T's.

    Ours has a layer norm before and a residual around; the functions between them are T2T's.
    """
    numbers = golden("moe")
    layer = experts(numbers, k, f"moe_k{k}/noisy_top_k_gating")
    most = 0 if path == "padded" else 64  # "ragged" is padded on JAX
    monkeypatch.setattr(dispatch, "MAX_RAGGED_EXPERTS", most)

    def evaluate(tokens):
        padding_mask = ops.ones((24, 1))
        routing, loss, _ = layer.router(tokens, padding_mask, training=False)
        if path == "all experts":
            return layer.experts.all(tokens, routing.dense_gates()), loss
        if path in ("ragged", "padded"):
            y, dropped = dispatch.capacity_dispatch(tokens, routing, padding_mask, layer.experts, layer.capacity_factor)
            return y + dropped, loss  # nothing is dropped
        return dispatch.block_dispatch(tokens, routing, layer.experts, BLOCK if path == "blocks" else 1), loss

    y, loss = program(layer, evaluate)(numbers["x"])
    close(y.reshape(4, 6, 12), numbers[f"moe_y_k{k}"])
    close(loss, numbers[f"moe_loss_k{k}"])


# ---- Convolutions, normalisation, text, loss


def test_layer_norm():
    numbers = golden("layers")
    close(norm(numbers, "ln")(ops.convert_to_tensor(numbers["x"])), numbers["layer_norm"])


def norm(numbers, scope):
    scale, bias = numbers[f"var/{scope}/layer_norm_scale"], numbers[f"var/{scope}/layer_norm_bias"]
    layer = LayerNorm(len(scale), name="norm")
    assign(layer, scale=scale, bias=bias)
    return layer


def separable(numbers, scope, x, dilation, causal):
    """T2T's separable convolution by our depthwise one: x [batch, length, in] → [batch, length, out]."""
    kernel = numbers[f"var/{scope}/depthwise_kernel"][:, 0, :, 0]
    rows = ops.reshape(depthwise_1d(ops.convert_to_tensor(x), kernel, x.shape, dilation, causal), x.shape)
    return ops.matmul(rows, numbers[f"var/{scope}/pointwise_kernel"][0, 0])


@pytest.mark.parametrize("padding", ["SAME", "LEFT"])
@pytest.mark.parametrize("kernel_size, dilation", [(3, 1), (15, 1), (15, 4), (15, 8), (3, 8)])
def test_separable_convolution(kernel_size, dilation, padding):
    numbers = golden("layers")
    case = f"sepconv_k{kernel_size}_d{dilation}_{padding}"
    y = separable(numbers, f"{case}_single", numbers["x"][:, :, 0], dilation, causal=padding == "LEFT")
    close(y + numbers[f"var/{case}_single/bias"], numbers[case][:, :, 0])


@pytest.mark.parametrize("padding", ["SAME", "LEFT"])
def test_convolution_steps(padding):
    """T2T's block of two steps is a `ConvStep` after another; its first changes the number of features, ours never."""
    numbers = golden("layers")
    scope = f"block_{padding.lower()}"
    causal = padding == "LEFT"
    padding_mask = None if causal else ops.convert_to_tensor(numbers["mask"][:, :, 0])
    x = ops.relu(ops.convert_to_tensor(numbers["x"][:, :, 0]))
    x = x if padding_mask is None else x * padding_mask
    x = norm(numbers, f"{scope}/conv_block_norm_0")(separable(numbers, f"{scope}/conv_block_0_single", x, 1, causal))
    close(conv_step(numbers, scope, 1, 15, 4, causal)(x, padding_mask), numbers[f"sepconv_block_{padding}"][:, :, 0])


def conv_step(numbers, scope, i, kernel_size, dilation, causal=False):
    """Our `ConvStep` with the weights of step `i` of a block of T2T, which has no bias."""
    kernel = numbers[f"var/{scope}/conv_block_{i}_single/depthwise_kernel"][:, 0, :, 0]
    layer = ConvStep(kernel.shape[1], kernel_size, dilation, causal, name=f"step{i}")
    pointwise = numbers[f"var/{scope}/conv_block_{i}_single/pointwise_kernel"][0, 0]
    assign(layer, kernel=kernel, pointwise=pointwise, bias=np.zeros(len(pointwise), "float32"))
    weights = {name: numbers[f"var/{scope}/conv_block_norm_{i}/layer_norm_{name}"] for name in ("scale", "bias")}
    assign(layer.norm, **weights)
    return layer


def test_four_masked_steps():
    """The MultiModel's own `conv_res_step` of T2T: four steps, of which our `ConvStep` is those that keep the width."""
    numbers = golden("layers")
    scope, padding_mask = "conv_res_step", ops.convert_to_tensor(numbers["mask"][:, :, 0])
    x = ops.convert_to_tensor(numbers["x"][:, :, 0])
    for part in ("residual1", "residual2"):
        x = separable(numbers, f"{scope}/{part}/conv_block_0_single", ops.relu(x) * padding_mask, 1, False)
        x = norm(numbers, f"{scope}/{part}/conv_block_norm_0")(x)
        x = conv_step(numbers, f"{scope}/{part}", 1, *((3, 1) if part == "residual1" else (15, 4)))(x, padding_mask)
    close(x, numbers["conv_res_step"][:, :, 0])


def test_full_convolution_of_pictures():
    numbers = golden("layers")
    layer = ConvStep2D(3, 8, relu=False, full=True, name="stem")
    assign(layer, kernel=numbers["var/project/conv_block_0_single/kernel"], bias=np.zeros(8, "float32"))
    scope = "var/project/conv_block_norm_0/layer_norm"
    assign(layer.norm, scale=numbers[f"{scope}_scale"], bias=numbers[f"{scope}_bias"])
    close(layer(ops.convert_to_tensor(numbers["image"])), numbers["image_conv_block"])


def test_shift_right():
    """The decoder's inputs are the targets moved by one, the command's vector (T2T: a pad value) in front."""
    numbers = golden("layers")
    net = TextNet(Text(vocabulary_size=14), replace(HPARAMS, hidden_size=6), name="text")
    # Ids 0 … 11 stand for the vectors of x3, 12 and 13 for the two rows' pad values.
    vectors = np.concatenate([numbers["x3"].reshape(12, 6), numbers["shift_pad_value"][:, 0]])
    assign(net, embedding=vectors / net.scale)  # scaled up on the way
    targets = {"values": ops.convert_to_tensor(np.arange(12, dtype="int32").reshape(2, 6))}
    close(
        net.shifted(targets, ops.convert_to_tensor(np.array([12, 13], "int32"))),
        numbers["shift_right_3d_pad"],
    )


@pytest.mark.parametrize("smoothing", ["0", "0.1"])
def test_padded_cross_entropy(smoothing):
    numbers = golden("layers")
    labels = numbers["ce_labels"][:, :, 0, 0]
    weights = (labels != 0).astype("float32")
    logits = ops.convert_to_tensor(numbers["ce_logits"][:, :, 0, 0])
    loss, _, _ = cross_entropy(logits, ops.convert_to_tensor(labels), ops.convert_to_tensor(weights), float(smoothing))
    close(loss, numbers[f"ce_num_ls{smoothing}"])
    close(weights.sum(), numbers[f"ce_den_ls{smoothing}"])


# ---- Beam search

BEAMS = {  # case → alpha, beam, stop_early, table
    "a06_b4": (0.6, 4, True, "table"),
    "a00_b4": (0.0, 4, True, "table"),
    "a06_b4_nostop": (0.6, 4, False, "table"),
    "a10_b2": (1.0, 2, True, "table"),
    "a06_b4_noeos": (0.6, 4, True, "table_noeos"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BEAMS)
def test_beam_search(case):
    """Ids and scores of every beam that holds a hypothesis; what stands in an empty one says nothing."""
    numbers = golden("beam_search")
    alpha, beam, stop_early, name = BEAMS[case]
    table = ops.convert_to_tensor(numbers[name])
    length = int(numbers["decode_length"])

    def search(first_ids):
        def step(ids, state, time, beams):
            return ops.take(ops.take(table, time, axis=0), ids, axis=0), state

        return beam_search(step, {}, first_ids, length, length, beam, alpha, 12, beam if stop_early else None)

    ids, scores = program(Layer(name="no_variables"), search)(numbers["initial_ids"])
    expected_ids, expected_scores = numbers[f"ids_{case}"][:, :, 1:], numbers[f"scores_{case}"]
    expected_ids = np.pad(expected_ids, [(0, 0), (0, 0), (0, length - expected_ids.shape[2])])
    held = expected_scores > EMPTY / 2
    assert held[:, 0].all()
    close(scores[held], expected_scores[held])
    np.testing.assert_array_equal(ids[held], expected_ids[held])


# ---- Learning rates and the optimiser


def check_rates(name, chosen, steps_before=0, **hparams):
    """Our rate is T2T's times one constant at the steps `chosen`; ours is given by its peak, theirs by factors."""
    numbers = golden("learning_rate")
    steps, theirs = numbers["steps"][chosen(numbers["steps"])], numbers[f"lr_{name}"][chosen(numbers["steps"])]
    settings = replace(HPARAMS, learning_rate=1.0, **hparams)
    ours = np.array([learning_rate(settings, step - steps_before, train_steps=250_001) for step in steps.tolist()])
    assert len(steps) >= 10 and theirs.max() > 0
    factor = theirs.max() / ours.max()
    np.testing.assert_allclose(ours * factor, theirs, rtol=1e-4, atol=1e-9 * factor)


@pytest.mark.parametrize("name", ["multimodel_base", "multimodel_tiny", "slicenet_1noam"])
def test_noam_schedule(name):
    check_rates(name, lambda s: s >= 0, learning_rate_schedule="noam", learning_rate_warmup_steps=4000)


def test_rsqrt_schedule_is_noam():
    """T2T's later linear_warmup·rsqrt_decay is noam, its steps numbered from 1 (its step 0 has rate 0)."""
    settings = {"learning_rate_schedule": "noam", "learning_rate_warmup_steps": 4000}
    check_rates("multimodel_base_rsqrt", lambda s: s >= 1, steps_before=1, **settings)


def test_exponential_schedule():
    """After the warm-up, which is exponential in T2T's slicenets and linear here; T2T counts from its end: a constant
    factor. T2T's staircase has no counterpart here."""
    settings = {"learning_rate_decay_rate": 0.9, "learning_rate_decay_steps": 5000, "learning_rate_warmup_steps": 1}
    check_rates("slicenet_1_exp_decay", lambda s: s >= 3000, learning_rate_schedule="exponential", **settings)


@pytest.mark.parametrize("name", ["slicenet_1", "slicenet_1_none"])
def test_constant_schedule(name):
    settings = {"learning_rate_schedule": "constant", "learning_rate_warmup_steps": 1}
    check_rates(name, lambda s: s >= 3000, **settings)


def test_cosine_schedule():
    """Without warm-up T2T's cosine over 250,000 steps is ours; theirs rises again behind its end, ours stays at zero.

    With one they differ: T2T's cosine runs under the warm-up, ours begins at its end.
    """
    settings = {"learning_rate_schedule": "cosine", "learning_rate_warmup_steps": 0}
    check_rates("slicenet_1_cosine", lambda s: (s >= 3000) & (s <= 250_000), **settings)


def test_adam_steps():
    """Six clipped updates of the trainer's own step: T2T's weights after each."""
    numbers = golden("adam")
    settings = {f"adam_{name}": float(numbers[name]) for name in ("beta1", "beta2", "epsilon")}
    settings |= {"learning_rate": float(numbers["lr"]), "clip_norm": float(numbers["clip_norm"])}
    hparams = replace(HPARAMS, **settings)
    model = Bowl(numbers["w0"])
    step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    spec = ProblemSpec("bowl", WAVEFORM, LABEL, 0)  # its inputs are a float matrix: room for the minimum
    rows = {"command": "int32", "example_weights": "float32", "inputs_length": "int32", "targets": "int32"}
    for minimum, loss, after in zip(numbers["targets"], numbers["loss"], numbers["w_after"]):
        batch = {name: np.zeros(5, dtype) for name, dtype in rows.items()} | {"inputs": minimum}
        [report], norm_before = step.update([(spec, batch)], hparams.learning_rate)
        close(report["loss"], loss)
        assert norm_before > hparams.clip_norm
        step.variables()  # have their values from here on
        close(model.w, after, tolerance=2e-6)


class Bowl(Layer):
    """Minimises Σ(w − inputs)²."""

    def __init__(self, start):
        super().__init__(name="bowl")
        self.w = self.add_weight(shape=start.shape, initializer=keras.initializers.Constant(0.0), name="w")
        self.w.assign(start)

    def loss(self, batch, spec, training=False):
        loss = ops.sum(ops.square(self.w - batch["inputs"]))
        return loss, {
            name: ops.zeros(()) for name in ("cross_entropy", "weight", "load_balance_loss", "dropped_token_fraction")
        }

    def trainable_variables_for(self, spec):
        return self.trainable_variables
