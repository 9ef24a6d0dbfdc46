"""int8 weights: a quarter of the memory, answers close to those of floats, the same on both backends and everywhere."""

import numpy as np
import pytest
from keras import ops
from models import BACKEND, FEW_EXPERTS, HPARAMS, SPECS, TRANSLATION, make_batch, make_model

from t2t_multimodel.decode_hparams import decode_settings, describe
from t2t_multimodel.decoding.batch_decoder import BatchDecoder
from t2t_multimodel.errors import UserError
from t2t_multimodel.kernels import int8_weight
from t2t_multimodel.models.int8 import weights_of
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.run import Run, RunProblem, model_of_stored
from t2t_multimodel.training.workers import arrays_of


def both_models(spec, hparams=HPARAMS):
    """(a model, the same with int8 weights, a float model of these weights)."""
    run = Run("multimodel", 0, BACKEND, {spec.name: RunProblem(spec, "", ("accuracy",), longest_target=9)})
    floats = make_model(hparams, [spec])
    arrays = arrays_of(floats)
    int8 = model_of_stored(run, hparams, arrays, "it", "it", "", quantize="int8")
    rounded = dict(arrays)
    for weight in weights_of(int8):
        codes, scale = int8_weight.quantized(arrays[weight.path], weight.over)
        rounded[weight.path] = codes.astype(np.float32) * scale
    return floats, int8, model_of_stored(run, hparams, rounded, "it", "it", "")


@pytest.mark.parametrize("over, shape", [(0, (5, 3)), (1, (5, 3)), (1, (2, 5, 3))])
def test_codes_are_symmetric_with_a_scale_for_each_output(over, shape):
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    array[..., -1] = 0.0
    codes, scale = int8_weight.quantized(array, over)
    assert codes.dtype == np.int8 and scale.shape == tuple(1 if axis == over else n for axis, n in enumerate(shape))
    assert np.abs(codes).max() == 127
    assert (np.abs(codes * scale - array) <= scale / 2 + 1e-6).all()
    assert not codes[..., -1].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_to_text", "image_to_label", "audio_spectrogram_to_label"])
def test_a_quantized_model_is_the_float_model_of_the_rounded_weights(name):
    """In teacher forcing and in decoding: nothing but the weights is rounded."""
    spec = SPECS[name]
    floats, int8, rounded = both_models(spec)
    matrices = [weight for weight in weights_of(int8)]
    names = {v.path: v for v in floats.variables}
    assert matrices and all(names[w.path].shape == tuple(w.shape) for w in matrices)
    before = sum(names[w.path].value.nbytes if BACKEND == "jax" else 4 * int(np.prod(w.shape)) for w in matrices)
    assert sum(int(np.prod(w.codes.shape)) for w in matrices) == before / 4
    batch = make_batch(spec)
    step = adapter().Step
    found, wanted = (step(model, None, HPARAMS).evaluate(spec, batch) for model in (int8, rounded))
    for of in wanted:
        np.testing.assert_allclose(found[of], wanted[of], rtol=1e-4, atol=1e-4)
    far = step(floats, None, HPARAMS).evaluate(spec, batch)["log_probability"]
    assert 0 < np.abs(found["log_probability"] - far).max() < 0.5
    if floats.head(spec).autoregressive:
        decoders = (BatchDecoder(model, adapter()) for model in (int8, rounded))
        its, right = (decoder.ids(spec, batch, limit=7, beam_size=2) for decoder in decoders)
        np.testing.assert_array_equal(its[0], right[0])
        np.testing.assert_allclose(its[1], right[1], rtol=1e-4, atol=1e-4)


def test_rows_are_those_of_the_whole():
    _, int8, rounded = both_models(TRANSLATION, FEW_EXPERTS)
    net, same = (model.head(TRANSLATION) for model in (int8, rounded))
    ids = np.array([[3, 1], [0, 4]], np.int32)
    np.testing.assert_allclose(
        ops.convert_to_numpy(int8_weight.rows_of(net.embedding, ids)),
        ops.convert_to_numpy(same.embedding)[ids],
        rtol=1e-6,
    )
    experts, plain = (model.encoder.experts[0].experts for model in (int8, rounded))
    np.testing.assert_allclose(
        ops.convert_to_numpy(int8_weight.rows_of(experts.first, ids[0] % 2)),
        ops.convert_to_numpy(plain.first)[ids[0] % 2],
        rtol=1e-6,
    )


def test_the_setting():
    assert decode_settings()["quantize"] == "none"
    assert describe(decode_settings({"quantize": "int8"})) == "greedy, int8 weights"
    with pytest.raises(UserError, match=r"^problem p: decode hparam quantize='int4' must be one of none, int8$"):
        decode_settings({"quantize": "int4"}, {}, "p")
