"""Problems over people's own text files: each form is read as it is, and what is broken is named by file and line."""

import re
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_files import make, prepared

from t2t_multimodel import registry
from t2t_multimodel.cli.user_code import load_user_code
from t2t_multimodel.errors import UserError
from t2t_multimodel.problem import reversed_problem
from t2t_multimodel.problems import BracketedTrees, CaptionedImages, LabelledImages, SentencePairs, TranscribedSpeech

# ---- Where the files lie


USER_CODE = '''
from t2t_multimodel.problems import SentencePairs
from t2t_multimodel.registry import register_problem


@register_problem
class MenuGerman(SentencePairs):
    """Dishes on menus, English to German."""
    directory = "menus"
    languages = ("English", "German")
'''


def test_a_problem_in_a_users_folder_is_a_few_lines(user_folder, monkeypatch):
    monkeypatch.setenv("T2T_USR_DIR", "")  # so that what load_user_code leaves there goes away
    folder = user_folder({"menus_of_a_user.py": USER_CODE})
    (folder / "menus").mkdir()
    (folder / "menus" / "train.tsv").write_text("beer\tBier\n")
    monkeypatch.chdir("/")  # relative to the file, not to where the command runs
    load_user_code(folder)
    problem = registry.problem("menu_german")
    assert problem.splits == ("train",)
    assert (problem.inputs.language, problem.targets.language) == ("English", "German")
    assert [(s["inputs"], s["targets"]) for s in problem.samples("train")] == [("beer", "Bier")]
    assert [s["inputs"] for s in registry.problem("menu_german_rev").samples("train")] == ["Bier"]
    assert registry.problems.entry("menu_german").description == "Dishes on menus, English to German."


def test_home_and_variables_are_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CORPORA", str(tmp_path))
    assert make(SentencePairs, "~").folder == make(SentencePairs, "$CORPORA").folder == tmp_path


def test_an_unset_variable_is_named(monkeypatch):
    monkeypatch.delenv("CORPORA", raising=False)
    with pytest.raises(UserError, match="environment variable CORPORA is not set"):
        make(SentencePairs, "$CORPORA/menus").splits  # noqa: B018


@pytest.mark.parametrize(
    "base, form",
    [
        (SentencePairs, "train.tsv"),
        (LabelledImages, "train/<class>"),
        (CaptionedImages, "captions.json"),
        (TranscribedSpeech, "transcripts.tsv"),
        (BracketedTrees, "train.mrg"),
    ],
)
def test_missing_data_says_what_was_looked_for_and_what_belongs_there(base, form, tmp_path):
    with pytest.raises(UserError) as error:
        make(base, tmp_path / "nowhere").splits  # noqa: B018
    assert f"no such folder: {tmp_path}/nowhere" in str(error.value) and form in str(error.value)
    assert "problem mine" in str(error.value) and "\n" not in str(error.value)

    (tmp_path / "validation").mkdir()
    with pytest.raises(UserError) as error:
        make(base, tmp_path).splits  # noqa: B018
    assert "found: validation" in str(error.value) and form in str(error.value)

    with pytest.raises(UserError, match="has no directory"):
        make(base, "").splits  # noqa: B018


def test_a_split_that_is_not_there(tmp_path):
    (tmp_path / "train.tsv").write_text("a\tb\n")
    with pytest.raises(UserError, match=r"no split 'test': no test\.tsv in .*; it has train"):
        list(make(SentencePairs, tmp_path).samples("test"))


def test_the_fingerprint_does_not_hold_where_the_class_was_made(tmp_path):
    (tmp_path / "train.tsv").write_text("a\tb\n")
    problem = make(SentencePairs, tmp_path, languages=("English", "German"))
    arguments = problem.arguments()
    assert arguments["languages"] == "('English', 'German')" and arguments["reverse"] == "False"
    list(problem.samples("train"))  # what the problem remembers of its files is no argument
    assert problem.arguments() == arguments


# ---- Sentence pairs


def pairs(folder, content, **attributes):
    (folder / "train.tsv").write_bytes(content if isinstance(content, bytes) else content.encode())
    problem = make(SentencePairs, folder, **attributes)
    return [(sample["inputs"], sample["targets"]) for sample in prepared(problem, "train")]


def test_pairs_are_kept_as_they_are(tmp_path):
    content = '"quoted\tein "Zitat\n%s  two blanks\t»Wert« \nline\u2028inside\tx\n'
    expected = [('"quoted', 'ein "Zitat'), ("%s  two blanks", "»Wert« "), ("line\u2028inside", "x")]
    assert pairs(tmp_path, content) == expected
    assert pairs(tmp_path, content.replace("\n", "\r\n")) == expected
    assert pairs(tmp_path, "\ufeff" + content.rstrip("\n") + "\n\n") == expected  # a byte order mark, a blank line


def test_pairs_turned_round(tmp_path):
    assert pairs(tmp_path, "a\tb\n", reverse=True) == [("b", "a")]
    problem = make(SentencePairs, tmp_path, reverse=True, languages=("English", "German"))
    assert (problem.inputs.language, problem.targets.language) == ("German", "English")
    again = reversed_problem(problem)
    assert [(s["inputs"], s["targets"]) for s in prepared(again, "train")] == [("a", "b")]
    assert (again.name, again.inputs.language) == ("mine_rev", "English")


side = st.text(st.characters(exclude_characters="\t\n\r\0", exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(side.filter(lambda text: text[0] != "\ufeff"), side), min_size=1))
def test_any_pairs_come_back(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    assert pairs(folder, "".join(f"{first}\t{second}\n" for first, second in rows)) == rows
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "content, reason",
    [
        ("a\tb\nno tab\n", r"train\.tsv:2: 1 column between tabs, expected 2: English ⇥ German"),
        ("a\tb\nc\td\te\n", r"train\.tsv:2: 3 columns"),
        ("a\tb\nc\t \n", r"train\.tsv:2: column 2 \(German\) is empty"),
        ("a\tb\n\tc\n", r"train\.tsv:2: column 1 \(English\) is empty"),
        ("a\tb\nfür\tfor\n".encode("latin-1"), r"train\.tsv:2: not UTF-8 \(byte 0xfc at byte 2 .*iconv"),
        ("a\tb\n".encode("utf-16"), r"train\.tsv:1: not UTF-8"),
        ("a\tb\n".encode("utf-16-le"), r"train\.tsv:1: a NUL byte, so this is UTF-16"),
    ],
)
def test_broken_pairs_are_named_by_file_and_line(content, reason, tmp_path):
    with pytest.raises(UserError, match=reason):
        pairs(tmp_path, content, languages=("English", "German"))


# ---- Trees


def trees(folder, content, **attributes):
    (folder / "train.mrg").write_text(content)
    problem = make(BracketedTrees, folder, **attributes)
    return [(sample["inputs"], sample["targets"]) for sample in prepared(problem, "train")]


def test_trees_with_and_without_words(tmp_path):
    content = "( (S  (NP-SBJ-1 (DT the)\t(NN dog)) (VP (VBZ barks) (NP=2 (-NONE- *T*-1))) (-LRB- -LRB-)))\n\n"
    whole = "(S (NP (DT the )DT (NN dog )NN )NP (VP (VBZ barks )VBZ )VP (-LRB- -LRB- )-LRB- )S"
    assert trees(tmp_path, content) == [("the dog barks -LRB-", whole)]
    without = trees(tmp_path, content, words_in_tree=False)
    assert without == [("the dog barks -LRB-", "(S (NP DT NN )NP (VP VBZ )VP -LRB- )S")]
    kept = trees(tmp_path, content, words_in_tree=False, keep_function_tags=True)
    assert kept == [("the dog barks -LRB-", "(S (NP-SBJ-1 DT NN )NP-SBJ-1 (VP VBZ )VP -LRB- )S")]
    assert trees(tmp_path, "(NN dog)\n", words_in_tree=False) == [("dog", "NN")]


words = st.text("abc.,'", min_size=1, max_size=4)
label = st.sampled_from(["S", "NP", "VP", "X"])
tree_text = st.recursive(
    st.builds("({0} {1} ){0}".format, label, words),
    lambda below: st.builds("({0} {1} ){0}".format, label, st.lists(below, min_size=1).map(" ".join)),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(tree_text, min_size=1, max_size=5))
def test_any_tree_comes_back(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trees")
    kept = [re.sub(r"\)\w+", ")", row) for row in rows]  # files have bare closing brackets
    assert [target for _, target in trees(folder, "\n".join(kept))] == rows
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "content",
    [
        "(S (NN a)",
        "(S (NN a)))",
        "(S (NN a)) (S (NN b))",
        "a b c",
        "((NN a) (NN b))",
        "(S (NP ) (NN a))",
        "(-NONE- *)",
        "()",
        "(",
        ")",
        "(X " * 3000 + "a" + ")" * 3000,
    ],
)
def test_a_tree_that_does_not_parse_is_named_by_file_and_line(content, tmp_path):
    with pytest.raises(UserError) as error:
        trees(tmp_path, "(S (NN a))\n" + content + "\n")
    assert f"{tmp_path}/train.mrg:2: the tree" in str(error.value) and "\n" not in str(error.value)


def test_a_word_without_a_tag_needs_the_words_in_the_tree(tmp_path):
    assert trees(tmp_path, "(NP the (NN dog))\n") == [("the dog", "(NP the (NN dog )NN )NP")]
    with pytest.raises(UserError, match=r"train\.mrg:1: the word 'the' has no tag"):
        trees(tmp_path, "(NP the (NN dog))\n", words_in_tree=False)
