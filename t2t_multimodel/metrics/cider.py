"""CIDEr: how much a caption shares with what several people said of the same picture (Vedantam et al. 2015).

The number is that of pycocoevalcap's `Cider` (the paper's CIDEr-D, the mean over 1- to 4-grams), given the same
tokens. That package is not used: it is 104 MB of Java programs around this one function, and was last released in 2020.
Its tokeniser is one of the Java programs; here it is nltk's of the Penn Treebank, lower case, without punctuation.
"""

import math
from collections import Counter

LONGEST = 4  # words of an n-gram
SIGMA = 6.0  # of the penalty for another length, in words
PUNCTUATION = frozenset(".,:;?!'\"`-()[]{}")


def cider_scores(predictions, references):
    """CIDEr-D of each caption, 0 to 10, a list; papers often print its mean times 100, so that 1.05 here is their 105.

    An n-gram weighs by how few of the examples have it among their references, so the number depends on the set of
    examples: compare it on the same ones. N-grams that all examples have weigh nothing; one example alone scores 0. A
    reference of fewer than four words has no 4-grams to share, so that even its repetition stays under 10.

    Args:
      predictions: captions, one an example.
      references: for each example a list of captions that are right.
    """
    guessed = [_ngrams(text) for text in predictions]
    right = [[_ngrams(text) for text in texts] for texts in references]
    examples_with = Counter(ngram for texts in right for ngram in set().union(*texts))
    rarity = lambda ngram: math.log(len(right)) - math.log(max(1, examples_with[ngram]))
    scores = []
    for counts, texts in zip(guessed, right):
        vectors = _vectors(counts, rarity)
        shared = [_similarity(vectors, _vectors(each, rarity), _length(counts) - _length(each)) for each in texts]
        scores.append(10 * sum(shared) / len(shared))
    return scores


def tokens(text):
    """ "A dog's bowl, on the floor." → ["a", "dog", "'s", "bowl", "on", "the", "floor"]."""
    from nltk.tokenize.treebank import TreebankWordTokenizer

    # Of the periods the tokeniser parts only the last from its word, since it takes the text for one sentence.
    words = (word.rstrip(".") for word in TreebankWordTokenizer().tokenize(text.lower()))
    return [word for word in words if not PUNCTUATION.issuperset(word)]


def _ngrams(text):
    """{n-gram, a tuple of words: how often it occurs}."""
    words = tokens(text)
    return Counter(
        tuple(words[start : start + n]) for n in range(1, LONGEST + 1) for start in range(len(words) - n + 1)
    )


def _length(counts):
    """The length that two captions are compared by: as in the original, the number of 2-grams."""
    return sum(count for ngram, count in counts.items() if len(ngram) == 2)


def _vectors(counts, rarity):
    """For each length of n-gram ({n-gram: frequency · rarity}, the norm of these weights)."""
    vectors = []
    for n in range(1, LONGEST + 1):
        weights = {ngram: count * rarity(ngram) for ngram, count in counts.items() if len(ngram) == n}
        vectors.append((weights, math.sqrt(sum(weight**2 for weight in weights.values()))))
    return vectors


def _similarity(guessed, right, difference):
    """The mean over lengths of n-grams of cos(guessed, right), where saying a word too often does not help."""
    total = 0.0
    for (weights, norm), (right_weights, right_norm) in zip(guessed, right):
        if norm and right_norm:
            shared = weights.keys() & right_weights.keys()
            dot = math.fsum(min(weights[ngram], right_weights[ngram]) * right_weights[ngram] for ngram in shared)
            total += dot / (norm * right_norm)
    return total / LONGEST * math.exp(-(difference**2) / (2 * SIGMA**2))
