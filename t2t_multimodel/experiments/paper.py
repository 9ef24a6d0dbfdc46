"""The paper's four tables (Kaiser et al. 2017, arXiv 1706.05137), for comparison with ours.

A row names the role of one of our problems (see roles.py), our corresponding metric, and the printed numbers of the
paper. Its log-perplexities and accuracies are teacher-forced, over the ids of the targets.
"""

import dataclasses

from t2t_multimodel.experiments import plan

LOG_PERPLEXITY, TOKEN_ACCURACY = "teacher_forced_log_perplexity", "teacher_forced_accuracy"
WHOLE = ("exact_match", "teacher_forced_sequence_accuracy")  # the first that a problem has


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table: the paper's corpus and metric, our role and metrics (the first measured one is used)."""

    label: str
    role: str
    metrics: tuple
    numbers: tuple  # of the paper, one string per column


@dataclasses.dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables. `columns`: pairs of a name and our kind of run, or None."""

    title: str
    columns: tuple
    rows: tuple


def tables(roles, problems):
    """The four `PaperTable`s, with the kinds of runs of a suite of these problems and roles."""
    parsing, images = roles.get("parsing", "?"), roles.get("images", "?")
    with_images = plan.with_images({"parsing": parsing, "images": images}, problems)
    return (
        PaperTable(
            "Table 1. All eight together, beside the best of 2017",
            (("joint", plan.JOINT), ("best then", None)),
            (
                Row("ImageNet, top-5", "images", ("accuracy_top5",), ("86%", "95%")),
                Row("WMT En→De, BLEU", "en_de", ("bleu",), ("21.2", "26.0")),
                Row("WMT En→Fr, BLEU", "en_fr", ("bleu",), ("30.5", "40.5")),
            ),
        ),
        PaperTable(
            "Table 2. All eight together, beside each alone",
            (("joint", plan.JOINT), ("alone", "alone")),
            (
                Row("ImageNet, log-perplexity", "images", (LOG_PERPLEXITY,), ("1.7", "1.6")),
                Row("ImageNet, top-1", "images", ("accuracy_top1",), ("66%", "67%")),
                Row("WMT En→De, log-perplexity", "en_de", (LOG_PERPLEXITY,), ("1.4", "1.4")),
                Row("WMT En→De, token accuracy", "en_de", (TOKEN_ACCURACY,), ("72%", "71%")),
                Row("WSJ speech, log-perplexity", "speech", (LOG_PERPLEXITY,), ("4.4", "5.7")),
                Row("WSJ speech, accuracy", "speech", (TOKEN_ACCURACY,), ("41%", "23%")),
                Row("WSJ parsing, log-perplexity", "parsing", (LOG_PERPLEXITY,), ("0.15", "0.20")),
                Row("WSJ parsing, accuracy", "parsing", (TOKEN_ACCURACY,), ("98%", "97%")),
            ),
        ),
        PaperTable(
            "Table 3. Parsing alone, with pictures, with everything",
            (("alone", plan.alone(parsing)), ("with images", with_images), ("with all", plan.JOINT)),
            (
                Row("WSJ parsing, log-perplexity", "parsing", (LOG_PERPLEXITY,), ("0.20", "0.16", "0.15")),
                Row("WSJ parsing, accuracy", "parsing", (TOKEN_ACCURACY,), ("97.1%", "97.5%", "97.9%")),
                Row("WSJ parsing, whole sentences right", "parsing", WHOLE, ("11.7%", "12.7%", "14.5%")),
            ),
        ),
        PaperTable(
            "Table 4. Without a block",
            (("all blocks", plan.JOINT), ("no experts", plan.NO_EXPERTS), ("no attention", plan.NO_ATTENTION)),
            (
                Row("ImageNet, log-perplexity", "images", (LOG_PERPLEXITY,), ("1.6", "1.6", "1.6")),
                Row("ImageNet, accuracy", "images", ("accuracy_top1",), ("67%", "66%", "67%")),
                Row("WMT En→Fr, log-perplexity", "en_fr", (LOG_PERPLEXITY,), ("1.2", "1.3", "1.4")),
                Row("WMT En→Fr, token accuracy", "en_fr", (TOKEN_ACCURACY,), ("76%", "74%", "72%")),
            ),
        ),
    )
