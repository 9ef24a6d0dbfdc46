"""Decoding one position at a time equals the whole forward pass; greedy and beam search find what they promise."""

import contextlib
import functools
import itertools
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops
from models import (
    BACKEND,
    CAUSAL_BLOCKS,
    FIRST_WORD,
    HPARAMS,
    NO_ATTENTION,
    NO_CONVOLUTIONS,
    NO_EXPERTS,
    SPECS,
    TO_TEXT,
    TRANSLATION,
    VOCABULARY,
    block_inputs,
    causal_block,
    make_batch,
    make_model,
    program,
    randomise,
    shared_model,
    to_numpy,
)

from t2t_multimodel.decoding.batch_decoder import BatchDecoder
from t2t_multimodel.decoding.decode import predict, read_source, write_text
from t2t_multimodel.decoding.search import POSSIBLE, beam_search, greedy_search, length_penalty
from t2t_multimodel.layers.convolution_cache import Position
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.training.optimizer import make_optimizer
from t2t_multimodel.training.run import Run, RunProblem, build_model
from t2t_multimodel.vocabulary import EOS_ID

# ---- One position at a time


@pytest.mark.slow
@pytest.mark.parametrize("name", CAUSAL_BLOCKS)
def test_steps_equal_the_whole(name):
    """Over more positions than any ring buffer holds, and more than the source has."""
    block = causal_block(name)
    x, source, padding_mask = block_inputs()
    whole = program(block.layer, block.full)(x, source, padding_mask)
    start = program(
        block.layer, lambda source, padding_mask: block.start(source, padding_mask, x.shape[0], x.shape[1] + 3)
    )
    step = program(block.layer, block.step)
    memory, state = start(source, padding_mask)
    for time in range(x.shape[1]):
        y, state = step(x[:, time], memory, state, np.int32(time))
        np.testing.assert_allclose(y, whole[:, time], atol=1e-5, rtol=1e-5, err_msg=f"position {time}")


def test_experts_shared_by_many_rows_are_those_of_each_row():
    """Weights are gathered for blocks of tokens where there are twice as many choices as experts, else for each."""
    layer = causal_block("many_experts").layer
    x = np.random.default_rng(5).normal(size=(30, HPARAMS.hidden_size)).astype("float32")
    step = program(layer, lambda x: layer.step(x, Position(0)))
    few = HPARAMS.num_experts // HPARAMS.experts_per_token
    each = np.concatenate([step(x[i : i + few]) for i in range(0, len(x), few)])
    np.testing.assert_allclose(step(x), each, atol=1e-6)


@functools.cache
def model_of(kind):
    """The whole model, or one of its ablations."""
    hparams = {
        "whole": HPARAMS,
        "without_experts": NO_EXPERTS,
        "without_attention": NO_ATTENTION,
        "without_convolutions": NO_CONVOLUTIONS,
    }[kind]
    return shared_model() if kind == "whole" else make_model(hparams, [TRANSLATION])


KINDS = ("whole", "without_experts", "without_attention", "without_convolutions")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_model_steps_equal_the_forward_pass(kind):
    """Fed the right ids one by one, the model gives the logits of the teacher-forced pass, from every input length."""
    model = model_of(kind)
    batch = make_batch(TRANSLATION)
    rng = np.random.default_rng(3)
    batch["targets"] = rng.integers(FIRST_WORD, VOCABULARY, (3, 16)).astype(np.int32)  # longer than all ring buffers
    whole = program(model, lambda batch: model(batch, spec=TRANSLATION)[0])(batch)

    def start(batch):
        source, padding_mask, _, _ = model.encode(batch, TRANSLATION)
        return model.prepare(source, padding_mask), model.initial_state(3, 20)

    memory, state = program(model, start)(batch)
    step = program(model, lambda ids, *rest: model.step(ids, TRANSLATION.targets, model.constants(), *rest))
    ids = batch["command"]
    for time in range(16):
        logits, state = step(ids, memory, state, np.int32(time))
        np.testing.assert_allclose(logits, whole[:, time], atol=2e-5, rtol=1e-4, err_msg=f"position {time}")
        ids = batch["targets"][:, time]


# ---- Greedy search

LENGTH, LIMIT = 12, 9  # of the output buffer; at most so many ids


def decode_text(model, spec, batch, limit, length, **options):
    memory = read_source(model, spec, batch)
    return write_text(model, spec.targets, memory, batch["command"], limit, length, **options)


def decoder(model, spec, **options):
    return program(model, lambda batch, limit: decode_text(model, spec, batch, limit, LENGTH, **options))


def without_targets(batch):
    return {name: array for name, array in batch.items() if name != "targets"}


@pytest.mark.slow
@pytest.mark.parametrize("name", TO_TEXT if BACKEND == "tensorflow" else ["text_to_text"])
def test_greedy_is_the_likeliest_id_again_and_again(name):
    """Found by brute force: the whole forward pass for each id. Ends at the end-of-sequence, zeros behind it."""
    check_greedy(shared_model(), SPECS[name])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[1:])
def test_greedy_of_the_ablations(kind):
    check_greedy(model_of(kind), TRANSLATION)


@contextlib.contextmanager
def ending_at_different_times(model, spec, batch):
    """Makes the end-of-sequence likelier until greedy rows end at different times; gives their ids and scores."""
    bias, decode = model.head(spec).bias, decoder(model, spec)
    original = to_numpy(bias)
    try:
        for more in np.arange(0.3, 3.0, 0.3):
            bias.assign(original + more.astype("float32") * (np.arange(VOCABULARY) == EOS_ID))
            ids, scores = decode(without_targets(batch), np.int32(LIMIT))
            if len(set(np.count_nonzero(ids, axis=1))) > 1:
                break
        yield ids, scores
    finally:
        bias.assign(original)


def check_greedy(model, spec):
    batch = make_batch(spec, rows=4)
    with ending_at_different_times(model, spec, batch) as (ids, scores):
        expected, log_probabilities = brute_force(model, spec, batch)
    assert len(set(np.count_nonzero(ids, axis=1))) > 1 or spec is not TRANSLATION
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(scores, log_probabilities, atol=1e-4, rtol=1e-4)
    assert not ids[:, LIMIT:].any()


def brute_force(model, spec, batch):
    """Greedy ids [rows, LENGTH] and the sums of their log-probabilities by teacher forcing alone."""
    forward = program(model, lambda batch: ops.log_softmax(model(batch, spec=spec)[0]))
    rows = len(batch["command"])
    ids, scores, done = np.zeros((rows, LENGTH), np.int32), np.zeros(rows), np.zeros(rows, bool)
    for time in range(LIMIT):
        # What stands from here on is not seen, but must not be padding: padding is not routed to experts.
        targets = np.where(np.arange(LENGTH) < time, np.maximum(ids, 1), FIRST_WORD).astype(np.int32)
        log_probabilities = forward(batch | {"targets": targets})[:, time]
        best = np.where(done, 0, log_probabilities.argmax(-1))
        scores += np.where(done, 0.0, log_probabilities.max(-1))
        ids[:, time] = best
        done |= best == EOS_ID
    return ids, scores


@pytest.mark.slow
@pytest.mark.parametrize("beam", [1, 3])
def test_compiled_decoding_equals_eager(beam):
    """The program that the commands run, `compiled` of the backend's adapter, writes the ids of the plain function."""
    model, spec = shared_model(), TRANSLATION
    batch = without_targets(make_batch(spec, rows=3))
    compiled = BatchDecoder(model, adapter())
    ids, scores = compiled.ids(spec, batch, LIMIT, beam_size=beam, alpha=0.6)
    tensors = keras.tree.map_structure(ops.convert_to_tensor, batch)
    expected = decode_text(model, spec, tensors, ops.convert_to_tensor(LIMIT), ids.shape[1], beam_size=beam, alpha=0.6)
    np.testing.assert_array_equal(ids, to_numpy(expected[0]))
    np.testing.assert_allclose(scores, to_numpy(expected[1]), atol=1e-4, rtol=1e-4)


def test_classes_are_ranked():
    model, spec = shared_model(), SPECS["image_to_label"]
    batch = make_batch(spec)
    ranked = BatchDecoder(model, adapter()).predicted(spec, batch)
    order, scores = ranked["order"], ranked["scores"]
    logits = program(model, lambda batch: model(batch, spec=spec)[0])(batch)
    np.testing.assert_array_equal(order, np.argsort(-logits, axis=1))
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1.0, atol=1e-5)
    expected = program(model, lambda batch: predict(model, spec, batch))(batch)
    np.testing.assert_array_equal(order, expected["order"])


# ---- Searches over a table: logits of the next id = table[time, last id]


def search_table(table, first_ids, limit, beam=None, alpha=0.0, needed=1):
    """Greedy search, or beam search where `beam` is given, as numpy."""
    table, length = ops.convert_to_tensor(table.astype("float32")), len(table)

    def search(first_ids):
        def step(ids, state, time, beams):
            return ops.take(ops.take(table, time, axis=0), ids, axis=0), state

        if beam is None:
            return greedy_search(step, {}, first_ids, length, limit)
        return beam_search(step, {}, first_ids, length, limit, beam, alpha, table.shape[-1], needed)

    return program(Layer(name="no_variables"), search)(np.array(first_ids, np.int32))


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_rows_that_ended_stay_zero_while_others_go_on():
    table = np.full((6, 4, 4), -5.0)
    table[:, 2, 2] = table[:, 3, 3] = 5.0  # 2 and 3 repeat themselves
    table[1, 2, EOS_ID] = 9.0  # but 2 ends at the second id
    table[:, 0, 3] = table[:, EOS_ID, 3] = 5.0  # what would come behind the end, were it asked
    ids, _ = search_table(table, [2, 3], limit=5)
    assert ids.tolist() == [[2, EOS_ID, 0, 0, 0, 0], [3, 3, 3, 3, 3, 0]]


@pytest.mark.parametrize("needed", [1, 3])
def test_best_hypotheses_do_not_depend_on_other_rows(needed):
    """A row whose best hypothesis ends at once, alone and beside one that never ends: so many best are the same, and
    those of a search that goes on to the limit."""
    table = np.random.default_rng(1).normal(size=(12, 6, 6))
    table[:, 2:4, EOS_ID], table[:, 4:, EOS_ID] = 3.0, -20.0
    table[:, 2:4, 4:], table[:, 4:, :4] = -20.0, -20.0  # 2 and 3 never meet 4 and 5
    table[..., 0] = -20.0
    search = lambda first, needed: search_table(table, first, 12, beam=3, alpha=0.6, needed=needed)
    ids, scores = search([2], needed)
    assert (scores[:, :needed] > POSSIBLE).all()
    for others, more in (([2, 4], needed), ([2, 4], None)):
        ids_beside, scores_beside = search(others, more)
        np.testing.assert_array_equal(ids[0, :needed], ids_beside[0, :needed])
        np.testing.assert_allclose(scores[0, :needed], scores_beside[0, :needed], rtol=1e-6)


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_limit_is_kept(limit):
    table = np.random.default_rng(0).normal(size=(7, 5, 5))
    table[..., EOS_ID] = -20.0  # nothing ends by itself
    for beam in (None, 2):
        ids, _ = search_table(table, [2, 3], limit, beam)
        ids = ids.reshape(2, -1, 7)
        assert not ids[..., limit:].any()
    greedy, score = search_table(table, [2, 3], limit)
    for row, first in enumerate([2, 3]):
        last, total = first, 0.0
        for time in range(limit):
            log_probabilities = log_softmax(table[time, last])
            last = log_probabilities.argmax()
            total += log_probabilities.max()
            assert greedy[row, time] == last
        np.testing.assert_allclose(score[row], total, rtol=1e-5)


def test_beam_of_one_is_greedy():
    """Where nothing ends early, so that the one beam is never given up for a finished hypothesis."""
    table = 2.0 * np.random.default_rng(1).normal(size=(8, 9, 9))
    table[..., EOS_ID] = -20.0
    ids, score = search_table(table, [3, 5, 8], limit=8)
    beam_ids, beam_score = search_table(table, [3, 5, 8], limit=8, beam=1)
    np.testing.assert_array_equal(beam_ids[:, 0], ids)
    np.testing.assert_allclose(beam_score[:, 0], score, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_wide_beam_finds_the_best_of_all(alpha, seed):
    """A beam that holds every prefix finds the finished hypothesis with the highest log P / penalty: by brute force."""
    words, limit = 4, 3
    table = 2.0 * np.random.default_rng(seed).normal(size=(limit, words, words))
    ids, scores = search_table(table, [3], limit, beam=words**2, alpha=alpha)
    best, best_score = None, -np.inf
    for length in range(1, limit + 1):
        for words_before in itertools.product([i for i in range(words) if i != EOS_ID], repeat=length - 1):
            hypothesis = (*words_before, EOS_ID)
            steps = enumerate(zip((3, *hypothesis), hypothesis))
            log_probability = sum(log_softmax(table[time, last])[now] for time, (last, now) in steps)
            score = log_probability / ((5 + length) / 6) ** alpha
            if score > best_score:
                best, best_score = hypothesis, score
    assert ids[0, 0, : len(best)].tolist() == list(best)
    assert not ids[0, 0, len(best) :].any()
    np.testing.assert_allclose(scores[0, 0], best_score, rtol=1e-5)


def test_length_penalty():
    np.testing.assert_allclose(to_numpy(length_penalty(ops.convert_to_tensor(7), 0.6)), 2.0**0.6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_beam_scores_are_those_of_its_ids(kind):
    """Hypotheses change rows on the way, and each keeps its own past: teacher forcing gives the same score."""
    model, batch, length = model_of(kind), make_batch(TRANSLATION, rows=4), 24  # longer than all ring buffers
    decode = program(
        model, lambda batch, limit: decode_text(model, TRANSLATION, batch, limit, length, beam_size=4, alpha=0.6)
    )
    forward = program(model, lambda batch: ops.log_softmax(model(batch, spec=TRANSLATION)[0]))
    bias = model.head(TRANSLATION).bias
    original = to_numpy(bias)
    try:
        bias.assign(original - 2.0 * (np.arange(VOCABULARY) == EOS_ID).astype("float32"))  # longer than a word or two
        ids, scores = decode(without_targets(batch), np.int32(length))
        log_probabilities = forward(batch | {"targets": ids})
    finally:
        bias.assign(original)
    chosen = np.take_along_axis(log_probabilities, ids[..., None], axis=2)[..., 0]
    lengths = np.count_nonzero(ids, axis=1)
    assert (lengths >= 8).any()
    penalty = np.where((ids == EOS_ID).any(axis=1), ((5 + lengths) / 6) ** 0.6, 1.0)  # of what has ended
    np.testing.assert_allclose(scores, (chosen * (ids > 0)).sum(axis=1) / penalty, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_beam_is_never_worse_than_greedy_here():
    """Without length penalty a beam of four finds at least greedy's log-probability (no law, but so on this model)."""
    model, spec = shared_model(), TRANSLATION
    batch = without_targets(make_batch(spec, rows=4))
    with ending_at_different_times(model, spec, batch) as (greedy_ids, greedy):
        ids, beam = decoder(model, spec, beam_size=4, alpha=0.0)(batch, np.int32(LIMIT))
    ended = (greedy_ids == EOS_ID).any(axis=1)
    assert ended.any()
    assert (beam[ended] >= greedy[ended] - 1e-5).all()
    for row in ids:  # whatever was found ends once, with nothing behind it
        ends = np.flatnonzero(row == EOS_ID)
        assert len(ends) <= 1 and (not len(ends) or not row[ends[0] + 1 :].any())


# ---- Half precision


IN_HALF = list(SPECS.values()) if BACKEND == "tensorflow" else [TRANSLATION]  # JAX compiles each anew


@functools.cache
def half_model(*specs):
    """A model as the trainer makes it in mixed precision."""
    adapter().seed(0)  # of the gating noise
    problems = {spec.name: RunProblem(spec, "", (), (), 6) for spec in specs}
    return randomise(build_model(Run("multimodel", 0, BACKEND, problems), replace(HPARAMS, precision="mixed_bfloat16")))


@pytest.mark.slow
@pytest.mark.parametrize("spec", IN_HALF, ids=lambda spec: spec.name)
def test_half_precision_is_near_full_precision(spec):
    """The loss of training, with padding and a row that only fills up; weights stay float32."""
    model = half_model(*IN_HALF)
    assert {str(v.dtype) for v in model.trainable_variables} == {"float32"}
    batch = {name: np.concatenate([a, np.zeros_like(a[:1])]) for name, a in make_batch(spec).items()}
    half = program(model, lambda batch: model.loss(batch, spec)[0])(batch)
    full = program(shared_model(), lambda batch: shared_model().loss(batch, spec)[0])(batch)
    np.testing.assert_allclose(half, full, rtol=0.1)  # an expert may be chosen otherwise
    assert half != full


@pytest.mark.slow
def test_half_precision_trains_and_decodes():
    """A few steps lower the loss; greedy and beam search run."""
    model = half_model(TRANSLATION)
    step = adapter().Step(model, make_optimizer(model.hparams, model.trainable_variables), model.hparams)
    batch = make_batch(TRANSLATION)
    losses = [step.update([(TRANSLATION, batch)], learning_rate=1e-3)[0][0]["loss"] for _ in range(5)]
    step.variables()  # have their values from here on
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert all(np.isfinite(to_numpy(v)).all() for v in model.trainable_variables)
    decode = BatchDecoder(model, adapter())
    for beam in (1, 2):
        ids, scores = decode.ids(TRANSLATION, without_targets(batch), LIMIT, beam_size=beam)
        assert ids[:, 0].any() and np.isfinite(scores).all()
