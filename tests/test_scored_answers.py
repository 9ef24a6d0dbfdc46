"""n-best answers and scores agree with each other, inputs are checked one by one, and a stream keeps its order."""

import io
import threading
import tracemalloc

import numpy as np
import pytest
from small_run import arguments

import t2t_multimodel
from t2t_multimodel.cli import decoder
from t2t_multimodel.errors import UserError

pytestmark = pytest.mark.usefixtures("kept_programs")


def test_a_long_stream_stays_in_order_and_out_of_memory():
    lines = (f"line {i}" if i % 10 else "" for i in range(200_000))
    firsts = []

    def decode(inputs, first_row=0):
        firsts.append((first_row, inputs[0]))
        return lambda: [text.upper() for text in inputs]

    tracemalloc.start()
    try:
        for i, output in enumerate(decoder.decode_stream(decode, lines, window=1000)):
            assert output == (f"LINE {i}" if i % 10 else "")
        assert i == 199_999 and tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
    assert firsts[:3] == [(0, "line 1"), (900, "line 1001"), (1800, "line 2001")]


@pytest.mark.parametrize("line", ["no tab", "a\t", "a\t "])
def test_a_pair_to_score_has_two_columns(line):
    with pytest.raises(UserError, match="pair 3 must be an input, a tab and its target"):
        decoder._pair(line, 3)
    assert decoder._pair("a\tb\tc", 1) == ("a\tb", "c")


@pytest.fixture(scope="module")
def model(small_run):
    return t2t_multimodel.load(small_run["output_dir"])


def test_the_best_of_several_is_the_answer_and_its_score_is_that_of_the_text(model):
    inputs = ["0", "1", "3"]
    answers = model.decode("report_words", inputs, max_length=8)
    single = model.decode("report_words", inputs, max_length=8, return_beams=1)
    assert [row[0].answer for row in single] == answers and all(len(row) == 1 for row in single)
    several = model.decode("report_words", inputs, max_length=8, return_beams=3, alpha=0.0)
    for row in several:
        assert len(row) == 3 and [each.score for each in row] == sorted((each.score for each in row), reverse=True)
    best = model.decode("report_words", inputs, max_length=8, beam_size=3, alpha=0.0)
    assert [row[0].answer for row in several] == best


def test_classes_have_log_probabilities(model):
    tone = np.zeros(1600, np.int16)
    (ranked,) = model.decode("report_tones", [tone], return_beams=5)
    assert np.isclose(sum(np.exp(each.score) for each in ranked), 1, atol=1e-5)
    scores = model.score("report_tones", [tone] * len(ranked), [each.answer for each in ranked])
    assert np.allclose(scores, [each.score for each in ranked], atol=1e-4)


def test_scores_do_not_depend_on_the_others(model):
    inputs, targets = ["0", "1", "3"] * 3, ["zero", "one", "three one zero"] * 3
    together = model.score("report_words", inputs, targets)
    assert all(score < 0 for score in together) and np.allclose(together[:3], together[3:6], atol=1e-4)
    assert np.allclose(together[0], model.score("report_words", ["0"], ["zero"])[0], atol=1e-4)
    with pytest.raises(UserError, match="target 2: the text is empty"):
        model.score("report_words", ["0", "1"], ["zero", ""])


def test_inputs_are_checked_one_by_one(model):
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (40, 30), (90, 90, 90)).save(file, format="PNG")
    picture = model.check("report_shades", file.getvalue())
    assert picture.shape == (16, 16, 3) and model.decode("report_shades", [file.getvalue()]) == model.decode(
        "report_shades", [picture]
    )
    for problem, value, words in (
        ("report_words", "", "the text is empty"),
        ("report_words", "1 " * 500, "longer"),
        ("report_words", 3, "must be a string"),
        ("report_shades", file.getvalue()[:50], "can't be decoded"),
        ("report_tones", b"RIFF", "can't be decoded"),
    ):
        with pytest.raises(UserError, match=words):
            model.check(problem, value)


def test_a_stream_ends_with_the_answer(model):
    model.warm("report_words", (1,), stream=True, max_length=8)
    (answer,) = model.decode("report_words", ["1"], max_length=8)
    parts = list(model.stream("report_words", "1", lambda: 3, max_length=8))
    assert all(after.startswith(before) for before, after in zip(parts, parts[1:]))
    assert (parts[-1] if parts else "") == answer
    for problem, settings, words in (
        ("report_tones", {}, "not written word by word"),
        ("report_words", {"return_beams": 2}, "a stream has one answer"),
        ("report_words", {"beam_size": 2}, "a stream has one answer"),
    ):
        with pytest.raises(UserError, match=words):
            model.stream(problem, np.zeros(1600, np.int16) if problem == "report_tones" else "1", **settings)


@pytest.mark.parametrize("problem", ["report_words", "report_shades"])
def test_an_explanation_is_of_the_answer(model, problem, monkeypatch):
    monkeypatch.setattr(model.model, "capture", None)  # nothing runs uncompiled
    value = "1 and 3" if problem == "report_words" else np.full((16, 16, 3), 90, np.uint8)
    explained = model.explain(problem, value, max_length=8)
    assert [explained.answer] == model.decode(problem, [value], max_length=8)
    weights = explained.mean_attention
    assert len(weights) == len(explained.pieces) > 0 and np.allclose(weights.sum(axis=1), 1, atol=1e-4)
    if problem == "report_words":
        assert "".join(explained.axis["positions"][:-1]).replace("␣", "") == "1and3" and weights.shape[1] == len(
            explained.axis["positions"]
        )
    else:
        rows, columns = explained.axis["grid"]
        assert weights.shape[1] == rows * columns and (explained.axis["picture"] == value).all()
    assert set(explained.experts) == {"encoder", "decoder"}
    assert all(len(shares) == 2 and np.isclose(shares.sum(), 1) for shares in explained.experts.values())


def test_a_class_has_experts_and_no_attention(model):
    tone = np.zeros(1600, np.int16)
    explained = model.explain("report_tones", tone)
    assert [explained.answer] == model.decode("report_tones", [tone])
    assert explained.pieces == [] and explained.mean_attention is None and set(explained.experts) == {"encoder"}
    with pytest.raises(UserError, match="leave out return_beams"):
        model.explain("report_tones", tone, return_beams=2)


def test_threads_share_a_model_and_nothing_is_said(model, capfd):
    model.warm("report_words", (1, 2), max_length=8)
    right = model.decode("report_words", ["0", "1", "3"], max_length=8)
    wrong = []

    def ask(count):
        for size in range(1, 6):
            if model.decode("report_words", (["0", "1", "3"] * 2)[:size], max_length=8) != (right * 2)[:size]:
                wrong.append((count, size))

    threads = [threading.Thread(target=ask, args=(count,)) for count in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert "retracing" not in capfd.readouterr().err


def test_the_decoder_writes_scores(small_run, tmp_path, run_command):
    flags = {name: small_run[name] for name in ("t2t_usr_dir", "output_dir")} | {"problem": "report_words"}
    (tmp_path / "in.txt").write_text("0\n\n1\n")
    given = arguments(flags, decode_from_file=tmp_path / "in.txt", decode_hparams="return_beams=2,max_length=8")
    status, _, error = run_command(decoder.main, *given, "--write_scores", f"--decode_to_file={tmp_path / 'out.tsv'}")
    rows = (tmp_path / "out.tsv").read_bytes().decode().split("\n")[:-1]  # other separators end no line
    assert status == 0 and [row.count("\t") for row in rows] == [3, 0, 3], error
    assert float(rows[0].split("\t")[1]) >= float(rows[0].split("\t")[3])
    (tmp_path / "pairs.tsv").write_text("0\tzero\n1\tone\n")
    scored = arguments(flags, score_file=tmp_path / "pairs.tsv", decode_to_file=tmp_path / "scores")
    status, _, error = run_command(decoder.main, *scored)
    out = (tmp_path / "scores").read_text()
    assert status == 0 and all(float(line) < 0 for line in out.splitlines()) and out.count("\n") == 2, error
