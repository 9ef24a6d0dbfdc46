"""The meaning of tiny8's sentences: things, their places and actions; and the split of each scene.

A `Sentence` is a meaning with a wording (which clause is subordinate, which place comes first). `facts` removes the
wording, so that all sentences about one scene are in one split.
"""

import hashlib
from typing import NamedTuple

from t2t_multimodel.problems.tiny8 import lexicon

DEV_PERCENT, TEST_PERCENT = 4, 8  # of all scenes


class Thing(NamedTuple):
    """One thing, or several alike; words are English ones of the lexicon."""

    noun: str
    determiner: str = "a"
    plural: bool = False
    adjectives: tuple = ()  # size, quality, colour, material, in this order
    material: str = ""
    parts: tuple = ()  # Things
    place: "Place | None" = None
    clause: "Clause | None" = None  # relative; of the thing as subject, or as object where the clause has a subject


class Group(NamedTuple):
    """Several things joined by "and"."""

    things: tuple

    @property
    def plural(self):
        return True


class Place(NamedTuple):
    """Where: a relation to a thing or to a group of them."""

    relation: str
    ground: "Thing | Group"


class Clause(NamedTuple):
    """Who does what, where to, with what; or is what."""

    verb: str
    subject: "Thing | Group | None" = None  # None in a relative clause about the subject
    object: "Thing | Group | None" = None
    place: Place | None = None  # after a transfer verb: the goal
    tool: Thing | None = None
    adverb: str = ""
    complement: str = ""  # an adjective after "is"
    degree: str = ""  # "very"
    than: Thing | None = None  # makes the complement a comparative


class Sentence(NamedTuple):
    """One or two clauses.

    form: "plain", "there_is" (one clause that says only what there is), "fronted" (the place stands first),
    "verbs_joined" (two clauses with one subject), "clauses_joined", "subordinate_last", "subordinate_first" (the
    second clause is the subordinate one in both).
    """

    form: str
    clauses: tuple
    conjunction: str = ""


def members(phrase):
    """The things of a `Thing`, a `Group` or None."""
    if phrase is None:
        return ()
    return phrase.things if isinstance(phrase, Group) else (phrase,)


def things(sentence):
    """Every thing of the scene, without parts and tools."""
    for clause in sentence.clauses:
        yield from _things_of_clause(clause)


def clauses(sentence):
    """Every clause, relative ones included."""
    yield from sentence.clauses
    for thing in things(sentence):
        if thing.clause:
            yield thing.clause


def features(sentence):
    """The constructions of a sentence, a set of names."""
    found = {sentence.form}
    found |= {"subordinate"} if sentence.form.startswith("subordinate") else set()
    for clause in sentence.clauses:
        for phrase in (clause.subject, clause.object, clause.place and clause.place.ground):
            found |= {"group"} if isinstance(phrase, Group) else set()
    for clause in clauses(sentence):
        found |= {"tool"} if clause.tool else set()
        found |= {lexicon.verbs()[clause.verb].kind}
    for thing in things(sentence):
        found |= {"noun_place"} if thing.place else set()
        found |= {"part"} if thing.parts else set()
        if thing.clause:
            found |= {"relative", f"relative_{lexicon.verbs()[thing.clause.verb].kind}"}
            found |= {"relative_object"} if thing.clause.subject else set()
    return found


def facts(sentence):
    """The scene without its wording: sorted tuples of plain strings.

    "above" and "below", "left" and "right", "inside" and "around", "behind" and "in front of" are one fact each;
    articles, adverbs and verbs of posture do not count.
    """
    found = set()
    for clause in sentence.clauses:
        _add_clause(clause, clause.subject or sentence.clauses[0].subject, found)
    return sorted(found)


def split_of(sentence):
    """ "train", "dev" or "test": the split that the scene belongs to, in every problem."""
    digest = hashlib.sha256(repr(facts(sentence)).encode()).digest()
    percent = int.from_bytes(digest[:4], "big") % 100
    if percent < DEV_PERCENT:
        return "dev"
    return "test" if percent < DEV_PERCENT + TEST_PERCENT else "train"


def _things_of_clause(clause):
    for phrase in (clause.subject, clause.object, clause.place and clause.place.ground, clause.than):
        for thing in members(phrase):
            yield thing
            if thing.place:
                yield from _things_of_clause(Clause("is", place=thing.place))
            if thing.clause:
                yield from _things_of_clause(thing.clause)


def _describe(thing):
    count = thing.determiner if thing.determiner in ("two", "three", "some", "many") else str(thing.plural)
    words = " ".join(sorted((*thing.adjectives, thing.material)))
    return f"{count} {words} {thing.noun} with [{', '.join(sorted(map(_describe, thing.parts)))}]"


def _add_thing(thing, found):
    me = _describe(thing)
    found.add(("thing", me))
    if thing.place:
        _add_place(me, thing.place, found)
    if thing.clause and thing.clause.subject:
        _add_clause(thing.clause._replace(object=thing._replace(place=None, clause=None)), thing.clause.subject, found)
    elif thing.clause:
        _add_clause(thing.clause, thing._replace(place=None, clause=None), found)
    return me


def _add_place(me, place, found):
    grounds = [_add_thing(thing, found) for thing in members(place.ground)]
    if place.relation == "between":
        found.add(("between", me, *sorted(grounds)))
        return
    for ground in grounds:
        found.add(min((place.relation, me, ground), (lexicon.relations()[place.relation].inverse, ground, me)))


def _add_clause(clause, subject, found):
    kind = lexicon.verbs()[clause.verb].kind
    for me in [_add_thing(thing, found) for thing in members(subject)]:
        if clause.than:
            other = _add_thing(clause.than, found)
            opposite = {"big": "small"}.get(clause.complement)
            found.add(("more", opposite, other, me) if opposite else ("more", clause.complement, me, other))
        elif clause.complement:
            found.add(("is", clause.complement, me))
        elif kind in ("posture", "be"):
            if clause.place:
                _add_place(me, clause.place, found)
        else:
            goal = [_add_thing(thing, found) for thing in members(clause.place and clause.place.ground)]
            act = (clause.verb, me, clause.place.relation if goal else "", *sorted(goal))
            tool = _describe(clause.tool) if clause.tool else ""
            objects = [_add_thing(thing, found) for thing in members(clause.object)] or [""]
            found.update(("does", *act, target, tool) for target in objects)
