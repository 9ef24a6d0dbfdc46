"""The router: which experts take a token, with which gates, and the losses that keep all experts in use."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

NOISE_FLOOR = 1e-2  # smallest standard deviation of the gating noise


@dataclass(frozen=True)
class Routing:
    """The K experts of each token: gates [N, K], 0 at padding; ids [N, K] int32."""

    gates: Any
    ids: Any
    num_experts: int

    def dense_gates(self):
        """[N, E], 0 for experts not chosen."""
        return ops.sum(self.gates[..., None] * ops.one_hot(self.ids, self.num_experts, dtype=self.gates.dtype), axis=1)


class Router:
    """G(x) = softmax(top K of x·W_gate + noise · softplus(x·W_noise)); without noise in evaluation.

    The weights belong to the layer of which this is a part, and are float32. So are the logits in any precision: the
    nearest 16-bit numbers of two experts are often the same (Fedus et al. 2021, section 2.4).
    """

    def __init__(self, gate_weight, noise_weight, noise_seed, experts_per_token, balance_weight):
        self.gate_weight, self.noise_weight, self.noise_seed = gate_weight, noise_weight, noise_seed
        self.experts_per_token, self.balance_weight = experts_per_token, balance_weight
        self.num_experts = gate_weight.shape[1]

    def __call__(self, tokens, padding_mask, training):
        """Args: tokens [N, d]; padding_mask float32 [N, 1]: padding is not routed.

        Returns:
          the `Routing`; load_balance_loss, w · (CV²(importance) + CV²(load)); load [E], each expert's share of the
          assignments.
        """
        k = self.experts_per_token
        precise = ops.cast(tokens, "float32")
        clean = ops.matmul(precise, self.gate_weight)
        noisy = clean
        if training:
            deviation = ops.softplus(ops.matmul(precise, self.noise_weight)) + NOISE_FLOOR
            # Its size is that of the mask, which exists from the start: so the noise is drawn ahead.
            noise = keras.random.normal([ops.shape(padding_mask)[0], self.num_experts], seed=self.noise_seed)
            noisy = clean + deviation * noise
        gates, ids, top_values = top_k_gates(noisy, k)
        gates = gates * padding_mask
        importance, chosen = (
            ops.segment_sum(ops.reshape(of_each, [-1]), ops.reshape(ids, [-1]), num_segments=self.num_experts)
            for of_each in (gates, ops.cast(gates > 0, "float32"))
        )
        load = chosen
        if training and k < self.num_experts:
            load = ops.sum(probability_in_top_k(clean, noisy, deviation, top_values, k) * padding_mask, axis=0)
        load_balance_loss = self.balance_weight * (cv_squared(importance) + cv_squared(load))
        routing = Routing(ops.cast(gates, tokens.dtype), ids, self.num_experts)
        return routing, load_balance_loss, chosen / ops.maximum(ops.sum(chosen), 1.0)

    def without_noise(self, tokens):
        """The `Routing` of real tokens [N, d] in decoding."""
        logits = ops.matmul(ops.cast(tokens, "float32"), self.gate_weight)
        gates, ids, _ = top_k_gates(logits, self.experts_per_token)
        return Routing(ops.cast(gates, tokens.dtype), ids, self.num_experts)


def top_k_gates(logits, k):
    """Softmax over the k largest logits of each row, zero elsewhere.

    Args:
      logits: [N, E].

    Returns:
      gates [N, k], expert ids [N, k] int32, and the k+1 largest logits [N, min(k+1, E)].
    """
    most = min(k + 1, logits.shape[-1])
    values, ids = ops.top_k(logits, most)
    return ops.softmax(values[:, :k]), ops.cast(ids[:, :k], "int32"), values


def probability_in_top_k(clean, noisy, deviation, top_values, k):
    """Probability that an expert stays among the k chosen ones when its own noise is drawn again (Shazeer, eq. 8–9).

    Args:
      clean, noisy: [N, E] logits without and with noise. deviation: their noise's standard deviation.
      top_values: [N, k+1] largest noisy logits.
    """
    if_in, if_out = top_values[:, k : k + 1], top_values[:, k - 1 : k]
    threshold = ops.where(noisy > if_in, if_in, if_out)
    return 0.5 * (1.0 + ops.erf((clean - threshold) / (deviation * 2**0.5)))


def cv_squared(x):
    """CV²(x) = variance / mean², over a vector; 0 for a single entry."""
    return ops.var(x) / (ops.square(ops.mean(x)) + 1e-10)
