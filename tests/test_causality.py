"""What stands at a position decides nothing before it: the model never sees the text that it is to predict."""

import numpy as np
import pytest
from models import (
    CAUSAL_BLOCKS,
    FIRST_WORD,
    NO_ATTENTION,
    SIZE,
    TO_TEXT,
    TRANSLATION,
    VOCABULARY,
    block_inputs,
    causal_block,
    forward_of,
    make_batch,
    make_model,
    program,
    shared_model,
)


@pytest.mark.slow
@pytest.mark.parametrize("name", CAUSAL_BLOCKS)
def test_blocks_do_not_look_ahead(name):
    """Position t of the output depends on the input up to t, t included."""
    block = causal_block(name)
    x, source, padding_mask = block_inputs()
    run = program(block.layer, block.full)
    before = run(x, source, padding_mask)
    for t in (1, 9, x.shape[1] - 1):
        changed = x.copy()
        changed[:, t:] = np.random.default_rng(t).normal(size=changed[:, t:].shape)
        after = run(changed, source, padding_mask)
        np.testing.assert_allclose(after[:, :t], before[:, :t], atol=1e-5)
        assert np.abs(after[:, t] - before[:, t]).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("spec", TO_TEXT.values(), ids=TO_TEXT)
def test_logits_do_not_see_their_target(spec):
    """Whatever the target is from position t on, the logits up to t, t's own included, stay as they are."""
    check_model(forward_of(spec), spec, positions=range(6))


@pytest.mark.slow
def test_logits_do_not_see_their_target_without_attention():
    model = make_model(NO_ATTENTION, [TRANSLATION])
    check_model(program(model, lambda batch: model(batch, spec=TRANSLATION)[0]), TRANSLATION, positions=(0, 2, 5))


def check_model(forward, spec, positions):
    batch = make_batch(spec)
    rng = np.random.default_rng(5)
    batch["targets"] = rng.integers(FIRST_WORD, VOCABULARY, batch["targets"].shape).astype(np.int32)
    before = forward(batch)
    for t in positions:
        targets = batch["targets"].copy()
        targets[:, t:] = FIRST_WORD + (targets[:, t:] - FIRST_WORD + 1) % (VOCABULARY - FIRST_WORD)  # another word each
        after = forward(batch | {"targets": targets})
        np.testing.assert_allclose(after[:, : t + 1], before[:, : t + 1], atol=1e-5)
        later = after[:, t + 1 :] - before[:, t + 1 :]
        assert later.size == 0 or np.abs(later).max() > 1e-3


def test_full_experts_never_turn_away_an_earlier_word_for_a_later_one():
    """In training an expert has a capacity; which words of a text find a place must not depend on later words."""
    block = causal_block("many_experts")
    layer = block.layer
    layer.capacity_factor = 0.5  # half of all words find no place
    x, _, _ = block_inputs(batch=1, length=40)

    def train(x):
        y, report = layer(x, training=True)
        return y, report["dropped_token_fraction"]

    run = program(layer, train)

    def fresh(x):  # the same noise each time
        layer.noise_seed.state.assign(np.array([1, 0], layer.noise_seed.state.dtype))
        return run(x)

    before, dropped = fresh(x)
    assert 0.2 < dropped < 0.9
    changed = x.copy()
    changed[:, 20:] = np.random.default_rng(3).normal(size=(1, 20, SIZE))
    after, _ = fresh(changed)
    np.testing.assert_allclose(after[:, :20], before[:, :20], atol=1e-5)
    assert np.abs(after[:, 20:] - before[:, 20:]).max() > 1e-2


def test_encoder_sees_both_sides():
    """The contrary, so that the tests above could fail: the encoder is not causal."""
    model = shared_model()
    batch = make_batch(TRANSLATION)
    run = program(model, lambda batch: model.encode(batch, TRANSLATION)[0])
    inputs = batch["inputs"].copy()
    inputs[0, 4] = FIRST_WORD + (inputs[0, 4] - FIRST_WORD + 1) % (VOCABULARY - FIRST_WORD)
    assert np.abs(run(batch | {"inputs": inputs})[0, :4] - run(batch)[0, :4]).max() > 1e-3
