"""t2t-new-problem over aligned texts, trees and captions; dev and test taken from train by every class for files."""

import json
import os

import pytest
from table_files import png

from t2t_multimodel import problems
from t2t_multimodel.cli import datagen, new_problem
from t2t_multimodel.errors import UserError
from t2t_multimodel.survey.corpora import find_corpus

WORDS = "soup bread fish cake rice milk salt corn".split()
ENGLISH = [f"the {WORDS[i % 8]} with {WORDS[i // 8 % 8]} and number {i}" for i in range(80)]
GERMAN = [text.upper() for text in ENGLISH]
TREES = [f"(S (NP (DT the) (NN {WORDS[i % 8]}{i})) (VP (V cooks)))" for i in range(80)]


def lines(path, texts):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def captions(folder, count=60):
    folder.mkdir(exist_ok=True)
    for i in range(count):
        (folder / f"{i}.png").write_bytes(png(i))
    entries = [{"file": f"{i}.png", "captions": [ENGLISH[i], GERMAN[i]]} for i in range(count)]
    (folder / "captions.json").write_text(json.dumps(entries))
    return folder


def written(run_command, tmp_path, name, *arguments):
    """What the command says and the source that it writes, after data was made with it."""
    code, data = f"--t2t_usr_dir={tmp_path / name}", f"--data_dir={tmp_path / 'data'}"
    status, out, error = run_command(new_problem.main, *map(str, arguments), f"--name={name}", code)
    assert (status, error) == (0, ""), error
    status, _, error = run_command(datagen.main, f"--problem={name}", data, code, "--vocabulary_size=500")
    assert status == 0, error
    return out, (tmp_path / name / f"{name}.py").read_text()


@pytest.mark.slow
def test_aligned_texts_of_any_name(tmp_path, run_command):
    files = lines(tmp_path / "menus.en", ENGLISH), lines(tmp_path / "menus.de", GERMAN)
    out, source = written(run_command, tmp_path, "menu_corpus", *files)
    assert "class MenuCorpus(ParallelText):" in source and 'files = {"train": "menus"}' in source
    assert 'sides = ("en", "de")' in source and 'languages = ("English", "German")' in source
    assert "from en to de; the other direction is --inputs=de" in out and "words on average: 7.0 → 7.0" in out


@pytest.mark.slow
def test_trees_and_captions(tmp_path, run_command):
    _, source = written(run_command, tmp_path, "recipe_trees", lines(tmp_path / "recipes.mrg", TREES))
    assert "class RecipeTrees(BracketedTrees):" in source and 'files = {"train": "recipes.mrg"}' in source
    folder = captions(tmp_path / "windows")
    _, source = written(run_command, tmp_path, "shop_windows", folder, "--picture_size=8")
    assert "class ShopWindows(CaptionedImages):" in source and "image = Image(8, 8, 3)" in source
    assert 'files = {"train": "."}' in source


def test_a_folder_says_its_splits(tmp_path):
    for split, texts in {"train": ENGLISH, "dev": ENGLISH[:9]}.items():
        lines(tmp_path / "text" / f"{split}.en", texts)
        lines(tmp_path / "text" / f"{split}.de", texts)
        lines(tmp_path / "trees" / f"{split}.mrg", TREES)
    corpus = find_corpus([str(tmp_path / "text")], inputs="de")
    assert corpus.splits == ("train", "dev") and corpus.attributes["sides"] == ("de", "en")
    assert "files" not in corpus.attributes
    assert find_corpus([str(tmp_path / "trees")]).attributes == {}
    lines(tmp_path / "table" / "train.csv", ["a,b"])
    assert find_corpus([str(tmp_path / "table")]) is find_corpus([str(tmp_path / "table" / "train.csv")]) is None


def test_what_is_ambiguous_names_the_flag(tmp_path):
    for side in ("en", "de", "fr"):
        lines(tmp_path / "three" / f"train.{side}", ENGLISH)
        lines(tmp_path / "two" / f"train.{'en' if side == 'fr' else side}", ENGLISH)
    lines(tmp_path / "mixed" / "train.mrg", TREES)
    for side in ("en", "de"):
        lines(tmp_path / "mixed" / f"train.{side}", ENGLISH)
    cases = {
        ("three",): "files that end in de, en, fr; say which two: --inputs=… --targets=…",
        ("two",): "files that end in de, en; say the direction: --inputs=de",
        ("mixed",): "train.mrg has trees, train.de text; name the files meant",
        ("two/train.en",): "one side of aligned text? Name the file of the other side too",
        ("two/train.en", "three/train.de"): "put the files into one folder",
        ("three/train.en", "three/train.de", "three/train.fr"): "say which two",
    }
    for paths, said in cases.items():
        with pytest.raises(UserError, match=said.replace("?", "\\?")):
            find_corpus([str(tmp_path / path) for path in paths])
    with pytest.raises(UserError, match="--inputs=it: no file ends in .it; they end in de, en"):
        find_corpus([str(tmp_path / "two")], inputs="it")


def made(base, folder, **attributes):
    shares = {"dev_percent": 20, "test_percent": 20}
    return type("Made", (base,), {"directory": str(folder), **shares, **attributes})()


def kinds(folder):
    """{base: (a problem of it with dev and test taken from train, how many samples there are)}"""
    lines(folder / "text" / "train.en", ENGLISH)
    lines(folder / "text" / "train.de", GERMAN)
    lines(folder / "pairs" / "train.tsv", map("\t".join, zip(ENGLISH, GERMAN)))
    lines(folder / "trees" / "train.mrg", TREES)
    captions(folder / "captions")
    for i in range(40):
        place = folder / "labelled" / "train" / WORDS[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.png").write_bytes(png(i))
    return {
        "ParallelText": made(problems.ParallelText, folder / "text", sides=("en", "de")),
        "SentencePairs": made(problems.SentencePairs, folder / "pairs"),
        "BracketedTrees": made(problems.BracketedTrees, folder / "trees"),
        "CaptionedImages": made(problems.CaptionedImages, folder / "captions", files={"train": "."}),
        "LabelledImages": made(problems.LabelledImages, folder / "labelled"),
    }


def test_each_sample_is_in_one_split(tmp_path, capsys):
    for base, problem in kinds(tmp_path).items():
        assert problem.splits == ("train", "dev", "test"), base
        inputs = {split: [sample["inputs"] for sample in problem.samples(split)] for split in problem.splits}
        distinct = {split: set(found) for split, found in inputs.items()}
        together = set().union(*distinct.values())
        assert (
            sum(map(len, distinct.values()))
            == len(together)
            == {"CaptionedImages": 60, "LabelledImages": 40}.get(base, 80)
        ), base
        assert all(distinct.values()) and len(distinct["train"]) > len(together) / 3, base
        assert len(problem.source_files()) == len(set(problem.source_files())), base
    assert capsys.readouterr().err == ""


def test_names_that_are_not_utf_8_have_a_split_too(tmp_path):
    kinds(tmp_path)
    folder = tmp_path / "labelled" / "train" / WORDS[0]
    os.rename(folder / "0.png", os.fsencode(folder) + b"/K\xe4se.png")
    problem = made(problems.LabelledImages, tmp_path / "labelled")
    assert sum(len(list(problem.samples(split))) for split in problem.splits) == 40


def test_both_directions_have_the_same_splits(tmp_path):
    kinds(tmp_path)
    for one, other in (
        (
            made(problems.ParallelText, tmp_path / "text", sides=("en", "de")),
            made(problems.ParallelText, tmp_path / "text", sides=("de", "en")),
        ),
        (
            made(problems.SentencePairs, tmp_path / "pairs"),
            made(problems.SentencePairs, tmp_path / "pairs", reverse=True),
        ),
    ):
        for split in one.splits:
            assert [s["inputs"] for s in one.samples(split)] == [s["targets"] for s in other.samples(split)]


def test_files_that_are_missing_are_named(tmp_path):
    lines(tmp_path / "trees" / "train.mrg", TREES)
    with pytest.raises(UserError, match=r"has no a\.mrg \(files of train\)"):
        assert made(problems.BracketedTrees, tmp_path / "trees", files={"train": "a.mrg"}).splits
    with pytest.raises(UserError, match="unknown split in files of Made 'tarin'"):
        assert made(problems.BracketedTrees, tmp_path / "trees", files={"tarin": "train.mrg"}).splits
    with pytest.raises(UserError, match="dev_percent must be from 0 to 100, not -3"):
        assert made(problems.BracketedTrees, tmp_path / "trees", dev_percent=-3).splits
