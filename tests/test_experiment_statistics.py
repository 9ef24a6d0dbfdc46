"""What `t2t-experiment` concludes: intervals and paired tests as scipy and sacrebleu compute them, and its verdicts."""

import random

import numpy as np
import pytest

from t2t_multimodel import registry
from t2t_multimodel.experiments import claims, plan, statistics
from t2t_multimodel.experiments.results import Results, Score
from t2t_multimodel.metrics import comparable, decoded, example_sums, score, totals, value_of

ROLES = {"parsing": "tiny_parse", "images": "tiny_image"}


# ---- Statistics


def random_results(seed, examples=60):
    """Predictions that are right or a little wrong, with their references."""
    draw = random.Random(seed)
    words = "the a small red circle star left right of above ( NP )".split()
    right = [" ".join(draw.choices(words, k=draw.randint(4, 9))) for _ in range(examples)]
    said = [" ".join(w for w in text.split() if draw.random() < 0.85) or "the" for text in right]
    return said, [[text] for text in right]


def test_sums_over_examples_give_the_metric_of_the_corpus():
    said, right = random_results(1)
    trees = (
        ["(S (NP DT NN) VB)", "(S (NP DT JJ NN) VB)", "(S NN"],
        [["(S (NP DT NN) VB)"], ["(S NP (X JJ NN) VB)"], ["(S NN)"]],
    )
    draw = np.random.default_rng(1)
    numbers = list(draw.normal(3e4, 2.0, [5, 2])), [[row] for row in draw.normal(3e4, 2.0, [5, 2])]
    labels = [dict(zip("abc", row)) for row in draw.random([6, 3]).round(1)], [[set("ab")], [set("c")], [set()]] * 2
    ranked = [["a", "b", "c"], ["b", "a"], ["c"]], [["b"], ["b"], ["a"]]
    cases = {
        "bleu": (said, right),
        "wer": (said, right),
        "cer": (said, right),
        "exact_match": (said, right),
        "cider": (said, right),
        "bracket_f1": trees,
        **dict.fromkeys(("mae", "rmse", "r2"), numbers),
        **dict.fromkeys(("f1_micro", "f1_macro"), labels),
        "accuracy_top1": ranked,
        "accuracy_top5": ranked,
    }
    assert set(cases) == set(comparable(decoded(registry.metrics.names())))
    for name, (predictions, references) in cases.items():
        sums = example_sums((name,), predictions, references)[name]
        assert len(sums) == len(references)
        whole = score((name,), predictions, references)[name]
        assert value_of(name, totals(sums)) == pytest.approx(whole, rel=1e-9), name


def test_intervals_are_scipys():
    from scipy import stats

    values = [61.0, 64.5, 59.2, 60.3]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    interval = statistics.interval(values)
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert statistics.interval([5.0]).half is None


def test_bootstrap_says_of_bleu_what_sacrebleus_paired_test_says():
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    one, references = random_results(2, 120)
    other = [text if i % 3 else random_results(9, 120)[0][i] for i, text in enumerate(one)]
    near = [text if i % 40 else text + " star" for i, text in enumerate(one)]
    streams = [[right[0] for right in references]]
    for rival in (other, near):
        sums = [np.array(example_sums(("bleu",), texts, references)["bleu"]) for texts in (one, rival)]
        seen, drawn = statistics.resampled("bleu", *sums)
        systems = [("one", one), ("rival", rival)]
        _, scores = PairedTest(systems, {"BLEU": BLEU(references=streams)}, None, test_type="bs", n_samples=1000)()
        mine = np.abs(drawn) - np.abs(drawn).mean() > abs(seen)  # as sacrebleu has it
        assert (1 + mine.sum()) / 1001 == pytest.approx(scores["BLEU"][1].p_value, abs=0.04)
        assert scores["BLEU"][0].score - scores["BLEU"][1].score == pytest.approx(seen, abs=1e-9)
        two_sided = statistics.paired_bootstrap("bleu", *sums)
        assert scores["BLEU"][1].p_value - 0.02 < two_sided < 2.5 * scores["BLEU"][1].p_value + 0.02
    assert statistics.paired_bootstrap("bleu", sums[0], sums[0]) == 1.0


def test_a_curve_is_read_at_a_moment():
    curve = {0: ([10, 20], [0.0, 1.0]), 1: ([5, 10], [0.2, 0.4]), 2: ([16, 30], [0.0, 0.9])}
    assert statistics.at_seconds(curve, 15) == pytest.approx({0: 0.5, 1: 0.4}), "no value before the first evaluation"


# ---- Claims


def results_of(values, metric="exact_match", problem="tiny_parse"):
    """`Results` in which a kind of run got so many of 1000 examples right, a number each seed."""
    scores = {}
    for kind, rights in values.items():
        for seed, right in enumerate(rights):
            sums = np.array([[int(i < right), 1] for i in range(1000)], float)
            if metric == "cer":
                sums[:, 0] = 1 - sums[:, 0]
            score = Score(value_of(metric, sums.sum(axis=0)), sums, "keys", 10, 1.0)
            scores.setdefault(kind, {}).setdefault(problem, {}).setdefault(metric, {})[seed] = score
    setup = {
        "roles": {"parsing": problem},
        "problems": [problem],
        "metrics": {problem: [metric]},
        "suite": "paper_tables",
        "runs": [],
    }
    return Results(setup, scores, [], [])


@pytest.mark.parametrize(
    "joint, alone, verdict",
    [
        ((700, 710, 705), (600, 608, 605), claims.HOLDS),
        ((600, 608, 605), (700, 710, 705), claims.FAILS),
        ((700, 500, 605), (600, 608, 605), claims.UNSURE),  # seeds disagree
        ((701, 701, 701), (700, 700, 700), claims.UNSURE),  # seeds agree, too few examples differ
        ((1000, 998, 999), (996, 996, 997), claims.UNSURE),  # as good as perfect
        ((700,), (600,), claims.UNSURE),
    ],
)
def test_whether_a_problem_gains(joint, alone, verdict):
    results = results_of({plan.JOINT: joint, plan.alone("tiny_parse"): alone})
    found = next(v for v in claims.paper_claims(results) if "whole targets" in v.claim)
    assert found.verdict == verdict
    assert found.sentence.startswith(
        f"Small tasks gain from joint training: parsing (tiny_parse), whole targets right: {verdict}. exact match: "
    )
    assert f"over {len(joint)} seed" in found.sentence and "11.7 → 14.5 %" in found.sentence


@pytest.mark.parametrize(
    "metric, whole, without, verdict",
    [
        ("exact_match", (700, 705, 703), (699, 703, 702), claims.HOLDS),
        ("exact_match", (600, 605, 603), (699, 703, 702), claims.FAILS),
        ("exact_match", (600, 705, 803), (699, 703, 702), claims.UNSURE),
        ("exact_match", (3, 2, 3), (3, 3, 2), claims.UNSURE),  # nothing learnt, nothing to lose
        ("cer", (900, 904, 902), (800, 805, 803), claims.HOLDS),  # fewer errors with the block
        ("cer", (800, 805, 803), (900, 904, 902), claims.FAILS),
    ],
)
def test_whether_a_block_does_no_harm(metric, whole, without, verdict):
    results = results_of({plan.JOINT: whole, plan.NO_EXPERTS: without}, metric)
    (found,) = [v for v in claims.paper_claims(results) if "experts" in v.claim]
    assert found.sentence.startswith(f"The mixture of experts helps or does no harm on every task: {verdict}. ")
    assert claims.on_all([claims.HOLDS, claims.FAILS]) == claims.FAILS
    assert claims.on_all([claims.HOLDS, claims.UNSURE]) == claims.UNSURE


def test_so_many_seeds_put_the_mark_outside_the_interval():
    from scipy import stats

    seen = statistics.interval(np.random.default_rng(0).normal(1.0, 1.0, size=5))
    needed = statistics.seeds_that_tell(seen, 0.0)
    spread = seen.half * 5**0.5 / stats.t.ppf(0.975, 4)
    width = lambda count: stats.t.ppf(0.975, count - 1) * spread / count**0.5
    assert width(needed) < abs(seen.mean) <= width(needed - 1)
    assert statistics.seeds_that_tell(seen, seen.mean) is None
    assert statistics.seeds_that_tell(statistics.Interval(1.0, None, 1), 0.0) is None
    assert statistics.seeds_that_tell(seen, -1000.0) == 2
