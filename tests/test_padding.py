"""Padding leaks nowhere: longer buffers, and rows that only fill up a shape, change nothing that is real."""

from dataclasses import replace

import numpy as np
import pytest
from keras import ops
from models import (
    FEW_EXPERTS,
    HPARAMS,
    IMAGE,
    NO_ATTENTION,
    NO_CONVOLUTIONS,
    NO_EXPERTS,
    SIZE,
    SPECS,
    TEXT,
    TO_TEXT,
    TRANSLATION,
    make_batch,
    make_model,
    program,
    randomise,
    shared_model,
)

from t2t_multimodel.layers.attention import AttentionBlock, CrossAttention, CrossWithoutAttention
from t2t_multimodel.layers.convolution import ConvBlock, ConvRes, ConvStep, ConvStep2D
from t2t_multimodel.layers.experts import MixtureOfExperts
from t2t_multimodel.models.body import Decoder, Encoder, Mixer

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def convolve(layer, x, padding_mask):
    return layer(x, padding_mask[..., None])


def convolve_2d(layer, x, padding_mask):
    return layer(x[:, :, None], padding_mask[..., None, None])[:, :, 0]


def without_report(layer, x, padding_mask):
    return layer(x, padding_mask)[0]


def read(layer, x, source, padding_mask):
    return layer(x, source, padding_mask)


def decode(layer, x, source, padding_mask):
    return layer(x, ops.ones_like(x[:, :, 0]), source, padding_mask)[0]


# name → how to make the layer; its call on x [B, T, SIZE] and a padding_mask [B, T]; and its stride: it
# returns something of every so many positions. All in evaluation mode.
OVER_POSITIONS = {
    "conv_step": (lambda name: ConvStep(SIZE, 5, name=name), convolve, 1),
    "dilated_conv_step": (lambda name: ConvStep(SIZE, 3, dilation=4, name=name), convolve, 1),
    "conv_block": (lambda name: ConvBlock(HPARAMS, name=name), convolve, 1),
    "many_experts": (lambda name: MixtureOfExperts(HPARAMS, name=name), without_report, 1),
    "few_experts": (lambda name: MixtureOfExperts(FEW_EXPERTS, name=name), without_report, 1),
    "encoder": (lambda name: Encoder(HPARAMS, name=name), without_report, 1),
    "encoder_without_experts": (lambda name: Encoder(NO_EXPERTS, name=name), without_report, 1),
    "encoder_without_convolutions": (lambda name: Encoder(NO_CONVOLUTIONS, name=name), without_report, 1),
    "conv_step_2d": (lambda name: ConvStep2D(SIZE, 6, strides=(2, 1), name=name), convolve_2d, 2),
    "full_conv_step_2d": (lambda name: ConvStep2D(SIZE, 6, strides=(2, 1), full=True, name=name), convolve_2d, 2),
    "residual_2d": (lambda name: ConvRes(SIZE, 6, strides=(2, 1), name=name), convolve_2d, 2),
}

# name → how to make the layer, and its call on a target [B, T, SIZE], a source and its padding_mask.
OVER_SOURCES = {
    "source_attention": (lambda name: CrossAttention(HPARAMS, name=name), read),
    "source_without_attention": (lambda name: CrossWithoutAttention(NO_ATTENTION, name=name), read),
    "attention_block": (lambda name: AttentionBlock(HPARAMS, name=name), read),
    "mixer": (lambda name: Mixer(HPARAMS, name=name), read),
    "mixer_without_attention": (lambda name: Mixer(NO_ATTENTION, name=name), read),
    "decoder": (lambda name: Decoder(HPARAMS, name=name), decode),
}


def with_garbage(array, amount, seed=1):
    """More positions with anything in them: a block may count on nothing there."""
    rng = np.random.default_rng(seed)
    return np.concatenate([array, rng.normal(size=(len(array), amount, SIZE)).astype(np.float32)], axis=1)


def with_zeros(array, amount):
    """More zeros along axis 1."""
    return np.pad(array, [(0, 0), (0, amount)] + [(0, 0)] * (array.ndim - 2))


def positions(lengths, total):
    return (np.arange(total)[None] < np.array(lengths)[:, None]).astype(np.float32)


@pytest.mark.parametrize("name", OVER_POSITIONS)
def test_blocks_see_nothing_behind_the_end(name):
    make, call, stride = OVER_POSITIONS[name]
    layer = randomise(make(name))
    run = program(layer, lambda x, padding_mask: call(layer, x, padding_mask))
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(3, 9, SIZE)).astype(np.float32), (9, 6, 7)
    padding_mask = positions(lengths, 9)
    short = run(x, padding_mask)
    seen = positions([-(-n // stride) for n in lengths], short.shape[1]) > 0
    for amount in (1, 2, 7):
        longer = run(with_garbage(x, amount), with_zeros(padding_mask, amount))
        np.testing.assert_allclose(longer[:, : short.shape[1]][seen], short[seen], **TOLERANCE)
    if name not in (
        "many_experts",
        "few_experts",
        "encoder_without_convolutions",
    ):  # there every position goes by itself
        all_real = run(x, np.ones_like(padding_mask))  # the contrary: were they real, they would be seen
        assert np.abs(all_real[2] - short[2])[seen[2]].max() > 1e-3


@pytest.mark.parametrize("name", OVER_SOURCES)
def test_readers_see_nothing_behind_the_source(name):
    make, call = OVER_SOURCES[name]
    layer = randomise(make(name))
    run = program(layer, lambda x, source, padding_mask: call(layer, x, source, padding_mask))
    rng = np.random.default_rng(0)
    x, source = (rng.normal(size=(2, length, SIZE)).astype(np.float32) for length in (8, 5))
    padding_mask = positions((5, 3), 5)
    short = run(x, source, padding_mask)
    for amount in (1, 6):
        np.testing.assert_allclose(
            run(x, with_garbage(source, amount), with_zeros(padding_mask, amount)), short, **TOLERANCE
        )
    assert np.abs(run(x, source, np.ones_like(padding_mask))[1] - short[1]).max() > 1e-3


def evaluation(model, spec):
    """The logits of a batch and its loss, as a program."""

    def evaluate(batch):
        loss, report = model.loss(batch, spec)
        return {"logits": report["logits"], "loss": loss, "cross_entropy": report["cross_entropy"]}

    return program(model, evaluate)


OF_ANY_LENGTH = {name: spec for name, spec in SPECS.items() if spec.inputs is not IMAGE}
# Amounts of sound are chosen around the hop (10 samples), the frame (25) and the blocks' halvings.
AMOUNTS = {"text": (1, 2, 5), "audio_spectrogram": (1, 10, 37, 90), "audio_waveform": (1, 2, 3, 37)}


@pytest.mark.slow
@pytest.mark.parametrize("spec", OF_ANY_LENGTH.values(), ids=OF_ANY_LENGTH)
def test_longer_inputs_change_nothing(spec):
    """More padding behind every input, odd amounts too: the same logits, the same loss."""
    run = evaluation(shared_model(), spec)
    batch = make_batch(spec)
    short = run(batch)
    for amount in AMOUNTS[spec.name.split("_to_")[0]]:
        longer = run(batch | {"inputs": with_zeros(batch["inputs"], amount)})
        np.testing.assert_allclose(longer["logits"], short["logits"], **TOLERANCE)
        np.testing.assert_allclose(longer["loss"], short["loss"], **TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("spec", OF_ANY_LENGTH.values(), ids=OF_ANY_LENGTH)
def test_rows_do_not_depend_on_their_neighbours(spec):
    """A row alone, without the padding that a longer neighbour costs it, has the logits that it has in the batch."""
    run = evaluation(shared_model(), spec)
    batch = make_batch(spec)
    together = run(batch)["logits"]
    shortest = {name: array[-1:] for name, array in batch.items()}
    if spec.inputs is TEXT:
        shortest["inputs"] = shortest["inputs"][:, : np.count_nonzero(shortest["inputs"])]
    else:
        shortest["inputs"] = shortest["inputs"][:, : shortest["inputs_length"][0]]
    assert shortest["inputs"].shape[1] < batch["inputs"].shape[1]
    np.testing.assert_allclose(run(shortest)["logits"][0], together[-1], **TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("spec", TO_TEXT.values(), ids=TO_TEXT)
def test_longer_targets_change_nothing(spec):
    run = evaluation(shared_model(), spec)
    batch = make_batch(spec)
    short = run(batch)
    longer = run(batch | {"targets": with_zeros(batch["targets"], 3)})
    np.testing.assert_allclose(longer["logits"][:, :6], short["logits"], **TOLERANCE)
    np.testing.assert_allclose(longer["loss"], short["loss"], **TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("filler", ["zeros", "copies"])
def test_rows_that_fill_up_count_nothing(spec, filler):
    """Rows of example weight 0: the others' logits and the loss, the experts' balance included, stay as they are."""
    run = evaluation(shared_model(), spec)
    batch = make_batch(spec)
    alone = run(batch)
    with_rows = {}
    for name, array in batch.items():
        more = np.zeros_like(array[:2]) if filler == "zeros" or name == "example_weights" else array[:2]
        with_rows[name] = np.concatenate([array, more])
    filled = run(with_rows)
    np.testing.assert_allclose(filled["logits"][:3], alone["logits"], **TOLERANCE)
    np.testing.assert_allclose(filled["cross_entropy"], alone["cross_entropy"], **TOLERANCE)
    np.testing.assert_allclose(filled["loss"], alone["loss"], **TOLERANCE)
    assert np.isfinite(filled["logits"]).all()


@pytest.mark.parametrize("norm", ["features", "picture"])
def test_pictures_do_not_depend_on_their_neighbours(norm):
    spec = SPECS["image_to_label"]
    model = make_model(replace(HPARAMS, image_norm=norm), [spec])
    run = evaluation(model, spec)
    batch = make_batch(spec)
    alone = run({name: array[:1] for name, array in batch.items()})
    np.testing.assert_allclose(run(batch)["logits"][:1], alone["logits"], **TOLERANCE)


@pytest.mark.parametrize("target", ["text", "label"])
def test_padding_does_not_leak_without_attention(target):
    spec = SPECS[f"text_to_{target}"]
    model = make_model(NO_ATTENTION, [spec])
    run = evaluation(model, spec)
    batch = make_batch(spec)
    longer = run(batch | {"inputs": with_zeros(batch["inputs"], 5)})
    np.testing.assert_allclose(longer["logits"], run(batch)["logits"], **TOLERANCE)


@pytest.mark.slow
def test_real_input_does_count():
    """The contrary, so that the tests above could fail: one more word or more sound that is real is seen."""
    for spec in (TRANSLATION, SPECS["audio_waveform_to_label"], SPECS["audio_spectrogram_to_text"]):
        run = evaluation(shared_model(), spec)
        batch = make_batch(spec)
        other = {name: array.copy() for name, array in batch.items()}
        if spec.inputs is TEXT:
            other["inputs"][-1, np.count_nonzero(other["inputs"][-1])] = 7
        else:
            other["inputs_length"][-1] += 20
            other["inputs"][-1] = np.sin(np.arange(150))
        assert np.abs(run(other)["logits"][-1] - run(batch)["logits"][-1]).max() > 1e-3
