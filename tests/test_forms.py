"""Forms of decoded text: whatever the model says, a tree is well-formed and has a leaf for each word of the input."""

import functools

import numpy as np
import pytest
from keras import ops
from models import program

from t2t_multimodel import registry
from t2t_multimodel.data_gen.readers.trees import linearised, parse_tree, symbols
from t2t_multimodel.data_gen.vocabulary_training import train_vocabulary
from t2t_multimodel.decoding.forms import Tree, follow
from t2t_multimodel.decoding.search import beam_search, greedy_search
from t2t_multimodel.decoding.settings import decode_settings
from t2t_multimodel.errors import UserError
from t2t_multimodel.features import EOS_ID, Text
from t2t_multimodel.model.layer import Layer
from t2t_multimodel.training.bracket_scores import parse

TREES = (
    "(S (NP (DT the) (NN dog)) (VP (VBZ barks)))", "(NP (NN dog))", "(S (NP (PRP it)) (VP (VBZ is) (ADJP (JJ öde))))",
    "(NP (NP (DT a) (JJ unbelievable) (NN dog)) (PP (IN in) (NP (NP (DT the) (NN street)) (PP (IN of) (NP (NNP X))))))",
    "(S (S (NP (DT the) (NN dog)) (VP (VBZ barks))) (CC and) (S (NP (PRP it)) (VP (VBZ barks))))", "(INTJ oh)",
)  # fmt: skip
LENGTH = 128


@functools.cache
def vocabulary(tmp, with_words):
    texts = [t for tree in TREES for t in (" ".join(parse_tree(tree).leaves()), target(tree, with_words))]
    found = {word for text in texts for word in text.split(" ") if word in pattern(with_words, text)}
    return train_vocabulary(tmp, texts, size=450, symbols=sorted(found))


def pattern(with_words, text):
    import re

    return [word for word in text.split(" ") if re.fullmatch(symbols(with_words), word) and text.startswith("(")]


def target(tree, with_words):
    return linearised(parse_tree(tree), with_words)


@pytest.fixture(params=[False, True], ids=["tags", "words"])
def made(request, tmp_path_factory):
    """(vocabulary, form, whether leaves are words)"""
    words = vocabulary(tmp_path_factory.getbasetemp() / f"forms{request.param}", request.param)
    return words, Tree.of(words, words.size), request.param


def examples(words, with_words, trees=TREES):
    return [
        {"inputs": words.encode(" ".join(parse_tree(tree).leaves())), "targets": words.encode(target(tree, with_words))}
        for tree in trees
    ]


def test_every_tree_keeps_to_the_form(made):
    words, form, with_words = made
    trees = [tree for tree in TREES if with_words or tree != "(INTJ oh)"]
    assert follow(form, examples(words, with_words, trees))


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
    form = Tree.of(words, words.size)
    right = {"inputs": words.encode("the dog barks"), "targets": words.encode("(S (NP DT NN )NP (VP VBZ )VP )S")}
    assert follow(form, [right])
    assert not follow(form, [right, right | {"targets": words.encode(wrong)}])


@pytest.mark.parametrize("beam", [None, 4])
def test_any_model_writes_trees(made, beam):
    """Random logits, which change with time and the last id, stand for the worst of models."""
    words, form, with_words = made
    noise = np.random.default_rng(3).normal(size=(LENGTH, words.size)).astype("float32") * 3.0
    after = np.random.default_rng(4).normal(size=(words.size, words.size)).astype("float32")
    # Less of what may go on for ever, nesting and long leaves: no form can lengthen the buffer.
    unlikely = [i for i, p in enumerate(words.pieces(range(words.size))) if p[0] != "\u2581" or p.startswith("\u2581(")]
    noise[:, unlikely] -= 8.0
    noise[:, EOS_ID] += 8.0
    inputs = ["dog", "the dog barks", "a dog in the street of X", "the dog barks and it is a dog in the street"]
    asked = form.rows([words.encode(text) for text in inputs])
    assert asked.tolist() == [1, 3, 7, 11]
    tables = ops.convert_to_tensor(noise), ops.convert_to_tensor(after)

    def search(asked):
        def step(ids, state, time, beams):
            return ops.take(tables[0], time, axis=0)[None] + ops.take(tables[1], ids, axis=0), state

        first = ops.zeros_like(asked) + 2
        if beam is None:
            return greedy_search(step, {}, first, LENGTH, LENGTH, form=form, asked=asked)
        return beam_search(step, {}, first, LENGTH, LENGTH, beam, 0.6, words.size, form=form, asked=asked)

    ids, scores = program(Layer(name="no_variables"), search)(asked)
    ids, scores = ids.reshape(len(inputs), -1, LENGTH), scores.reshape(len(inputs), -1)
    for rows, row_scores, wanted in zip(ids, scores, asked):
        for row, score in zip(rows, row_scores):
            if score < -1e5:  # a hypothesis that never was
                continue
            assert EOS_ID in row
            text = words.decode(row.tolist())
            assert len(parse(text).leaves) == wanted, text
        assert row_scores[0] > -1e5


def test_a_vocabulary_without_the_brackets_has_no_such_form(tmp_path):
    words = train_vocabulary(tmp_path, ["the dog barks ( or not )"] * 3, size=450)
    assert Tree.of(words, words.size) is None
    part = train_vocabulary(tmp_path / "part", [target(TREES[0], False)] * 3, size=450, symbols=["(NP", ")NP"])
    assert not follow(Tree.of(part, part.size), examples(part, False, TREES[:1]))


def test_a_problem_says_how_it_is_decoded():
    assert decode_settings({}, {"beam_size": 4})["beam_size"] == 4
    assert decode_settings({"beam_size": 2}, {"beam_size": 4}) == decode_settings({"beam_size": 2})
    with pytest.raises(UserError, match="problem p: .*beam_width.*beam_size"):
        decode_settings(None, {"beam_width": 4}, where="p")


def test_shipped_trees_declare_it():
    for name in registry.problems.names():
        problem = registry.problem(name)
        if "bracket_f1" in problem.metric_names:
            assert problem.targets.form == "tree" or not problem.targets.symbols, name
    with pytest.raises(ValueError, match="form"):
        Text(form="poem")


