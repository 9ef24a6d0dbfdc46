"""The WMT problems: every form of the corpus gives the same pairs, and what is tested on is not trained on."""

import gzip
import json
import shutil
import socket
import tarfile

import pytest
import wmt_files
from hypothesis import given, settings
from hypothesis import strategies as st
from own_files import make

from t2t_multimodel import mixture, registry
from t2t_multimodel.cli import datagen
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.data_gen.readers.corpora import MissingCorpus
from t2t_multimodel.data_gen.readers.sgm import read_sgm, read_sgm_pair
from t2t_multimodel.errors import UserError
from t2t_multimodel.problems import ParallelText
from t2t_multimodel.vocabulary import Vocabulary


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """The manual and the download folder of this test alone."""
    monkeypatch.setattr(corpora, "_folders", dict(corpora._folders))
    monkeypatch.delenv("T2T_MANUAL_DIR", raising=False)
    corpora.set_folders(tmp_path / "data", tmp_path / "manual", tmp_path / "downloads")
    return tmp_path


def read(problem, split):
    samples = [problem.prepare(sample) for sample in problem.samples(split)]
    assert len({sample["key"] for sample in samples}) == len(samples)
    return [(sample["inputs"], sample["targets"]) for sample in samples]


def everything(problem):
    return {split: read(problem, split) for split in problem.splits}


# ---- The four problems


@pytest.mark.parametrize(
    "name, sides, command",
    [
        ("wmt_ende", ("English", "German"), "to_german"),
        ("wmt_deen", ("German", "English"), "to_english"),
        ("wmt_enfr", ("English", "French"), "to_french"),
        ("wmt_fren", ("French", "English"), "to_english"),
    ],
)
def test_the_four_problems_read_their_corpus_in_their_direction(name, sides, command, folders):
    language = "de" if "German" in sides else "fr"
    rows = wmt_files.write_wmt(folders / "manual" / f"wmt14_{language}-en", language)
    problem = registry.problem(name)
    assert (problem.inputs.language, problem.targets.language) == sides
    assert (problem.command_name, problem.vocabulary_size, problem.metric_names[0]) == (command, 8192, "bleu")
    if sides[1] == "English":
        rows = {split: [pair[::-1] for pair in pairs] for split, pairs in rows.items()}
    got = everything(problem)
    assert {split: sorted(pairs) for split, pairs in got.items()} == {s: sorted(pairs) for s, pairs in rows.items()}
    assert got["dev"] == rows["dev"] and got["test"] == rows["test"]  # in the order of the corpus
    assert len(problem.source_files()) == 8


def test_old_names_and_the_mixture_resolve():
    for old in ("wmt_ende_tokens_8k", "translate_ende_wmt8k"):
        assert registry.problems.resolve(old) == "wmt_ende"
    assert mixture.parse("translate4").problem_names == ("wmt_ende", "wmt_deen", "wmt_enfr", "wmt_fren")
    assert mixture.parse("wmt_ende_tokens_8k-wmt_fren").problem_names == ("wmt_ende", "wmt_fren")


def test_no_network_and_no_files_is_one_line_that_says_what_to_do(folders, monkeypatch, run_command):
    monkeypatch.setattr(socket, "create_connection", _unreachable)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(MissingCorpus) as error:
        registry.problem("wmt_ende").source_files()
    for words in ("wmt14_de-en", "WMT'14 German-English", "newstest2013", "--manual_dir", "tiny_ende"):
        assert words in str(error.value)
    status, _, said = run_command(datagen.main, "--problem=wmt_ende", f"--data_dir={folders / 'data'}")
    assert status == 2 and "WMT'14 German-English" in said.strip().splitlines()[-1]


def _unreachable(*args, **kwargs):
    raise OSError("no network")


def test_a_dry_run_downloads_nothing(folders, monkeypatch):
    corpora.set_folders(folders / "data", may_write=False)
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: pytest.fail("connected"))
    with pytest.raises(MissingCorpus, match="wmt14_translate/de-en: not prepared yet; without --dry_run"):
        registry.problem("wmt_ende").source_files()


# ---- Nothing that is tested on is trained on


def test_pairs_of_dev_and_test_are_passed_over_in_train(folders, capsys):
    corpus = folders / "manual" / "wmt14_de-en"
    rows = wmt_files.write_wmt(corpus)
    known = [rows["dev"][0], (f"  {rows['test'][1][0]} ", "etwas ganz anderes"), ("something else", rows["test"][2][1])]
    fresh = [("Why?", "Weshalb?"), ("three words only", "nur drei Wörter")]
    wmt_files.write_side_by_side(corpus, "commoncrawl.de-en", known + fresh)
    wmt_files.write_side_by_side(corpus / "dev", "newstest2013", [*rows["dev"], ("Why?", "Warum?")])
    problem = registry.problem("wmt_ende")
    train = read(problem, "train")
    assert set(fresh) <= set(train) and len(train) == len(rows["train"]) + 2
    assert "wmt_ende train: pairs passed over: 3 hold sentences of dev or test" in capsys.readouterr().err
    read(problem, "train")
    assert capsys.readouterr().err == ""  # said once


def test_test_sets_of_other_years_and_other_languages_are_not_trained_on(folders):
    corpus = folders / "manual" / "wmt14_de-en"
    rows = wmt_files.write_wmt(corpus)
    wmt_files.write_side_by_side(corpus / "dev", "newstest2012", wmt_files.pairs(3, start=5000))
    wmt_files.write_sgm(corpus / "dev", "newstest2015-deen", wmt_files.pairs(3, start=6000))
    wmt_files.write_side_by_side(corpus, "europarl-v7.fr-en", wmt_files.pairs(3, "fr", 7000), "fr")
    assert sorted(read(registry.problem("wmt_ende"), "train")) == sorted(rows["train"])


def test_a_text_of_unknown_use_is_refused(folders):
    corpus = folders / "manual" / "wmt14_de-en"
    wmt_files.write_wmt(corpus)
    wmt_files.write_side_by_side(corpus, "mine", wmt_files.pairs(3))
    with pytest.raises(UserError, match=r"mine\.en: is this to train on\? Then begin its name with train"):
        registry.problem("wmt_ende").source_files()


@pytest.mark.parametrize("lost, said", [("training", ""), ("dev", "newstest2013"), ("test", "newstest2014")])
def test_a_part_that_is_missing_is_named(lost, said, folders):
    corpus = folders / "manual" / "wmt14_de-en"
    wmt_files.write_wmt(corpus)
    shutil.rmtree(corpus / lost)
    if lost == "training":
        for path in corpus.glob("train.*"):
            path.unlink()
    with pytest.raises(MissingCorpus, match=f"has no {said or 'text to train on'} in both English and German"):
        registry.problem("wmt_ende").source_files()


def test_two_versions_of_a_test_set_are_not_chosen_from(folders):
    corpus = folders / "manual" / "wmt14_de-en"
    rows = wmt_files.write_wmt(corpus)
    wmt_files.write_sgm(corpus / "filtered", "newstest2014-deen", rows["test"][:4])
    with pytest.raises(UserError, match="which of these is meant"):
        registry.problem("wmt_ende").source_files()


# ---- Other forms of the same corpus


def test_official_archives_are_unpacked_and_read(folders):
    rows = wmt_files.write_wmt(folders / "somewhere")
    corpus = folders / "manual" / "wmt14_de-en"
    corpus.mkdir(parents=True)
    for name in ("training", "dev", "test"):
        with tarfile.open(corpus / f"{name}.tgz", "w:gz") as archive:
            archive.add(folders / "somewhere" / name, name)
    got = everything(registry.problem("wmt_ende"))
    assert got == {"train": rows["train"][:30], "dev": rows["dev"], "test": rows["test"]}


def test_a_text_that_is_there_twice_is_read_once(folders):
    corpus = folders / "manual" / "wmt14_de-en"
    rows = wmt_files.write_wmt(corpus)
    for name in ("training", "test"):  # unpacked by hand, and the archives kept
        with tarfile.open(corpus / f"{name}.tgz", "w:gz") as archive:
            archive.add(corpus / name, name)
    got = everything(registry.problem("wmt_ende"))
    assert sorted(got["train"]) == sorted(rows["train"]) and got["test"] == rows["test"]


def test_a_test_set_of_one_direction_serves_the_other(folders):
    corpus = folders / "manual" / "wmt14_de-en"
    rows = wmt_files.write_wmt(corpus)
    for path in (corpus / "test").iterdir():
        path.unlink()
    wmt_files.write_sgm(corpus / "test", "newstest2014-deen", [pair[::-1] for pair in rows["test"]], "de", "en")
    assert read(registry.problem("wmt_ende"), "test") == rows["test"]


def test_lines_without_a_counterpart_are_passed_over_in_train_alone(folders, capsys):
    corpus = folders / "manual" / "wmt14_de-en"
    rows = wmt_files.write_wmt(corpus)
    wmt_files.write_side_by_side(corpus, "commoncrawl.de-en", [("", "allein"), ("alone", " "), ("", "")])
    problem = registry.problem("wmt_ende")
    assert sorted(read(problem, "train")) == sorted(rows["train"])
    assert "3 have an empty side" in capsys.readouterr().err
    wmt_files.write_side_by_side(corpus / "dev", "newstest2013", [*rows["dev"], ("alone", "")])
    with pytest.raises(ValueError, match=r"newstest2013\.de:9: empty, so the pair has one side only"):
        read(problem, "dev")


@pytest.mark.parametrize("name", ["wmt14_translate", "wmt_t2t_translate"])
def test_what_tfds_prepared_is_read_as_it_lies(name, folders):
    rows = wmt_files.write_tfds_wmt(folders / "downloads", name)
    problem = registry.problem("wmt_ende")
    assert everything(problem) == rows  # entities of the test set resolved, order kept
    assert everything(registry.problem("wmt_deen"))["dev"] == [pair[::-1] for pair in rows["dev"]]
    assert len(problem.source_files()) == 6


def test_pairs_of_test_are_passed_over_in_what_tfds_prepared(folders):
    rows = wmt_files.write_tfds_wmt(folders / "downloads", train=2001)  # its last pair is the first of test
    assert rows["test"][0] in rows["train"]
    train = read(registry.problem("wmt_ende"), "train")
    assert not {*train} & {*rows["test"], *rows["dev"]} and len(train) == 2001 - 1 - len(rows["dev"])


def test_a_damaged_file_of_tfds_is_named(folders):
    wmt_files.write_tfds_wmt(folders / "downloads")
    problem = registry.problem("wmt_ende")
    path = next(path for path in map(str, problem.source_files()) if "train" in path)
    with open(path, "r+b") as file:
        file.truncate(500)
    with pytest.raises(UserError, match=r"train\.tfrecord-00000-of-00002: can't be read after record"):
        read(problem, "train")


@pytest.mark.slow
def test_the_whole_way_from_files_and_from_tfds_gives_the_same_store(folders, run_command):
    wmt_files.write_wmt(folders / "manual" / "wmt14_de-en")
    wmt_files.write_tfds_wmt(folders / "prepared")
    found = {}
    roads = {"files": f"--manual_dir={folders / 'manual'}", "tfds": f"--download_dir={folders / 'prepared'}"}
    for road, flag in roads.items():
        data_dir = folders / road
        status, out, error = run_command(
            datagen.main, "--problem=wmt_ende_tokens_8k", f"--data_dir={data_dir}", flag, "--workers=1"
        )
        assert status == 0, error
        assert "wmt_ende: train 60, dev 8, test 9 examples" in out
        found[road] = _stored(data_dir)
        again = run_command(datagen.main, "--problem=wmt_ende", f"--data_dir={data_dir}", flag)
        assert again[0] == 0 and "nothing to do" in again[1]
    assert found["files"] == found["tfds"]


def _stored(data_dir):
    import tensorflow_datasets as tfds

    vocabulary = Vocabulary.load(data_dir / "vocabulary")
    manifest = json.loads((data_dir / "wmt_ende" / "manifest.json").read_text())
    assert manifest["command"]["name"] == "to_german" and manifest["evaluation_split"] == "test"
    builder = tfds.builder_from_directory(data_dir / "wmt_ende")
    return {
        split: sorted(
            (vocabulary.decode(example["inputs"]), vocabulary.decode(example["targets"]))
            for example in builder.as_dataset(split=split).as_numpy_iterator()
        )
        for split in ("train", "dev", "test")
    }


# ---- Parallel text of a user


def test_a_users_parallel_text(tmp_path):
    wmt_files.write_side_by_side(tmp_path, "train", [("a", "b"), (" c d", 'e "f"')])
    wmt_files.write_side_by_side(tmp_path / "more", "train-law", [("x", "y")], suffix=".gz")
    wmt_files.write_text(tmp_path / "train.de-en.tsv", ["zwei\ttwo"])
    wmt_files.write_side_by_side(tmp_path, "dev", [("g", "h")])
    wmt_files.write_sgm(tmp_path, "test", [("i & j", "k < l")])
    wmt_files.write_text(tmp_path / "training_notes.en", ["not a text of the corpus"])
    problem = make(ParallelText, tmp_path, sides=("en", "de"), languages=("English", "German"))
    assert everything(problem) == {
        "train": [("x", "y"), ("a", "b"), (" c d", 'e "f"'), ("two", "zwei")],
        "dev": [("g", "h")],
        "test": [("i & j", "k < l")],
    }
    turned = make(ParallelText, tmp_path, sides=("de", "en"))
    assert read(turned, "train")[-1] == ("zwei", "two") and read(turned, "test") == [("k < l", "i & j")]


@pytest.mark.parametrize(
    "files, reason",
    [
        ({"train.en": b"a\nb\nc\n", "train.de": b"x\n"}, r"train\.en has 3 lines, .*train\.de has 1"),
        ({"train.en": b"a\n", "train.de": b"x\ny\n"}, r"train\.en has 1 lines, .*train\.de has 2"),
        ({"train.en": b"a\n"}, r"train\.en: its other side, the same name with \.de, is not there"),
        ({"train.en.gz": b"no gzip", "train.de": b"x\n"}, r"train\.en\.gz: no gzip file"),
        ({"train.en.gz": gzip.compress(b"a\n" * 9)[:-9], "train.de": b"x\n" * 9}, r"train\.en\.gz: cut short"),
        ({"train.en": b"a\n", "train.en.gz": gzip.compress(b"a\n"), "train.de": b"x\n"}, "the same text twice"),
        ({"valid.en": b"a\n", "valid.de": b"b\n"}, r"expected in .*: train\.en and train\.de .*found: valid\.de"),
    ],
)
def test_broken_parallel_text_is_named(files, reason, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=reason):
        everything(make(ParallelText, tmp_path, sides=("en", "de")))


def test_an_empty_side_is_a_bad_record_that_is_counted(tmp_path):
    wmt_files.write_side_by_side(tmp_path, "train", [("a", "b"), ("c", "")])
    problem = make(ParallelText, tmp_path, sides=("en", "de"))
    good, bad = problem.samples("train")
    assert problem.prepare(good)["targets"] == "b"
    with pytest.raises(ValueError, match=r"train\.de:2: empty"):
        problem.prepare(bad)


def test_malformed_lines_are_bad_records_and_the_others_stay(tmp_path):
    (tmp_path / "train.en").write_bytes(b"a\nb\nc\n")
    (tmp_path / "train.de").write_bytes("x\nü\nz\n".encode("latin-1"))
    (tmp_path / "dev.en-de.tsv").write_bytes(b"a\tx\nd\te\tf\ng\th\n")
    problem = make(ParallelText, tmp_path, sides=("en", "de"))
    train, dev = list(problem.samples("train")), list(problem.samples("dev"))
    assert [sample.get("inputs") for sample in train] == [None, "c"]  # "a" with "x" is in dev
    assert [sample.get("inputs") for sample in dev] == ["a", None, "g"]
    assert train[0]["key"] == "train.de:2" and train[0]["bad"].startswith(f"{tmp_path / 'train.de'}:2: not UTF-8 (byte")
    assert dev[1]["bad"].startswith(f"{tmp_path / 'dev.en-de.tsv'}:2: 3 columns between tabs, expected 2")


# ---- .sgm


@pytest.mark.parametrize("kind, language", [("src", "en"), ("ref", "de")])
def test_sgm_in_order_with_entities(kind, language, tmp_path):
    texts = ["AT&T < 3 > 2", "  blanks ", "é ü", 'he said "no"', "&uuml; stays"]
    path = tmp_path / "set.sgm"
    path.write_text(wmt_files.sgm(kind, language, texts), encoding="utf-8")
    segments = read_sgm(path)
    assert [s.text for s in segments] == [text.strip() for text in texts]
    expected = ["paper/0.html 1", "paper/0.html 2", "paper/0.html 3", "paper/1.html 1", "paper/1.html 2"]
    assert [f"{s.document} {s.number}" for s in segments] == expected


def test_sgm_as_badly_written_as_it_is_found(tmp_path):
    path = tmp_path / "set.sgm"
    path.write_bytes(
        b"\xef\xbb\xbf<SRCSET setid=x>\r\n<DOC docid='a b' sysid=\"s\">\r\n<hl>\r\n<SEG id = 1> R&D: 1 < 2,\r\n two"
        b" lines</SEG></hl><p><seg id='2'>&#8364;5 &apos;s <b>bold</b></seg></p></DOC></SRCSET>"
    )
    first, second = read_sgm(path)
    assert (first.document, first.number, first.text, first.line) == ("a b", "1", "R&D: 1 < 2, two lines", 4)
    assert second.text == "€5 's <b>bold</b>"


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])), min_size=1, max_size=9))
def test_any_text_comes_back_from_sgm(texts, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.sgm"
    path.write_text(wmt_files.sgm("src", "en", texts), encoding="utf-8")
    assert [segment.text for segment in read_sgm(path)] == [text.strip() for text in texts]


@pytest.mark.parametrize(
    "content, reason",
    [
        ("", "no segments"),
        ('<doc docid="a"><seg id="1">x', r":1: segment 1 is not closed: the file seems to be cut short"),
        ('<doc docid="a">\n<seg id="1">x\n<seg id="2">y</seg></doc>', r":2: segment 1 is not closed \(</seg>\) before"),
        ('<seg id="1">x</seg>', ":1: a segment outside of a document"),
        ('<doc docid="a"><seg>x</seg></doc>', ":1: <seg> has no id"),
        ('<doc><seg id="1">x</seg></doc>', ":1: <doc> has no docid"),
        ('<doc docid="a"><seg id="1">x</seg>\n<seg id="1">y</seg></doc>', ":2: document a has segment 1 twice"),
        ("<doc docid='a'><seg id='1'>\xfc</seg></doc>", ":1: not UTF-8"),
    ],
)
def test_broken_sgm_is_named(content, reason, tmp_path):
    (tmp_path / "set.sgm").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=reason):
        read_sgm(tmp_path / "set.sgm")


def test_sets_that_do_not_belong_together_are_refused(tmp_path):
    def written(name, texts, **options):
        (tmp_path / name).write_text(wmt_files.sgm("src", "en", texts, **options), encoding="utf-8")
        return tmp_path / name

    three = written("three.sgm", ["a", "b", "c"])
    with pytest.raises(UserError, match=r"three\.sgm has 3 segments, .*two\.sgm has 2"):
        list(read_sgm_pair(three, written("two.sgm", ["a", "b"])))
    reason = r"three\.sgm:10 is segment 1 of document paper/1.*:6 is segment 3 of document paper/0"
    with pytest.raises(UserError, match=reason):
        list(read_sgm_pair(three, written("one_document.sgm", ["a", "b", "c"], documents=1)))
