"""Treebanks as they ship: whole .mrg and .ptb trees become what parsers are scored on, and broken ones are named."""

import json

import pytest
from own_files import prepared

from t2t_multimodel import registry
from t2t_multimodel.cli import datagen
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.data_gen.readers.corpora import MissingCorpus
from t2t_multimodel.data_gen.readers.treebanks import read_treebank_file
from t2t_multimodel.errors import UserError
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.metrics import score
from t2t_multimodel.vocabulary import Vocabulary

# As on the disc: an empty line first, an outer bracket without a label, traces, function tags, indices, gaps "=2".
LIKED = """
( (S
    (NP-SBJ-1 (DT The) (NN bank) )
    (VP (VBD was)
      (VP (VBN asked)
        (S
          (NP-SBJ (-NONE- *-1) )
          (VP (TO to)
            (VP (VB pay)
              (NP
                (NP (CD 5) (NNS cents) )
                (NP-ADV (DT a) (NN share) )
                (SBAR
                  (WHNP-2 (-NONE- 0) )
                  (S (NP=2 (-NONE- *T*-2) ))))
              (PRT (RP up) )
              (PRN (-LRB- -LRB-) (ADVP-TMP (RB now) ) (-RRB- -RRB-) ))))))
    (. .) ))
"""
SHORT = "( (S (NP-SBJ (NNS Shares) ) (VP (VBD rose) ) (. .) ))\n"
TAGS = (
    "(S (NP DT NN )NP (VP VBD (VP VBN (S (VP TO (VP VB (NP (NP CD NNS )NP (NP DT NN )NP )NP (PRT RP )PRT "
    "(PRN -LRB- (ADVP RB )ADVP -RRB- )PRN )VP )VP )S )VP )VP . )S"
)
SENTENCE = "The bank was asked to pay 5 cents a share up -LRB- now -RRB- ."


@pytest.fixture
def manual(tmp_path, monkeypatch):
    """A manual folder that problems look into."""
    monkeypatch.setattr(corpora, "_folders", {"manual": tmp_path / "manual", "download": tmp_path / "downloads"})
    return tmp_path / "manual"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


@pytest.fixture
def penn(manual):
    """The 25 sections as Treebank-3 has them; the trees say which section they are of."""
    wsj = manual / "penn_treebank" / "treebank_3" / "parsed" / "mrg" / "wsj"
    for section in range(25):
        trees = "".join(f"( (S (NP-SBJ (NN s{section}) ) (VP (VBD w{i}) ) ))\n" for i in range(2))
        write(wsj / f"{section:02d}" / f"wsj_{section:02d}01.mrg", "\n" + trees)
    write(wsj / "02" / "wsj_0202.mrg", LIKED)
    write(wsj / "02" / "readme", "not a tree")
    write(wsj.parents[1] / "prd" / "wsj" / "02" / "wsj_0201.prd", SHORT)
    write(wsj.parents[1] / "mrg" / "brown" / "ca" / "ca01.mrg", SHORT)
    return wsj


def generate(run_command, manual, problem, *more):
    data_dir = manual.parent / "data"
    argv = (f"--problem={problem}", f"--data_dir={data_dir}", f"--manual_dir={manual}", "--workers=1", *more)
    status, out, err = run_command(datagen.main, *argv)
    return data_dir, status, out + err


def stored(data_dir, problem, split):
    """[(key, inputs, targets)] of a split, back in text."""
    store = ExampleStore(data_dir, problem)
    vocabulary = Vocabulary.load(store.vocabulary_folder)
    text = lambda example, side: vocabulary.decode(example[side].tolist())
    examples = store.split(split).examples(range(len(store.split(split))))
    return sorted((e["key"], text(e, "inputs"), text(e, "targets")) for e in examples)


# ---- Penn Treebank


def test_sections_become_splits_and_trees_what_parsers_are_scored_on(penn, manual, run_command):
    data_dir, status, said = generate(run_command, manual, "wsj_parse,wsj_parse_words")
    assert status == 0, said
    train = {key: (inputs, targets) for key, inputs, targets in stored(data_dir, "wsj_parse", "train")}
    assert train["02/wsj_0202.mrg:2"] == (SENTENCE, TAGS)
    assert len(train) == 2 * 20 + 1 and {key[:2] for key in train} == {f"{section:02d}" for section in range(2, 22)}
    assert [key for key, *_ in stored(data_dir, "wsj_parse", "dev")] == ["22/wsj_2201.mrg:2", "22/wsj_2201.mrg:3"]
    assert stored(data_dir, "wsj_parse", "test")[0] == ("23/wsj_2301.mrg:2", "s23 w0", "(S (NP NN )NP (VP VBD )VP )S")
    with_words = stored(data_dir, "wsj_parse_words", "test")[1]
    assert with_words == ("23/wsj_2301.mrg:3", "s23 w1", "(S (NP (NN s23 )NN )NP (VP (VBD w1 )VBD )VP )S")
    manifest = json.loads((data_dir / "wsj_parse" / "manifest.json").read_text())
    assert (manifest["metrics"], manifest["evaluation_split"]) == (["bracket_f1", "exact_match"], "test")


@pytest.mark.parametrize("layout", ["parsed/mrg/wsj", "PARSED/MRG/WSJ", "wsj", "."])
def test_the_sections_are_found_where_people_put_them(layout, manual):
    for section in range(2, 24):
        suffix = ".MRG" if layout.isupper() else ".mrg"
        write(manual / "penn_treebank" / layout / f"{section:02d}" / f"wsj_{section:02d}00{suffix}", LIKED)
    assert len(prepared(registry.problem("wsj_parse"), "train")) == 20


def test_the_name_of_old_and_the_reverse(penn):
    assert registry.problem("wsj_parsing_tokens_8k").name == "wsj_parse"
    back = prepared(registry.problem("wsj_parse_rev"), "test")[0]
    assert (back["inputs"], back["targets"]) == ("(S (NP NN )NP (VP VBD )VP )S", "s23 w0")


def test_a_missing_corpus_says_what_it_is_and_what_stands_in(penn, manual):
    problem = registry.problem("wsj_parse")
    (penn / "07" / "wsj_0701.mrg").unlink()
    with pytest.raises(MissingCorpus, match=r"wsj/07: the Penn Treebank .*LDC99T42.*gum_parse is a free stand-in"):
        problem.source_files()
    (manual / "penn_treebank").rename(manual / "elsewhere")
    with pytest.raises(MissingCorpus, match="no .*/penn_treebank: "):
        problem.source_files()


def test_two_copies_are_not_mixed(penn, manual):
    write(manual / "penn_treebank" / "copy" / "mrg" / "wsj" / "02" / "wsj_0201.mrg", SHORT)
    with pytest.raises(UserError, match=r"more than once, in .*copy/mrg/wsj, .*parsed/mrg/wsj"):
        registry.problem("wsj_parse").source_files()


def test_broken_trees_are_named_and_those_left_out_are_listed(penn, manual, run_command):
    broken = penn / "05" / "wsj_0501.mrg"
    open_one = "( (S\n    (NP-SBJ (NN a) )\n    (VP (VBD b) )\n"
    write(broken, f"{SHORT}\n{open_one}\n{SHORT}( (S (NN a) )))\n{SHORT}( (X (-NONE- *) ))\n{SHORT}")
    _, status, said = generate(run_command, manual, "wsj_parse")
    assert status == 2 and "bad record" in said and f"{broken}:3: 2 brackets are never closed" in said

    data_dir, status, said = generate(run_command, manual, "wsj_parse", "--max_bad_records=3")
    assert status == 0, said
    kept = {key for key, *_ in stored(data_dir, "wsj_parse", "train") if key.startswith("05/")}
    assert kept == {f"05/wsj_0501.mrg:{line}" for line in (1, 7, 9, 11)}
    manifest = json.loads((data_dir / "wsj_parse" / "manifest.json").read_text())
    reasons = {entry["key"].rpartition(":")[2]: entry["reason"] for entry in manifest["dropped"]}
    assert manifest["dropped_count"] == 3 and reasons == {
        "3": f"{broken}:3: 2 brackets are never closed",
        "8": f"{broken}:8: ')' in line 8 is after the end of the tree: one closing bracket too many",
        "10": f"{broken}:10: the tree has no words",
    }


# ---- The reader


@pytest.mark.parametrize(
    "content, expected",
    [
        ("*x*x*x*\n*x* notice\n\n(S (A a))\n", [(4, "")]),
        ("(S\n(A a)\n(B b)\n)\n(S (A a))\n", [(1, ""), (5, "")]),  # not indented, but balanced
        ("(S (A a))\n )\n(S (A a))\n", [(1, "')' in line 2 is after the end"), (3, "")]),
        ("(S (A a)) (S (A a))\n(S (A a))\n", [(1, "'(S (A a))' in line 1 is after the end"), (2, "")]),
        ("words\n(S (A a))\n", [(1, "a tree starts with a bracket, not with 'words'"), (2, "")]),
        ("(S (A a)\n", [(1, "1 bracket is never closed")]),
        ("", []),
    ],
)
def test_trees_are_cut_out_of_their_file(content, expected, tmp_path):
    trees = list(read_treebank_file(write(tmp_path / "a.mrg", content)))
    assert [(tree.line, bool(tree.fault)) for tree in trees] == [(line, bool(fault)) for line, fault in expected]
    assert all(tree.fault.startswith(fault) for tree, (_, fault) in zip(trees, expected))


@pytest.mark.parametrize(
    "tree, target",
    [
        ("( (S (A a)) (. .))", "(TOP (S A )S . )TOP"),
        ("(TOP (S (A a) (B b)))", "(S A B )S"),
        ("(ROOT (ROOT (A a)))", "A"),
        ("(S1 (NP-SBJ (NN a) (NP=2 (NN b))))", "(NP NN (NP NN )NP )NP"),
        ("( (S (NP|NX-3 (NN a) (-LRB- -LRB-) (NN b))))", "(S (NP|NX NN -LRB- NN )NP|NX )S"),
    ],
)
def test_roots_and_labels(tree, target, penn):
    write(penn / "23" / "wsj_2301.mrg", tree + "\n")
    assert [sample["targets"] for sample in prepared(registry.problem("wsj_parse"), "test")] == [target]


def test_what_is_stored_scores_as_its_source_does(penn):
    """The metric is on the tree as generated, EVALB's rules on the tree as shipped: the same brackets."""
    problem = registry.problem("wsj_parse_words")
    (sample,) = [s for s in prepared(problem, "train") if s["key"] == "02/wsj_0202.mrg:2"]
    values = score(("bracket_f1",), [sample["targets"]], [[" ".join(LIKED.split())]])
    assert values["bracket_f1"] == 100.0 and values["bracket_f1_wrong_length"] == 0


# ---- GUM

SPLITS = """# Splits

The following standard train / dev / test / test2 splits are used for the corpus.

## dev

  * GUM_bio_byron

## test

  * GUM_news_nasa

## test2

  * GENTLE_proof_five

## train

  * GUM_academic_art
  * GUM_reddit_bobby
"""
BYRON = """(ROOT (NP (NP (NN Education)) (CC and) (NP (JJ early) (NNS loves))))

(ROOT
  (S
    (PP-TMP (IN In) (NP (CD 1801)))
    (, ,)
    (NP-SBJ (PRP he))
    (VP (VBD protégé))
    (PRN (-LSB- [) (CD 17) (-RSB- ]))))
"""


@pytest.fixture
def gum(manual):
    release = manual / "gum" / "gum-11.0.0"
    write(release / "splits.md", SPLITS)
    for name in ("GUM_bio_byron", "GUM_news_nasa", "GENTLE_proof_five", "GUM_academic_art"):
        write(release / "const" / f"{name}.ptb", BYRON.replace("1801", name.replace("_", "")))
    write(release / "const" / "GUM_reddit_bobby.ptb", "(ROOT (S (NP-SBJ (PRP _)) (VP (VBP ___)) (. _)))\n")
    return release


def test_gum_comes_in_the_splits_of_its_release(gum, manual, run_command):
    data_dir, status, said = generate(run_command, manual, "gum_parse")
    assert status == 0, said
    assert stored(data_dir, "gum_parse", "dev") == [
        ("const/GUM_bio_byron.ptb:1", "Education and early loves", "(NP (NP NN )NP CC (NP JJ NNS )NP )NP"),
        (
            "const/GUM_bio_byron.ptb:3",
            "In GUMbiobyron , he protégé [ 17 ]",
            "(S (PP IN (NP CD )NP )PP , (NP PRP )NP (VP VBD )VP (PRN -LSB- CD -RSB- )PRN )S",
        ),
    ]
    assert {key.split("/")[1][:16] for key, *_ in stored(data_dir, "gum_parse", "train")} == {"GUM_academic_art"}
    assert len(stored(data_dir, "gum_parse", "test")) == 2


def test_reddit_documents_are_read_once_their_words_are_there(gum):
    problem = registry.problem("gum_parse")
    assert len(list(problem.samples("train"))) == 2
    write(gum / "const" / "GUM_reddit_bobby.ptb", "(ROOT (S (NP-SBJ (PRP I)) (VP (VBP see)) (. .)))\n")
    assert [sample["inputs"] for sample in prepared(problem, "train")][-1] == "I see ."


def test_what_gum_lacks_is_named(gum, manual):
    problem = registry.problem("gum_parse")
    (gum / "const" / "GUM_news_nasa.ptb").unlink()
    with pytest.raises(UserError, match=r"splits\.md:11: names GUM_news_nasa, but there is no .*GUM_news_nasa\.ptb"):
        problem.source_files()
    write(gum / "splits.md", SPLITS.replace("## test\n", "## trial\n"))
    with pytest.raises(UserError, match=r"no heading '## test'; it has dev, trial, test2, train"):
        list(problem.samples("test"))
    (gum / "splits.md").unlink()
    with pytest.raises(MissingCorpus, match="GUM, the Georgetown .*a release: splits.md and the folder const"):
        problem.source_files()
