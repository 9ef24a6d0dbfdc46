"""What a look into the model shows is what the forward pass computes: attention's rows, gates, the experts' shares."""

import numpy as np
import pytest
from keras import ops
from models import FEW_EXPERTS, HPARAMS, NO_ATTENTION, NO_EXPERTS, SPECS, TO_TEXT, TRANSLATION, make_batch, make_model

from t2t_multimodel.layers import intermediates
from t2t_multimodel.training.backend import adapter


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SPECS))
def test_rows_of_attention_and_gates_sum_to_one_where_something_is(name):
    spec = SPECS[name]
    model, batch = make_model(HPARAMS, [spec]), make_batch(spec)
    batch["example_weights"][-1] = 0.0
    seen = model.capture(batch, spec)
    padding_mask = seen["source_real"]  # [batch, positions]
    assert padding_mask[0].any() and not padding_mask[-1].any()
    gates = seen["experts"]["encoder/experts"]
    assert gates.shape == (*padding_mask.shape, HPARAMS.num_experts)
    np.testing.assert_allclose(gates.sum(-1), padding_mask, atol=1e-5)
    assert ((gates > 0).sum(-1) <= HPARAMS.experts_per_token).all()
    assert seen["grid"] is None or np.prod(seen["grid"]) == padding_mask.shape[1]
    over_source = {name: w for name, w in seen["attention"].items() if "self" not in name}
    assert set(over_source) == (
        {"mixer/attention_block/source/attention", "decoder/source0/attention"} if name in TO_TEXT else set()
    )
    for weights in over_source.values():
        assert weights.shape == (3, HPARAMS.num_heads, batch["targets"].shape[1], padding_mask.shape[1])
        np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)
        np.testing.assert_allclose(weights[0][..., padding_mask[0] == 0], 0.0, atol=1e-6)


def test_the_weights_seen_are_those_that_make_the_output():
    """Recomputes one attention from its captured weights."""
    model, batch = make_model(FEW_EXPERTS, [TRANSLATION]), make_batch(TRANSLATION)
    layer = model.decoder.cross_attentions[0]
    inside = {}
    before = layer.attention.call

    def spy(x, source, bias=None):
        inside["source"], inside["out"] = source, before(x, source, bias)
        return inside["out"]

    layer.attention.call = spy
    seen = model.capture(batch, TRANSLATION)["attention"]["decoder/source0/attention"]
    _, values = layer.attention.keys_and_values(inside["source"])
    heads = ops.transpose(ops.matmul(seen, values), [0, 2, 1, 3])
    out = ops.matmul(ops.reshape(heads, [3, -1, FEW_EXPERTS.hidden_size]), layer.attention.output_weight)
    np.testing.assert_allclose(np.asarray(out), np.asarray(inside["out"]), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_to_text", "image_to_text", "audio_spectrogram_to_label"])
def test_a_compiled_pass_shows_what_a_plain_one_does(name):
    """Of batches of two lengths, by one `Step`."""
    spec = SPECS[name]
    model = make_model(HPARAMS, [spec])
    step = adapter().Step(model, None, HPARAMS)
    for rows, seed in ((3, 0), (2, 1)):
        batch = make_batch(spec, rows=rows, seed=seed)
        plain, compiled = model.capture(batch, spec), step.capture(spec, batch)
        assert plain["grid"] == compiled["grid"] and (plain["grid"] is not None) == name.startswith("image")
        assert (plain["source_real"] == compiled["source_real"]).all()
        for kind in ("attention", "experts"):
            assert plain[kind].keys() == compiled[kind].keys()
            for layer, wanted in plain[kind].items():
                np.testing.assert_allclose(compiled[kind][layer], wanted, atol=1e-5, err_msg=layer)


def test_a_model_without_these_parts_shows_none():
    batch = make_batch(TRANSLATION)
    assert make_model(NO_EXPERTS, [TRANSLATION]).capture(batch, TRANSLATION)["experts"] == {}
    assert make_model(NO_ATTENTION, [TRANSLATION]).capture(batch, TRANSLATION)["attention"] == {}


def test_nothing_is_computed_outside_of_a_capture():
    def fail():
        raise AssertionError("computed")

    weight = make_model(HPARAMS, [TRANSLATION]).encoder.experts[0].gate_weight
    intermediates.sow(weight, fail)
    with intermediates.capture_intermediates() as captured:
        intermediates.sow(weight, lambda: 7)
    assert captured == {"encoder/experts": 7}
    intermediates.sow(weight, fail)
