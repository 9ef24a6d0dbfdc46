"""French: a meaning → a sentence, with agreement, adjectives on both sides of the noun, elision and contraction."""

from t2t_multimodel.problems.tiny8 import lexicon
from t2t_multimodel.problems.tiny8.scenes import Group, members

_MUTE_H = ("horloge", "horloges")  # other words in h are aspirated: "le hibou"
_OPINIONS = ("pretty", "new")  # stand before the size
_FIXED = {"two": "deux", "three": "trois", "some": "quelques", "every": "chaque"}


def sentence_text(sentence):
    """The French sentence of a `Sentence`, without a final stop."""
    return _FORMS[sentence.form](sentence)


def vowel(word):
    """Whether articles and "de", "que" are shortened before `word`."""
    return word[0] in lexicon.FRENCH_VOWELS or word.split()[0] in _MUTE_H


def noun_phrase(phrase):
    """A `Thing` or a `Group` with its article."""
    if isinstance(phrase, Group):
        return " et ".join(noun_phrase(thing) for thing in phrase.things)
    return _with_determiner(phrase, _noun_and_adjectives(phrase)) + _modifiers(phrase)


def place(where):
    """A `Place`; "de" is contracted with the article and said again before each thing."""
    relation = lexicon.relations()[where.relation].french
    if not relation.endswith(" de"):
        return f"{relation} {noun_phrase(where.ground)}"
    grounds = " et ".join(_contracted("de", noun_phrase(thing)) for thing in members(where.ground))
    return f"{relation.removesuffix(' de')} {grounds}"


def agreement(phrase):
    """Index into an adjective's forms: 0 masculine, 1 feminine, 2 and 3 their plurals; a mixed group is masculine."""
    masculine = any(lexicon.nouns()[thing.noun].french_gender == "m" for thing in members(phrase))
    return 2 * phrase.plural + (not masculine)


def _with_determiner(thing, rest):
    if thing.determiner == "the":
        if thing.plural:
            return f"les {rest}"
        if vowel(rest):
            return f"l'{rest}"
        return f"{('le', 'la')[agreement(thing)]} {rest}"
    if thing.determiner == "a":
        return f"{('un', 'une')[agreement(thing)]} {rest}"
    if thing.determiner in ("this", "these"):
        if thing.plural:
            return f"ces {rest}"
        if agreement(thing):
            return f"cette {rest}"
        return f"{'cet' if vowel(rest) else 'ce'} {rest}"
    if thing.determiner == "many":
        return "beaucoup " + _contracted("de", rest)
    return f"{_FIXED[thing.determiner]} {rest}"


def _noun_and_adjectives(thing):
    noun = lexicon.nouns()[thing.noun]
    forms = agreement(thing)
    adjectives = [lexicon.adjectives()[name] for name in thing.adjectives]
    # "une jolie petite étoile rouge et lourde en or", "une grande vieille horloge".
    before = [adjective for adjective in adjectives if adjective.french_before]
    after = [adjective.french[forms] for adjective in reversed(adjectives) if _stands_after(adjective)]
    words = noun.french_plural if thing.plural else noun.french
    before = sorted(reversed(before), key=lambda adjective: adjective.english in _OPINIONS)  # the last stands first
    for adjective in before:
        form = adjective.french[forms]
        if forms == 0 and adjective.french_before_vowel and vowel(words):
            form = adjective.french_before_vowel
        words = f"{form} {words}"
    if after:
        words += " " + " et ".join(after)
    for adjective in adjectives:
        if isinstance(adjective.french, str):
            words += " " + adjective.french
    if thing.material:
        words += " en " + lexicon.materials()[thing.material].french
    return words


def _stands_after(adjective):
    return not adjective.french_before and not isinstance(adjective.french, str)


def _modifiers(thing):
    words = ""
    if thing.parts:
        words += " " + " et ".join(_part(part) for part in thing.parts)
    if thing.place:
        words += " " + place(thing.place)
    if thing.clause:
        words += " " + _relative(thing)
    return words


def _part(thing):
    """What a thing has: "à rayure rouge", "au point", "à deux trous"."""
    if thing.determiner == "a":
        return "à " + _noun_and_adjectives(thing)
    return _contracted("à", noun_phrase(thing))


def _contracted(preposition, phrase):
    """ "de" or "à" before a noun phrase: du, des, au, aux, d'."""
    short = {"de": ("du ", "des "), "à": ("au ", "aux ")}[preposition]
    for article, contracted in zip(("le ", "les "), short):
        if phrase.startswith(article):
            return contracted + phrase.removeprefix(article)
    if preposition == "de" and vowel(phrase):
        return "d'" + phrase
    return f"{preposition} {phrase}"


def _que(phrase):
    """ "que" before `phrase`."""
    return f"qu'{phrase}" if vowel(phrase) else f"que {phrase}"


def _relative(head):
    clause = head.clause
    if clause.subject:
        return f"{_que(noun_phrase(clause.subject))} {predicate(clause, clause.subject)}"
    return f"qui {predicate(clause, head)}"


# ---- Clauses


def predicate(clause, subject):
    """A clause from its verb on; participles and adjectives agree with `subject`."""
    verb = lexicon.verbs()[clause.verb]
    words = [verb.french[subject.plural]]
    if verb.french_participle:
        words.append(verb.french_participle[agreement(subject)])
    if clause.adverb:
        words.append(lexicon.ADVERBS[clause.adverb][1])
    if clause.object:
        words.append(noun_phrase(clause.object))
    if clause.complement:
        words.append(_complement(clause, subject))
    if clause.place:
        words.append(place(clause.place))
    if clause.tool:
        words.append("avec " + noun_phrase(clause.tool))
    return " ".join(words)


def _complement(clause, subject):
    adjective = lexicon.adjectives()[clause.complement].french[agreement(subject)]
    if clause.than:
        return f"plus {adjective} {_que(noun_phrase(clause.than))}"
    return f"{lexicon.DEGREES[clause.degree][1]} {adjective}" if clause.degree else adjective


def _clause(clause):
    return f"{noun_phrase(clause.subject)} {predicate(clause, clause.subject)}"


def _subordinate(sentence):
    _, conjunction, shortened = lexicon.CONJUNCTIONS[sentence.conjunction]
    clause = _clause(sentence.clauses[1])
    if vowel(clause) and shortened.endswith("'"):
        return shortened + clause
    return f"{conjunction} {clause}"


def _fronted(sentence):
    (clause,) = sentence.clauses
    verb = predicate(clause._replace(place=None), clause.subject)
    return f"{place(clause.place)} {verb} {noun_phrase(clause.subject)}"


def _verbs_joined(sentence):
    first, second = sentence.clauses
    return f"{_clause(first)} et {predicate(second, first.subject)}"


_FORMS = {
    "plain": lambda sentence: _clause(sentence.clauses[0]),
    "there_is": lambda sentence: "il y a " + noun_phrase(sentence.clauses[0].subject),
    "fronted": _fronted,
    "verbs_joined": _verbs_joined,
    "clauses_joined": lambda sentence: " et ".join(_clause(clause) for clause in sentence.clauses),
    "subordinate_last": lambda sentence: f"{_clause(sentence.clauses[0])} {_subordinate(sentence)}",
    "subordinate_first": lambda sentence: f"{_subordinate(sentence)}, {_clause(sentence.clauses[0])}",
}
