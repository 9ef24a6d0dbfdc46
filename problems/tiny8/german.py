"""German: a meaning → a sentence, with gender, case, adjective endings, separable verbs and verb-final clauses."""

from t2t_multimodel.problems.tiny8 import lexicon
from t2t_multimodel.problems.tiny8.scenes import Group, Thing

# Endings by case, each for masculine, feminine, neuter, plural.
_STRONG_DETERMINER = {  # dies-, jed-, einig-, viel-
    "nominative": ("er", "e", "es", "e"),
    "accusative": ("en", "e", "es", "e"),
    "dative": ("em", "er", "em", "en"),
}
_DEFINITE = {
    "nominative": ("der", "die", "das", "die"),
    "accusative": ("den", "die", "das", "die"),
    "dative": ("dem", "der", "dem", "den"),
}
_INDEFINITE = {
    "nominative": ("ein", "eine", "ein"),
    "accusative": ("einen", "eine", "ein"),
    "dative": ("einem", "einer", "einem"),
}
_WEAK_ADJECTIVE = {  # after der, dieser, jeder
    "nominative": ("e", "e", "e", "en"),
    "accusative": ("en", "e", "e", "en"),
    "dative": ("en", "en", "en", "en"),
}
_MIXED_ADJECTIVE = {  # after ein; in the plural, where no article stands, strong
    "nominative": ("er", "e", "es", "e"),
    "accusative": ("en", "e", "es", "e"),
    "dative": ("en", "en", "en", "en"),
}
_RELATIVE = {"nominative": ("der", "die", "das", "die"), "accusative": ("den", "die", "das", "die")}
_STEMS = {"this": "dies", "these": "dies", "every": "jed", "some": "einig", "many": "viel"}
_NUMBERS = {"two": "zwei", "three": "drei"}
_CONTRACTIONS = {("in", "dem"): "im", ("in", "das"): "ins"}


def sentence_text(sentence):
    """The German sentence of a `Sentence`; commas as they are written, no final stop."""
    words = _FORMS[sentence.form](sentence)
    return _punctuated(words)


def noun_phrase(phrase, case):
    """The words of a `Thing` or a `Group` in "nominative", "accusative" or "dative"."""
    if isinstance(phrase, Group):
        return _joined([noun_phrase(thing, case) for thing in phrase.things])
    noun = lexicon.nouns()[phrase.noun]
    words = [*_determiner(phrase, case), *(_inflected(name, phrase, case) for name in phrase.adjectives)]
    words.append(_dative_plural(noun, case) if phrase.plural else noun.german)
    if phrase.material:
        words += ["aus", lexicon.materials()[phrase.material].german]
    if phrase.parts:
        words += ["mit", *_joined([noun_phrase(part, "dative") for part in phrase.parts])]
    if phrase.place:
        words += place(phrase.place)
    if phrase.clause:
        words += [",", *_relative(phrase), ","]
    return words


def place(where):
    """The words of a `Place`; its relation governs the case."""
    relation = lexicon.relations()[where.relation]
    ground = noun_phrase(where.ground, relation.german_case)
    preposition = relation.german.split()
    # "im Ring", but "in dem Ring, der leuchtet": the article that a relative clause points back to stays whole.
    contracted = _CONTRACTIONS.get((preposition[-1], ground[0]))
    if contracted and isinstance(where.ground, Thing) and where.ground.determiner == "the" and not where.ground.clause:
        return [contracted, *ground[1:]]
    return [*preposition, *ground]


def _determiner(thing, case):
    column = _column(thing)
    if thing.determiner == "the":
        return [_DEFINITE[case][column]]
    if thing.determiner == "a":
        return [_INDEFINITE[case][column]]
    if thing.determiner in _NUMBERS:
        return [_NUMBERS[thing.determiner]]
    return [_STEMS[thing.determiner] + _STRONG_DETERMINER[case][column]]


def _column(thing):
    return 3 if thing.plural else "mfn".index(lexicon.nouns()[thing.noun].german_gender)


def _inflected(name, thing, case):
    adjective = lexicon.adjectives()[name]
    if adjective.german_invariable:
        return adjective.german
    weak = thing.determiner in ("the", "this", "these", "every")
    return adjective.german + (_WEAK_ADJECTIVE if weak else _MIXED_ADJECTIVE)[case][_column(thing)]


def _dative_plural(noun, case):
    plural = noun.german_plural
    return plural + "n" if case == "dative" and not plural.endswith(("n", "s")) else plural


def _joined(phrases):
    words = list(phrases[0])
    for phrase in phrases[1:]:
        words += ["und", *phrase]
    return words


def _relative(head):
    clause = head.clause
    if clause.subject:
        pronoun = _RELATIVE["accusative"][_column(head)]
        return [pronoun, *noun_phrase(clause.subject, "nominative"), *verb_last(clause, clause.subject.plural)]
    return [_RELATIVE["nominative"][_column(head)], *verb_last(clause, head.plural)]


# ---- Clauses


def _parts(clause, plural):
    """(finite verb, reflexive pronoun, what stands between, separable prefix) of a clause."""
    verb = lexicon.verbs()[clause.verb]
    middle = []
    if clause.adverb:
        middle.append(lexicon.ADVERBS[clause.adverb][0])
    if clause.tool:
        middle += ["mit", *noun_phrase(clause.tool, "dative")]
    if clause.object:
        middle += noun_phrase(clause.object, "accusative")
    if clause.complement:
        middle += _complement(clause)
    if clause.place:
        middle += place(clause.place)
    return verb.german[plural], ["sich"] if verb.german_reflexive else [], middle, verb.german_prefix


def _complement(clause):
    if clause.than:
        return [lexicon.COMPARATIVES[clause.complement][1], "als", *noun_phrase(clause.than, "nominative")]
    adjective = lexicon.adjectives()[clause.complement]
    degree = [lexicon.DEGREES[clause.degree][0]] if clause.degree else []
    return [*degree, adjective.german_predicate or adjective.german]


def verb_second(clause, plural):
    """The words of a main clause from its verb on: "hebt den Stern auf"."""
    verb, reflexive, middle, prefix = _parts(clause, plural)
    return [verb, *reflexive, *middle, *([prefix] if prefix else [])]


def verb_last(clause, plural):
    """The words of a subordinate clause after its subject: "den Stern aufhebt"."""
    verb, reflexive, middle, prefix = _parts(clause, plural)
    return [*reflexive, *middle, prefix + verb]


def _main(clause):
    return [*noun_phrase(clause.subject, "nominative"), *verb_second(clause, clause.subject.plural)]


def _inverted(clause, plural):
    """A main clause after something else than its subject: "dreht sich der Kreis"."""
    verb, reflexive, middle, prefix = _parts(clause, plural)
    return [
        verb,
        *reflexive,
        *noun_phrase(clause.subject, "nominative"),
        *middle,
        *([prefix] if prefix else []),
    ]


def _subordinate(sentence):
    clause = sentence.clauses[1]
    conjunction = lexicon.CONJUNCTIONS[sentence.conjunction][0]
    subject = noun_phrase(clause.subject, "nominative")
    return [conjunction, *subject, *verb_last(clause, clause.subject.plural)]


def _there_is(sentence):
    return ["es", "gibt", *noun_phrase(sentence.clauses[0].subject, "accusative")]


def _fronted(sentence):
    (clause,) = sentence.clauses
    return [*place(clause.place), *_inverted(clause._replace(place=None), clause.subject.plural)]


def _verbs_joined(sentence):
    first, second = sentence.clauses
    return [*_main(first), "und", *verb_second(second, first.subject.plural)]


def _subordinate_first(sentence):
    main = sentence.clauses[0]
    return [*_subordinate(sentence), ",", *_inverted(main, main.subject.plural)]


_FORMS = {
    "plain": lambda sentence: _main(sentence.clauses[0]),
    "there_is": _there_is,
    "fronted": _fronted,
    "verbs_joined": _verbs_joined,
    "clauses_joined": lambda sentence: _joined([_main(clause) for clause in sentence.clauses]),
    "subordinate_last": lambda sentence: [*_main(sentence.clauses[0]), ",", *_subordinate(sentence)],
    "subordinate_first": _subordinate_first,
}


def _punctuated(words):
    """Joins words; of two commas one stays, and none ends the sentence."""
    kept = []
    for word in words:
        if word == "," and kept and kept[-1] == ",":
            continue
        kept.append(word)
    while kept[-1] == ",":
        kept.pop()
    return " ".join(kept).replace(" ,", ",")
