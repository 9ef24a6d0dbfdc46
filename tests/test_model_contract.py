"""What every problem may count on: gradients reach its variables and no others, it learns, it is saved and loaded."""

import functools
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops
from models import (
    BACKEND,
    COMMAND,
    HPARAMS,
    IMAGE,
    LABEL,
    NO_ATTENTION,
    NO_CONVOLUTIONS,
    NO_EXPERTS,
    OTHER_COMMAND,
    SPECS,
    TO_TEXT,
    TRANSLATION,
    differentiate,
    forward_of,
    make_batch,
    make_model,
    program,
    randomise,
    shared_model,
    to_numpy,
    training_outputs,
)

from t2t_multimodel.errors import UserError
from t2t_multimodel.layers.experts import MixtureOfExperts, dispatch
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.modalities import ProblemSpec
from t2t_multimodel.modalities.image_nets import ImageEncoder
from t2t_multimodel.models import body
from t2t_multimodel.models.multimodel import MultiModel
from t2t_multimodel.training import checkpoints
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.optimizer import make_optimizer
from t2t_multimodel.training.run import Run, RunProblem, build_model, load_variables

# A training step is compiled for each signature, and on JAX that costs three times as much: there these two, which hold
# every part of the body. (test_backends_agree.py compares the gradients of all signatures.)
TRAINED = list(SPECS) if BACKEND == "tensorflow" else ["text_to_text", "image_to_label"]


@pytest.mark.slow
@pytest.mark.parametrize("spec", TO_TEXT.values(), ids=TO_TEXT)
def test_command_changes_the_output(spec):
    batch = make_batch(spec)
    first, second = (
        forward_of(spec)(batch | {"command": np.full(3, command, np.int32)}) for command in (COMMAND, OTHER_COMMAND)
    )
    assert np.abs(first[:, 0] - second[:, 0]).max() > 1e-2  # where it is fed …
    assert np.abs(first[:, 1:] - second[:, 1:]).max() > 1e-2  # … and behind


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="the batch stays whole elsewhere")
@pytest.mark.parametrize("rows", [3, 1])
def test_a_wide_body_in_halves_computes_what_a_narrow_one_does(rows, monkeypatch):
    """With blocks before the experts and behind them; as programs for any number of rows."""
    hparams = replace(HPARAMS, encoder_blocks=2, decoder_blocks=2)
    model, batch = make_model(hparams, [TRANSLATION]), make_batch(TRANSLATION, rows)
    steps = []
    for least in (body.WIDE, 1):
        monkeypatch.setattr(body, "WIDE", least)
        step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
        steps.append([*step.evaluate(TRANSLATION, batch).values(), *step.gradients(TRANSLATION, batch)])
    for whole, halves in zip(*steps):
        np.testing.assert_allclose(halves, whole, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="the batch stays whole elsewhere")
def test_a_body_in_halves_trains_the_same_twice(monkeypatch):
    """To the last bit, with dropout and the gates' noise, and batches of one row between others."""
    monkeypatch.setattr(body, "WIDE", 1)
    hparams = replace(HPARAMS, dropout=0.2, encoder_blocks=2, decoder_blocks=2)
    ends = []
    for _ in range(2):
        model = make_model(hparams, [TRANSLATION])
        for seeds in (variable for variable in model.variables if not variable.trainable):
            seeds.assign(np.arange(2, dtype=np.uint32))
        step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
        for rows in (3, 1, 4):
            step.update([(TRANSLATION, make_batch(TRANSLATION, rows))], 1e-2)
        ends.append([to_numpy(variable) for variable in step.variables()])
    for first, second in zip(*ends):
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_gradient_reaches_what_is_touched_and_nothing_else(spec):
    gradients = training_outputs(spec)["gradients"]
    touched = {v.path for v in shared_model().trainable_variables_for(spec)}
    for path, gradient in gradients.items():
        reached = gradient is not None and bool(np.abs(gradient).max() > 0)
        assert reached == (path in touched), path
        assert gradient is None or np.isfinite(gradient).all(), path


def test_every_variable_belongs_to_a_problem():
    model = shared_model()
    paths = [v.path for v in model.variables]
    assert len(set(paths)) == len(paths)
    touched = {v.path for spec in SPECS.values() for v in model.trainable_variables_for(spec)}
    assert touched == {v.path for v in model.trainable_variables}
    assert all(not v.path.startswith("/") and "//" not in v.path for v in model.variables)


def test_all_weights_exist_before_the_first_call():
    """So that a model can be counted, saved and loaded at once; and no call adds one."""
    model = MultiModel(HPARAMS, [TRANSLATION])
    before = [v.path for v in model.variables]
    program(model, lambda batch: model(batch, spec=TRANSLATION)[0])(make_batch(TRANSLATION))
    assert [v.path for v in model.variables] == before


# ---- Training


def test_weight_decay_shrinks_matrices_that_are_updated():
    """Where the gradient is zero nothing else moves: by learning rate · decay; vectors and who sits out stay."""

    class Still(Layer):
        def __init__(self):
            super().__init__(name="still")
            for name, shape in (("matrix", (2, 3)), ("vector", (3,)), ("idle", (2, 3))):
                setattr(self, name, self.add_weight(shape=shape, initializer="ones", name=name))

        def loss(self, batch, spec, training=False):
            loss = 0.0 * (ops.sum(self.matrix) + ops.sum(self.vector))
            return loss, {
                name: ops.zeros(())
                for name in ("cross_entropy", "weight", "load_balance_loss", "dropped_token_fraction")
            }

        def trainable_variables_for(self, spec):
            return [self.matrix, self.vector]

    model, hparams = Still(), replace(HPARAMS, weight_decay=0.5)
    step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
    step.update([(TRANSLATION, make_batch(TRANSLATION))], 0.1)
    step.variables()  # have their values from here on
    np.testing.assert_allclose(to_numpy(model.matrix), 0.95, rtol=1e-6)
    np.testing.assert_array_equal(to_numpy(model.vector), 1.0)
    np.testing.assert_array_equal(to_numpy(model.idle), 1.0)


@functools.cache
def training():
    """A model and its training step, shared since each signature's program is compiled once."""
    adapter().seed(0)  # of the gating noise
    model = make_model()
    return model, adapter().Step(model, make_optimizer(HPARAMS, model.trainable_variables), HPARAMS)


def fresh_training():
    """The same with known weights and an optimiser that has seen nothing."""
    model, step = training()
    step.variables()  # have their values from here on
    randomise(model)
    for variable in step.optimizer.variables:
        if variable is not step.optimizer.learning_rate:
            variable.assign(np.zeros(variable.shape, variable.dtype))
    return model, step


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_training_lowers_the_loss(name):
    """Thirty updates on one batch."""
    _, step = fresh_training()
    spec = SPECS[name]
    batch = make_batch(spec)
    losses = [step.update([(spec, batch)], learning_rate=3e-3)[0][0]["loss"] for _ in range(30)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.75 * losses[0], losses


@pytest.mark.slow
@pytest.mark.parametrize("name, other", [("text_to_text", "image_to_label"), ("image_to_label", "text_to_text")])
def test_other_problems_stay_bit_identical(name, other):
    """An update moves its own variables and their optimiser state; everything else keeps every bit."""
    model, step = fresh_training()
    for each in (name, other):  # so that no slot of the optimiser is at zero
        step.update([(SPECS[each], make_batch(SPECS[each]))], learning_rate=1e-3)
    before = {v.path: to_numpy(v) for v in step.variables()}
    assert len(before) == len(step.variables())
    step.update([(SPECS[name], make_batch(SPECS[name]))], learning_rate=1e-3)
    moved = {v.path for v in step.variables() if not np.array_equal(to_numpy(v), before[v.path])}

    mine = {path for v in model.trainable_variables_for(SPECS[name]) for path in (v.path, *slots(v))}
    everything = {path for v in model.trainable_variables for path in (v.path, *slots(v))}
    assert everything <= set(before)
    assert moved & everything == mine
    others = {v.path for v in model.non_trainable_variables} | {v.path for v in step.optimizer.variables[:2]}
    assert moved - everything <= others  # random state, number of updates, learning rate


def slots(variable):
    """The paths of a variable's two slots in Adam."""
    return [f"adam/{variable.path.replace('/', '_')}_{slot}" for slot in ("momentum", "velocity")]


@pytest.mark.slow
def test_update_over_several_draws_is_their_average():
    """Adam's first momentum is a multiple of the gradient: that of two draws is the mean of both's."""
    hparams = replace(NO_EXPERTS, clip_norm=0.0)  # no gating noise, no clipping
    specs = [SPECS["text_to_label"], SPECS["image_to_label"]]
    draws = [(spec, make_batch(spec)) for spec in specs]
    momenta = []
    for chosen in ([draws[0]], [draws[1]], draws):
        model = make_model(hparams, specs)
        step = adapter().Step(model, make_optimizer(hparams, model.trainable_variables), hparams)
        reports, norm = step.update(chosen, learning_rate=1e-3)
        assert len(reports) == len(chosen) and norm > 0
        momenta.append({v.path: to_numpy(v) for v in step.variables() if v.path.endswith("_momentum")})
    first, second, both = momenta
    assert len(both) == len(model.trainable_variables)
    for path in both:
        np.testing.assert_allclose(both[path], (first[path] + second[path]) / 2, atol=1e-6, rtol=1e-4)


# ---- Random pictures


def test_training_pictures_are_flipped_and_shifted_and_others_are_left_alone():
    """Every row in training is one of 2 flips × 3 × 5 shifts of its picture, and nearly all of them occur."""
    net = ImageEncoder(IMAGE, replace(HPARAMS, image_augment=True, image_shift=0.2), name="augmenting")
    run = {flag: program(net, lambda inputs, flag=flag: net({"values": inputs}, training=flag)[0]) for flag in (0, 1)}
    picture = np.random.default_rng(0).integers(0, 256, (7, 10, 3)).astype(np.uint8)
    padded = np.pad(picture, ((1, 1), (2, 2), (0, 0)), mode="reflect")
    moved = [padded[row : row + 7, column : column + 10] for row in range(3) for column in range(5)]
    expected = run[0](
        np.stack(
            moved + [padded[:, ::-1][row : row + 7, column : column + 10] for row in range(3) for column in range(5)]
        )
    )
    np.testing.assert_allclose(run[0](picture[None])[0], expected[1 * 5 + 2], atol=1e-5)  # not moved
    rows = run[1](np.tile(picture, (300, 1, 1, 1)))
    distance = np.abs(rows[:, None] - expected[None]).max(axis=(2, 3))
    assert distance.min(axis=1).max() < 1e-4
    assert len(set(distance.argmin(axis=1))) > 20


def test_nets_of_two_sizes_have_random_states_of_their_own():
    """So that a checkpoint holds both, and a resumed run draws what the undisturbed one would have drawn."""
    other = ProblemSpec("other", replace(IMAGE, height=8, width=8), LABEL, 0)
    model = MultiModel(replace(HPARAMS, image_augment=True, image_shift=0.2), [SPECS["image_to_label"], other])
    paths = [v.path for v in model.variables if "flip_seed" in v.path or "shift_seed" in v.path]
    assert len(set(paths)) == 4


# ---- Experts


@pytest.mark.parametrize("most_ragged", [0, 64])
@pytest.mark.parametrize("factor", [0.25, 1.0])
def test_full_experts_pass_words_by(factor, most_ragged, monkeypatch):
    """In training an expert takes its first words, up to its capacity; the rest have their other experts alone.

    Padding is neither routed nor does it take a place. By brute force, word by word.
    """
    monkeypatch.setattr(dispatch, "MAX_RAGGED_EXPERTS", most_ragged)
    layer = randomise(MixtureOfExperts(replace(HPARAMS, expert_capacity_factor=factor), name="full_experts"))
    rng = np.random.default_rng(2)
    tokens = rng.normal(size=(60, HPARAMS.hidden_size)).astype(np.float32)
    padding_mask = (rng.uniform(size=(60, 1)) < 0.8).astype(np.float32)

    def run(tokens, padding_mask):
        routing, _, load = layer.router(tokens, padding_mask, training=False)
        y, fraction = dispatch.capacity_dispatch(tokens, routing, padding_mask, layer.experts, factor)
        return y, fraction, routing.gates, routing.ids, load

    y, fraction, gates, ids, load = program(layer, run)(tokens, padding_mask)
    first, second = to_numpy(layer.first), to_numpy(layer.second)
    capacity = max(4, int(np.ceil(60 * 2 * factor / 10)))
    expected, taken, dropped = np.zeros_like(tokens), np.zeros(10, int), 0
    for word in np.flatnonzero(padding_mask):
        for gate, expert in zip(gates[word], ids[word]):
            taken[expert] += 1
            if taken[expert] > capacity:
                dropped += 1
            else:
                expected[word] += gate * (np.maximum(tokens[word] @ first[expert], 0) @ second[expert])
    assert dropped > 0
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(fraction, dropped / (2 * padding_mask.sum()), rtol=1e-5)
    np.testing.assert_allclose(load, taken / taken.sum(), rtol=1e-5)


@pytest.mark.parametrize("most_ragged", [0, 64])
def test_gradients_of_full_experts(most_ragged, monkeypatch):
    """Of words, gates and experts, where some words find no place and some are padding: those of the plain formula,
    every expert on every word, times the gates of the experts that took it.
    """
    monkeypatch.setattr(dispatch, "MAX_RAGGED_EXPERTS", most_ragged)
    layer = randomise(MixtureOfExperts(replace(HPARAMS, expert_capacity_factor=0.5), name="full_experts"))
    rng = np.random.default_rng(2)
    words = keras.Variable(rng.normal(size=(60, HPARAMS.hidden_size)).astype(np.float32), name="words")
    padding_mask = (rng.uniform(size=(60, 1)) < 0.8).astype(np.float32)
    factor = rng.normal(size=words.shape).astype(np.float32)
    ids = program(layer, lambda words, mask: layer.router(words, mask, training=False)[0].ids)(
        to_numpy(words), padding_mask
    )
    taken, takes = np.zeros(10, int), np.zeros((60, 10), np.float32)
    for word in np.flatnonzero(padding_mask):
        for expert in ids[word]:
            taken[expert] += 1
            takes[word, expert] = taken[expert] <= max(4, 60 * 2 * 0.5 / 10)
    assert 0 < takes.sum() < 2 * padding_mask.sum()

    def plain(routing):
        hidden = ops.relu(ops.einsum("td,edf->tef", words.value, layer.first.value))
        hidden = hidden * (routing.dense_gates() * takes)[..., None]
        return ops.einsum("tef,efd->td", hidden, layer.second.value)

    def dispatched(routing):
        mask = ops.convert_to_tensor(padding_mask)
        return dispatch.capacity_dispatch(words.value, routing, mask, layer.experts, 0.5)[0]

    def gradients_of(function):
        class Weighed:
            trainable_variables = [words, layer.gate_weight, layer.first, layer.second]

            def loss(self, batch, spec, training):
                routing, _, _ = layer.router(words.value, ops.convert_to_tensor(padding_mask), training=False)
                y = function(routing)
                return ops.sum(y * factor), {"logits": y}

        return to_numpy(differentiate(Weighed(), None, {})[2])

    for found, expected in zip(gradients_of(dispatched), gradients_of(plain)):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# ---- Saving


@pytest.mark.slow
def test_saved_and_loaded_model_has_the_same_output(tmp_path):
    """Through a checkpoint's files into a model made anew as the trainer makes it: equal to the last bit."""
    model = shared_model()
    checkpoints.save(tmp_path, 3, {v.path: to_numpy(v) for v in model.variables}, {"step": 3})
    problems = {name: RunProblem(spec, "", (), (), 6) for name, spec in SPECS.items()}
    loaded = build_model(Run("multimodel", 0, BACKEND, problems), HPARAMS)
    for variable, other in zip(loaded.variables, model.variables, strict=True):
        assert variable.path == other.path
    arrays = checkpoints.load(tmp_path, 3).arrays
    load_variables(loaded.variables, arrays, tmp_path)
    for spec in [TRANSLATION, SPECS["image_to_label"]]:
        forward = program(loaded, lambda batch, spec=spec: loaded(batch, spec=spec)[0])
        np.testing.assert_array_equal(forward(make_batch(spec)), forward_of(spec)(make_batch(spec)))
    with pytest.raises(UserError, match="of another model"):
        load_variables(loaded.variables, dict(list(arrays.items())[1:]), tmp_path)


# ---- What a problem may be


def test_ablations_lack_the_part():
    without_experts = [v.path for v in MultiModel(NO_EXPERTS, [TRANSLATION]).variables]
    assert not any("expert" in path for path in without_experts)
    without_attention = [v.path for v in MultiModel(NO_ATTENTION, [TRANSLATION]).variables]
    assert not any("query" in path or "key" in path for path in without_attention)
    without_convolutions = [v.path for v in MultiModel(NO_CONVOLUTIONS, [TRANSLATION]).variables]
    assert not any("block0/" in path for path in without_convolutions) and any("block0/" in p for p in without_experts)
    assert any("expert" in path for path in without_attention) and any("query" in path for path in without_experts)


def test_a_model_without_text_targets_has_no_decoder():
    model = MultiModel(HPARAMS, [SPECS["image_to_label"]])
    assert not any(part in v.path for v in model.variables for part in ("decoder", "mixer"))


@pytest.mark.parametrize("inputs, targets", [("image", "image"), ("label", "text"), ("text", "audio")])
def test_sides_that_no_net_serves_are_refused(inputs, targets):
    features = {f.modality_name: f for spec in SPECS.values() for f in (spec.inputs, spec.targets)}
    with pytest.raises(UserError, match="can't be a"):
        MultiModel(HPARAMS, [ProblemSpec("odd", features[inputs], features[targets], 0)])
