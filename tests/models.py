"""A model with every size small, problems of every pair of modalities, their batches; what runs on either backend."""

import functools
import zlib
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.layers.attention import AttentionBlock, CrossAttention, CrossWithoutAttention
from t2t_multimodel.layers.convolution import ConvBlock, ConvStep
from t2t_multimodel.layers.convolution_cache import ConvolutionCache, Position
from t2t_multimodel.layers.experts import MixtureOfExperts
from t2t_multimodel.modalities import Audio, Image, Label, ProblemSpec, Text
from t2t_multimodel.models.body import Decoder, Mixer
from t2t_multimodel.models.multimodel import MultiModel
from t2t_multimodel.vocabulary import EOS_ID

BACKEND = keras.backend.backend()

HPARAMS = HParams(
    hidden_size=16,
    num_heads=2,
    encoder_blocks=1,
    attention_blocks=1,
    mixer_blocks=1,
    decoder_blocks=1,
    small_kernel=3,
    large_kernel=5,
    large_dilation=3,
    dropout=0.0,
    # More than 4 · K experts: evaluation takes them in blocks, training with a capacity (see layers/experts).
    num_experts=10,
    experts_per_token=2,
    expert_filter_size=8,
    image_stem_filters=(4, 6),
    image_residual_filters=(0,),
    class_filter_ratios=(1.5, 2.0),
    audio_mel_bins=8,
    audio_blocks=2,
    audio_filter_multiplier=2,
    label_smoothing=0.1,
    learning_rate_warmup_steps=1,
)
FEW_EXPERTS = replace(HPARAMS, num_experts=4)
NO_EXPERTS = replace(HPARAMS, use_experts=False)
NO_ATTENTION = replace(HPARAMS, use_attention=False)
NO_CONVOLUTIONS = replace(HPARAMS, use_convolutions=False)
# More blocks of one kind than of another, and several mixtures of experts.
COMPOSED = replace(
    HPARAMS, encoder_blocks=3, decoder_blocks=3, decoder_attentions=2, encoder_experts=2, decoder_experts=2
)

VOCABULARY, COMMAND, OTHER_COMMAND, FIRST_WORD = 20, 3, 4, 5
TEXT = Text(vocabulary_size=VOCABULARY, vocabulary_digest="small")
IMAGE = Image(7, 10, 3)
SPECTROGRAM = Audio(1000)
WAVEFORM = Audio(1000, "waveform")
LABEL = Label(tuple("abcde"))

INPUTS = {"text": TEXT, "image": IMAGE, "audio_spectrogram": SPECTROGRAM, "audio_waveform": WAVEFORM}

# Every pair of an input and a target: one problem of each signature.
SPECS = {
    f"{source}_to_{targets.modality_name}": ProblemSpec(
        f"{source}_to_{targets.modality_name}", inputs, targets, COMMAND if targets is TEXT else 0
    )
    for source, inputs in INPUTS.items()
    for targets in (TEXT, LABEL)
}
TO_TEXT = {name: spec for name, spec in SPECS.items() if spec.targets is TEXT}
TRANSLATION = SPECS["text_to_text"]


def make_model(hparams=HPARAMS, specs=None):
    """A `MultiModel` of all problems, or of `specs`, with known random weights."""
    return randomise(MultiModel(hparams, specs or list(SPECS.values())))


@functools.cache
def shared_model():
    """The model of `HPARAMS` and `SPECS`, made once; for tests that leave its weights alone."""
    return make_model()


def randomise(owner):
    """Gives every weight of a layer a value by its path alone: the same on each backend, and no gate at zero."""
    for variable in owner.trainable_variables:
        noise = np.random.default_rng(zlib.crc32(variable.path.encode())).normal(size=variable.shape)
        if variable.name == "scale":
            value = 1.0 + 0.1 * noise
        elif len(variable.shape) == 1 or variable.name == "bias":
            value = 0.1 * noise
        else:
            value = noise / np.sqrt(variable.shape[-2])
        variable.assign(value.astype("float32"))
    return owner


def make_batch(spec, rows=3, seed=0):
    """A batch as docs/architecture.md describes it; its rows have different lengths."""
    rng = np.random.default_rng(seed)
    batch = {"command": np.full(rows, spec.command_id, np.int32), "example_weights": np.ones(rows, np.float32)}
    if spec.inputs is TEXT:
        batch["inputs"] = random_ids(rng, rows, longest=7)
    elif spec.inputs is IMAGE:
        batch["inputs"] = rng.integers(0, 256, (rows, 7, 10, 3)).astype(np.uint8)
    else:
        lengths = 150 - 41 * np.arange(rows) % 97
        sound = rng.uniform(-1, 1, (rows, 150)).astype(np.float32)
        batch["inputs"] = sound * (np.arange(150) < lengths[:, None]).astype(np.float32)
        batch["inputs_length"] = lengths.astype(np.int32)
    if spec.targets is TEXT:
        batch["targets"] = random_ids(rng, rows, longest=6)
    else:
        batch["targets"] = rng.integers(0, len(LABEL.classes), rows).astype(np.int32)
    return batch


def random_ids(rng, rows, longest):
    """int32 [rows, longest]: rows of falling length, the end-of-sequence at the end of each, zeros behind it."""
    ids = rng.integers(FIRST_WORD, VOCABULARY, (rows, longest)).astype(np.int32)
    for row in range(rows):
        end = longest - 1 - 2 * row % (longest - 1)
        ids[row, end] = EOS_ID
        ids[row, end + 1 :] = 0
    return ids


# ---- Running a function on either backend


def program(owner, function):
    """`function` of tensors that uses the variables of `owner`, to be called on numpy arrays; the answer is numpy too.

    On TensorFlow it runs eagerly: nothing is compiled. On JAX it is one compiled program for each shape: eagerly every
    small operation would be compiled by itself.
    """
    if BACKEND != "jax":
        return lambda *values: to_numpy(function(*keras.tree.map_structure(ops.convert_to_tensor, values)))
    import jax

    variables = owner.variables

    def with_values(values, *arguments):
        with keras.StatelessScope(state_mapping=list(zip(variables, values))):
            return function(*arguments)

    compiled = jax.jit(with_values)
    return lambda *values: to_numpy(compiled([v.value for v in variables], *values))


def to_numpy(values):
    return keras.tree.map_structure(ops.convert_to_numpy, values)


@functools.cache
def forward_of(spec):
    """The shared model's logits of a batch of `spec` as a program."""
    model = shared_model()
    return program(model, lambda batch: model(batch, spec=spec)[0])


@functools.cache
def training_outputs(spec):
    """{"logits", "loss", "gradients": {path: array or None}} of `make_batch(spec)` in training mode, noise given."""
    model, batch = shared_model(), make_batch(spec)
    original, keras.random.normal = keras.random.normal, _given_noise
    try:
        loss, logits, gradients = differentiate(model, spec, batch)
    finally:
        keras.random.normal = original
    paths = [v.path for v in model.trainable_variables]
    gradients = {path: None if g is None else to_numpy(g) for path, g in zip(paths, gradients)}
    return {"loss": float(loss), "logits": to_numpy(logits), "gradients": gradients}


def write_outputs(file):
    """Writes the shared model's `training_outputs` of every problem, for the process of another backend."""
    arrays = {"paths": np.array([v.path for v in shared_model().variables])}
    for name, spec in SPECS.items():
        outputs = training_outputs(spec)
        arrays |= {f"{name}:logits": outputs["logits"], f"{name}:loss": outputs["loss"]}
        arrays |= {f"{name}:gradient:{path}": g for path, g in outputs["gradients"].items() if g is not None}
    np.savez(file, **arrays)


def _given_noise(shape, seed):
    """Both backends draw their own random numbers; these are the same on both."""
    return ops.convert_to_tensor(np.random.default_rng(1).normal(size=tuple(shape)).astype("float32"))


def differentiate(model, spec, batch):
    """(loss, logits, gradients of `model.trainable_variables` or None where there is none) of `model.loss`."""
    variables = model.trainable_variables
    if BACKEND == "jax":
        import jax

        def loss_of(values, batch):
            with keras.StatelessScope(state_mapping=list(zip(variables, values))):
                loss, report = model.loss(batch, spec, training=True)
            return loss, report["logits"]

        compiled = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
        (loss, logits), gradients = compiled([v.value for v in variables], batch)
        return loss, logits, gradients
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss, report = model.loss(keras.tree.map_structure(tf.constant, batch), spec, training=True)
    gradients = tape.gradient(loss, [v.value for v in variables])
    return loss, report["logits"], [None if g is None else tf.convert_to_tensor(g) for g in gradients]


# ---- Blocks that look back only, each with its way of going one position at a time


@dataclass(frozen=True)
class CausalBlock:
    """`full(x, source, padding_mask)` on [B, T, d]; `start(source, padding_mask, batch, length)` →
    (cross_attention_cache, state); `step(x, cross_attention_cache, state, time)` on [B, d] → (y, state)."""

    layer: Any
    full: Any
    start: Any
    step: Any


def _one_position(cache, step, state, time):
    """`step(own state, position)` → (y, own state), with the cache of its convolutions: → (y, state)."""
    position = cache.position(state[0], cache.constants(), time)
    y, own = step(state[1], position)
    return y, (cache.after(position), own)


def _convolution(layer):
    cache = ConvolutionCache(layer.steps if isinstance(layer, ConvBlock) else [layer])
    return CausalBlock(
        layer,
        full=lambda x, source, padding_mask: layer(x),
        start=lambda source, padding_mask, batch, length: ((), (cache.initial_state(batch), ())),
        step=lambda x, cross_attention_cache, state, time: _one_position(
            cache, lambda own, position: (layer.step(x, position), own), state, time
        ),
    )


def _reader(layer):
    return CausalBlock(
        layer,
        full=layer,
        start=lambda source, padding_mask, batch, length: (layer.prepare(source, padding_mask), ()),
        step=lambda x, cross_attention_cache, state, time: (
            layer.step(x, cross_attention_cache, Position(time)),
            state,
        ),
    )


def _experts(layer):
    return CausalBlock(
        layer,
        full=lambda x, source, padding_mask: layer(x)[0],
        start=lambda source, padding_mask, batch, length: ((), ()),
        step=lambda x, cross_attention_cache, state, time: (layer.step(x, Position(time)), state),
    )


def _mixer(layer):
    cache = ConvolutionCache(layer.steps)
    return CausalBlock(
        layer,
        full=layer,
        start=lambda source, padding_mask, batch, length: (
            layer.prepare(source, padding_mask),
            (cache.initial_state(batch), layer.initial_state(batch, length)),
        ),
        step=lambda x, cross_attention_cache, state, time: _one_position(
            cache, lambda own, position: layer.step(x, cross_attention_cache, own, position), state, time
        ),
    )


def _decoder(layer):
    cache = ConvolutionCache(layer.steps)
    return CausalBlock(
        layer,
        full=lambda x, source, padding_mask: layer(x, ops.ones_like(x[:, :, 0]), source, padding_mask)[0],
        start=lambda source, padding_mask, batch, length: (
            layer.prepare(source, padding_mask),
            (cache.initial_state(batch), ()),
        ),
        step=lambda x, cross_attention_cache, state, time: _one_position(
            cache, lambda own, position: (layer.step(x, cross_attention_cache, position), own), state, time
        ),
    )


SIZE = HPARAMS.hidden_size
CAUSAL_BLOCKS = {
    "conv_step": lambda name: _convolution(ConvStep(SIZE, 3, causal=True, name=name)),
    "dilated_conv_step": lambda name: _convolution(ConvStep(SIZE, 5, dilation=3, causal=True, name=name)),
    "conv_block": lambda name: _convolution(ConvBlock(HPARAMS, causal=True, name=name)),
    "source_attention": lambda name: _reader(CrossAttention(HPARAMS, name=name)),
    "source_without_attention": lambda name: _reader(CrossWithoutAttention(NO_ATTENTION, name=name)),
    "many_experts": lambda name: _experts(MixtureOfExperts(HPARAMS, name=name)),
    "few_experts": lambda name: _experts(MixtureOfExperts(FEW_EXPERTS, name=name)),
    "attention_block": lambda name: _mixer(AttentionBlock(HPARAMS, name=name)),
    "block_without_attention": lambda name: _mixer(AttentionBlock(NO_ATTENTION, name=name)),
    "mixer": lambda name: _mixer(Mixer(HPARAMS, name=name)),
    "decoder": lambda name: _decoder(Decoder(replace(HPARAMS, decoder_blocks=2), name=name)),
    "decoder_without_experts": lambda name: _decoder(Decoder(NO_EXPERTS, name=name)),
    "decoder_without_attention": lambda name: _decoder(Decoder(NO_ATTENTION, name=name)),
    "mixer_without_convolutions": lambda name: _mixer(Mixer(NO_CONVOLUTIONS, name=name)),
    "decoder_composed": lambda name: _decoder(Decoder(COMPOSED, name=name)),
    "decoder_without_convolutions": lambda name: _decoder(Decoder(NO_CONVOLUTIONS, name=name)),
}


def causal_block(name):
    """The block of that name with known random weights."""
    block = CAUSAL_BLOCKS[name](name)
    randomise(block.layer)
    return block


def block_inputs(batch=2, length=18, positions=7, seed=0):
    """x [B, T, d], source [B, S, d], padding_mask [B, S]: some padding."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, length, SIZE)).astype(np.float32)
    source = rng.normal(size=(batch, positions, SIZE)).astype(np.float32)
    padding_mask = np.ones((batch, positions), np.float32)
    padding_mask[-1, positions - 2 :] = 0.0
    return x, source, padding_mask


def gradient(function, x, any_length=False):
    """d function / d x as numpy, by the backend's own differentiation.

    any_length: whether TensorFlow knows no side of x but the last while it traces.
    """
    if BACKEND == "jax":
        import jax

        return np.asarray(jax.jit(jax.grad(function))(x))
    import tensorflow as tf

    shape = [*[None] * (x.ndim - 1), x.shape[-1]] if any_length else x.shape

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    def differentiate(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)

    return tf.convert_to_tensor(differentiate(tf.constant(x))).numpy()
