"""tiny8 promises real grammar, one reading a sentence, splits that share no scene, and the same data every time."""

import functools
import itertools
import re

import numpy as np
import pytest
from nltk.tree import Tree

from t2t_multimodel import registry
from t2t_multimodel.problems.tiny8 import english, french, german, lexicon, rendering, sampling
from t2t_multimodel.problems.tiny8.scenes import Clause, Group, Place, Sentence, Thing, facts, split_of

TRANSLATIONS = ("tiny_ende", "tiny_deen", "tiny_enfr", "tiny_fren")
PROBLEMS = (*TRANSLATIONS, "tiny_parse", "tiny_image", "tiny_caption", "tiny_speech")


@functools.cache
def raw_samples(name, split):
    return list(registry.problem(name).samples(split))


def plain(*clauses, form="plain", conjunction=""):
    return Sentence(form, clauses, conjunction)


def the(noun, *adjectives, **more):
    return Thing(noun, "the", adjectives=adjectives, **more)


def a(noun, *adjectives, **more):
    return Thing(noun, "a", adjectives=adjectives, **more)


# (meaning, English, German, French, tree); each line holds a piece of grammar that a word-by-word rendering gets wrong.
GRAMMAR = {
    "dative of place, masculine": (
        plain(Clause("stands", the("circle", "small", "red"), place=Place("above", the("star", "blue")))),
        "the small red circle stands above the blue star",
        "der kleine rote Kreis steht über dem blauen Stern",
        "le petit cercle rouge se dresse au-dessus de l'étoile bleue",
        "(S (NP DT JJ JJ NN) (VP VBZ (PP IN (NP DT JJ NN))))",
    ),
    "accusative of goal, and the contraction ins": (
        plain(Clause("rolls", a("ring", "old"), place=Place("into", the("square")))),
        "an old ring rolls into the square",
        "ein alter Ring rollt ins Quadrat",
        "un vieil anneau roule dans le carré",
        "(S (NP DT JJ NN) (VP VBZ (PP IN (NP DT NN))))",
    ),
    "the same words, moved by the one verb and not by the other: moved": (
        plain(Clause("pushes", the("moon"), object=a("diamond", "green"), place=Place("to_behind", the("ring")))),
        "the moon pushes a green diamond behind the ring",
        "der Mond schiebt eine grüne Raute hinter den Ring",
        "la lune pousse un losange vert derrière l'anneau",
        "(S (NP DT NN) (VP VBZ (NP DT JJ NN) (PP IN (NP DT NN))))",
    ),
    "the same words, moved by the one verb and not by the other: touched": (
        plain(Clause("touches", the("moon"), object=a("diamond", "green", place=Place("behind", the("ring"))))),
        "the moon touches a green diamond behind the ring",
        "der Mond berührt eine grüne Raute hinter dem Ring",
        "la lune touche un losange vert derrière l'anneau",
        "(S (NP DT NN) (VP VBZ (NP (NP DT JJ NN) (PP IN (NP DT NN)))))",
    ),
    "with a tool": (
        plain(Clause("pulls", the("cross"), object=the("star"), tool=a("hook"))),
        "the cross pulls the star with a hook",
        "das Kreuz zieht mit einem Haken den Stern",
        "la croix tire l'étoile avec un crochet",
        "(S (NP DT NN) (VP VBZ (NP DT NN) (PP IN (NP DT NN))))",
    ),
    "with a part, and à la": (
        plain(Clause("pulls", the("cross"), object=the("star", parts=(the("stripe", "white"),)))),
        "the cross pulls the star with the white stripe",
        "das Kreuz zieht den Stern mit dem weißen Streifen",
        "la croix tire l'étoile à la rayure blanche",
        "(S (NP DT NN) (VP VBZ (NP (NP DT NN) (PP IN (NP DT JJ NN)))))",
    ),
    "coordination inside the phrase": (
        plain(Clause("shines", the("circle", parts=(a("stripe"), a("dot"))))),
        "the circle with a stripe and a dot shines",
        "der Kreis mit einem Streifen und einem Punkt leuchtet",
        "le cercle à rayure et à point brille",
        "(S (NP (NP DT NN) (PP IN (NP (NP DT NN) CC (NP DT NN)))) (VP VBZ))",
    ),
    "coordination around the phrase": (
        plain(Clause("shines", Group((the("circle", parts=(a("stripe"),)), a("star"))))),
        "the circle with a stripe and a star shine",
        "der Kreis mit einem Streifen und ein Stern leuchten",
        "le cercle à rayure et une étoile brillent",
        "(S (NP (NP (NP DT NN) (PP IN (NP DT NN))) CC (NP DT NN)) (VP VBP))",
    ),
    "relative clause, verb last, reflexive, commas": (
        plain(
            Clause("floats", the("clock", clause=Clause("spins", adverb="slowly")), place=Place("left", a("square")))
        ),
        "the clock that spins slowly floats left of a square",
        "die Uhr, die sich langsam dreht, schwebt links neben einem Quadrat",
        "l'horloge qui tourne lentement flotte à gauche d'un carré",
        "(S (NP (NP DT NN) (SBAR WDT (S (VP VBZ (ADVP RB))))) (VP VBZ (ADVP RB (PP IN (NP DT NN)))))",
    ),
    "object relative clause, accusative pronoun, qu'": (
        plain(Clause("sleeps", the("bird", clause=Clause("watches", a("lamp", "new"))))),
        "the bird that a new lamp watches sleeps",
        "der Vogel, den eine neue Lampe beobachtet, schläft",
        "l'oiseau qu'une nouvelle lampe observe dort",
        "(S (NP (NP DT NN) (SBAR WDT (S (NP DT JJ NN) (VP VBZ)))) (VP VBZ))",
    ),
    "agreement tells the clause's noun": (
        plain(
            Clause(
                "sleeps",
                Thing("star", "the", True, place=Place("above", the("circle")), clause=Clause("shines")),
            )
        ),
        "the stars above the circle that shine sleep",
        "die Sterne über dem Kreis, die leuchten, schlafen",
        "les étoiles au-dessus du cercle qui brillent dorment",
        "(S (NP (NP (NP DT NNS) (PP IN (NP DT NN))) (SBAR WDT (S (VP VBP)))) (VP VBP))",
    ),
    "separable verb, dative plural": (
        plain(
            Clause(
                "picks up",
                Thing("key", "some", True),
                object=a("box", place=Place("beside", Thing("wheel", "two", True))),
            )
        ),
        "some keys pick up a box beside two wheels",
        "einige Schlüssel heben eine Kiste neben zwei Rädern auf",
        "quelques clés ramassent une boîte à côté de deux roues",
        "(S (NP DT NNS) (VP VBP (PRT RP) (NP (NP DT NN) (PP IN (NP CD NNS)))))",
    ),
    "separable verb in a clause that comes first, inversion": (
        plain(
            Clause("spins", the("ring")),
            Clause("knocks over", a("triangle"), object=Thing("cross", "many", True, ("red",))),
            form="subordinate_first",
            conjunction="because",
        ),
        "because a triangle knocks over many red crosses, the ring spins",
        "weil ein Dreieck viele rote Kreuze umwirft, dreht sich der Ring",
        "parce qu'un triangle renverse beaucoup de croix rouges, l'anneau tourne",
        "(S (SBAR IN (S (NP DT NN) (VP VBZ (PRT RP) (NP JJ JJ NNS)))) , (NP DT NN) (VP VBZ))",
    ),
    "there is: accusative; im becomes in dem before a relative clause; material": (
        plain(
            Clause(
                "is",
                a("star", "huge", material="paper", place=Place("inside", the("ring", clause=Clause("sleeps")))),
            ),
            form="there_is",
        ),
        "there is a huge paper star inside the ring that sleeps",
        "es gibt einen riesigen Stern aus Papier in dem Ring, der schläft",
        "il y a une énorme étoile en papier dans l'anneau qui dort",
        "(S (NP EX) (VP VBZ (NP (NP DT JJ NN NN) (PP IN (NP (NP DT NN) (SBAR WDT (S (VP VBZ))))))))",
    ),
    "place first, im, participle that agrees": (
        plain(
            Clause("hangs", Thing("star", "three", True, ("golden",)), place=Place("inside", the("ring"))),
            form="fronted",
        ),
        "inside the ring hang three golden stars",
        "im Ring hängen drei goldene Sterne",
        "dans l'anneau sont suspendues trois étoiles en or",
        "(SINV (PP IN (NP DT NN)) (VP VBP) (NP CD JJ NNS))",
    ),
    "comparative agrees, nominative after als": (
        plain(Clause("is", Thing("lamp", "this", True), complement="heavy", than=a("circle", "big"))),
        "these lamps are heavier than a big circle",
        "diese Lampen sind schwerer als ein großer Kreis",
        "ces lampes sont plus lourdes qu'un grand cercle",
        "(S (NP DT NNS) (VP VBP (ADJP JJR (PP IN (NP DT JJ NN)))))",
    ),
    "between, mixed group is masculine, two verbs": (
        plain(
            Clause("hangs", Group((a("star"), a("circle"))), place=Place("between", Group((the("moon"), the("ring"))))),
        ),
        "a star and a circle hang between the moon and the ring",
        "ein Stern und ein Kreis hängen zwischen dem Mond und dem Ring",
        "une étoile et un cercle sont suspendus entre la lune et l'anneau",
        "(S (NP (NP DT NN) CC (NP DT NN)) (VP VBP (PP IN (NP (NP DT NN) CC (NP DT NN)))))",
    ),
    "de is contracted and said again": (
        plain(
            Clause("is", the("owl", "grey"), place=Place("above", Group((the("circle"), Thing("clock", "many", True)))))
        ),
        "the grey owl is above the circle and many clocks",
        "die graue Eule ist über dem Kreis und vielen Uhren",
        "le hibou gris est au-dessus du cercle et de beaucoup d'horloges",
        "(S (NP DT JJ NN) (VP VBZ (PP IN (NP (NP DT NN) CC (NP JJ NNS)))))",
    ),
    "both verbs second, to the left of, this before a vowel": (
        plain(
            Clause("jumps", Thing("ring", "this", False, ("expensive",)), place=Place("to_left", the("cross"))),
            Clause("holds", object=Thing("leaf", "these", True, ("pink",))),
            form="verbs_joined",
        ),
        "this expensive ring jumps to the left of the cross and holds these pink leaves",
        "dieser teure Ring springt links neben das Kreuz und hält diese rosa Blätter",
        "cet anneau cher saute à gauche de la croix et tient ces feuilles roses",
        "(S (NP DT JJ NN) (VP (VP VBZ (PP TO (NP (NP DT NN) (PP IN (NP DT NN))))) CC (VP VBZ (NP DT JJ NNS))))",
    ),
}


@pytest.mark.parametrize("name", GRAMMAR)
def test_grammar(name):
    sentence, in_english, in_german, in_french, tree = GRAMMAR[name]
    assert english.text(english.sentence_tree(sentence)) == in_english
    assert german.sentence_text(sentence) == in_german
    assert french.sentence_text(sentence) == in_french
    assert re.sub(r" \)\w+", ")", english.bracketed(english.sentence_tree(sentence))) == tree


def test_a_scene_is_the_same_in_any_wording():
    circle, star = a("circle", "red"), the("star", "big")
    wordings = [
        plain(Clause("stands", circle, place=Place("above", star))),
        plain(Clause("lies", star, place=Place("below", circle))),
        plain(Clause("floats", circle, place=Place("above", star)), form="fronted"),
        plain(Clause("is", circle._replace(place=Place("above", star))), form="there_is"),
    ]
    assert len({str(facts(wording)) for wording in wordings}) == 1
    other = plain(Clause("stands", star, place=Place("above", circle)))
    assert facts(other) != facts(wordings[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", (*TRANSLATIONS, "tiny_parse"))
def test_the_source_decides_the_target(name):
    targets = {}
    for sample in itertools.chain(*(raw_samples(name, split) for split in ("train", "dev", "test"))):
        assert targets.setdefault(sample["inputs"], sample["targets"]) == sample["targets"]


@pytest.mark.slow
def test_splits_share_no_described_scene():
    """Over the streams themselves, whose sentences carry their scenes."""
    scenes = {"train": set(), "dev": set(), "test": set()}
    for split in scenes:
        for seed, count, simple in (
            ("german", 3000, False),
            ("french", 3000, False),
            ("tree", 1000, False),
            ("speech", 1000, True),
        ):
            for sentence in itertools.islice(
                sampling.sentences(f"{seed} {split}", split, simple), count // 10 if split != "train" else count
            ):
                scenes[split].add(str(facts(sentence)))
    assert all(scenes.values())
    assert (
        not scenes["train"] & scenes["dev"]
        and not scenes["train"] & scenes["test"]
        and not scenes["dev"] & scenes["test"]
    )


@pytest.mark.slow
def test_no_test_sentence_is_in_any_training_problem():
    """Over the English sentences of the samples, in all problems that tell of a scene, in all orders."""
    english_side = {"tiny_deen": "targets", "tiny_fren": "targets", "tiny_caption": "targets", "tiny_speech": "targets"}

    def told(split):
        sentences = set()
        for name in PROBLEMS:
            for sample in raw_samples(name, split) if name != "tiny_image" else ():
                sentences.add(sample[english_side.get(name, "inputs")])
                sentences.update(sample.get("references", ()))
        return sentences

    train, dev, test = told("train"), told("dev"), told("test")
    assert len(train) > 20000
    assert not train & test and not train & dev and not dev & test


def test_caption_scenes_are_those_of_their_split():
    """A caption's scene read back from its figures, not from the generator's word for it."""
    for split in ("train", "dev", "test"):
        for sample in raw_samples("tiny_caption", split)[:300]:
            for text in sample["references"]:
                assert split_of(_read_caption(text)) == split


def _read_caption(text):
    words = text.replace("left of", "left").replace("right of", "right").split()
    if words[:2] == ["there", "is"]:
        return plain(Clause("is", a(words[5], *words[3:5])), form="there_is")
    return plain(Clause("is", a(words[3], *words[1:3]), place=Place(words[5], a(words[9], *words[7:9]))))


def test_captions_are_true_of_their_figures():
    for sample in raw_samples("tiny_caption", "test"):
        figures = sample["inputs"][0]
        assert sample["targets"] == sample["references"][0]
        for shape, colour, x, y, radius in figures:
            assert f"{colour} {shape}" in sample["targets"]
            assert radius <= x <= rendering.SIDE - radius and radius <= y <= rendering.SIDE - radius
        if len(figures) == 1:
            assert sample["references"] == [sample["targets"]]
            continue
        (_, _, x1, y1, r1), (_, _, x2, y2, r2) = figures
        if " inside " in sample["targets"]:
            assert np.hypot(x1 - x2, y1 - y2) + r2 < r1 and " around " in sample["references"][1]
        elif " above " in sample["targets"]:
            assert y1 + r1 < y2 - r2 and " below " in sample["references"][1]
        else:
            assert x1 + r1 < x2 - r2 and " left of " in sample["targets"] and " right of " in sample["references"][1]


def test_trees_fit_their_sentences():
    for split in ("train", "dev", "test"):
        for sample in raw_samples("tiny_parse", split):
            plain = re.sub(r"\)\w+", ")", sample["targets"])
            assert len(Tree.fromstring(plain).leaves()) == len(english.words(sample["inputs"]))


def test_a_third_of_the_test_trees_has_what_the_training_trees_lack():
    train = {word for sample in raw_samples("tiny_parse", "train") for word in english.words(sample["inputs"])}
    test = [set(english.words(sample["inputs"])) for sample in raw_samples("tiny_parse", "test")]
    translated = {
        word
        for name in ("tiny_ende", "tiny_enfr")
        for sample in raw_samples(name, "train")
        for word in english.words(sample["inputs"])
    }
    assert not train & lexicon.rare_words()
    assert all(words <= translated for words in test)
    assert 0.2 <= np.mean([not words <= train for words in test]) <= 0.45


def test_no_training_tree_has_a_rare_construction():
    joined = plain(
        Clause("sleeps", the("star", clause=Clause("shines"))),
        Clause("spins", the("ring")),
        form="subordinate_last",
        conjunction="while",
    )
    assert sampling.has_rare(joined, ["star"])
    assert not sampling.has_rare(plain(Clause("sleeps", the("star", clause=Clause("shines")))), ["star"])
    for sample in raw_samples("tiny_parse", "train"):
        if "SBAR IN" in sample["targets"]:
            assert "WDT" not in sample["targets"]
    assert any("SBAR IN" in s["targets"] and "WDT" in s["targets"] for s in raw_samples("tiny_parse", "test"))


@pytest.mark.parametrize("name", PROBLEMS)
def test_sizes_features_and_keys(name):
    problem = registry.problem(name)
    for split in problem.splits:
        samples = raw_samples(name, split)
        assert len(samples) == getattr(problem, f"{split}_examples")
        assert len({sample["key"] for sample in samples}) == len(samples)
        for sample in samples[:40]:
            prepared = problem.prepare(sample)
            problem.inputs.check(prepared["inputs"])
            problem.targets.check(prepared["targets"])


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_same_data_every_time(name):
    first, again = registry.problem(name), registry.problem(name)
    for one, other in zip(first.samples("dev"), itertools.islice(again.samples("dev"), 30)):
        assert one == other
        one, other = first.prepare(one), again.prepare(other)
        assert np.array_equal(one["inputs"], other["inputs"])


def test_sentences_are_of_moderate_length():
    lengths = [len(english.words(sample["inputs"])) for sample in raw_samples("tiny_ende", "train")]
    assert 10 <= np.mean(lengths) <= 12 and max(lengths) <= 24


def test_the_mixture_holds_the_eight():
    assert set(registry.mixtures.get("tiny8").problem_names) == set(PROBLEMS)
    assert registry.problem("tiny_deen").command_name == registry.problem("tiny_fren").command_name == "to_english"
