"""A text that is written in parts is the text that is written at once, and every part begins with the one before."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TRANSLATION, make_batch, shared_model

from t2t_multimodel.data_gen.vocabulary_training import train_vocabulary
from t2t_multimodel.decoding.batch_decoder import BatchDecoder, settled
from t2t_multimodel.decoding.sampling import Sampling
from t2t_multimodel.training.backend import adapter
from t2t_multimodel.vocabulary import EOS_ID

LIMIT = 9
DRAWN = Sampling(np.float32(1.0), np.int32(0), np.float32(1.0), np.int32(5), np.zeros(1, np.int32), False)


@pytest.fixture(scope="module")
def decoder():
    return BatchDecoder(shared_model(), adapter())


def batch_of_one(seed):
    return {name: array for name, array in make_batch(TRANSLATION, rows=1, seed=seed).items() if name != "targets"}


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [None, DRAWN], ids=["greedy", "sampled"])
def test_the_parts_are_those_of_the_whole(decoder, sampling):
    """Whatever the number of positions at once; a part is never changed by a later one."""
    lengths = set()
    for seed, paces in itertools.product(range(3), [(1,), (2, 1, 3), (100,)]):
        batch = batch_of_one(seed)
        whole, _ = decoder.ids(TRANSLATION, batch, LIMIT, sampling=sampling)
        pace = itertools.cycle(paces)
        parts = [
            part.tolist()
            for part in decoder.parts(TRANSLATION, batch, LIMIT, functools.partial(next, pace), None, sampling)
        ]
        for part in parts:
            assert part == whole[0, : len(part)].tolist()
        assert len(parts[0]) == min(paces[0], LIMIT)
        assert len(parts[-1]) == LIMIT or EOS_ID in parts[-1]
        assert all(EOS_ID not in part for part in parts[:-1])  # nothing is computed behind the end
        lengths.add(len(parts))
    assert len(lengths) > 1


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    texts = ["the small red circle", "der große Stern", "le cercle est à gauche", "a\ttab,  two  blanks\nand a line"]
    return train_vocabulary(tmp_path_factory.mktemp("data") / "vocabulary", texts * 20, size=400)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_part_of_a_text_is_never_taken_back(vocabulary, data):
    odd = vocabulary.encode("\ue000\u2581 €\U0001f468\ue0000")  # escapes, and characters of several bytes
    each = st.integers(0, vocabulary.size - 1) | st.sampled_from(odd)
    ids = data.draw(st.lists(each, max_size=12))
    whole, before = vocabulary.decode(ids), ""
    for end in range(len(ids) + 1):
        part = settled(vocabulary.decode(ids[:end]))
        assert whole.startswith(part) and part.startswith(before)
        before = part
