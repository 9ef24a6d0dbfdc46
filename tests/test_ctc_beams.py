"""Texts of CTC by prefix beam search: their probabilities are those of all paths; two searches in one order."""

import itertools

import numpy as np
import pytest

from t2t_multimodel.decoding import ctc
from t2t_multimodel.decoding.ctc_beams import as_array, likeliest_texts


def frames(length, ids, seed):
    scores = np.random.default_rng(seed).normal(0, 1.5, (length, ids))
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def over_all_paths(log_probabilities):
    """{text: log-probability}, by going through every path."""
    found = {}
    for path in itertools.product(range(log_probabilities.shape[1]), repeat=len(log_probabilities)):
        text = tuple(i for i, _ in itertools.groupby(path) if i)
        of_path = sum(frame[i] for frame, i in zip(log_probabilities, path))
        found[text] = np.logaddexp(found.get(text, -np.inf), of_path)
    return found


@pytest.mark.parametrize("length, ids", [(1, 3), (3, 2), (4, 3), (5, 4)])
def test_a_wide_beam_finds_the_likeliest_texts_and_what_they_are_worth(length, ids):
    for seed in range(5):
        given = frames(length, ids, seed)
        all_texts = over_all_paths(given)
        found = likeliest_texts(given[None], [length], 1000)[0]
        assert dict(found) == pytest.approx(all_texts)
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        narrow = likeliest_texts(given[None], [length], 4)[0]
        assert len(narrow) == min(4, len(all_texts)) and narrow[0][0] == found[0][0]


def test_frames_that_do_not_count_say_nothing():
    given = np.stack([frames(6, 4, 1), frames(6, 4, 2)])
    cut = likeliest_texts(given, [4, 0], 3)
    assert cut[0] == likeliest_texts(given[:1, :4], [4], 3)[0]
    assert cut[1] == [((), 0.0)]


def test_the_same_id_twice_needs_a_blank_between():
    certain = np.log(np.eye(2)[[1, 1, 0, 1]] * 0.998 + 0.001)
    assert likeliest_texts(certain[None], [4], 2)[0][0][0] == (1, 1)
    assert likeliest_texts(certain[None, :2], [2], 2)[0][0][0] == (1,)


def test_texts_as_arrays_end_or_are_cut_and_what_is_missing_is_impossible():
    ids, scores = as_array([[((5, 6), -1.0), ((5, 6, 7, 8), -2.0)], [((), -0.5)]], beams=2, length=4, limit=3, end=2)
    assert ids.tolist() == [[[5, 6, 2, 0], [5, 6, 7, 0]], [[2, 0, 0, 0], [0] * 4]]
    assert scores.tolist() == [[-1.0, -2.0], [-0.5, -np.inf]]


def test_a_text_that_both_searches_found_is_there_once():
    ids = np.array([[[5, 2, 0], [6, 2, 0]]])
    more = np.array([[[6, 2, 0], [7, 7, 2]]])
    pooled, scores = ctc.pooled(ids, np.array([[-1.0, -2.0]]), more, np.array([[-2.0, -3.0]]))
    assert pooled[0].tolist() == [[5, 2, 0], [6, 2, 0], [6, 2, 0], [7, 7, 2]]
    assert scores[0].tolist() == [-1.0, -2.0, -np.inf, -3.0]
    of_ctc = np.array([[-9.0, -1.0, -1.0, -2.0]])
    order, joint = ctc.joint_order(scores, of_ctc, (pooled != 0).sum(axis=2), weight=0.5, alpha=0.0)
    assert order[0].tolist() == [1, 3, 0, 2] and joint[0].tolist() == [-1.5, -2.5, -5.0, -np.inf]
