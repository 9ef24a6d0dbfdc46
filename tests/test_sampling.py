"""Sampling draws ids by their probability, keeps to what top-k, top-p and a grammar allow, and is repeatable."""

import numpy as np
import pytest
from keras import ops
from models import TRANSLATION, make_batch, program, shared_model, to_numpy

from t2t_multimodel.decode_hparams import decode_settings, describe
from t2t_multimodel.decoding.batch_decoder import BatchDecoder
from t2t_multimodel.decoding.decode import read_source, write_text
from t2t_multimodel.decoding.sampling import Sampling, lowest_kept, threefry
from t2t_multimodel.decoding.search import greedy_search, sample_search
from t2t_multimodel.errors import UserError
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.training.backend import adapter

LIMIT = 9


def sampling(rows, temperature=1.0, top_k=0, top_p=1.0, seed=0):
    numbers = (np.float32(temperature), np.int32(top_k), np.float32(top_p), np.int32(seed))
    return Sampling(*numbers, np.asarray(rows, np.int32), top_k > 0 or top_p < 1)


def search_table(table, rows, grammar=None, **settings):
    """(ids, scores) of sampling, or without settings of greedy search; logits of the next id = table[time, last id]."""
    table, length = ops.convert_to_tensor(np.asarray(table, np.float32)), len(table)

    def search(first_ids, row_numbers):
        def step(ids, state, time, beams):
            return ops.take(ops.take(table, time, axis=0), ids, axis=0), state

        constraint = {"grammar": grammar, "wanted": first_ids}
        if not settings:
            return greedy_search(step, {}, first_ids, length, length, **constraint)
        how = Sampling(**vars(sampling(rows, **settings)) | {"rows": row_numbers})
        return sample_search(step, {}, first_ids, length, length, how, **constraint)

    rows = np.asarray(rows, np.int32)
    return program(Layer(name="no_variables"), search)(np.full(len(rows), 2, np.int32), rows)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def first_ids(logits, draws=20_000, **settings):
    """How often each id is drawn at the first position."""
    ids, _ = search_table(np.tile(np.asarray(logits), (1, len(logits), 1)), range(draws), **settings)
    return np.bincount(ids[:, 0], minlength=len(logits))


@pytest.mark.parametrize(("temperature", "seed"), [(1.0, 0), (0.7, 1), (2.0, 2**31 - 1)])
def test_ids_are_drawn_by_their_probability(temperature, seed):
    """A chi-square test: 20.5 is the value for 5 degrees of freedom that chance passes once in 1000 times."""
    logits = np.array([0.0, 1.5, -1.0, 2.0, 0.5, -2.0])
    expected = 20_000 * softmax(logits / temperature)
    seen = first_ids(logits, temperature=temperature, seed=seed)
    assert ((seen - expected) ** 2 / expected).sum() < 20.5, (seen, expected)


def test_positions_are_drawn_independently():
    ids, _ = search_table(np.zeros((2, 4, 4)) - 50.0 * (np.arange(4) == 1), range(20_000), temperature=1.0)
    pairs = np.bincount(4 * ids[:, 0] + ids[:, 1], minlength=16)[[0, 2, 3, 8, 10, 11, 12, 14, 15]]
    expected = 20_000 / 9
    assert pairs.sum() == 20_000 and ((pairs - expected) ** 2 / expected).sum() < 26.1  # 8 degrees, 1 in 1000


def test_top_p_keeps_the_fewest_ids_that_reach_p():
    logits = np.log([0.1, 0.4, 0.05, 0.3, 0.15])
    for top_p, kept in ((0.01, [1]), (0.4, [1]), (0.41, [1, 3]), (0.8, [1, 3, 4]), (0.94, [0, 1, 3, 4])):
        seen = first_ids(logits, temperature=1.0, top_p=top_p)
        assert np.flatnonzero(seen).tolist() == kept, top_p
    assert first_ids(logits, temperature=1.0, top_p=0.7)[1] / 20_000 == pytest.approx(4 / 7, abs=0.02)


def test_top_k_keeps_k_ids_and_top_p_is_of_these():
    logits = np.log([0.1, 0.4, 0.05, 0.3, 0.15])
    assert np.flatnonzero(first_ids(logits, temperature=1.0, top_k=3)).tolist() == [1, 3, 4]
    assert np.flatnonzero(first_ids(logits, temperature=1.0, top_k=9)).tolist() == [0, 1, 2, 3, 4]
    # 0.4 / (0.4 + 0.3) reaches 0.5; 0.4 alone does not.
    assert np.flatnonzero(first_ids(logits, temperature=1.0, top_k=2, top_p=0.5)).tolist() == [1]
    lowest = to_numpy(lowest_kept(ops.convert_to_tensor(logits[None].astype("float32")), 2, np.float32(1.0)))
    assert lowest[0, 0] == pytest.approx(np.log(0.3))


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-9}])
def test_the_likeliest_alone_is_greedy(settings):
    """Greedy, that is what temperature 0 means; the scores are the model's too, whatever the temperature."""
    table = np.random.default_rng(0).normal(size=(LIMIT, 7, 7))
    found, expected = search_table(table, range(4), **{"temperature": 1.7} | settings), search_table(table, range(4))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


class _EvenThenEnd:
    """A grammar: even ids, and the end-of-sequence at the last position."""

    name = "even_then_end"

    def start(self, wanted):
        return {"nothing": wanted}

    def mask(self, state, left):
        ids = ops.arange(8, dtype="int32")[None] + 0 * state["nothing"][:, None]
        return ops.where(ops.where(left > 1, (ids % 2 == 0) & (ids > 0), ids == 1), 0.0, -1e7)

    def after(self, state, ids):
        return state


@pytest.mark.parametrize("settings", [{}, {"top_k": 7}, {"top_p": 0.9}])
@pytest.mark.parametrize("temperature", [1e-9, 1.0, 1e6])
def test_forbidden_ids_are_never_drawn(temperature, settings):
    table = np.random.default_rng(1).normal(size=(4, 8, 8)) * 5.0 + 50.0 * (np.arange(8) % 2)
    ids, _ = search_table(table, range(2000), _EvenThenEnd(), temperature=temperature, **settings)
    assert set(np.unique(ids[:, :3])) <= {2, 4, 6} and set(ids[:, 3]) == {1}
    if temperature == 1e6 and not settings:
        assert set(np.unique(ids[:, :3])) == {2, 4, 6}


def test_an_answer_depends_on_seed_and_row_number_only():
    table = np.random.default_rng(2).normal(size=(LIMIT, 50, 50))
    ids, _ = search_table(table, range(6), temperature=1.0)
    assert len({row.tobytes() for row in ids}) == 6
    some, _ = search_table(table, [4, 1], temperature=1.0)
    np.testing.assert_array_equal(some, ids[[4, 1]])
    other, _ = search_table(table, range(6), temperature=1.0, seed=1)
    assert (other != ids).any(axis=1).all()


def test_random_bits_are_those_of_the_published_generator():
    """The known answers that its authors publish for 20 rounds."""
    for key, counter, expected in (
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ):
        words = [ops.convert_to_tensor(np.uint32(word)) for word in (*key, *counter)]
        assert tuple(int(to_numpy(word)) for word in threefry(*words)) == expected


# ---- With a model


@pytest.mark.slow
def test_compiled_sampling_equals_eager():
    model, spec, rows, settings = shared_model(), TRANSLATION, [7, 0, 123_456, 3], {"top_k": 12, "top_p": 0.95}
    batch = {name: array for name, array in make_batch(spec, rows=4).items() if name != "targets"}
    decoder = BatchDecoder(model, adapter())
    ids, scores = decoder.ids(spec, batch, LIMIT, sampling=sampling(rows, **settings))

    def plainly(batch, limit):
        how = sampling(rows, **settings)
        memory = read_source(model, spec, batch)
        return write_text(model, spec.targets, memory, batch["command"], limit, ids.shape[1], sampling=how)

    expected_ids, expected_scores = program(model, plainly)(batch, np.int32(LIMIT))
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-4, rtol=1e-4)
    # The same rows with other neighbours, in another order: the same ids.
    part = {name: array[[2, 0, 0]] for name, array in batch.items()}
    again, _ = decoder.ids(spec, part, LIMIT, sampling=sampling([rows[2], rows[0], 99], **settings))
    np.testing.assert_array_equal(again[:2], ids[[2, 0]])
    assert (again[2] != again[1]).any()


# ---- Settings


def test_settings_that_make_no_sense_are_refused():
    for wrong, said in (
        ({"temperature": -1}, "temperature=-1 must be a number from 0 to 1,000"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"alpha": 40}, "alpha=40 must be a number from 0 to 10"),
        ({"alpha": 10**400}, "alpha"),
        ({"temperature": "warm"}, "temperature"),
        ({"top_p": 0}, "top_p=0 must be a number above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"seed": 2**31}, "seed"),
        ({"temperature": 1, "beam_size": 4}, "beam_size=1 to sample"),
        ({"temprature": 1}, "temperature"),
    ):
        with pytest.raises(UserError, match=said):
            decode_settings(wrong)
    with pytest.raises(UserError, match="problem p: .*beam_size=4.*exclude"):
        decode_settings({"temperature": 0.5}, {"beam_size": 4}, "p")
    with pytest.raises(UserError, match="top_p is of sampling; set a temperature"):
        decode_settings({"top_p": 0.5}, {})
    assert decode_settings({"top_p": 0.5}, {"temperature": 1.0})["top_p"] == 0.5


def test_a_description_says_how_answers_were_drawn():
    settings = decode_settings({"temperature": 0.8, "top_k": 50, "top_p": 0.9, "seed": 3})
    assert describe(settings) == "sampled at temperature 0.8, top_k 50, top_p 0.9, seed 3"
    assert describe(decode_settings({"temperature": 1})) == "sampled at temperature 1, seed 0"
    assert describe(decode_settings()) == "greedy"


def test_who_turns_sampling_off_turns_off_what_the_problem_says_of_it():
    of_problem = {"temperature": 0.8, "top_k": 10, "top_p": 0.9}
    settings = decode_settings({"temperature": 0}, of_problem, "words")
    assert (settings["top_k"], settings["top_p"]) == (0, 1.0)
    with pytest.raises(UserError, match="top_k is of sampling; set a temperature above 0"):
        decode_settings({"temperature": 0, "top_k": 10}, of_problem, "words")
