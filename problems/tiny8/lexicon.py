"""The words of tiny8 in English, German and French, with what each grammar needs to know of them.

`rare` words are not in the training trees, so the test trees have words with a part of speech that only the translation
problems teach.
"""

import functools
from typing import NamedTuple


class Noun(NamedTuple):
    """Genders are "m", "f" or "n"; the plurals are those of the nominative."""

    english: str
    english_plural: str
    german_gender: str
    german: str
    german_plural: str
    french_gender: str
    french: str
    french_plural: str
    role: str = "object"  # "shape", "object": stand in scenes; "part": belongs to one; "tool": an act is done with it
    rare: bool = False


class Adjective(NamedTuple):
    """`french`: (masculine, feminine, masculine plural, feminine plural), or an invariable phrase such as "en bois"."""

    english: str
    german: str  # the stem that takes endings
    french: tuple | str
    role: str  # "size", "quality", "colour" or "material"
    french_before: bool = False  # stands before its noun in French
    french_before_vowel: str = ""  # masculine singular before a vowel, where it differs ("nouvel")
    german_invariable: bool = False  # takes no ending ("rosa")
    german_predicate: str = ""  # where it differs from the stem ("teuer" beside "teur-")
    rare: bool = False


class Material(NamedTuple):
    """A noun before the noun in English ("a paper star"), a phrase after it elsewhere ("aus Papier", "en papier")."""

    english: str
    german: str
    french: str
    rare: bool = False


class Verb(NamedTuple):
    """Third person present, singular and plural.

    kind: "posture" (stands somewhere), "motion" (goes somewhere), "action" (no object), "contact" (an object that
    stays where it is: a place after it belongs to the object), "transfer" (an object that is moved: a place after it
    is its goal), "particle" (picks up).
    """

    kind: str
    english: tuple[str, str]
    german: tuple[str, str]
    french: tuple[str, str]
    particle: str = ""  # English, "up"
    german_prefix: str = ""  # separable, "auf"
    german_reflexive: bool = False
    french_participle: tuple | None = None  # agrees with the subject after "est", "sont"
    with_tool: bool = False
    rare: bool = False


class Relation(NamedTuple):
    """A preposition in three languages; `german_case` is "dative" or "accusative"."""

    name: str
    english: str
    german: str
    german_case: str
    french: str
    inverse: str = ""  # the relation that says the same of the two things in the other order


NOUNS = (
    # The eight shapes that are drawn.
    Noun("circle", "circles", "m", "Kreis", "Kreise", "m", "cercle", "cercles", "shape"),
    Noun("square", "squares", "n", "Quadrat", "Quadrate", "m", "carré", "carrés", "shape"),
    Noun("triangle", "triangles", "n", "Dreieck", "Dreiecke", "m", "triangle", "triangles", "shape"),
    Noun("star", "stars", "m", "Stern", "Sterne", "f", "étoile", "étoiles", "shape"),
    Noun("cross", "crosses", "n", "Kreuz", "Kreuze", "f", "croix", "croix", "shape"),
    Noun("ring", "rings", "m", "Ring", "Ringe", "m", "anneau", "anneaux", "shape"),
    Noun("diamond", "diamonds", "f", "Raute", "Rauten", "m", "losange", "losanges", "shape"),
    Noun("moon", "moons", "m", "Mond", "Monde", "f", "lune", "lunes", "shape"),
    # Things that only sentences know.
    Noun("box", "boxes", "f", "Kiste", "Kisten", "f", "boîte", "boîtes"),
    Noun("lamp", "lamps", "f", "Lampe", "Lampen", "f", "lampe", "lampes"),
    Noun("wheel", "wheels", "n", "Rad", "Räder", "f", "roue", "roues"),
    Noun("bird", "birds", "m", "Vogel", "Vögel", "m", "oiseau", "oiseaux"),
    Noun("key", "keys", "m", "Schlüssel", "Schlüssel", "f", "clé", "clés"),
    Noun("clock", "clocks", "f", "Uhr", "Uhren", "f", "horloge", "horloges"),
    Noun("anchor", "anchors", "m", "Anker", "Anker", "f", "ancre", "ancres", rare=True),
    Noun("owl", "owls", "f", "Eule", "Eulen", "m", "hibou", "hiboux", rare=True),
    Noun("feather", "feathers", "f", "Feder", "Federn", "f", "plume", "plumes", rare=True),
    Noun("leaf", "leaves", "n", "Blatt", "Blätter", "f", "feuille", "feuilles", rare=True),
    # Parts: "the circle with a stripe and a star" is two things, "the circle with a stripe and a dot" one.
    Noun("stripe", "stripes", "m", "Streifen", "Streifen", "f", "rayure", "rayures", "part"),
    Noun("dot", "dots", "m", "Punkt", "Punkte", "m", "point", "points", "part"),
    Noun("hole", "holes", "n", "Loch", "Löcher", "m", "trou", "trous", "part"),
    Noun("handle", "handles", "m", "Griff", "Griffe", "f", "poignée", "poignées", "part"),
    Noun("notch", "notches", "f", "Kerbe", "Kerben", "f", "encoche", "encoches", "part", rare=True),
    Noun("knob", "knobs", "m", "Knauf", "Knäufe", "m", "bouton", "boutons", "part", rare=True),
    # Tools: "pulls the circle with a hook" says how, "pulls the circle with a hole" says which.
    Noun("hook", "hooks", "m", "Haken", "Haken", "m", "crochet", "crochets", "tool"),
    Noun("rope", "ropes", "n", "Seil", "Seile", "f", "corde", "cordes", "tool"),
    Noun("pole", "poles", "f", "Stange", "Stangen", "f", "perche", "perches", "tool"),
    Noun("chain", "chains", "f", "Kette", "Ketten", "f", "chaîne", "chaînes", "tool"),
    Noun("magnet", "magnets", "m", "Magnet", "Magnete", "m", "aimant", "aimants", "tool", rare=True),
    Noun("shovel", "shovels", "f", "Schaufel", "Schaufeln", "f", "pelle", "pelles", "tool", rare=True),
)

ADJECTIVES = (
    Adjective("small", "klein", ("petit", "petite", "petits", "petites"), "size", french_before=True),
    Adjective("big", "groß", ("grand", "grande", "grands", "grandes"), "size", french_before=True),
    Adjective("huge", "riesig", ("énorme", "énorme", "énormes", "énormes"), "size", french_before=True),
    Adjective("old", "alt", ("vieux", "vieille", "vieux", "vieilles"), "quality", True, "vieil"),
    Adjective("new", "neu", ("nouveau", "nouvelle", "nouveaux", "nouvelles"), "quality", True, "nouvel"),
    Adjective("pretty", "hübsch", ("joli", "jolie", "jolis", "jolies"), "quality", french_before=True),
    Adjective("heavy", "schwer", ("lourd", "lourde", "lourds", "lourdes"), "quality"),
    Adjective("smooth", "glatt", ("lisse", "lisse", "lisses", "lisses"), "quality"),
    Adjective("expensive", "teur", ("cher", "chère", "chers", "chères"), "quality", german_predicate="teuer"),
    Adjective("hollow", "hohl", ("creux", "creuse", "creux", "creuses"), "quality", rare=True),
    Adjective("thick", "dick", ("épais", "épaisse", "épais", "épaisses"), "quality", rare=True),
    Adjective("red", "rot", ("rouge", "rouge", "rouges", "rouges"), "colour"),
    Adjective("green", "grün", ("vert", "verte", "verts", "vertes"), "colour"),
    Adjective("blue", "blau", ("bleu", "bleue", "bleus", "bleues"), "colour"),
    Adjective("yellow", "gelb", ("jaune", "jaune", "jaunes", "jaunes"), "colour"),
    Adjective("purple", "violett", ("violet", "violette", "violets", "violettes"), "colour"),
    Adjective("white", "weiß", ("blanc", "blanche", "blancs", "blanches"), "colour"),
    Adjective("pink", "rosa", ("rose", "rose", "roses", "roses"), "colour", german_invariable=True, rare=True),
    Adjective("grey", "grau", ("gris", "grise", "gris", "grises"), "colour", rare=True),
    Adjective("wooden", "hölzern", "en bois", "material"),
    Adjective("golden", "golden", "en or", "material"),
    Adjective("leaden", "bleiern", "en plomb", "material", rare=True),
    Adjective("woollen", "wollen", "en laine", "material", rare=True),
)

MATERIALS = (
    Material("paper", "Papier", "papier"),
    Material("glass", "Glas", "verre"),
    Material("stone", "Stein", "pierre"),
    Material("velvet", "Samt", "velours", rare=True),
    Material("clay", "Ton", "argile", rare=True),
)

VERBS = (
    Verb("posture", ("stands", "stand"), ("steht", "stehen"), ("se dresse", "se dressent")),
    Verb("posture", ("lies", "lie"), ("liegt", "liegen"), ("repose", "reposent")),
    Verb(
        "posture",
        ("hangs", "hang"),
        ("hängt", "hängen"),
        ("est", "sont"),
        french_participle=("suspendu", "suspendue", "suspendus", "suspendues"),
    ),
    Verb("posture", ("floats", "float"), ("schwebt", "schweben"), ("flotte", "flottent")),
    Verb("action", ("spins", "spin"), ("dreht", "drehen"), ("tourne", "tournent"), german_reflexive=True),
    Verb("action", ("shines", "shine"), ("leuchtet", "leuchten"), ("brille", "brillent")),
    Verb("action", ("sleeps", "sleep"), ("schläft", "schlafen"), ("dort", "dorment")),
    Verb("action", ("trembles", "tremble"), ("zittert", "zittern"), ("tremble", "tremblent"), rare=True),
    Verb("motion", ("rolls", "roll"), ("rollt", "rollen"), ("roule", "roulent")),
    Verb("motion", ("jumps", "jump"), ("springt", "springen"), ("saute", "sautent")),
    Verb("motion", ("flies", "fly"), ("fliegt", "fliegen"), ("vole", "volent")),
    Verb("motion", ("glides", "glide"), ("gleitet", "gleiten"), ("glisse", "glissent"), rare=True),
    Verb("contact", ("touches", "touch"), ("berührt", "berühren"), ("touche", "touchent"), with_tool=True),
    Verb("contact", ("holds", "hold"), ("hält", "halten"), ("tient", "tiennent"), with_tool=True),
    Verb("contact", ("watches", "watch"), ("beobachtet", "beobachten"), ("observe", "observent")),
    Verb("contact", ("admires", "admire"), ("bewundert", "bewundern"), ("admire", "admirent"), rare=True),
    Verb("transfer", ("pushes", "push"), ("schiebt", "schieben"), ("pousse", "poussent"), with_tool=True),
    Verb("transfer", ("pulls", "pull"), ("zieht", "ziehen"), ("tire", "tirent"), with_tool=True),
    Verb("transfer", ("throws", "throw"), ("wirft", "werfen"), ("lance", "lancent"), with_tool=True),
    Verb("transfer", ("drags", "drag"), ("schleift", "schleifen"), ("traîne", "traînent"), with_tool=True, rare=True),
    Verb("particle", ("picks", "pick"), ("hebt", "heben"), ("ramasse", "ramassent"), "up", "auf", with_tool=True),
    Verb(
        "particle",
        ("knocks", "knock"),
        ("wirft", "werfen"),
        ("renverse", "renversent"),
        particle="over",
        german_prefix="um",
        with_tool=True,
    ),
    Verb("particle", ("sets", "set"), ("setzt", "setzen"), ("pose", "posent"), "down", "ab", with_tool=True),
    Verb("particle", ("turns", "turn"), ("dreht", "drehen"), ("retourne", "retournent"), "over", "um", rare=True),
)

BE = Verb("be", ("is", "are"), ("ist", "sind"), ("est", "sont"))

# Where something is: after posture verbs, "is", and nouns.
PLACES = (
    Relation("above", "above", "über", "dative", "au-dessus de", "below"),
    Relation("below", "below", "unter", "dative", "au-dessous de", "above"),
    Relation("left", "left of", "links neben", "dative", "à gauche de", "right"),
    Relation("right", "right of", "rechts neben", "dative", "à droite de", "left"),
    Relation("inside", "inside", "in", "dative", "dans", "around"),
    Relation("around", "around", "um", "accusative", "autour de", "inside"),
    Relation("behind", "behind", "hinter", "dative", "derrière", "front"),
    Relation("front", "in front of", "vor", "dative", "devant", "behind"),
    Relation("beside", "beside", "neben", "dative", "à côté de", "beside"),
    Relation("between", "between", "zwischen", "dative", "entre"),
)

# Where something goes: after motion and transfer verbs. "behind" and its like are the same in English and French.
GOALS = (
    Relation("over", "over", "über", "accusative", "par-dessus"),
    Relation("under", "under", "unter", "accusative", "sous"),
    Relation("into", "into", "in", "accusative", "dans"),
    Relation("to_left", "to the left of", "links neben", "accusative", "à gauche de"),
    Relation("to_right", "to the right of", "rechts neben", "accusative", "à droite de"),
    Relation("to_behind", "behind", "hinter", "accusative", "derrière"),
    Relation("to_front", "in front of", "vor", "accusative", "devant"),
    Relation("to_beside", "beside", "neben", "accusative", "à côté de"),
    Relation("to_between", "between", "zwischen", "accusative", "entre"),
)

ADVERBS = {  # English: (German, French)
    "slowly": ("langsam", "lentement"),
    "quickly": ("schnell", "vite"),
    "often": ("oft", "souvent"),
    "gently": ("sanft", "doucement"),
}
CALM_ADVERBS = ("often", "gently")  # those that fit verbs in which nothing moves
CALM_VERBS = ("sleeps", "shines", "holds", "watches", "admires")
DEGREES = {"very": ("sehr", "très"), "too": ("zu", "trop")}
COMPARATIVES = {  # English adjective: (English, German, French prefix stands before the adjective's own form)
    "small": ("smaller", "kleiner"),
    "big": ("bigger", "größer"),
    "old": ("older", "älter"),
    "heavy": ("heavier", "schwerer"),
}
CONJUNCTIONS = {  # English: (German, French, French before a vowel)
    "because": ("weil", "parce que", "parce qu'"),
    "while": ("während", "pendant que", "pendant qu'"),
    "when": ("wenn", "quand", "quand"),
    "if": ("falls", "si", "si"),
}
RARE_FUNCTION_WORDS = frozenset({"gently", "if"})

SHAPES = tuple(noun.english for noun in NOUNS if noun.role == "shape")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")  # those that are drawn
SIZES = ("small", "big")  # those that are drawn

# Articles, in English. Those of more than one thing: PLURAL_DETERMINERS.
SINGULAR_DETERMINERS = ("a", "the", "this", "every")
PLURAL_DETERMINERS = ("the", "these", "two", "three", "some", "many")
FRENCH_VOWELS = "aeiouéèêâîôû"


@functools.cache
def nouns():
    """{English singular: Noun}."""
    return {noun.english: noun for noun in NOUNS}


@functools.cache
def adjectives():
    """{English: Adjective}."""
    return {adjective.english: adjective for adjective in ADJECTIVES}


@functools.cache
def materials():
    """{English: Material}, those that are nouns in English."""
    return {material.english: material for material in MATERIALS}


@functools.cache
def verbs():
    """{English singular, with its particle: Verb}."""
    return {" ".join((verb.english[0], verb.particle)).strip(): verb for verb in (*VERBS, BE)}


@functools.cache
def relations():
    """{name: Relation}."""
    return {relation.name: relation for relation in (*PLACES, *GOALS)}


@functools.cache
def rare_words():
    """The English words, inflected forms included, that no training tree contains."""
    words = set(RARE_FUNCTION_WORDS)
    for noun in NOUNS:
        words |= {noun.english, noun.english_plural} if noun.rare else set()
    for verb in VERBS:
        words |= set(verb.english) if verb.rare else set()
    for word in (*ADJECTIVES, *MATERIALS):
        words |= {word.english} if word.rare else set()
    return frozenset(words)
