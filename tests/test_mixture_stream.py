"""The stream of a mixture: planned shares, and resumed exactly."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from input_data import HPARAMS, assert_same, make_input_data, stream

from t2t_multimodel.errors import UserError
from t2t_multimodel.input.mixture_stream import MixtureStream
from t2t_multimodel.mixture import Mixture, MixtureSchedule


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_input_data(tmp_path_factory.mktemp("data"))


MIX = (("words", 3), ("shapes", 1), ("speech", 1))


def mixture_stream(data, seed=1, problems=MIX, **changes):
    hparams = replace(HPARAMS, **changes)
    schedule = MixtureSchedule(Mixture("mix", "", problems), hparams)
    return MixtureStream({name: stream(data, name, seed, hparams) for name, _ in problems}, schedule, seed)


def play(mixed, steps, count=None):
    """Draws for `steps`; the losses follow from the batches, as a model's would."""
    batches = []
    for step in steps:
        for batch in mixed.microbatches(step, count):
            batches.append(batch)
            mixed.record_loss(batch.problem, 5.0 / (1 + step * len(batch.problem)) + batch.rows.sum() % 7 / 10)
    return batches


@pytest.mark.parametrize("kind", ["fixed", "adaptive"])
def test_mixture_resumes_exactly(data, kind):
    undisturbed = mixture_stream(data, mixture=kind, gradient_accumulation_steps=2)
    play(undisturbed, range(37))
    state = json.loads(json.dumps(undisturbed.state()))
    resumed = mixture_stream(data, mixture=kind, gradient_accumulation_steps=2)
    resumed.restore(state)
    ahead, again = play(undisturbed, range(37, 60)), play(resumed, range(37, 60))
    assert [b.problem for b in ahead] == [b.problem for b in again]
    assert_same(ahead, again)
    assert undisturbed.shares() == resumed.shares()
    undisturbed.close()
    resumed.close()


def test_planned_and_actual_shares(data):
    mixed = mixture_stream(data)
    drawn = Counter(b.problem for b in play(mixed, range(100)))
    assert drawn == {"words": 60, "shapes": 20, "speech": 20}
    for name, share in {"words": 0.6, "shapes": 0.2, "speech": 0.2}.items():
        assert mixed.shares()[name] == pytest.approx((share, share))
        assert mixed.probabilities(5)[name] == pytest.approx(share)
    mixed.close()


def test_adaptive_moves_draws_to_the_slow_learner(data):
    mixed = mixture_stream(data, problems=(("words", 1), ("shapes", 1)), mixture="adaptive")
    before = mixed.probabilities(0)
    for step in range(100):
        mixed.record_loss("words", 4.0)
        mixed.record_loss("shapes", 4.0 * 0.9**step)
    after = mixed.probabilities(100)
    assert before == {"words": 0.5, "shapes": 0.5}
    assert after["words"] > 0.8 > 0.2 > after["shapes"] > 0.1


def test_counts_go_on_where_the_streams_can_not(data):
    trained = mixture_stream(data, mixture="adaptive", loss_balance="uncertainty")
    play(trained, range(20))
    for problem in trained.streams:
        trained.record_loss(problem, 2.0)
    state = json.loads(json.dumps(trained.state()))
    other = mixture_stream(data, mixture="adaptive", loss_balance="uncertainty")
    other.restore_counts(state)
    found = other.state()
    assert {name: found[name] for name in found if name != "streams"} == {n: state[n] for n in state if n != "streams"}
    assert found["streams"] != state["streams"]
    fewer = mixture_stream(data, problems=(("words", 1), ("shapes", 1)), mixture="adaptive")
    before = fewer.state()
    fewer.restore_counts(state)  # of other problems: nothing of it holds
    assert fewer.state() == before
    for each in (trained, other, fewer):
        each.close()


def test_a_checkpoint_of_other_problems_is_refused(data):
    other = mixture_stream(data, problems=(("words", 1), ("shapes", 1)))
    with pytest.raises(UserError, match="speech"):
        mixture_stream(data).restore(other.state())
