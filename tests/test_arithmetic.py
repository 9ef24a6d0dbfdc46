"""The counted arithmetic is that of the traced graph, for every kind of problem and without each kind of block."""

from dataclasses import replace

import numpy as np
import pytest
from graph_operations import operations_of_graph
from models import BACKEND, HPARAMS, IMAGE, SPECS, SPECTROGRAM, TEXT, WAVEFORM, make_batch, make_model

from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Numbers, ProblemSpec
from t2t_multimodel.training import arithmetic

# Every expert for every token: all products of the graph are counted. Without dilation, of which a graph leaves out
# taps that see padding alone.
ALL_COUNTED = replace(
    HPARAMS, num_experts=2, experts_per_token=2, large_dilation=1, attention_blocks=2, decoder_blocks=2
)
SAMPLES = 6000  # of a recording: the frames of padding behind it are few


def counted_and_traced(hparams, spec, samples=SAMPLES):
    batch = make_batch(spec)
    if spec.inputs in (SPECTROGRAM, WAVEFORM):
        rows = len(batch["command"])
        batch |= {"inputs": np.ones((rows, samples), np.float32), "inputs_length": np.full(rows, samples, np.int32)}
    inputs, targets = (batch[side].shape[1] if batch[side].ndim > 1 else 1 for side in ("inputs", "targets"))
    counted = sum(arithmetic.parts(hparams, spec, len(batch["command"]), inputs, targets).values())
    return counted, operations_of_graph(make_model(hparams, [spec]), spec, batch)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="it counts in a graph of TensorFlow")
@pytest.mark.parametrize(
    "name", ["text_to_text", "image_to_label", "audio_spectrogram_to_label", "audio_waveform_to_text"]
)
def test_the_arithmetic_of_every_pair_is_that_of_the_graph(name):
    spec = SPECS[name]
    counted, traced = counted_and_traced(ALL_COUNTED, spec)
    exact = spec.inputs in (TEXT, IMAGE) and spec.targets is TEXT
    # A strided step of a class net computes its depthwise part everywhere; a spectrogram has frames of padding.
    assert counted == traced if exact else counted <= traced <= 1.08 * counted


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="it counts in a graph of TensorFlow")
def test_any_number_of_blocks_of_each_kind_is_counted():
    numbers = {"encoder_blocks": 3, "decoder_blocks": 1, "decoder_attentions": 3, "encoder_experts": 2}
    counted, traced = counted_and_traced(replace(ALL_COUNTED, **numbers, decoder_experts=0), SPECS["text_to_text"])
    assert counted == traced
    without = replace(ALL_COUNTED, use_experts=False, use_attention=False, use_convolutions=False)
    counted, traced = counted_and_traced(without, SPECS["text_to_text"])
    assert counted == traced


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="it counts in a graph of TensorFlow")
def test_strides_stacks_and_ctc_of_speech_are_counted():
    changes = {"audio_stack": 2, "audio_strides": (2, 1), "audio_bin_strides": (2,), "ctc_weight": 0.5}
    counted, traced = counted_and_traced(replace(ALL_COUNTED, **changes), SPECS["audio_spectrogram_to_text"])
    assert counted <= traced <= 1.08 * counted


def test_lengths_may_be_arrays():
    spec, lengths = SPECS["audio_waveform_to_text"], np.array([100, 1000, 350])
    together = arithmetic.parts(HPARAMS, spec, 1, lengths, np.array([3, 4, 5]), True)
    for i, (samples, written) in enumerate(zip(lengths.tolist(), (3, 4, 5))):
        one = arithmetic.parts(HPARAMS, spec, 1, samples, written, True)
        assert {part: int(counted[i]) for part, counted in together.items()} == one


def test_what_is_not_counted_is_said():
    with pytest.raises(UserError, match="of an input that is numbers is not counted, since its class defines"):
        arithmetic.check(ProblemSpec("prices", Numbers(), TEXT))
