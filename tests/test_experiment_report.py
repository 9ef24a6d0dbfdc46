"""What a suite's pages say, from made-up results: tables, heat maps and sentences, with the signs that they claim."""

import json
from pathlib import Path

import numpy as np
import pytest

from t2t_multimodel.cli import experiment
from t2t_multimodel.experiments import claims, plan, report, suite_figures
from t2t_multimodel.experiments.results import Results, Score, read
from t2t_multimodel.metrics import value_of
from t2t_multimodel.report.page import Section

METRICS = {
    "my_trees": ("exact_match", "teacher_forced_accuracy"),
    "my_birds": ("accuracy_top1",),
    "my_words": ("exact_match",),
}
ROLES = {"parsing": "my_trees", "images": "my_birds"}
EXAMPLES = 400


def score(metric, right, split="test", seen=640):
    sums = np.array([[int(i < right), 1] for i in range(EXAMPLES)], float)
    return Score(value_of(metric, sums.sum(axis=0)), sums, "keys", seen, 12.5, split, "greedy" if right else "")


def measured(suite, problems, rights, splits=None):
    """`Results` of three seeds. rights: {kind: {problem: examples right with the first}}; each further has one more."""
    kinds = plan.kinds_of(suite, problems, ROLES)
    scores = {}
    for kind in kinds:
        for problem in kind.problems:
            right = rights.get(kind.name, {}).get(problem, 200)
            for metric in METRICS[problem]:
                by_seed = {
                    seed: score(metric, right + seed, (splits or {}).get(problem, "test"), 640 + 8 * seed)
                    for seed in range(3)
                }
                scores.setdefault(kind.name, {}).setdefault(problem, {})[metric] = by_seed
    setup = {
        "suite": suite,
        "problems": list(problems),
        "roles": {r: p for r, p in ROLES.items() if p in problems},
        "metrics": {p: list(METRICS[p]) for p in problems},
        "joint_steps": 100,
        "seeds": 3,
        "workers": 2,
        "budget_seconds": 600.0,
        "flags": ["--model=multimodel"],
        "hparams": "",
        "identity": {"backend": "tensorflow"},
        "shares": {p: 1 / len(problems) for p in problems},
        "train_examples": {p: 500 for p in problems},
        "runs": [
            {
                "kind": kind.name,
                "problems": list(kind.problems),
                "seed": seed,
                "steps": 100,
                "digest": "d",
                "changes": {},
            }
            for seed in range(3)
            for kind in kinds
        ],
    }
    curves = []
    for kind in kinds:
        for problem in kind.problems:
            for seed in range(3):
                for point, seconds in enumerate((2.0, 6.0, 12.5)):
                    values = {metric: 0.2 * point + 0.01 * seed for metric in METRICS[problem]}
                    curves.append(
                        {
                            "kind": kind.name,
                            "seed": seed,
                            "problem": problem,
                            "split": "dev",
                            "step": point,
                            "train_seconds": seconds,
                            "examples_seen": 200 * point,
                            **values,
                        }
                    )
    count = len(problems)
    loads = {p: {"encoder": {"load": [0.75, 0.25]}} for p in problems}
    probe = {"kind": "joint", "problems": list(problems), "cosines": np.eye(count).tolist(), "loads": loads}
    probes = [{**probe, "seed": 0, "step": step} for step in (50, 100)]
    return Results(setup, scores, curves, probes, [{"processor": "an abacus"}])


def cells(page, caption):
    """The rows of the table below a caption's figure, in the page's Markdown."""
    text = page.markdown().partition(caption)[2]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_a_metric_with_a_unit_of_its_own_is_in_no_figure_of_points(monkeypatch):
    monkeypatch.setitem(METRICS, "my_birds", ("mae",))
    problems, drawn = tuple(METRICS), {}
    for name in ("heat_map", "verdicts", "curves"):
        monkeypatch.setattr(report.figures, name, lambda *given, name=name, **_: drawn.setdefault(name, given))
    monkeypatch.setattr(Section, "figure", lambda *_, **__: None)
    rights = {kind: {"my_birds": right} for kind, right in ((plan.JOINT, 240), (plan.without("my_trees"), 200))}
    text = report.build(measured("transfer", problems, rights)).markdown()
    assert np.isnan(drawn["heat_map"][0][:, problems.index("my_birds")]).all(), "it is the first of the heat maps"
    assert len(drawn["verdicts"][0]) == 2 and "my_birds gains" not in str(drawn["verdicts"])
    assert "in points; my_birds: in the unit of the metric" in text


@pytest.mark.slow
def test_what_a_problem_loses_without_another_stands_in_its_place():
    """my_birds loses 10 points without my_trees and nothing loses anything else."""
    problems = tuple(METRICS)
    rights = {plan.JOINT: 240, plan.without("my_trees"): 200, plan.without("my_words"): 240}
    results = measured("transfer", problems, {kind: {"my_birds": right} for kind, right in rights.items()})
    table = suite_figures.left_out_table(results)
    assert table[0] == ("left out", *problems)
    assert table[1] == ("my_trees", None, "+10.0 ± 0.0", "+0.0 ± 0.0")
    assert table[3] == ("my_words", "+0.0 ± 0.0", "+0.0 ± 0.0", None)
    page = report.build(results)
    text = page.markdown()
    assert "my_birds gains from joint training: holds" in text
    assert "my_words gains from joint training: can't tell" in text
    assert "Leaving one out" in text and "+10.0 ± 0.0" in text
    assert page.html().count("data:image/svg+xml") >= 3 + 1 + 2 + 2  # curves, left out, cosines, experts
    rows = cells(page, "After 100 updates, in numbers")
    assert [float(cell) for cell in rows[2][1:]] == [1.0, 0.0, 0.0]
    assert "expert 1" in text and "made on: processor an abacus" in text and "decoding: my_trees: greedy" in text
    assert "on the test split" in text and "to within" not in text, "as many examples in each"


def test_of_two_problems_leaving_one_out_is_the_other_alone():
    results = measured("transfer", ("my_trees", "my_birds"), {plan.JOINT: {"my_birds": 240}})
    assert suite_figures.left_out_table(results)[1] == ("my_trees", None, "+10.0 ± 0.0")
    tables = measured("paper_tables", ("my_trees", "my_birds"), {plan.JOINT: {"my_trees": 260}})
    assert any("pictures alone help parsing" in verdict.claim for verdict in claims.paper_claims(tables))


@pytest.mark.slow
def test_the_papers_tables_stand_beside_ours():
    problems = tuple(METRICS)
    rights = {plan.JOINT: {"my_trees": 260}, "my_trees with my_birds": {"my_trees": 230}}
    results = measured("paper_tables", problems, rights, splits={"my_birds": "dev"})
    text = report.build(results).markdown()
    row = next(line for line in text.splitlines() if "whole sentences right" in line)
    found = [cell.replace("\u00a0", " ").strip() for cell in row.strip("|").split("|")]
    assert found[2::2] == ["11.7%", "12.7%", "14.5%"]
    assert [cell[:5] for cell in found[3::2]] == ["50.2 ", "57.8 ", "65.2 "]
    assert "those of my_birds on the dev split, since there is no test split" in text
    assert "Small tasks gain from joint training: parsing (my_trees), whole targets right: holds" in text


def test_harm_on_one_of_many_tasks_is_held_against_the_number_looked_at():
    """An interval that lies below the mark by itself, and not once it is widened for eight looks."""
    rights = {plan.JOINT: (180, 190, 200), plan.NO_EXPERTS: (206, 210, 215)}
    by_seed = {kind: {seed: score("exact_match", r) for seed, r in enumerate(rs)} for kind, rs in rights.items()}
    names = [f"task{i}" for i in range(8)]
    scores = {kind: {name: {"exact_match": scores} for name in names[:1]} for kind, scores in by_seed.items()}
    level = {seed: score("exact_match", 200 + seed) for seed in range(3)}
    for name in names[1:]:
        for kind in rights:
            scores[kind][name] = {"exact_match": level}
    setup = {"roles": {}, "problems": names, "metrics": {name: ["exact_match"] for name in names}}
    (found,) = claims.paper_claims(Results(setup, scores, [], []))
    assert found.verdict == claims.UNSURE
    assert "harm without the correction for several tasks on task0" in found.evidence
    # The claim fails with one task, so few seeds tell, whatever the other tasks would take.
    assert "About 5 seeds would tell, if the loss on task0 is what it seems." in found.evidence
    untaught = {seed: score("exact_match", 2) for seed in range(3)}
    for kind in rights:
        scores[kind]["task7"] = {"exact_match": untaught}
    (found,) = claims.paper_claims(Results(setup, scores, [], []))
    assert "About 5 seeds would tell" in found.evidence
    alone = {kind: {"task0": by_problem["task0"]} for kind, by_problem in scores.items()}
    (found,) = claims.paper_claims(Results(setup | {"metrics": {"task0": ["exact_match"]}}, alone, [], []))
    assert found.verdict == claims.FAILS and "harm on task0" in found.evidence


def test_a_gain_as_large_as_the_papers_can_be_ruled_out():
    problems = ("my_trees", "my_birds")
    results = measured("paper_tables", problems, {plan.JOINT: {"my_trees": 201}})
    said = [v.sentence for v in claims.paper_claims(results) if "Small tasks" in v.claim and "whole" in v.claim]
    assert "A gain as large as the paper's (+2.8) lies outside the interval." in said[0]


def test_a_folder_holds_one_suite_and_reads_compressed_results(tmp_path, run_command):
    import gzip

    results = measured("transfer", ("my_trees", "my_birds"), {})
    (tmp_path / "plan.json").write_text(json.dumps(results.plan))
    lines = [
        {
            "kind": kind,
            "problem": problem,
            "metric": metric,
            "seed": seed,
            "value": s.value,
            "scores": s.sums.tolist(),
            "keys": s.keys,
            "examples_seen": s.seen,
            "train_seconds": s.seconds,
            "split": "dev",
            "decoding": None,
        }
        for kind, by in results.scores.items()
        for problem, metrics in by.items()
        for metric, seeds in metrics.items()
        for seed, s in seeds.items()
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "results.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    again = read(tmp_path)
    assert again.values("joint", "my_trees", "exact_match") == results.values("joint", "my_trees", "exact_match")
    assert again.by_problem("split") == {"my_trees": "dev", "my_birds": "dev"}
    status, _, error = run_command(
        experiment.main,
        "--suite=paper_tables",
        "--problem=tiny8",
        "--data_dir=d",
        f"--output_dir={tmp_path}",
        "--report_only",
    )
    assert status == 2 and "holds suite transfer of my_trees, my_birds; give another --output_dir" in error


def test_missing_runs_are_named():
    results = measured("transfer", ("my_trees", "my_birds"), {})
    for metrics in results.scores["joint"].values():
        for by_seed in metrics.values():
            del by_seed[1]
    said = report.build(results).markdown()
    assert "1 of 9 runs are missing (joint: seed 1)." in said


def test_at_equal_time_all_columns_are_of_the_same_seeds():
    """Of seed 0 the joint run has no score yet where the single runs end; its single run counts in no column."""
    problems = ("my_trees", "my_birds")
    results = measured("transfer", problems, {})
    results.curves.clear()
    for problem in problems:
        for kind, first, score_of in (("joint", 5.0, 0.1), (plan.alone(problem), 1.0, 0.5)):
            for seed in range(3):
                begins = 30.0 if (kind, seed) == ("joint", 0) else first
                for at, value in ((begins, score_of), (begins + 20.0, score_of + 0.1 * (seed == 0))):
                    line = {"kind": kind, "seed": seed, "problem": problem, "split": "dev", "step": int(at)}
                    line |= {"train_seconds": at, "examples_seen": 10, METRICS[problem][0]: value}
                    results.curves.append(line)
    lines = report.build(results).markdown().replace("\u00a0", " ").splitlines()
    row = next(line for line in lines if line.startswith("| my_birds | accuracy_top1 | 21"))
    assert [cell.strip() for cell in row.strip("|").split("|")][3:7] == [
        "2",
        "10.0 ± 0.0 %",
        "50.0 ± 0.0 %",
        "-40.0 ± 0.0 %",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["paper_tables", "paper_tables_real8"])
def test_the_reports_in_the_documentation_say_what_their_results_say(folder):
    path = Path(__file__).parents[1] / "docs" / folder
    said = (path / "report.md").read_text("utf-8")
    verdicts = claims.paper_claims(read(path))
    assert len(verdicts) == 10
    for verdict in verdicts:
        assert f"> {verdict.sentence}" in said


@pytest.mark.parametrize("value, shown", [(0.0009, "≤ 0.001"), (0.0021, "0.002"), (0.5, "0.500"), (None, "")])
def test_p_values_below_what_the_draws_can_tell_are_not_printed(value, shown):
    from t2t_multimodel.experiments.statistics import p_text

    assert p_text(value) == shown
