"""English: a meaning → a constituency tree; its leaves are the sentence.

A tree is `(label, children)`, a leaf `(tag, word)`; `bracketed` writes it without its words.
"""

from t2t_multimodel.problems.tiny8 import lexicon
from t2t_multimodel.problems.tiny8.scenes import Group

_RELATION_TREES = {  # the words before the ground; the others are one preposition
    "left of": ("ADVP", "left", "of"),
    "right of": ("ADVP", "right", "of"),
    "to the left of": ("PP", "left", "of"),
    "to the right of": ("PP", "right", "of"),
}


def sentence_tree(sentence):
    """The tree of a `Sentence`: nested `(label, [children])`, leaves `(tag, word)`."""
    return _FORMS[sentence.form](sentence)


def leaves(tree):
    """The (tag, word) pairs of a tree, in order."""
    label, children = tree
    if isinstance(children, str):
        yield label, children
        return
    for child in children:
        yield from leaves(child)


def bracketed(tree):
    """ "(S (NP DT NN )NP (VP VBZ )VP )S": the tree with tags for leaves.

    Closing brackets carry their label (as in Vinyals et al. 2015, arXiv 1412.7449): a decoder need not count them.
    """
    label, children = tree
    if isinstance(children, str):
        return label
    return f"({label} {' '.join(bracketed(child) for child in children)} ){label}"


def text(tree):
    """The sentence of a tree."""
    words = [word for _, word in leaves(tree)]
    for i, word in enumerate(words[:-1]):
        if word == "a" and words[i + 1][0] in "aeiou":
            words[i] = "an"
    return " ".join(words).replace(" ,", ",")


def words(sentence_text):
    """The words and commas of a sentence; as many as its tree has leaves."""
    return sentence_text.replace(",", " ,").split()


# ---- Noun phrases


def noun_phrase(phrase):
    """The tree of a `Thing` or a `Group`."""
    if isinstance(phrase, Group):
        return _joined("NP", [noun_phrase(thing) for thing in phrase.things])
    noun = lexicon.nouns()[phrase.noun]
    children = [_determiner(phrase)]
    children += [("JJ", adjective) for adjective in phrase.adjectives]
    children += [("NN", phrase.material)] if phrase.material else []
    children.append(("NNS", noun.english_plural) if phrase.plural else ("NN", noun.english))
    tree = ("NP", children)
    if phrase.parts:
        tree = ("NP", [tree, ("PP", [("IN", "with"), noun_phrase(_one_or_group(phrase.parts))])])
    if phrase.place:
        tree = ("NP", [tree, place(phrase.place)])
    if phrase.clause:
        tree = ("NP", [tree, _relative(phrase)])
    return tree


def place(where):
    """The tree of a `Place`."""
    relation = lexicon.relations()[where.relation].english
    ground = noun_phrase(where.ground)
    if relation == "in front of":
        return ("PP", [("IN", "in"), ("NP", [("NP", [("NN", "front")]), ("PP", [("IN", "of"), ground])])])
    if relation not in _RELATION_TREES:
        return ("PP", [("IN", relation), ground])
    label, side, of = _RELATION_TREES[relation]
    of_ground = ("PP", [("IN", of), ground])
    if label == "ADVP":
        return ("ADVP", [("RB", side), of_ground])
    return ("PP", [("TO", "to"), ("NP", [("NP", [("DT", "the"), ("NN", side)]), of_ground])])


def _determiner(thing):
    word = "these" if thing.determiner == "this" and thing.plural else thing.determiner
    return ({"two": "CD", "three": "CD", "many": "JJ"}.get(word, "DT"), word)


def _one_or_group(things):
    return things[0] if len(things) == 1 else Group(tuple(things))


def _joined(label, trees):
    children = [trees[0]]
    for tree in trees[1:]:
        children += [("CC", "and"), tree]
    return (label, children)


def _relative(head):
    clause = head.clause
    if clause.subject:
        clause_tree = ("S", [noun_phrase(clause.subject), predicate(clause, clause.subject.plural)])
    else:
        clause_tree = ("S", [predicate(clause, head.plural)])
    return ("SBAR", [("WDT", "that"), clause_tree])


# ---- Clauses


def predicate(clause, plural):
    """The verb phrase of a clause."""
    verb = lexicon.verbs()[clause.verb]
    children = [("VBP", verb.english[1]) if plural else ("VBZ", verb.english[0])]
    if verb.particle:
        children.append(("PRT", [("RP", verb.particle)]))
    if clause.object:
        children.append(noun_phrase(clause.object))
    if clause.adverb:
        children.append(("ADVP", [("RB", clause.adverb)]))
    if clause.complement:
        children.append(_complement(clause))
    if clause.place:
        children.append(place(clause.place))
    if clause.tool:
        children.append(("PP", [("IN", "with"), noun_phrase(clause.tool)]))
    return ("VP", children)


def _complement(clause):
    if clause.than:
        comparative = lexicon.COMPARATIVES[clause.complement][0]
        return ("ADJP", [("JJR", comparative), ("PP", [("IN", "than"), noun_phrase(clause.than)])])
    degree = [("RB", clause.degree)] if clause.degree else []
    return ("ADJP", [*degree, ("JJ", clause.complement)])


def _clause(clause):
    return ("S", [noun_phrase(clause.subject), predicate(clause, clause.subject.plural)])


def _there_is(sentence):
    thing = sentence.clauses[0].subject
    verb = ("VBP", "are") if thing.plural else ("VBZ", "is")
    return ("S", [("NP", [("EX", "there")]), ("VP", [verb, noun_phrase(thing)])])


def _fronted(sentence):
    (clause,) = sentence.clauses
    return (
        "SINV",
        [
            place(clause.place),
            predicate(clause._replace(place=None), clause.subject.plural),
            noun_phrase(clause.subject),
        ],
    )


def _verbs_joined(sentence):
    subject = sentence.clauses[0].subject
    verb_phrases = [predicate(clause, subject.plural) for clause in sentence.clauses]
    return ("S", [noun_phrase(subject), _joined("VP", verb_phrases)])


def _subordinate(sentence):
    return ("SBAR", [("IN", sentence.conjunction), _clause(sentence.clauses[1])])


def _subordinate_first(sentence):
    main = _clause(sentence.clauses[0])
    return ("S", [_subordinate(sentence), (",", ","), *main[1]])


_FORMS = {
    "plain": lambda sentence: _clause(sentence.clauses[0]),
    "there_is": _there_is,
    "fronted": _fronted,
    "verbs_joined": _verbs_joined,
    "clauses_joined": lambda sentence: _joined("S", [_clause(clause) for clause in sentence.clauses]),
    "subordinate_last": lambda sentence: ("S", [*_clause(sentence.clauses[0])[1], _subordinate(sentence)]),
    "subordinate_first": _subordinate_first,
}
