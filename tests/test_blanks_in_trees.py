"""Only a blank (and a tab or line end) separates the leaves of trees: a no-break space is part of its word."""

import pytest
from own_files import make, prepared

from t2t_multimodel.data_gen.readers.treebanks import read_treebank_file
from t2t_multimodel.data_gen.readers.trees import parse_tree
from t2t_multimodel.decoding.grammars import PunctuatedTree, Tree, _kind
from t2t_multimodel.errors import UserError
from t2t_multimodel.metrics.evalb import bracket_scores, parse
from t2t_multimodel.problems import BracketedTrees

OTHER_SPACES = ["\u00a0", "\u3000", "\u2009", "\u202f", "\u2028", "\x85", "\x1f", "\x0b", "\x0c"]


@pytest.mark.parametrize("space", OTHER_SPACES)
def test_a_word_with_another_space_is_one_leaf(space, tmp_path):
    (tmp_path / "train.mrg").write_text(
        f"(S (NP (CD 1{space}000)\t(NN {space}euros)) (VP (V co{space})))\n", newline="\n"
    )
    words = [f"1{space}000", f"{space}euros", f"co{space}"]
    (sample,) = prepared(make(BracketedTrees, tmp_path), "train")
    assert sample["inputs"] == " ".join(words)
    assert sample["targets"] == f"(S (NP (CD {words[0]} )CD (NN {words[1]} )NN )NP (VP (V {words[2]} )V )VP )S"
    (sample,) = prepared(make(BracketedTrees, tmp_path, words_in_tree=False), "train")
    assert sample["targets"] == "(S (NP CD NN )NP (VP V )VP )S"
    assert parse_tree(f"(NN {space})").leaves() == [space]


@pytest.mark.parametrize("space", OTHER_SPACES)
def test_metric_and_grammar_count_the_same_leaves(space):
    text = f"1{space}000 euros\tcost  much\n"
    assert Tree.leaves(text) == 4 and PunctuatedTree.leaves(f"1{space}000 euros, more.") == 5
    tree = f"(S (NP (CD 1{space}000 )CD (NN euros )NN )NP )S"
    assert parse(tree).leaves == [f"1{space}000", "euros"]
    assert bracket_scores([tree], [[tree]])["bracket_f1"] == 100.0
    assert _kind(f"a{space}b") == _kind("ab") and _kind(f"\u2581{space}") == _kind("\u2581a")


@pytest.mark.parametrize("space", OTHER_SPACES[:4])
def test_treebank_files_keep_it_at_the_end_of_a_line(space, tmp_path):
    (tmp_path / "a.mrg").write_text(f"(S (NN a{space}\n  ) (NN b))\n")
    (tree,) = read_treebank_file(tmp_path / "a.mrg")
    assert not tree.fault and parse_tree(tree.text).leaves() == [f"a{space}", "b"]


def test_a_line_of_other_spaces_is_no_blank_line(tmp_path):
    (tmp_path / "train.mrg").write_text("(S (NN a))\n \t\n\u00a0\n")
    with pytest.raises(UserError, match=r"train\.mrg:3: the tree doesn't parse"):
        prepared(make(BracketedTrees, tmp_path), "train")
