"""Suite efficiency: which points a grid has, and what its page says of made-up results."""

from dataclasses import replace

import pytest
from small_world import HPARAMS
from variant_results import JOINT, PROBLEMS, measured

from t2t_multimodel.errors import UserError
from t2t_multimodel.experiments import claims, grid, plan, quality, report
from t2t_multimodel.experiments.efficiency import _alike, _effects, _points, _verdict
from t2t_multimodel.experiments.statistics import interval


def test_a_grid_has_every_combination_once():
    base = replace(HPARAMS, num_heads=2)
    points, kinds = grid.kinds(grid.parse("num_experts=0|2|3,experts_per_token=1|2|4,num_heads=1|2|3"), base, JOINT)
    # 0 experts: heads 1 and 2 (3 do not divide the hidden size of 8); 2 and 3 experts: k 1 and 2, 2 heads, less joint.
    assert len(kinds) == 2 + 2 * 2 * 2 - 1 and len(points) == len(kinds) + 1
    assert points[plan.JOINT] == {"num_experts": 3, "experts_per_token": 2, "num_heads": 2}
    without = next(kind for kind in kinds if kind.name == "num_experts=0, num_heads=1")
    assert dict(without.changes) == {"use_experts": False, "num_heads": 1}
    assert points[without.name] == {"num_experts": 0, "experts_per_token": None, "num_heads": 1}
    timed = {kind.structure: kind for kind in reversed(kinds)}
    assert timed["grid: num_experts=2"].name == "num_experts=2, experts_per_token=2, num_heads=2"
    assert len(timed) == 3 and all(kind.of_grid for kind in kinds)
    everything = grid.kinds(grid.parse(""), replace(HPARAMS, hidden_size=96, num_experts=7), JOINT)[1]
    assert len(everything) == 5 * 3 * 4 + 4


@pytest.mark.parametrize(
    "text, said",
    [
        ("num_expert=1|2", "did you mean 'num_experts'"),
        ("num_heads", "is not name=value"),
        ("num_heads=1||2", "is not name=value"),
        ("num_heads=1|1", "names a value twice"),
        ("num_heads=1,num_heads=2", "given twice"),
        ("num_heads=big", "wants a int"),
        ("batch_examples=4|8", "is equal in all compared runs"),
        (",", "is empty"),
    ],
)
def test_a_malformed_grid_is_one_line(text, said):
    with pytest.raises(UserError, match=said):
        grid.parse(text)


def test_a_grid_without_a_possible_point_is_one_line():
    with pytest.raises(UserError, match="must be even and a multiple of num_heads=3"):
        grid.kinds(grid.parse("num_heads=3|5"), HPARAMS, JOINT)
    with pytest.raises(UserError, match="no point is another than the joint run"):
        grid.kinds(grid.parse("num_heads=2"), HPARAMS, JOINT)
    with pytest.raises(UserError, match="2,001 points; 2,000 are the most"):
        grid.kinds(grid.parse(f"num_experts={'|'.join(map(str, range(2001)))}"), HPARAMS, JOINT)


@pytest.mark.parametrize(
    "text, changes, names",
    [
        (
            "use_experts=True|False,num_experts=4|8",
            {},
            ["use_experts=True, num_experts=8", "use_experts=True, num_experts=4", "use_experts=False"],
        ),
        (
            "use_experts=True|False,num_experts=4|8",
            {"use_experts": False},
            ["use_experts=True, num_experts=8", "use_experts=True, num_experts=4"],
        ),
        ("experts_per_token=1|2,num_heads=1|2", {"use_experts": False}, ["num_heads=1"]),
        ("num_experts=4|8", {"use_experts": False}, ["num_experts=4", "num_experts=8"]),
        ("use_attention=False|True,num_heads=1|2", {}, ["use_attention=False", "use_attention=True, num_heads=1"]),
        (
            "use_convolutions=False,encoder_blocks=1|2,decoder_blocks=1|2",
            {},
            ["use_convolutions=False, decoder_blocks=2", "use_convolutions=False, decoder_blocks=1"],
        ),
        (
            "use_convolutions=False,dropout=0.1|0.2,decoder_blocks=1|2",
            {"decoder_attentions": 2},
            ["use_convolutions=False"],
        ),
        (
            "encoder_experts=0|1,num_experts=2|3",
            {"decoder_experts": 0},
            ["encoder_experts=0", "encoder_experts=1, num_experts=2"],
        ),
        (
            "num_experts=0|2,encoder_experts=0|1",
            {"decoder_experts": 0},
            ["num_experts=0", "num_experts=2, encoder_experts=1"],
        ),
        ("decoder_attentions=0|1|2", {}, ["decoder_attentions=1"]),
    ],
)
def test_no_two_points_are_of_equal_models(text, changes, names):
    """What is switched off has no other values: each model is trained once, under a name of its own."""
    points, kinds = grid.kinds(grid.parse(text), replace(HPARAMS, **changes), JOINT)
    found = [kind.name for kind in kinds]
    assert len(set(found)) == len(found) == len(points) - 1 and all(found)
    assert found == names


def test_a_grid_of_what_is_switched_off_is_one_line():
    with pytest.raises(UserError, match="no point is another than the joint run"):
        grid.kinds(grid.parse("experts_per_token=1|2"), replace(HPARAMS, use_experts=False), JOINT)


def test_none_is_better_for_as_little_on_the_frontier():
    costs, qualities = [1.0, 2.0, 2.0, 3.0, 4.0], [10.0, 12.0, 15.0, 15.0, 20.0]
    assert quality.frontier(costs, qualities) == [0, 2, 4]
    assert quality.frontier([3, 1, 2], [1, 1, 0]) == [1]


@pytest.mark.slow
def test_the_page_of_a_grid_finds_what_pays():
    """Experts gain 10 points at twice the arithmetic, heads nothing."""
    points, kinds = grid.kinds(grid.parse("num_experts=0|2|3,num_heads=1|2"), HPARAMS, JOINT)
    kinds = [JOINT, *kinds]
    rights = {name: 200 + 40 * bool(values["num_experts"]) for name, values in points.items()}
    counted = {n: dict.fromkeys(PROBLEMS, 2e9 if v["num_experts"] else 1e9) for n, v in points.items()}
    page = report.build(measured("efficiency", kinds, rights, arithmetic=counted, grid=points))
    text = page.markdown().replace("\u00a0", " ")
    assert (
        "The number of experts matters: holds. 2 is better than 0: +10.0 ± 0.0 points for × 2.00 the arithmetic" in text
    )
    assert "× 2.00 the arithmetic" in text
    assert "The number of heads matters: does not hold" in text
    assert "6 points, best first" in text and "my_sounds" in text
    assert page.html().count("data:image/svg+xml") == 1
    nothing = measured("efficiency", kinds, rights, arithmetic=counted, grid=points)
    text = report.build(
        replace(nothing, scores={"joint": {"my_trees": nothing.scores["joint"]["my_trees"]}})
    ).markdown()
    assert "No point of the grid has been trained and scored" in text


def test_points_are_matched_with_those_that_are_alike():
    one = {"num_experts": 0, "experts_per_token": None, "num_heads": 2}
    assert _alike(one, {"num_experts": 8, "experts_per_token": 4, "num_heads": 2}, "num_experts")
    assert not _alike(one, {"num_experts": 8, "experts_per_token": 4, "num_heads": 1}, "num_experts")


def test_a_value_that_does_harm_matters():
    found = lambda *gains: [(8 + i, 0, interval(gain), [2.0, None, None], 1) for i, gain in enumerate(gains)]
    harm, gain, nothing, wide = [-12.0, -12.1, -11.9], [2.0, 2.1, 1.9], [0.0, 0.1, -0.1], [-9.0, 8.0, 0.5]
    verdict = _verdict("num_experts", found(harm, nothing))
    assert verdict.verdict == claims.HOLDS and "0 is better than 8, which has -12.0" in verdict.evidence
    verdict = _verdict("num_experts", found(harm, gain))
    assert verdict.verdict == claims.HOLDS and verdict.evidence.startswith("9 is better than 0: +2.0")
    assert _verdict("num_experts", found(nothing, nothing)).verdict == claims.FAILS
    assert _verdict("num_experts", found(nothing, wide)).verdict == claims.UNSURE
    assert _verdict("num_experts", found([-3.0, 0.1, -0.1])).verdict == claims.UNSURE, "a large loss is not ruled out"


def test_effects_are_against_the_first_value_of_the_grid():
    values = grid.parse("use_experts=True|False,num_heads=4|1|2")
    points, kinds = grid.kinds(values, HPARAMS, JOINT)
    rights = {name: 200 + 40 * point["use_experts"] for name, point in points.items()}
    found = measured("efficiency", [JOINT, *kinds], rights, grid=points, grid_values=values)
    effects = {name: _effects(found, _points(found), name) for name in values}
    ((value, reference, gain, *_),) = effects["use_experts"]
    assert (value, reference) == (False, True) and gain.mean == pytest.approx(-10)
    assert [effect[:2] for effect in effects["num_heads"]] == [(1, 4), (2, 4)]


def test_verdicts_of_one_seed_can_not_be_told():
    found = [(8, 0, interval([5.0]), [2.0, None, None], 1)]
    assert _verdict("num_experts", found).verdict == claims.UNSURE
