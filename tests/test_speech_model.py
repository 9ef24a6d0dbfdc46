"""Speech: CTC and the decoder learn together and decode together; by default nothing of it is there."""

from dataclasses import replace

import numpy as np
import pytest
from models import (
    HPARAMS,
    IMAGE,
    LABEL,
    SPECTROGRAM,
    TEXT,
    TRANSLATION,
    differentiate,
    make_batch,
    make_model,
    to_numpy,
)

from t2t_multimodel.decode_hparams import check_ctc, decode_settings, of_stream
from t2t_multimodel.decoding import ctc
from t2t_multimodel.decoding.batch_decoder import BatchDecoder
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import ProblemSpec
from t2t_multimodel.models.observation import monotonicity
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.optimizer import make_optimizer
from t2t_multimodel.training.run import RunProblem
from t2t_multimodel.vocabulary import EOS_ID

SPEECH = ProblemSpec("speech", SPECTROGRAM, TEXT, 3)
FRAMES = dict(audio_frame_milliseconds=16.0, audio_hop_milliseconds=4.0, audio_strides=(2,), audio_bin_strides=(2, 1))
JOINT = replace(HPARAMS, ctc_weight=0.5, encoder_blocks=2, learning_rate_warmup_steps=1, **FRAMES)
TONES = np.array([60.0, 110.0, 170.0, 230.0, 300.0, 380.0])  # Hz, at a rate of 1,000
FIRST = 5  # the id of the first tone


def tones(rows=8, seed=0):
    """A batch of melodies, each of 2 to 4 tones of 100 ms with pauses of 40 ms, and what they are."""
    random = np.random.default_rng(seed)
    sound, lengths = np.zeros((rows, 560), np.float32), np.zeros(rows, np.int32)
    ids = np.zeros((rows, 5), np.int32)
    for row in range(rows):
        count = random.integers(2, 5)
        notes = random.integers(0, len(TONES), count)
        ids[row, :count], ids[row, count] = FIRST + notes, EOS_ID
        for place, note in enumerate(notes):
            time = np.arange(100) / 1000.0
            sound[row, 140 * place : 140 * place + 100] = 0.5 * np.sin(2 * np.pi * TONES[note] * time)
        lengths[row] = 140 * count
    return {
        "inputs": sound,
        "inputs_length": lengths,
        "targets": ids,
        "command": np.full(rows, 3, np.int32),
        "example_weights": np.ones(rows, np.float32),
    }


class Ids:
    """A vocabulary whose texts are its ids."""

    def decode(self, ids):
        ids = list(ids)
        ids = ids[: ids.index(EOS_ID)] if EOS_ID in ids else ids
        return " ".join(str(int(i)) for i in ids if i > EOS_ID)


def texts(batch):
    return [Ids().decode(row) for row in batch["targets"].tolist()]


@pytest.fixture(scope="module")
def trained():
    """(model, its step after 150 updates, losses of CTC, the batch)."""
    model = make_model(JOINT, [SPEECH])
    step = adapter().Step(model, make_optimizer(JOINT, model.trainable_variables), JOINT)
    batch, losses = tones(), []
    for _ in range(150):
        (report,), _ = step.update([(SPEECH, batch)], 1e-2)
        losses.append(float(report["ctc_loss"]))
    step.variables()
    return model, step, losses, batch


def answers(model, batch, **settings):
    problem = RunProblem(SPEECH, "", ("cer",), 8)
    return BatchDecoder(model, adapter()).answers(problem, batch, Ids(), decode_settings(settings))


@pytest.mark.slow
def test_melodies_are_learnt_by_ctc_and_by_the_decoder(trained):
    model, step, losses, batch = trained
    assert losses[-1] < 0.2 < 1.0 < losses[0]
    assert answers(model, batch, ctc=1) == texts(batch)
    assert answers(model, batch) == texts(batch)
    assert answers(model, batch, ctc=0.3, beam_size=3) == texts(batch)
    assert answers(model, batch, ctc=1, beam_size=3) == texts(batch)
    for settings in ({"ctc": 1}, {"ctc": 1, "beam_size": 3}, {"ctc": 0.3, "beam_size": 3}):
        assert all(len(text.split()) <= 1 for text in answers(model, batch, max_length=1, **settings))
    seen = step.observe(SPEECH, batch)
    read = [Ids().decode(row) for row in seen["aligned_ids"].tolist()]
    assert read == texts(batch)
    lengths = (batch["targets"] > 0).sum(axis=1)
    assert seen["pairs"].tolist() == (lengths * (lengths - 1) / 2).tolist()


def test_monotonicity_is_that_of_the_place_looked_at_most():
    """Forward, backward, standing still; what is padding, or behind the end, does not count."""
    places = np.array([[0, 2, 3, 7, 0], [7, 3, 2, 0, 5], [4, 4, 4, 4, 0]])
    attention = np.eye(8, dtype="float32")[places][:, None]
    mask = np.array([[1, 1, 1, 1, 0]] * 3, "float32")
    signs, pairs = map(to_numpy, monotonicity(attention, mask))
    assert signs[:, 0].tolist() == [6.0, -6.0, 0.0] and pairs.tolist() == [6.0, 6.0, 6.0]


def test_without_the_weight_nothing_is_there():
    model = make_model(replace(JOINT, ctc_weight=0.0), [SPEECH, TRANSLATION])
    assert not [v.path for v in model.variables if "ctc" in v.path]
    assert model.aligned_net(SPEECH) is None
    assert make_model(JOINT, [TRANSLATION]).aligned_net(TRANSLATION) is None
    with pytest.raises(UserError, match="trained with ctc_weight=0"):
        answers(model, tones(2), ctc=1)


def test_the_loss_is_the_mean_of_both_by_the_weight():
    batch = make_batch(SPEECH)
    both = {w: make_model(replace(JOINT, ctc_weight=w), [SPEECH]) for w in (0.25, 0.5)}
    found = {
        w: {n: float(v) for n, v in m.loss(batch, SPEECH)[1].items() if len(v.shape) == 0} for w, m in both.items()
    }
    total = {w: float(m.loss(batch, SPEECH)[0]) for w, m in both.items()}
    for weight, report in found.items():
        mixed = (1 - weight) * report["cross_entropy"] + weight * report["ctc_loss"]
        assert total[weight] == pytest.approx(mixed + report["load_balance_loss"], rel=1e-4)


@pytest.mark.slow
def test_gradients_reach_the_encoder_and_texts_too_long_for_their_frames_cost_nothing():
    model, batch = make_model(JOINT, [SPEECH]), tones(4)
    batch["inputs_length"][0] = 16  # one position for three tones
    batch["example_weights"][3] = 0.0
    _, report = model.loss(batch, SPEECH)
    assert float(report["ctc_too_long"]) == pytest.approx(1 / 3)
    _, _, gradients = differentiate(model, SPEECH, batch)
    mine = {id(v) for v in model.trainable_variables_for(SPEECH)}
    for variable, gradient in zip(model.trainable_variables, gradients):
        assert id(variable) in mine and np.isfinite(to_numpy(gradient)).all(), variable.path
        assert np.abs(to_numpy(gradient)).max() > 0 or "expert" in variable.path, variable.path


def test_padding_changes_nothing_of_the_loss_of_ctc():
    model, batch = make_model(JOINT, [SPEECH]), tones(3)
    longer = {name: np.pad(array, [[0, 2]] + [[0, 0]] * (array.ndim - 1)) for name, array in batch.items()}
    longer["inputs"] = np.pad(longer["inputs"], [[0, 0], [0, 300]])
    longer["targets"] = np.pad(longer["targets"], [[0, 0], [0, 3]])
    values = [float(model.loss(b, SPEECH)[1]["ctc_loss"]) for b in (batch, longer)]
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_hypotheses_are_ordered_by_both_scores():
    scores, of_ctc = np.array([[-1.0, -1.1, -5e6]], np.float32), np.array([[-9.0, -2.0, -1e30]], np.float32)
    lengths = np.array([[3, 3, 0]])
    for weight, first in ((0.0, 0), (0.5, 1)):
        order, joint = ctc.joint_order(scores, of_ctc, lengths, weight, 0.0)
        assert order[0].tolist() == [first, 1 - first, 2]
        assert joint[0, 0] == pytest.approx((1 - weight) * scores[0, first] + weight * of_ctc[0, first])
    assert ctc.to_the_left(np.array([[0, 4, 0, 4, 5]])).tolist() == [[4, 4, 5, 0, 0]]


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"ctc": 2}, "from 0 to 1"),
        ({"ctc": 0.3}, "set beam_size above 1"),
        ({"ctc": 1, "temperature": 1.0}, "exclude each other"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        answers(make_model(JOINT, [SPEECH]), tones(1), **settings)


def test_a_stream_is_by_the_decoder_alone_where_a_problem_has_both():
    own = {"ctc": 0.5, "beam_size": 4}
    settings = of_stream(lambda asked: decode_settings(asked, own, "speech"), {})
    assert (settings["ctc"], settings["beam_size"]) == (0, 1)
    check_ctc(settings, SPEECH, trained_with_ctc=True)
    asked = of_stream(lambda asked: decode_settings(asked, own, "speech"), {"ctc": 1})
    assert asked["ctc"] == 1, "what is asked for stays"
    asked = of_stream(lambda asked: decode_settings(asked, {"ctc": 1}, "speech"), {})
    assert asked["ctc"] == 1, "CTC alone needs no beam"


def test_what_a_model_lacks_is_known_before_it_decodes():
    """Of texts alone: a class is read off as ever."""
    both = decode_settings({"ctc": 0.5, "beam_size": 2})
    check_ctc(both, SPEECH, trained_with_ctc=True)
    check_ctc(both, replace(SPEECH, targets=LABEL), trained_with_ctc=False)
    with pytest.raises(UserError, match="speech: .*trained with ctc_weight=0"):
        check_ctc(both, SPEECH, trained_with_ctc=False)
    with pytest.raises(UserError, match="its inputs are not in order"):
        check_ctc(both, replace(SPEECH, inputs=IMAGE), trained_with_ctc=True)
