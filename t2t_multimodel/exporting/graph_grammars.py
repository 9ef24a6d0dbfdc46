"""What a grammar needs to know of each input (`rows` of decoding/grammars.py), as TensorFlow operations on strings.

A test holds each against the `rows` of its grammar.
"""

from typing import Any

from t2t_multimodel.decoding.grammars import TAG_BYTES
from t2t_multimodel.errors import UserError


def rows_in_graph(grammar: Any, raw: Any, most_leaves: int) -> Any:
    """Strings, a tensor [batch] → int32 [batch, 1 + most_leaves]: leaves of each input, then the most bytes of each.

    Args:
      most_leaves: of an answer; leaves of an input beyond these are only counted.

    Raises:
      UserError: the grammar has no such form.
    """
    import tensorflow as tf

    if grammar.name not in _LEAVES:
        raise UserError(
            f"the grammar {grammar.name!r} can't be exported; export without it: --decode_hparams=constrained=0"
        )
    words = _words(raw, "[ \\t\\r\\n]+")
    leaves = _LEAVES[grammar.name](words)
    most = TAG_BYTES + 2 * tf.ragged.map_flat_values(tf.strings.length, leaves)
    count = tf.maximum(tf.cast(leaves.row_lengths(), tf.int32), 1)
    most = most.to_tensor(TAG_BYTES, shape=[None, most_leaves])
    return tf.concat([count[:, None], most], axis=1)


def _words(raw, blanks):
    import tensorflow as tf

    words = tf.strings.split(tf.strings.regex_replace(raw, blanks, " "), " ")
    return tf.ragged.boolean_mask(words, tf.ragged.map_flat_values(tf.strings.length, words) > 0)


def _punctuated(words):
    """Each mark at the end of a word is a leaf of its own."""
    import tensorflow as tf

    def apart(flat):
        core = tf.strings.regex_replace(flat, "[,;:.!?]+$", "")
        marks = tf.strings.substr(flat, tf.strings.length(core), tf.strings.length(flat) - tf.strings.length(core))
        return core + tf.strings.regex_replace(marks, "(.)", " \\1")

    lines = tf.strings.reduce_join(tf.ragged.map_flat_values(apart, words), axis=1, separator=" ")
    return _words(lines, " +")


_LEAVES = {"tree": lambda words: words, "punctuated_tree": _punctuated}
