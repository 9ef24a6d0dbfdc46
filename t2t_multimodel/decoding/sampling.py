"""Drawing ids by their probability: temperature, top-k and top-p (nucleus), with random numbers by row and position.

The random number for an id depends on the seed, the number of its row, the position and the id, and on nothing else:
an answer is the same in any batch, and on every backend as far as the logits are.
"""

from dataclasses import dataclass
from typing import Any

from keras import ops

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


@dataclass(frozen=True)
class Sampling:
    """How to draw; numbers or scalar tensors, but for `truncated`."""

    temperature: Any  # > 0; logits are divided by it
    top_k: Any  # only the k likeliest ids; 0: all
    top_p: Any  # of these the fewest with probabilities that sum to p; 1: all
    seed: Any  # int32
    rows: Any  # int32 [rows]: a number for each row; rows with equal numbers have equal random numbers
    truncated: bool = True  # False: top_k and top_p keep all ids and are not looked at

    def draw(self, logits, mask, time):
        """An id int32 of each row.

        Args:
          logits: float32 [rows, vocabulary]. mask: 0 where an id may come next, else very low; or None. time: position.
        """
        allowed = logits if mask is None else logits + mask
        scaled = (logits - ops.max(allowed, axis=-1, keepdims=True)) / ops.maximum(self.temperature, 1e-6)
        if mask is not None:  # added behind the division, so that no temperature makes a forbidden id likely
            scaled = ops.minimum(scaled, 0.0) + mask
        if self.truncated:
            scaled = ops.where(scaled >= lowest_kept(scaled, self.top_k, self.top_p), scaled, -float("inf"))
        return likeliest(scaled + self._gumbel_noise(logits.shape[-1], time))

    def _gumbel_noise(self, vocabulary, time):
        """[rows, vocabulary]. The highest of logits with such noise is a sample of their softmax."""
        rows = _word(self.rows)[:, None]
        bits = threefry(_word(self.seed), rows, _word(time), _word(ops.arange(vocabulary, dtype="int32"))[None])[0]
        uniform = (ops.cast(ops.right_shift(bits, _word(9)), "float32") + 0.5) * 2.0**-23  # never 0 or 1
        return -ops.log(-ops.log(uniform))


def likeliest(logits):
    """logits [rows, vocabulary] → the id int32 of the highest of each row (the first of equal ones).

    Two reductions, since XLA's argmax and top_k are many times slower on a CPU.
    """
    highest, last = ops.max(logits, axis=-1), logits.shape[-1] - 1
    places = ops.where(logits == highest[:, None], ops.arange(last + 1, dtype="int32"), last)
    return ops.min(places, axis=-1)


def lowest_kept(logits, top_k, top_p):
    """[rows, 1]: the lowest logit that top-k and top-p keep. At least one is kept; equal ones all are."""
    ordered = -ops.sort(-logits, axis=-1)
    rank = ops.arange(logits.shape[-1], dtype="int32")
    ordered = ops.where((rank < top_k) | (top_k == 0), ordered, -float("inf"))
    probability = ops.softmax(ordered, axis=-1)
    before = ops.cumsum(probability, axis=-1) - probability
    kept = ((before < top_p) & (probability > 0)) | (rank == 0)
    return ops.min(ops.where(kept, ordered, float("inf")), axis=-1, keepdims=True)


def threefry(key0, key1, counter0, counter1):
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011): two uint32 of random bits for each key and counter."""
    keys = (key0, key1, key0 ^ key1 ^ _word(_PARITY))
    x, y = counter0 + key0, counter1 + key1
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            x = x + y
            y = ops.left_shift(y, _word(rotation)) | ops.right_shift(y, _word(32 - rotation))
            y = x ^ y
        x, y = x + keys[(block + 1) % 3], y + keys[(block + 2) % 3] + _word(block + 1)
    return x, y


def _word(number):
    return ops.cast(number, "uint32") if hasattr(number, "dtype") else ops.convert_to_tensor(number, dtype="uint32")
