"""Draws random sentences that are unambiguous in all three languages.

Each rule against a second reading is where the choice is made. Some sentences are ambiguous only without knowledge of
the words or the agreement: "with a hole" belongs to the thing, "with a hook" to the act; "the ring above the star and
the moon" is followed by a singular or a plural verb.
"""

import functools
import random

from t2t_multimodel.problems.tiny8 import lexicon
from t2t_multimodel.problems.tiny8.scenes import Clause, Group, Place, Sentence, Thing, features, split_of, things

MOST_THINGS = 3  # in a scene
RARE_WEIGHT = 0.3  # of a word that is not in the training trees; other words have 1
SHAPE_WEIGHT = 3.0  # of a shape; other things have 1

# Constructions with parts that are in the training trees, but never together in one sentence.
RARE_CONSTRUCTIONS = (
    {"relative", "subordinate"},
    {"relative_particle"},
    {"fronted", "group"},
)


def has_rare(sentence, words):
    """Whether a sentence, with its English `words`, contains what no training tree does."""
    if not lexicon.rare_words().isdisjoint(words):
        return True
    found = features(sentence)
    return any(construction <= found for construction in RARE_CONSTRUCTIONS)


def sentences(seed, split=None, simple=False):
    """Yields sentences without end, those of one split; `simple` ones are short.

    Args:
      seed: a string; equal seeds yield equal sentences on every machine.
      split: "train", "dev" or "test"; None: all.
      simple: whether to keep to short plain sentences, as for speech.
    """
    draw = _Draw(random.Random(f"tiny8 {seed}"))
    while True:
        sentence = draw.simple_sentence() if simple else draw.sentence()
        if sum(1 for _ in things(sentence)) <= MOST_THINGS and (split is None or split_of(sentence) == split):
            yield sentence


class _Draw:
    """One random source and the choices made with it."""

    def __init__(self, rng):
        self.rng = rng

    def chance(self, probability):
        return self.rng.random() < probability

    def pick(self, *weighted):
        """One of the (value, weight) pairs' values."""
        values, weights = zip(*weighted)
        return self.rng.choices(values, weights)[0]

    def word(self, table):
        values, weights = table
        return self.rng.choices(values, cum_weights=weights)[0]

    # ---- things

    def thing(self, detail=1.0, determiners=None, plural=None):
        """A thing without place and clause; `detail` scales how many adjectives and parts it has."""
        plural = self.chance(0.3) if plural is None else plural
        if determiners is None and plural:
            determiners = (("the", 7), ("two", 4), ("three", 3), ("these", 2), ("some", 2), ("many", 2))
        elif determiners is None:
            determiners = (("a", 8), ("the", 8), ("this", 2), ("every", 1.5))
        adjectives, material = self.adjectives(detail)
        parts = ()
        if self.chance(0.13 * detail):
            parts = tuple(self.part() for _ in range(2 if self.chance(0.35) else 1))
            if len({part.noun for part in parts}) < len(parts):
                parts = parts[:1]
        return Thing(self.word(_thing_nouns()), self.pick(*determiners), plural, adjectives, material, parts)

    def adjectives(self, detail):
        chosen = []
        for role, probability in (("size", 0.3), ("quality", 0.17), ("colour", 0.42)):
            if self.chance(probability * detail):
                chosen.append(self.word(_adjectives(role)))
        material = ""
        if len(chosen) == 3:
            chosen.remove(self.rng.choice(chosen))
        if len(chosen) < 2 and self.chance(0.14 * detail):
            if self.chance(0.5):
                chosen.append(self.word(_adjectives("material")))
            else:
                material = self.word(_materials())
        return tuple(chosen), material

    def part(self):
        adjectives = (self.word(_adjectives("colour")),) if self.chance(0.35) else ()
        if self.chance(0.2):
            return Thing(self.word(_nouns("part")), self.pick(("two", 2), ("three", 1)), True, adjectives)
        return Thing(self.word(_nouns("part")), self.pick(("a", 4), ("the", 1)), False, adjectives)

    def tool(self):
        adjectives = (self.word(_adjectives("size")),) if self.chance(0.2) else ()
        return Thing(self.word(_nouns("tool")), self.pick(("a", 5), ("the", 2), ("this", 1)), False, adjectives)

    def ground(self, detail=0.6):
        return self.thing(detail)

    def place(self, relations=lexicon.PLACES, between=True, ground=None):
        relation = self.rng.choice(relations).name
        if relation.endswith("between"):
            if not between:
                return self.place(relations, between, ground)
            if self.chance(0.3):  # "between two stars"
                return Place(relation, self.thing(0.6, (("two", 1), ("these", 1)), True))
            return Place(relation, Group((self.thing(0.4), self.thing(0.4))))
        return Place(relation, ground or self.ground())

    # ---- clauses

    def predicate(self, modifiers=True, groups=True, kinds=None):
        """A clause without its subject. `modifiers`: its things may have places and clauses of their own."""
        kind = self.pick(
            *(
                kinds
                or (
                    ("posture", 24),
                    ("motion", 14),
                    ("action", 12),
                    ("contact", 18),
                    ("transfer", 14),
                    ("particle", 10),
                    ("be", 9),
                )
            )
        )
        if kind == "be":
            return self.copula()
        verb = self.word(_verbs(kind))
        if kind == "action":
            return Clause(verb, adverb=self.adverb(verb, 0.35))
        if kind in ("posture", "motion"):
            place = self.place(lexicon.PLACES if kind == "posture" else lexicon.GOALS)
            if modifiers and isinstance(place.ground, Thing) and self.chance(0.12):
                place = place._replace(ground=place.ground._replace(clause=self.relative(place.ground)))
            return Clause(verb, place=place, adverb=self.adverb(verb, 0.15) if kind == "motion" else "")
        return self.act(kind, verb, modifiers, groups)

    def act(self, kind, verb, modifiers, groups):
        target, place, tool = self.thing(0.8), None, None
        if groups and self.chance(0.1):
            target = Group((target, self.thing(0.5)))
        elif kind == "transfer" and self.chance(0.75):
            place = self.place(_attachable(self, lexicon.GOALS), between=False)
        elif kind != "transfer" and modifiers and self.chance(0.3):
            target = target._replace(place=self.place(_attachable(self, lexicon.PLACES), between=False))
        elif kind != "transfer" and modifiers and self.chance(0.2):
            # No tool after the relative clause: it would be understood as part of it.
            return Clause(verb, object=target._replace(clause=self.relative(target)))
        if lexicon.verbs()[verb].with_tool and self.chance(0.35):
            tool = self.tool()
        return Clause(verb, object=target, place=place, tool=tool)

    def copula(self):
        choice = self.pick(("place", 4), ("adjective", 4), ("comparative", 2))
        if choice == "place":
            return Clause("is", place=self.place())
        if choice == "comparative":
            return Clause("is", complement=self.rng.choice(list(lexicon.COMPARATIVES)), than=self.ground())
        adjective = self.word(_adjectives(self.pick(("size", 1), ("quality", 3), ("colour", 2))))
        graded = lexicon.adjectives()[adjective].role != "colour" and adjective != "huge"
        return Clause("is", complement=adjective, degree=self.pick(("", 3), ("very", 2), ("too", 1)) if graded else "")

    def adverb(self, verb, probability):
        return self.word(_adverbs(verb in lexicon.CALM_VERBS)) if self.chance(probability) else ""

    def relative(self, head, objects=True):
        """A relative clause of `head`, without clauses or groups of its own."""
        if objects and self.chance(0.3):
            inner = self.thing(0.4)
            # German tells object from subject in "…, die das Quadrat berührt" by a masculine singular only.
            if any(_masculine_singular(thing) for thing in (head, inner)):
                return Clause(self.word(_verbs("contact")), subject=inner)
        kinds = (("posture", 3), ("motion", 2), ("action", 4), ("contact", 3), ("transfer", 1), ("particle", 1.5))
        return self.predicate(modifiers=False, groups=False, kinds=kinds)

    def subject(self, modifiers=True, groups=True):
        thing = self.thing()
        if not modifiers:
            return Group((thing, self.thing(0.6))) if groups and self.chance(0.15) else thing
        if groups and self.chance(0.14):
            # A place inside the group: only agreement says where it ends, so the first thing must be singular.
            if not thing.plural and self.chance(0.35):
                thing = thing._replace(place=self.place(between=False))
            return Group((thing, self.thing(0.6)))
        if self.chance(0.18):
            thing = thing._replace(place=self.place())
            ground = thing.place.ground
            if isinstance(ground, Group):
                return thing
            if not thing.plural and self.chance(0.3) and thing.place.relation != "between":
                return thing._replace(place=thing.place._replace(ground=Group((ground, self.thing(0.4)))))
            # The clause belongs to the nearer thing, unless the verb's number says otherwise.
            if self.chance(0.25) and thing.plural != ground.plural:
                return thing._replace(clause=self.relative(thing, objects=False))
            if self.chance(0.2):
                ground = ground._replace(clause=self.relative(ground, objects=False))
                return thing._replace(place=thing.place._replace(ground=ground))
            return thing
        if self.chance(0.18):
            return thing._replace(clause=self.relative(thing))
        return thing

    # ---- sentences

    def sentence(self):
        form = self.pick(
            ("plain", 54),
            ("there_is", 8),
            ("fronted", 9),
            ("verbs_joined", 8),
            ("clauses_joined", 7),
            ("subordinate_last", 8),
            ("subordinate_first", 8),
        )
        return getattr(self, f"_{form}")()

    def simple_sentence(self):
        """A short sentence with at most one adjective a thing."""
        kinds = (("action", 5), ("contact", 3), ("motion", 2), ("posture", 2), ("be", 2))
        kind = self.pick(*kinds)
        subject = self._short_thing()
        verb = "is" if kind == "be" else self.word(_verbs(kind))
        if kind == "be":
            return Sentence("plain", (Clause("is", subject, complement=self.word(_adjectives("colour"))),))
        if kind == "contact":
            return Sentence("plain", (Clause(verb, subject, object=self._short_thing()),))
        if kind == "action":
            return Sentence("plain", (Clause(verb, subject, adverb=self.adverb(verb, 0.3)),))
        place = self.place(lexicon.PLACES if kind == "posture" else lexicon.GOALS, False, self._short_thing())
        return Sentence("plain", (Clause(verb, subject, place=place),))

    def _short_thing(self):
        role = self.pick(("size", 1), ("colour", 1), ("", 1))
        plural = self.chance(0.2)
        determiners = (("two", 1), ("the", 1)) if plural else (("a", 1), ("the", 1))
        adjectives = (self.word(_adjectives(role)),) if role else ()
        return Thing(self.word(_thing_nouns()), self.pick(*determiners), plural, adjectives)

    def _plain(self):
        return Sentence("plain", (self.predicate()._replace(subject=self.subject()),))

    def _there_is(self):
        plural = self.chance(0.35)
        determiners = (("two", 4), ("three", 3), ("some", 2), ("many", 2)) if plural else (("a", 1),)
        thing = self.thing(1.0, determiners, plural)
        if self.chance(0.65):
            thing = thing._replace(place=self.place())
        else:
            thing = thing._replace(clause=self.relative(thing))
        return Sentence("there_is", (Clause("is", thing),))

    def _fronted(self):
        plural = self.chance(0.3)
        determiners = (("two", 1), ("three", 1), ("some", 1), ("many", 1)) if plural else (("a", 3), ("the", 1))
        subject = self.thing(1.0, determiners, plural)
        if self.chance(0.15):
            subject = Group((subject, self.thing(0.6, (("a", 1),), False)))
        elif self.chance(0.15):
            subject = subject._replace(clause=self.relative(subject))
        return Sentence("fronted", (Clause(self.word(_verbs("posture")), subject, place=self.place()),))

    def _verbs_joined(self):
        # Without relative clauses and groups, which the "and" could belong to.
        first, second = (self.predicate(modifiers=False, groups=False) for _ in range(2))
        return Sentence("verbs_joined", (first._replace(subject=self.subject(False, False)), second))

    def _short_clause(self):
        kinds = (("posture", 3), ("motion", 2), ("action", 6), ("contact", 3), ("particle", 2), ("be", 2))
        return self.predicate(False, False, kinds)._replace(subject=self.thing(0.6))

    def _clauses_joined(self):
        return Sentence("clauses_joined", (self._short_clause(), self._short_clause()))

    def _subordinate_last(self, form="subordinate_last"):
        main, subordinate = self._short_clause(), self._short_clause()
        if self.chance(0.2):
            subject = main.subject
            main = main._replace(subject=subject._replace(clause=self.relative(subject)))
        conjunction = self.pick(("because", 3), ("while", 3), ("when", 2), ("if", 0.7))
        return Sentence(form, (main, subordinate), conjunction)

    def _subordinate_first(self):
        return self._subordinate_last("subordinate_first")


def _attachable(draw, relations):
    """Mostly places with English words for both position and direction, so that the verb decides."""
    shared = ("behind", "front", "beside", "to_behind", "to_front", "to_beside")
    return [r for r in relations if r.name in shared] if draw.chance(0.6) else relations


def _masculine_singular(thing):
    return not thing.plural and lexicon.nouns()[thing.noun].german_gender == "m"


def _table(words, weight):
    """(values, cumulative weights) for `random.choices`."""
    total, sums = 0.0, []
    for word in words:
        total += weight(word)
        sums.append(total)
    return words, sums


def _plain_weight(word):
    return RARE_WEIGHT if word.rare else 1.0


def _keys(pair, key):
    return [key(word) for word in pair[0]], pair[1]


@functools.cache
def _thing_nouns():
    words = [noun for noun in lexicon.NOUNS if noun.role in ("shape", "object")]
    weight = lambda noun: SHAPE_WEIGHT if noun.role == "shape" else _plain_weight(noun)
    return _keys(_table(words, weight), lambda noun: noun.english)


@functools.cache
def _nouns(role):
    words = [noun for noun in lexicon.NOUNS if noun.role == role]
    return _keys(_table(words, _plain_weight), lambda noun: noun.english)


@functools.cache
def _adjectives(role):
    words = [adjective for adjective in lexicon.ADJECTIVES if adjective.role == role]
    return _keys(_table(words, _plain_weight), lambda adjective: adjective.english)


@functools.cache
def _materials():
    return _keys(_table(lexicon.MATERIALS, _plain_weight), lambda material: material.english)


@functools.cache
def _verbs(kind):
    words = [name for name, verb in lexicon.verbs().items() if verb.kind == kind]
    return _table(words, lambda name: _plain_weight(lexicon.verbs()[name]))


@functools.cache
def _adverbs(calm):
    words = list(lexicon.CALM_ADVERBS if calm else lexicon.ADVERBS)
    return _table(words, lambda word: RARE_WEIGHT if word in lexicon.RARE_FUNCTION_WORDS else 1.0)
