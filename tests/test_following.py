"""What evaluations of speech say of how the model follows its input, in the log and in the report."""

import numpy as np
import pytest

from t2t_multimodel.report import run_page, series
from t2t_multimodel.report.page import Page
from t2t_multimodel.training.following import Following


class Ids:
    def decode(self, ids):
        return "".join("_abcdefg"[i] for i in ids)


def seen(signs, pairs, ids):
    return {
        "signs": np.array(signs, "float32"),
        "pairs": np.array(pairs, "float32"),
        "aligned_ids": np.array(ids, "int32"),
    }


def test_the_most_monotone_head_counts_by_the_mean_over_examples():
    following = Following()
    following.add(seen([[6, -6], [0, 1], [9, 9]], [6, 1, 0], [[1, 0, 2], [0, 0, 3], [5, 5, 5]]), 2, Ids())
    following.add(seen([[3, 0]], [3], [[0, 4, 0]]), 1, Ids())
    found = following.result(("cer", "wer"), [["ab"], ["c"], ["e"]])
    assert found == {"attention_monotonicity": pytest.approx((1 + 0 + 1) / 3), "ctc_cer": pytest.approx(0.25)}
    assert Following().result(("cer",), []) == {}  # of a problem that is not followed


def records(values):
    return [
        {"step": 100 * step, "split": "dev", "problem": "speech", "attention_monotonicity": value, "cer": 0.5}
        for step, value in enumerate(values, 1)
    ]


@pytest.mark.parametrize(
    "values, since", [([0.1, 0.9, 0.3, 0.85, 0.9], 400), ([0.9, 0.2], None), ([0.8], 100)], ids=str
)
def test_the_report_says_from_which_step_on_attention_is_monotone(values, since):
    found = series.monotonicity(records(values))
    assert found == {"speech": ([100 * i for i in range(1, len(values) + 1)], values, since)}
    page = Page("a run", "")
    run_page.add_curves(page, records(values), {"speech": "cer"})
    said = f"monotone from step {since} on" if since else "not monotone at the end"
    assert said in page.html()  # in the words of a figure


def test_a_run_without_speech_has_no_such_figure():
    page = Page("a run", "")
    run_page.add_curves(page, [{"step": 1, "split": "dev", "problem": "text", "bleu": 3.0}], {"text": "bleu"})
    assert "onoton" not in page.html()
