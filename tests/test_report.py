"""t2t-report: one file that loads nothing and runs nothing, whatever the data; and it shows what the run knows."""

import base64
import html.parser
import io
import json
import re
import shutil
import wave
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_run import HOSTILE, arguments
from stores import edit_manifest
from test_reports_doc import commands

from t2t_multimodel.cli import model_report, report
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Text
from t2t_multimodel.report import figures, series
from t2t_multimodel.report.page import Card, Page
from t2t_multimodel.training.evaluation import open_stores, recalled_stores
from t2t_multimodel.training.run_directory import NoData, RunDirectory

pytestmark = pytest.mark.usefixtures("kept_programs")

# All that a page is made of.
ELEMENTS = set(
    "a article audio body caption dd details div dl dt figcaption figure h1 h2 h3 h4 head header html img li main meta "
    "nav ol p pre section span style summary table tbody td th thead title tr ul".split()
)


class Reader(html.parser.HTMLParser):
    """Every element of a page with its attributes, its text, and whether its elements close in order."""

    VOID = {"meta", "img", "br"}

    def __init__(self, text):
        super().__init__()
        self.elements, self.said, self.open = [], [], []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.said.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())


def decoded(uri):
    return base64.b64decode(uri.partition("base64,")[2])


def is_harmless(page):
    """Nothing is loaded, nothing runs; pictures have alternative texts, links lead to places that are there."""
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    anchors = [a["id"] for _, a in page.elements if "id" in a]
    assert len(anchors) == len(set(anchors))
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith("#" if tag == "a" else "data:"), attributes[name][:80]
        if tag == "a":
            assert attributes["href"][1:] in anchors
    assert all(image["alt"].strip() for image in page.all("img"))
    for image in page.all("img"):
        if "svg" in image["src"][:20]:
            drawn = decoded(image["src"]).decode()
            assert "<script" not in drawn and not re.search(r'(?:href|src)="(?!#|data:)', drawn)
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "script" not in policy


def hostile_page():
    page = Page(HOSTILE, HOSTILE)
    section = page.section(HOSTILE)
    section.text(HOSTILE, "\ud800 a lone surrogate")
    section.note(HOSTILE, "good")
    section.items([HOSTILE])
    section.table([(HOSTILE, "n"), (HOSTILE, 1234567), (None, float("nan"))], HOSTILE, {(0, 1): "bad"})
    section.code(HOSTILE + "\n```", HOSTILE)
    lines = [figures.Line(HOSTILE, [1, 2], [3, 4]), figures.Line("b", [1, 2], [4, 3])]
    panel = figures.Panel(HOSTILE, lines, remark=HOSTILE)
    section.figure(figures.curves([panel, panel]), HOSTILE, HOSTILE)
    section.figure(figures.heat_map([[1.0, float("nan")]], [HOSTILE], [HOSTILE, "$"], HOSTILE), HOSTILE)
    section.details(HOSTILE).text(HOSTILE)
    picture, sound = np.zeros((2, 3, 1), np.uint8), (np.arange(9, dtype=np.int16), 8000)
    card = Card(HOSTILE, [(HOSTILE, HOSTILE)], picture, sound, HOSTILE, "bad", HOSTILE)
    section.section(HOSTILE).examples([card])
    return page


def test_hostile_text_is_shown_and_does_nothing(tmp_path):
    page = hostile_page()
    read = Reader(page.write(tmp_path / "page.html").read_text(encoding="utf-8"))
    is_harmless(read)
    plain = " ".join(HOSTILE.split())
    assert read.text.count(plain) >= 16
    assert {image["alt"] for image in read.all("img")} == {HOSTILE}


def test_control_characters_are_shown_as_signs():
    page = Page("t")
    page.section("s").table([("n",), ("a\x00b\x1b[31m\x7f\x85",)])
    assert "a␀b␛[31m␡\ufffd" in Reader(page.html()).text and "a␀b␛\\[31m␡\ufffd" in page.markdown()


def test_the_markdown_twin_has_the_same_table_and_no_markup(tmp_path):
    text = hostile_page().write_markdown(tmp_path / "page.md").read_text(encoding="utf-8")
    outside = re.sub(r"^(`{3,})\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "<" not in outside and not re.search(r"(?<!\\)[`$]", outside)
    page = Page("t")
    page.section("s").table([("a|b", "n"), ("x_y", 1234567), ("two\nlines", None)], "1. caption")
    table = "| a\\|b | n |\n| --- | ---: |\n| x_y | 1,234,567 |\n| two lines |  |\n"
    assert page.markdown().endswith("1\\. caption\n\n" + table)


def test_pictures_and_sound_come_back_as_they_were():
    page = Page("t")
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    samples = np.array([0, 1, -32768, 32767], np.int16)
    section = page.section("s")
    section.image(pixels, "a picture")
    section.audio(samples, 16000, "a sound")
    read = Reader(page.html())
    from PIL import Image

    (image,) = read.all("img")
    assert (np.asarray(Image.open(io.BytesIO(decoded(image["src"])))) == pixels).all()
    assert int(image["width"]) == 160  # 5 pixels, enlarged by a whole number
    with wave.open(io.BytesIO(decoded(read.all("audio")[0]["src"]))) as sound:
        assert (sound.getframerate(), sound.getsampwidth(), sound.getnchannels()) == (16000, 2, 1)
        assert sound.readframes(9) == samples.astype("<i2").tobytes()


def test_a_figure_takes_the_colour_of_the_page_and_is_the_same_each_time():
    make = lambda: figures.svg(figures.curves([figures.Panel("p", [figures.Line("a", [1, 2], [3, 4])])]))
    drawn = make()
    assert drawn == make() and "currentColor" in drawn and figures.INK not in drawn
    assert "prefers-color-scheme:dark" in drawn


def test_shares_are_those_of_the_draws_since_the_last_line():
    """Drawn: a, a | a, b | b, b: the log tells shares of all draws so far, and nothing of who was not drawn."""
    lines = [(2, "a", 2, 0.5, 1.0), (4, "a", 1, 0.45, 0.75), (4, "b", 1, 0.55, 0.25), (6, "b", 2, 0.6, 0.5)]
    records = [
        {"step": s, "problem": p, "split": "train", "microbatches": d, "share_planned": planned, "share_actual": actual}
        for s, p, d, planned, actual in lines
    ]
    shares = series.mixing(records)
    assert shares["a"][0] == [2, 4, 6]
    assert shares["a"][2] == [1.0, 0.5, 0.0] and shares["b"][2] == [0.0, 0.5, 1.0]
    np.testing.assert_allclose(shares["a"][1][:2], [0.5, 0.4])
    np.testing.assert_allclose(shares["b"][1][1:], [0.55, 0.7])


def test_effective_experts():
    assert series.effective_number([0.25] * 4) == pytest.approx(4)
    assert series.effective_number([1.0, 0.0]) == 1


def test_as_many_right_as_wrong_examples_are_chosen():
    of = lambda right, wrong: [{"prediction": p, "references": ["x"]} for p in "x" * right + "y" * wrong]
    right = lambda examples: sum(Text().is_right(e["prediction"], e["references"]) for e in examples)
    assert [right(model_report.choose(Text(), of(*given), 6)) for given in ((9, 9), (9, 1), (1, 9))] == [3, 5, 1]
    assert len(model_report.choose(Text(), of(1, 1), 6)) == 2 and model_report.choose(Text(), of(3, 3), 0) == []


@pytest.fixture(scope="module")
def where(small_run, tmp_path_factory):
    """{flag: value} of a copy of the small run, in which the reports of docs/reports.md were made, as written there."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(small_run["output_dir"], folder / "run")
    shutil.copytree(small_run["data_dir"], folder / "data")
    document = (Path(__file__).parents[1] / "docs" / "reports.md").read_text(encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in commands(document, "t2t-report"):
            assert report.main(words) == 0, words
    return small_run | {"output_dir": folder / "run", "data_dir": folder / "data"}


@pytest.fixture(scope="module")
def page(where):
    """The page of the run, read."""
    return Reader((where["output_dir"] / "report.html").read_text(encoding="utf-8"))


def test_the_page_of_a_run_is_harmless_and_complete(page):
    is_harmless(page)
    titles = [
        "Overview",
        "Scores",
        "Learning curves",
        "Examples",
        "Attention",
        "Experts",
        "Mixing",
        "Configuration",
        "Environment",
    ]
    assert all(title in page.text for title in titles)
    assert len(page.all("audio")) == 6  # the tones
    small = [image for image in page.all("img") if image["src"].startswith("data:image/png")]
    assert len(small) == 6 and all(image["alt"].startswith("picture ") for image in small)
    figures_drawn = len(page.all("img")) - len(small)
    # Two of curves, experts of both halves, shares, and an attention map with its two layers of both that write text.
    assert figures_drawn == 2 + 2 + 1 + 2 * 3
    for said in ("trivial", "set report_small", "--train_steps", "effective experts", "keras", "test<b>"):
        assert said in page.text, said


def test_scores_are_those_of_t2t_eval(page, where):
    from t2t_multimodel.cli import evaluate

    assert evaluate.main(arguments(where | {"problem": "report_tones"})) == 0
    scores = json.loads((where["output_dir"] / "eval" / "step-4.json").read_text())
    text = (where["output_dir"] / "report.md").read_text(encoding="utf-8")
    for metric in ("accuracy_top1", "teacher_forced_log_perplexity"):
        assert f"| report_tones | {metric} | {scores['report_tones'][metric]:.3f} |" in text


def test_without_data_the_page_has_what_the_run_directory_knows(where):
    text = (where["output_dir"].parent / "page.md").read_text(encoding="utf-8")
    read = Reader((where["output_dir"].parent / "page.html").read_text(encoding="utf-8"))
    is_harmless(read)
    assert "Of the last evaluation in training" in read.text and "Mixing" in read.text and not read.all("audio")
    assert "left out: asked for by --skip_data" in read.text
    assert "accuracy_top1" in read.text and not any(f"| {n} |" in text for n in ("examples_seen", "train_seconds"))


def test_a_page_names_no_folder_of_this_machine(where):
    noted = json.loads((where["output_dir"] / "data_dir.json").read_text(encoding="utf-8"))["data_dir"]
    assert Path(noted).is_absolute() and (Path(noted) / "report_words").is_dir()
    for made in ("run/report.html", "run/report.md", "page.html"):
        assert str(Path(noted).parent) not in (where["output_dir"].parent / made).read_text(encoding="utf-8")


# ---- The data of a run, where it is not told


def note(run, data_dir, from_run="../nowhere"):
    (run / "data_dir.json").write_text(json.dumps({"data_dir": str(data_dir), "from_output_dir": from_run}))


def test_the_data_is_found_where_the_run_was_moved_alone_or_with_it(tmp_path):
    data, run = tmp_path / "data", tmp_path / "runs" / "first"
    data.mkdir()
    run.mkdir(parents=True)
    RunDirectory(run).write_data_dir(data)
    run = shutil.move(run, tmp_path / "second")
    assert RunDirectory(run).data_dir() == data
    shutil.move(tmp_path / "second", tmp_path / "runs" / "first")
    shutil.move(data, tmp_path / "there")  # as if both were on another machine
    shutil.copytree(tmp_path / "runs", tmp_path / "there" / "runs")
    (tmp_path / "there" / "data").mkdir()
    assert RunDirectory(tmp_path / "there" / "runs" / "first").data_dir() == tmp_path / "there" / "data"


@pytest.mark.parametrize(
    "content",
    [None, "", "[]", "{}", '{"data_dir": 0, "from_output_dir": "."}', '{"data_dir": ".", "from_output_dir": 1}'],
)
def test_a_note_that_is_missing_or_damaged_is_no_error(tmp_path, content):
    if content is not None:
        (tmp_path / "data_dir.json").write_text(content)
    with pytest.raises(NoData, match="does not say which folder"):
        RunDirectory(tmp_path).data_dir()


@pytest.fixture
def moved(where, tmp_path):
    """(run directory, data folder), copies of the small run's that a test may change."""
    for name in ("run", "data"):
        shutil.copytree(where[f"{'output' if name == 'run' else name}_dir"], tmp_path / name)
    note(tmp_path / "run", tmp_path / "data")
    return tmp_path / "run", tmp_path / "data"


def test_data_that_does_not_fit_is_not_used_and_it_is_said_why(where, moved):
    run_dir, data = moved
    run, names = RunDirectory(run_dir).run(), ["report_tones"]
    assert list(recalled_stores(run_dir, run, names)) == names
    as_it_was = edit_manifest(data / "report_tones")
    edit_manifest(data / "report_tones", format_version=9)
    with pytest.raises(NoData, match="no longer holds") as why:
        recalled_stores(run_dir, run, names)
    assert "version 9" in why.value.note and str(data) not in str(why.value)
    as_it_was["splits"]["train"]["target_tokens"] += 1
    edit_manifest(data / "report_tones", **as_it_was)
    with pytest.raises(NoData, match=r"made anew with other content since \(report_tones\)"):
        recalled_stores(run_dir, run, names)


def test_where_the_data_is_gone_the_page_and_the_command_say_so(where, moved, run_command):
    run_dir, data = moved
    shutil.rmtree(data)
    flags = {"t2t_usr_dir": where["t2t_usr_dir"], "output_dir": run_dir}
    status, out, _ = run_command(report.main, *arguments(flags))
    read = Reader((run_dir / "report.html").read_text(encoding="utf-8"))
    why = "left out: the folder of its data is no longer there. They are on the page with --data_dir=DIR."
    assert status == 0 and why in out and str(data) in out
    assert why in read.text and str(data) not in read.text and not read.all("audio")
    status, _, error = run_command(report.main, *arguments(flags, attention_keys="test0"))
    assert status == 2 and "--attention_keys needs data" in error.splitlines()[-1]


# ---- Which attention is shown


def stores_of(where):
    run = RunDirectory(where["output_dir"]).run()
    return run, open_stores(where["data_dir"], run, ["report_tones", "report_shades", "report_words"])


def test_examples_are_chosen_by_key(where):
    run, stores = stores_of(where)
    find = lambda *keys: model_report.rows_of(keys, RunDirectory(where["output_dir"]).resolved().hparams, stores, None)
    words, shades = (stores[f"report_{name}"].split("test").keys() for name in ("words", "shades"))
    assert sorted(shades) == [f"test{i}" for i in range(6)]
    rows = {"report_shades": [shades.index("test4"), shades.index("test1")], "report_words": [words.index("test<b>2")]}
    assert find("test4", "test<b>2", "test1") == rows
    with pytest.raises(UserError, match="unknown key of an example 'tset4'; did you mean .*'test4'"):
        find("test4", "tset4")
    with pytest.raises(UserError, match="no problem of this report writes text by attention"):
        model_report.rows_of(
            ["test4"],
            RunDirectory(where["output_dir"]).resolved().hparams,
            {"report_tones": stores["report_tones"]},
            None,
        )


def test_attention_needs_no_cards_and_follows_the_keys(where, run_command, tmp_path):
    flags = where | {"problem": "report_shades", "eval_batches": 1, "examples": 0, "report": tmp_path / "page.html"}
    assert run_command(report.main, *arguments(flags, attention=2))[0] == 0
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert len(set(re.findall(r"test\d: \w+", text))) == 2 and "No example was asked for" in text
    assert run_command(report.main, *arguments(flags, attention=0, attention_keys="test5,test3"))[0] == 0
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert list(dict.fromkeys(re.findall(r"(test\d): \w+", text))) == ["test5", "test3"]


def test_why_there_is_no_attention_is_said_truly(where):
    _, stores = stores_of(where)
    hparams, tones = RunDirectory(where["output_dir"]).resolved().hparams, {"report_tones": stores["report_tones"]}
    say = lambda hparams, stores, attention: report._why_no_maps(SimpleNamespace(attention=attention), hparams, stores)
    assert say(hparams, stores, 0) == "None was asked for (--attention=0)."
    assert say(hparams, tones, 1) == "No problem of this report writes text."
    assert say(replace(hparams, use_attention=False), stores, 1) == "This model has no attention."


@pytest.mark.parametrize(
    "change, words",
    [
        ({"output_dir": "nowhere"}, ["nowhere holds no run"]),
        ({"data_dir": "nowhere"}, ["no data for problem 'report_words'", "t2t-datagen"]),
        ({"problem": "report_word"}, ["report_word", "report_words"]),
        ({"problem": "tiny_ende"}, ["problem of this run", "tiny_ende"]),
        ({"split": "tset"}, ["tset", "test"]),
        ({"step": "7"}, ["step 7"]),
        ({"report": "page.pdf"}, ["--report=page.pdf", ".html"]),
        ({"skip_data": "true"}, ["--skip_data", "--data_dir"]),
        ({"attention_keys": "test<b>7,test9"}, ["test<b>7", "did you mean", "--attention_keys"]),
        ({"decode_hparams": "beam_width=4"}, ["beam_width", "beam_size"]),
    ],
)
def test_a_mistake_is_one_line(change, words, where, run_command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, _, error = run_command(report.main, *arguments(where | change))
    message = error.splitlines()[-1]
    assert status == 2 and ": error: " in message and all(word in message for word in words), error
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_checkpoint_is_one_line(where, run_command, tmp_path):
    for name in ("run.json", "hparams.json"):
        shutil.copy(where["output_dir"] / name, tmp_path)
    status, _, error = run_command(report.main, *arguments(where | {"output_dir": tmp_path}))
    assert status == 2 and "holds no checkpoint yet" in error.splitlines()[-1]
