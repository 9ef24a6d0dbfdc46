"""benchmarks/transfer_learning.py: its table, picture and figures are those of the scores in its folder."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import transfer_learning  # noqa: E402


@pytest.mark.slow
def test_the_figures_are_those_of_the_scores(tmp_path):
    def finished(name, scores):
        work.finished[name] = {"run": name, "step": 3, "scores": scores}

    work = transfer_learning.Work(tmp_path, tmp_path / "scores.jsonl", 100, 10, 0)
    assert transfer_learning.tree_figures(work, [50], [0, 1]) == transfer_learning.pair_figures(work, [0]) == []
    for arm, right in (("warm", 0.5), ("scratch", 0.1), ("joint", 0.6)):
        for seed in (0, 1):
            scores = {"exact_match": right + seed / 100, "bracket_f1": 100 * right}
            finished(f"trees50-{seed}-{arm}", {"trees50": scores})
    (gain,) = transfer_learning.tree_figures(work, [50, 100], [0, 1, 2])
    assert gain["value"] == 0.4
    table = (tmp_path / "table.md").read_text().splitlines()
    assert table[2].startswith("| 50 | exact_match | 0.505 ± ") and len(table) == 4
    assert (tmp_path / "trees.png").stat().st_size > 1000

    metrics = transfer_learning.headlines()
    old = {problem: {metric: 90.0 if metric == "bleu" else 0.9} for problem, metric in metrics.items()}
    finished("pair-0-before", old)
    finished("pair-0-after", old | {"tiny_image": {"accuracy_top1": 0.88}, "tiny_speech": {"cer": 0.91}})
    finished("pair-0-joint", {"tiny_fren": {"bleu": 100.0}})
    share, loss = transfer_learning.pair_figures(work, [0, 1])
    assert share["value"] == 90 and "tiny_image" in loss["what"] and loss["value"] == 2
    with pytest.raises(transfer_learning.OutOfTime):
        work.train_trees("warm", 50, 7)
    work.train_trees("scratch", 50, 0)  # is finished: not made again
    work.train_trees("warm", 50, 0)  # nor is the run that it started from
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in work.finished.values()))
    again = transfer_learning.Work(tmp_path, tmp_path / "scores.jsonl", 100, 10, 0)
    assert again.finished == work.finished
