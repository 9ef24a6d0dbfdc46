"""Grammars of decoded text: for any logits, a tree is well-formed and has one leaf per word of the input."""

import functools
import json
import re
import unittest.mock
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from models import BACKEND, program
from small_world import HPARAMS, make_trainer
from stores import edit_manifest

from t2t_multimodel import load, registry
from t2t_multimodel.data_gen.fingerprint import fingerprint
from t2t_multimodel.data_gen.generate import generate
from t2t_multimodel.data_gen.readers.trees import linearised, parse_tree, symbols
from t2t_multimodel.data_gen.vocabulary_training import train_vocabulary
from t2t_multimodel.decode_hparams import decode_settings
from t2t_multimodel.decoding.grammars import TAG_BYTES, PunctuatedTree, Tree, misfit
from t2t_multimodel.decoding.search import beam_search, greedy_search
from t2t_multimodel.digests import sealed
from t2t_multimodel.errors import UserError
from t2t_multimodel.hyperparameters import Resolved
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.metrics.evalb import parse
from t2t_multimodel.modalities import Text
from t2t_multimodel.problem import reversed_problem
from t2t_multimodel.problems import tiny8
from t2t_multimodel.training.evaluation import evaluate_run
from t2t_multimodel.training.run import Run
from t2t_multimodel.training.run_directory import RunDirectory
from t2t_multimodel.vocabulary import EOS_ID

TREES = (
    "(S (NP (DT the) (NN dog)) (VP (VBZ barks)))",
    "(NP (NN dog))",
    "(S (NP (PRP it)) (VP (VBZ is) (ADJP (JJ öde))))",
    "(NP (NP (DT a) (JJ unbelievable) (NN dog)) (PP (IN in) (NP (NP (DT the) (NN street)) (PP (IN of) (NP (NNP X))))))",
    "(S (S (NP (DT the) (NN dog)) (VP (VBZ barks))) (CC and) (S (NP (PRP it)) (VP (VBZ barks))))",
    "(INTJ oh)",
    "(NP (NN Ångström) (NN à) (NN Рим))",
)
LENGTH = 128


@functools.cache
def vocabulary(tmp, with_words):
    texts = [t for tree in TREES for t in (" ".join(parse_tree(tree).leaves()), target(tree, with_words))]
    found = {word for text in texts for word in text.split(" ") if word in brackets_and_tags(with_words, text)}
    return train_vocabulary(tmp, texts, size=450, symbols=sorted(found))


def brackets_and_tags(with_words, text):
    return [word for word in text.split(" ") if re.fullmatch(symbols(with_words), word) and text.startswith("(")]


def target(tree, with_words):
    return linearised(parse_tree(tree), with_words)


@pytest.fixture(params=[False, True], ids=["tags", "words"])
def made(request, tmp_path_factory):
    """(vocabulary, grammar, whether leaves are words)"""
    words = vocabulary(tmp_path_factory.getbasetemp() / f"grammars{request.param}", request.param)
    return words, Tree.of(words, words.size), request.param


def examples(words, with_words, trees=TREES):
    return [
        {"inputs": words.encode(" ".join(parse_tree(tree).leaves())), "targets": words.encode(target(tree, with_words))}
        for tree in trees
    ]


@pytest.mark.slow
def test_every_tree_is_in_the_grammar(made):
    words, grammar, with_words = made
    assert misfit(grammar, examples(words, with_words)) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        "(S (NP DT NN )NP (VP VBZ )VP",  # left open
        "(S (NP DT NN )VP (VP VBZ )VP )S",  # closed by another label
        "(S (NP DT NN )NP (VP VBZ )VP )NP",  # the first bracket, which is spelt in pieces, too
        "(S (NP DT )NP (VP VBZ )VP )S",  # a leaf missing
        "(S (NP DT NN NN )NP (VP VBZ )VP )S",  # a leaf too many
        "(S (NP DT NN )NP (VP VBZ (NP )NP )VP )S",  # nothing in it
        "(S (NP DT NN )NP (VP VBZ )VP )S )S",  # closed once more
        "(S (NP DT NN VBZ )NP )S (VP )VP",  # after the end
    ],
)
def test_what_is_no_tree_of_three_words_does_not(wrong, tmp_path_factory):
    words = vocabulary(tmp_path_factory.getbasetemp() / "formsFalse", False)
    grammar = Tree.of(words, words.size)
    right = {"inputs": words.encode("the dog barks"), "targets": words.encode("(S (NP DT NN )NP (VP VBZ )VP )S")}
    assert misfit(grammar, [right]) is None
    assert misfit(grammar, [right, right | {"targets": words.encode(wrong)}]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.6, 2.0])
@pytest.mark.parametrize("beam", [None, 4])
@pytest.mark.parametrize("length", [40, LENGTH])
def test_any_model_writes_trees(made, beam, length, alpha):
    """Random logits, which change with time and the last id, stand for the worst of models: the end is unlikely."""
    if beam is None and alpha != 0.6:
        pytest.skip("greedy search has no length penalty")
    words, grammar, with_words = made
    noise = np.random.default_rng(3).normal(size=(LENGTH, words.size)).astype("float32") * 3.0
    after = np.random.default_rng(4).normal(size=(words.size, words.size)).astype("float32")
    inputs = ["dog", "the dog barks", "a dog in the street of X", "the dog barks and it is a dog in the street"]
    wanted = grammar.rows([words.encode(text) for text in inputs])
    assert wanted[:, 0].tolist() == [1, 3, 7, 11]
    tables = ops.convert_to_tensor(noise), ops.convert_to_tensor(after)

    def search(wanted):
        def step(ids, state, time, beams):
            return ops.take(tables[0], time, axis=0)[None] + ops.take(tables[1], ids, axis=0), state

        first = ops.zeros_like(wanted[:, 0]) + 2
        if beam is None:
            return greedy_search(step, {}, first, LENGTH, length, grammar=grammar, wanted=wanted)
        return beam_search(
            step, {}, first, LENGTH, length, beam, alpha, words.size, beam, grammar=grammar, wanted=wanted
        )

    ids, scores = program(Layer(name="no_variables"), search)(wanted)
    ids, scores = ids.reshape(len(inputs), -1, LENGTH), scores.reshape(len(inputs), -1)
    for rows, row_scores, leaves, text in zip(ids, scores, wanted[:, 0], inputs):
        assert row_scores[0] > -1e5  # the others may be hypotheses that never were
        for row in rows[row_scores > -1e5]:
            said = words.decode(row.tolist())
            assert EOS_ID in row[:length], said
            written = parse(said).leaves
            assert len(written) == leaves, said
            for leaf, word in zip(written, Tree.words(text)):
                assert len(leaf) <= TAG_BYTES + 2 * len(word.encode()), (leaf, word)


def test_inputs_of_other_lengths_use_the_same_program(made):
    """Each shape of what the grammar knows of the inputs needs a compiled program of decoding."""
    words, grammar, _ = made
    dog = words.encode("dog")
    assert len({grammar.rows([dog * times, dog]).shape for times in range(1, 1 + 64 // len(dog))}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("tree", ["(NP (NN {}))", "{}"], ids=["leaf", "without brackets"])
def test_a_leaf_is_no_longer_than_its_word_allows(tree, tmp_path_factory):
    words = vocabulary(tmp_path_factory.getbasetemp() / "longTrue", True)
    grammar = Tree.of(words, words.size)
    leaf = tree.format("x" * 200).replace("))", " )NN )NP")
    fits = [leaf.replace("x" * 200, "x" * length) for length in (1, 20, TAG_BYTES + 6)]
    given = words.encode("dog")
    assert misfit(grammar, [{"inputs": given, "targets": words.encode(one)} for one in fits]) is None
    assert misfit(grammar, [{"inputs": given, "targets": words.encode(leaf)}]) == 0
    assert misfit(grammar, [{"inputs": words.encode("x" * 200), "targets": words.encode(leaf)}]) is None


def test_a_vocabulary_without_the_brackets_has_no_such_grammar(tmp_path):
    words = train_vocabulary(tmp_path, ["the dog barks ( or not )"] * 3, size=450)
    assert Tree.of(words, words.size) is None
    part = train_vocabulary(tmp_path / "part", [target(TREES[0], False)] * 3, size=450, symbols=["(NP", ")NP"])
    assert misfit(Tree.of(part, part.size), examples(part, False, TREES[:1])) == 0


def test_a_problem_says_how_it_is_decoded():
    assert decode_settings({}, {"beam_size": 4})["beam_size"] == 4
    assert decode_settings({"beam_size": 2}, {"beam_size": 4}) == decode_settings({"beam_size": 2})
    with pytest.raises(UserError, match="problem p: .*beam_width.*beam_size"):
        decode_settings(None, {"beam_width": 4}, where="p")


def test_shipped_trees_declare_it():
    for name in registry.problems.names():
        problem = registry.problem(name)
        if "bracket_f1" in problem.metric_names:
            assert problem.target_grammar in registry.grammars and problem.decode_hparams == {"beam_size": 4}, name
            if isinstance(problem.inputs, Text):
                other_way = reversed_problem(problem)
                assert not other_way.target_grammar and not other_way.decode_hparams
    assert "tree" in registry.grammars
    assert PunctuatedTree.leaves("it spins, then: stops...") == 9 and PunctuatedTree.leaves("1,5 km/h. Well") == 4
    with pytest.raises(UserError, match="grammar 'tree' is registered twice: in .*grammars.py"):
        registry.register_grammar(type("Other", (), {"name": "tree"}))


@pytest.mark.slow
def test_a_change_of_it_makes_no_data_anew(tmp_path):
    """A manifest takes over what a problem now says, and what it does not say any more; the run with it."""
    data, problem = small_trees(tmp_path), small_problem()
    run = Run.of("multimodel", 1, BACKEND, {"tiny_parse": ExampleStore(data, "tiny_parse")}, HPARAMS)
    assert run.problem("tiny_parse").decoding == {"beam_size": 4, "grammar": "punctuated_tree"}
    directory = RunDirectory(tmp_path / "run")
    directory.write(run, Resolved(HPARAMS), {"tiny_parse": ExampleStore(data, "tiny_parse")}, data, step=0)
    assert directory.run().problem("tiny_parse").decoding == {"beam_size": 4, "grammar": "punctuated_tree"}

    before = fingerprint(problem, None, {})["code"]
    assert fingerprint_without(problem, "target_grammar", "decode_hparams") == before
    values = json.loads((data / "tiny_parse" / "manifest.json").read_text())
    del values["target_grammar"], values["decode_hparams"]  # as stores were before there were such
    (data / "tiny_parse" / "manifest.json").write_bytes(sealed(values))
    old = Run.of("multimodel", 1, BACKEND, {"tiny_parse": ExampleStore(data, "tiny_parse")}, HPARAMS)
    assert old.problem("tiny_parse").decoding == {}
    lines = []
    generate([problem], data, workers=1, log=lines.append, progress=False)
    assert any("target_grammar" in line and "decode_hparams" in line for line in lines), lines
    assert ExampleStore(data, "tiny_parse").spec.grammar == "punctuated_tree"


@pytest.mark.slow
def test_a_model_that_knows_nothing_writes_trees(tmp_path):
    """Through the commands: the problem's grammar and beam are used, and `constrained=0` disables the grammar."""
    data = small_trees(tmp_path)
    make_trainer(data, tmp_path / "run", replace(HPARAMS, train_steps=1), problems=("tiny_parse",)).run()
    model = load(tmp_path / "run")
    sentences = ["the cross sees a moon", "because the square spins, the small triangle sleeps often", "it"]
    for beam in (1, 4):
        trees = model.decode("tiny_parse", sentences, beam_size=beam)
        assert [len(parse(tree).leaves) for tree in trees] == [5, 10, 1], trees
    assert model.decode("tiny_parse", sentences) == model.decode("tiny_parse", sentences, beam_size=4)
    free = model.decode("tiny_parse", sentences, constrained=0)
    with pytest.raises(ValueError):
        for text in free:
            parse(text)
    with pytest.raises(UserError, match="constrained=2 must be 0 or 1"):
        model.decode("tiny_parse", sentences, constrained=2)
    scores = evaluate_run(tmp_path / "run", ["tiny_parse"], data)["tiny_parse"]
    assert (scores["bracket_f1_unparsed"], scores["bracket_f1_wrong_length"]) == (0, 0)
    assert scores["decoding"] == "beam of 4, alpha 0.6, constrained by grammar punctuated_tree"
    scores = evaluate_run(tmp_path / "run", ["tiny_parse"], data, decode_hparams={"constrained": 0, "beam_size": 1})
    assert scores["tiny_parse"]["bracket_f1_unparsed"] > 0 and scores["tiny_parse"]["decoding"] == "greedy"


def test_a_form_that_the_data_lack_is_left_out_with_a_line(tmp_path, capsys):
    data = small_trees(tmp_path)
    edit_manifest(data / "tiny_parse", target_grammar="tree")  # but commas are leaves
    run = Run.of("multimodel", 1, BACKEND, {"tiny_parse": ExampleStore(data, "tiny_parse")}, HPARAMS)
    assert run.problem("tiny_parse").spec.grammar == ""
    assert "tiny_parse: its answers are decoded freely: the grammar 'tree'" in capsys.readouterr().err
    edit_manifest(data / "tiny_parse", target_grammar="puncuated_tree")
    with pytest.raises(UserError, match="tiny_parse: target_grammar.*puncuated_tree.*punctuated_tree"):
        Run.of("multimodel", 1, BACKEND, {"tiny_parse": ExampleStore(data, "tiny_parse")}, HPARAMS)


def small_problem():
    problem = registry.problem("tiny_parse")
    problem.train_examples, problem.dev_examples, problem.test_examples = 60, 6, 6
    return problem


def small_trees(folder):
    """A data folder with a few examples of tiny_parse."""
    generate([small_problem()], folder / "data", workers=1, log=lambda line: None, progress=False)
    return folder / "data"


def fingerprint_without(problem, *names):
    """The code's digests of a problem whose class does not have these lines."""
    path = Path(tiny8.__file__)
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = "\n".join(line for line in lines if not line.strip().startswith(names))
    assert kept.count("\n") + 1 == len(lines) - len(names)
    read = Path.read_text

    def changed(self, **how):
        return kept if self == path else read(self, **how)

    with unittest.mock.patch.object(Path, "read_text", changed):
        return fingerprint(problem, None, {})["code"]


@given(st.text(alphabet="a ,.!\u00a0\n", max_size=20))
def test_the_leaves_of_punctuated_text_are_words_and_the_marks_behind_them(text):
    words = PunctuatedTree.words(text)
    assert "".join(words) == "".join(text.replace("\n", " ").split(" "))
    for word in words:
        assert len(word) == 1 or word[-1] not in ",;:.!?"
    assert [*PunctuatedTree.words("it spins, then. .5 !?"), 4] == ["it", "spins", ",", "then", ".", ".5", "!", "?", 4]


def test_a_long_run_of_marks_takes_no_time_of_its_square():
    assert len(PunctuatedTree.words("." * 300_000 + "a" + "," * 300_000)) == 300_001
