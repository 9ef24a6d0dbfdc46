"""Promise: settings that are right each alone are right together, and a run that goes on is the one that was begun."""

import contextlib
import functools
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from input_data import HPARAMS as INPUT_HPARAMS
from input_data import make_input_data, stream
from models import SPECTROGRAM, TEXT, TRANSLATION, make_batch, make_model
from test_speech_model import JOINT, SPEECH, answers, tones

from t2t_multimodel.decode_hparams import beam_of, decode_settings, describe
from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import choices
from t2t_multimodel.hyperparameters import HParams, in_proportion
from t2t_multimodel.input.mixture_stream import MixtureStream
from t2t_multimodel.layers.experts import mixture
from t2t_multimodel.layers.normalization import LayerNorm
from t2t_multimodel.mixture import Mixture, MixtureSchedule
from t2t_multimodel.modalities import Inputs, Numbers, ProblemSpec
from t2t_multimodel.modalities.numbers_nets import NumbersEncoder
from t2t_multimodel.modalities.several_nets import InputsEncoder
from t2t_multimodel.training.early_stopping import EarlyStopping
from t2t_multimodel.training.joint_loss import objective_of
from t2t_multimodel.training.net_pairs import pair_nets
from t2t_multimodel.training.optimizer import make_optimizer
from t2t_multimodel.training.parts import set_parts
from t2t_multimodel.training.warm_start import Source, go_on_with_data


class Noted(keras.layers.Layer):
    """An encoder that notes what it is given, and casts nothing, as those of numbers and of sound."""

    def __init__(self):
        super().__init__(autocast=False)
        self.given = {}

    def call(self, arrays, training=False):
        self.given = {name: keras.backend.standardize_dtype(array.dtype) for name, array in arrays.items()}
        rows = len(arrays["values"])
        return keras.ops.zeros([rows, 2, 8], "bfloat16"), keras.ops.ones([rows, 2]), None


def test_numbers_and_sound_of_several_inputs_stay_float32_in_16_bits():
    modality = Inputs((("facts", Numbers((3,))), ("recording", SPECTROGRAM)))
    parts = [Noted(), Noted()]
    encoder = InputsEncoder(modality, replace(HParams(), hidden_size=8), parts, dtype="mixed_bfloat16")
    arrays = {
        "facts": np.array([[1985.0, 1986.0, 1987.0]], np.float32),
        "recording": np.zeros([1, 40], np.float32),
        "recording_length": np.array([40], np.int32),
    }
    x, _, _ = encoder(arrays)
    assert [part.given["values"] for part in parts] == ["float32", "float32"]
    assert keras.backend.standardize_dtype(x.dtype) == "bfloat16"


def test_numbers_alone_are_read_in_16_bits():
    """As the first layer of a model, and no finer than their difference is lost."""
    encoder = NumbersEncoder(Numbers(("year",)), replace(HParams(), hidden_size=8), dtype="mixed_bfloat16")
    years = np.array([[1985.0], [1986.0], [np.nan]], np.float32)
    x, _, _ = encoder({"values": years})
    assert keras.backend.standardize_dtype(x.dtype) == "bfloat16"
    weights = (encoder.weight, encoder.offset, encoder.unknown)
    weight, offset, unknown = (keras.ops.convert_to_numpy(w)[0] for w in weights)
    found = keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))[:, 0]
    expected = np.stack([1985.0 * weight + offset, 1986.0 * weight + offset, unknown])
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=5e-2)


def test_the_choice_of_experts_is_float32_in_16_bits(monkeypatch):
    """Experts whose scores differ by less than neighbouring 16-bit numbers do: the better one takes the word."""
    hparams = replace(HParams(), hidden_size=8, num_experts=2, experts_per_token=1, expert_filter_size=8)
    monkeypatch.setattr(mixture, "LayerNorm", functools.partial(LayerNorm, dtype="mixed_bfloat16"))
    layer = mixture.MixtureOfExperts(hparams, name="close_experts", dtype="mixed_bfloat16")
    direction = np.linspace(0.5, 1.5, 8, dtype=np.float32)
    layer.gate_weight.assign(np.stack([direction, direction * (1 + 2**-12)], axis=1))
    words = np.random.default_rng(3).normal(size=[1, 64, 8])
    normal = keras.ops.convert_to_numpy(keras.ops.cast(layer.norm(words), "float32"))
    better = np.mean(normal @ direction > 0)
    y, report = layer(words)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    np.testing.assert_allclose(keras.ops.convert_to_numpy(report["load"]), [1 - better, better], atol=1e-6)


# ---- Going on


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_input_data(tmp_path_factory.mktemp("data"))


def mixed(data, problems, **changes):
    hparams = replace(INPUT_HPARAMS, **changes)
    streams = {name: stream(data, name, 1, hparams) for name, _ in problems}
    return MixtureStream(streams, MixtureSchedule(Mixture("mix", "", problems), hparams), 1)


@pytest.mark.parametrize("kind", ["fixed", "schedule"])
@pytest.mark.parametrize("now", [(("shapes", 1), ("words", 3)), (("words", 2), ("shapes", 1))])
def test_a_run_does_not_go_on_with_other_weights_or_another_order(data, kind, now):
    changes = {"mixture": kind} | ({"mixture_schedule": "linear @0 1 0 @9 0 1"} if kind == "schedule" else {})
    begun = mixed(data, (("words", 3), ("shapes", 1)), **changes)
    with pytest.raises(UserError, match="the mixture words 0.75, shapes 0.25, this run is to train on"):
        mixed(data, now, **changes).restore(begun.state())
    mixed(data, (("words", 6), ("shapes", 2)), **changes).restore(begun.state())  # the same shares
    mixed(data, now, **changes).restore(begun.state(), same_mixture=False)  # to be scored, not trained
    started = mixed(data, now, **changes)  # another run, with --keep_optimizer
    state = begun.state() | {"examples_seen": {"words": 70, "shapes": 3}}
    checkpoint = SimpleNamespace(state={"stream": state, "window": {}}, state_used=contextlib.nullcontext)
    go_on_with_data(started, SimpleNamespace(restore=lambda window: None), SimpleNamespace(checkpoint=checkpoint))
    assert started.examples_seen == {"words": 70, "shapes": 3}
    older = {name: value for name, value in begun.state().items() if name != "mixture"}
    mixed(data, now, **changes).restore(older)  # of a checkpoint that does not say


def test_a_run_that_had_stopped_early_stays_stopped():
    spec = type("Run", (), {"spec": SPEECH, "metrics": ("cer",)})
    watch = lambda patience=2, metric="cer": EarlyStopping(metric, patience, {"speech": spec})
    before = watch()
    for step, value in enumerate((0.5, 0.6, 0.7)):
        before.record(step, {"speech": {"cer": value}})
    assert before.stopped
    for patience, metric, stopped in ((2, "cer", True), (3, "cer", False), (2, "wer", False), (2, "", False)):
        spec.metrics = ("cer", "wer")
        again = watch(patience, metric)
        again.restore(before.state())
        assert again.stopped == stopped
    assert "has not improved on 0.5 (step 0)" in before.reason


# ---- CTC with the rest


def test_balances_are_told_the_loss_that_is_descended():
    model = make_model(replace(JOINT, ctc_weight=0.75), [SPEECH, TRANSLATION])
    for spec in (SPEECH, TRANSLATION):
        loss, report = model.loss(make_batch(spec), spec)
        descended = float(loss) - float(report["load_balance_loss"])
        assert float(objective_of(report, 0.75)) == pytest.approx(descended, rel=1e-4)


def test_the_net_of_ctc_is_frozen_and_slowed_with_its_modality():
    hparams = replace(JOINT, freeze="text")
    model = make_model(hparams, [SPEECH])
    set_parts(model, make_optimizer(hparams, model.trainable_variables), hparams)
    of_text = [v for v in model.variables if v.path.split("/")[1].startswith(TEXT.weights_name)]
    assert any("_ctc/" in v.path for v in of_text)
    assert not {id(v) for v in of_text} & {id(v) for v in model.trainable_variables}


@pytest.mark.parametrize("of", ["the same text", "another vocabulary"])
@pytest.mark.parametrize("has_ctc", [True, False])
def test_the_net_of_ctc_begins_from_that_of_the_trained_run(of, has_ctc):
    model = make_model(JOINT, [SPEECH])
    old = TEXT if of == "the same text" else replace(TEXT, vocabulary_digest="another", vocabulary_size=99)
    arrays = {f"old/{name}/softmax": None for name in [old.weights_name] + [old.aligned_name] * has_ctc}
    trained = SimpleNamespace(problems={"speech": SimpleNamespace(spec=ProblemSpec("speech", SPECTROGRAM, old, 3))})
    source = Source("run", trained, JOINT, None, SimpleNamespace(arrays=arrays), "old")
    pairs = pair_nets(model, [SPEECH], source, None, {})
    assert pairs[TEXT.weights_name].prefix == f"old/{old.weights_name}/"
    if has_ctc:
        assert pairs[TEXT.aligned_name].prefix == f"old/{old.aligned_name}/"
    else:
        assert TEXT.aligned_name in model.nets and TEXT.aligned_name not in pairs


def test_a_beam_is_as_wide_as_the_answers_asked_for():
    model, batch = make_model(JOINT, [SPEECH]), tones(4)
    for more in ({}, {"ctc": 0.5}, {"ctc": 1}):
        expected = answers(model, batch, beam_size=3, max_length=4, **more)
        assert answers(model, batch, return_beams=3, max_length=4, **more) == expected
    assert beam_of(decode_settings({"return_beams": 3})) == 3
    assert describe(decode_settings({"return_beams": 3})) == "beam of 3, alpha 0.6"
    assert describe(decode_settings({"return_beams": 1})) == "greedy"


def test_a_problem_has_no_int8_of_its_own():
    with pytest.raises(UserError, match="quantize is of a process"):
        decode_settings({}, {"quantize": "int8"}, "words")
    assert decode_settings({"quantize": "int8"}, {"beam_size": 2})["quantize"] == "int8"


# ---- Runs of other lengths


def test_what_the_learning_rate_counts_in_steps_is_in_proportion():
    hparams = replace(HParams(), learning_rate_warmup_steps=100, learning_rate_decay_steps=2000)
    assert in_proportion(hparams, 1, {}) == {}
    assert in_proportion(hparams, 0.1, {"dropout": 0.2}) == {"dropout": 0.2, "learning_rate_warmup_steps": 10}
    assert in_proportion(hparams, 0.1, {"learning_rate_warmup_steps": 7}) == {"learning_rate_warmup_steps": 7}
    falling = {"learning_rate_schedule": "exponential"}
    expected = {"learning_rate_warmup_steps": 10, "learning_rate_decay_steps": 200}
    assert in_proportion(replace(hparams, **falling), 0.1, {}) == expected
    assert in_proportion(hparams, 0.1, falling) == expected | falling


@pytest.mark.parametrize("name", ["audio_speeds=(0.9,1.0)", "audio_silence_seconds=0.3", "sorted_epochs=1"])
def test_compared_runs_see_equal_batches(name):
    with pytest.raises(UserError, match="equal in all compared runs"):
        choices.changes_alone(name, HParams())
