"""tiny8, the embedded world: eight problems about one little world of things, made here from nothing.

Scenes of one to three things are put into English, German and French by three grammars (`english`, `german`,
`french`), drawn (`rendering`) and spoken (`synthesis`). No test scene, whatever its wording, occurs in the training
data of any of the problems (`scenes.split_of`).
"""

import itertools
import zlib

from t2t_multimodel.mixture import Mixture
from t2t_multimodel.modalities import Audio, Image, Label, Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.problems.tiny8 import english, french, german, pictures, rendering, sampling, synthesis
from t2t_multimodel.registry import register_mixture, register_problem

_VOCABULARY_SIZE = 2048


class _Tiny(Problem):
    """Base of the eight: so many distinct samples a split, each with a key."""

    train_examples = 10000
    dev_examples = 200
    test_examples = 500
    seed = ""  # names the stream of scenes; problems with one seed tell of the same scenes
    vocabulary_size = _VOCABULARY_SIZE

    def samples(self, split):
        count = getattr(self, f"{split}_examples")
        for i, sample in enumerate(itertools.islice(self.stream(split), count)):
            yield {**sample, "key": f"{split}-{i}"}

    def stream(self, split):
        """Yields samples of a split without end."""
        raise NotImplementedError

    def distinct_sentences(self, split, most_words, simple=False):
        """Yields (sentence, its English tree, its English text), no text twice."""
        seen = set()
        for sentence in sampling.sentences(f"{self.seed} {split}", split, simple):
            tree = english.sentence_tree(sentence)
            text = english.text(tree)
            if text not in seen and len(english.words(text)) <= most_words:
                seen.add(text)
                yield sentence, tree, text


class _TinyTranslation(_Tiny):
    """Sentence pairs of English and one other language."""

    most_words = 24  # in the English sentence, commas counted
    metrics = ("bleu", "exact_match")
    from_english = True
    inputs = Text("English")
    targets = Text("English")

    def foreign(self, sentence):
        """The sentence in the other language."""
        raise NotImplementedError

    def stream(self, split):
        for sentence, _, text in self.distinct_sentences(split, self.most_words):
            sides = (text, self.foreign(sentence))
            yield dict(zip(("inputs", "targets"), sides if self.from_english else sides[::-1]))


@register_problem
class TinyEnde(_TinyTranslation):
    """tiny8: English sentences of 3 to 24 words into German.

    Source: made here, no licence needed; 10,000 pairs to train, 200 dev, 500 test; about 1 MB. German has gender,
    case after prepositions and verbs, adjective endings, separable verbs and verb-final clauses.
    Command: t2t-datagen --problem=tiny_ende --data_dir=data. Metric: BLEU.
    """

    seed = "german"
    command = "to_german"
    targets = Text("German")

    def foreign(self, sentence):
        return german.sentence_text(sentence)


@register_problem
class TinyDeen(TinyEnde):
    """tiny8: the German sentences of tiny_ende into English.

    Source: made here; 10,000 pairs to train, 200 dev, 500 test; about 1 MB.
    Command: t2t-datagen --problem=tiny_deen --data_dir=data. Metric: BLEU.
    """

    command = "to_english"
    from_english = False
    inputs = Text("German")
    targets = Text("English")


@register_problem
class TinyEnfr(_TinyTranslation):
    """tiny8: English sentences of 3 to 24 words into French.

    Source: made here; 10,000 pairs to train, 200 dev, 500 test; about 1 MB. French has gender and number agreement,
    adjectives before and after the noun, elision and contraction; "with" is "à" or "avec" as the words demand.
    Command: t2t-datagen --problem=tiny_enfr --data_dir=data. Metric: BLEU.
    """

    seed = "french"
    command = "to_french"
    targets = Text("French")

    def foreign(self, sentence):
        return french.sentence_text(sentence)


@register_problem
class TinyFren(TinyEnfr):
    """tiny8: the French sentences of tiny_enfr into English.

    Source: made here; 10,000 pairs to train, 200 dev, 500 test; about 1 MB.
    Command: t2t-datagen --problem=tiny_fren --data_dir=data. Metric: BLEU.
    """

    command = "to_english"
    from_english = False
    inputs = Text("French")
    targets = Text("English")


@register_problem
class TinyParse(_Tiny):
    """tiny8: English sentences of 3 to 12 words into bracketed trees whose leaves are parts of speech.

    Source: made here; deliberately little: 500 trees to train, 200 dev, 1,000 test; about 0.3 MB. About a third of
    the dev and test trees contain a word or a construction that no training tree contains, but that the
    translation problems teach; which noun or verb a phrase belongs to is often decided by the words alone.
    Command: t2t-datagen --problem=tiny_parse --data_dir=data. Metric: share of trees that are right as a whole.
    """

    seed = "tree"
    train_examples = 500
    test_examples = 1000
    most_words = 12
    command = "to_tree"
    metrics = ("exact_match", "bracket_f1")
    decode_hparams = {"beam_size": 4}
    target_grammar = "punctuated_tree"
    inputs = Text("English")
    targets = Text("tree", symbols=r"\S+")  # every bracket and tag behind a space is one id

    def stream(self, split):
        for sentence, tree, text in self.distinct_sentences(split, self.most_words):
            if split == "train" and sampling.has_rare(sentence, english.words(text)):
                continue
            yield {"inputs": text, "targets": english.bracketed(tree)}


class _TinyPicture(_Tiny):
    """Base of the problems about pictures; a raw sample's input is (figures, seed)."""

    train_examples = 8000
    inputs = Image(rendering.SIDE, rendering.SIDE, 3)

    def prepare(self, sample):
        figures, seed = sample["inputs"]
        return {**sample, "inputs": rendering.render(figures, seed)}


@register_problem
class TinyImage(_TinyPicture):
    """tiny8: a picture of one thing, 32×32 pixels, into one of 48 classes (6 colours × 8 shapes).

    Source: drawn here; 8,000 pictures to train, 200 dev, 500 test; 27 MB. Size, place, light, tilt and noise vary.
    Command: t2t-datagen --problem=tiny_image --data_dir=data. Metric: top-1 accuracy.
    """

    metrics = ("accuracy_top1", "accuracy_top5")
    targets = Label(pictures.CLASSES)

    def stream(self, split):
        for i in itertools.count():
            name, figures = pictures.classes_scene(f"{split} {i}")
            yield {"inputs": (figures, _seed(f"image {split} {i}")), "targets": name}


@register_problem
class TinyCaption(_TinyPicture):
    """tiny8: a picture of one or two things, 32×32 pixels, into an English sentence.

    Source: drawn here; 8,000 pictures to train, 200 dev, 500 test; 28 MB. Two things may be described from either
    side ("a is above b", "b is below a"): both are references; the training target starts with the upper, left or
    inner one. Command: t2t-datagen --problem=tiny_caption --data_dir=data. Metric: BLEU.
    """

    metrics = ("bleu", "exact_match")
    targets = Text("English")

    def stream(self, split):
        for i, (figures, descriptions) in enumerate(pictures.caption_scenes(split, split)):
            inputs = (figures, _seed(f"caption {split} {i}"))
            yield {"inputs": inputs, "targets": descriptions[0], "references": descriptions}


@register_problem
class TinySpeech(_Tiny):
    """tiny8: a spoken short English sentence, about two seconds at 8 kHz, into its words.

    Source: spoken here by a formant synthesiser, every letter a sound; 3,000 utterances to train, 200 dev, 500 test;
    120 MB. Pitch, speed, vocal tract and noise vary. Command: t2t-datagen --problem=tiny_speech --data_dir=data.
    Metric: character error rate.
    """

    seed = "speech"
    train_examples = 3000
    most_words = 8
    metrics = ("cer", "wer", "exact_match")
    inputs = Audio(rate=synthesis.RATE)
    targets = Text("English")

    def stream(self, split):
        for i, (_, _, text) in enumerate(self.distinct_sentences(split, self.most_words, simple=True)):
            yield {"inputs": (text, _seed(f"speech {split} {i}")), "targets": text}

    def prepare(self, sample):
        return {**sample, "inputs": synthesis.speak(*sample["inputs"])}


def _seed(text):
    """A seed for numpy from a name."""
    return zlib.crc32(text.encode())


register_mixture(
    Mixture(
        "tiny8",
        "the embedded world: eight problems about one little world, no download",
        (  # pictures and sound have a net to themselves, which only their own draws teach; trees take longest to learn
            ("tiny_ende", 1.1),
            ("tiny_deen", 0.9),
            ("tiny_enfr", 1.1),
            ("tiny_fren", 0.9),
            ("tiny_parse", 3.0),
            ("tiny_image", 1.5),
            ("tiny_caption", 2.0),
            ("tiny_speech", 1.2),
        ),
    )
)
