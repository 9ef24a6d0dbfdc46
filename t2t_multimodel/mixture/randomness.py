"""Random numbers by key: a pure function of the key, so any part of a sequence can be computed on its own."""

import hashlib

import numpy as np


def random_words(count, *key):
    """`count` uniform uint64, determined by the `key` (plain values).

    The numbers are raw words of Philox, a counter-based generator. NumPy promises that these never change; it gives no
    such promise for `permutation` or `random`.
    """
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(count)


def permutation(count, *key):
    """The numbers 0 … count-1 in random order (int64), determined by the `key`."""
    return np.argsort(random_words(count, *key), kind="stable")
