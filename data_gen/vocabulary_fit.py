"""How well a vocabulary fits the text of problems: tokens per character on text that it was not trained on."""

import dataclasses
import itertools

from t2t_multimodel.data_gen.vocabulary_training import texts_of

MOST_TEXTS = 4000  # measured, of each problem


@dataclasses.dataclass(frozen=True)
class Fit:
    """The counts of a vocabulary on the texts of one side of a problem."""

    characters: int
    tokens: int
    byte_tokens: int  # tokens that are single bytes: characters that the vocabulary lacks

    @property
    def tokens_per_character(self):
        return self.tokens / self.characters

    @property
    def byte_share(self):
        return self.byte_tokens / self.tokens


def measured_split(problem):
    """The split that is measured: dev or test, which the vocabulary is not trained on, else train."""
    return next((split for split in ("dev", "test", "train") if split in problem.splits), problem.splits[0])


def sample_texts(problem, most=MOST_TEXTS):
    """{side: [text]} of the first texts of the measured split; only sides that are text."""
    texts = {}
    for side, text in itertools.islice(texts_of(problem, measured_split(problem)), most):
        texts.setdefault(side, []).append(text)
    return texts


def fit(vocabulary, texts):
    """The `Fit` of a `Vocabulary` on `texts`, a list of strings with at least one character."""
    ids = vocabulary.encode_batch(texts)
    pieces = (piece for row in ids for piece in vocabulary.pieces(row))
    byte_tokens = sum(piece.startswith("<0x") and piece.endswith(">") for piece in pieces)
    return Fit(sum(map(len, texts)), sum(map(len, ids)), byte_tokens)
