"""Noisy top-k mixture of experts with both balancing losses; paper §2.2, Shazeer et al. 2017 (arXiv 1701.06538)."""

import keras
from keras import ops

from t2t_multimodel.kernels.dense import flatten_leading, reshape_known, residual_add
from t2t_multimodel.kernels.gather import gather_rows, ragged_split
from t2t_multimodel.layers import intermediates
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.layers.normalization import LayerNorm

NOISE_FLOOR = 1e-2  # smallest standard deviation of the gating noise
MOST_RUNS = 64  # experts that are called one after the other; more of them are quicker as one padded product
BLOCK = 16  # tokens of one expert that share a copy of its weights, where no capacity limits them


def top_k_gates(logits, k):
    """Softmax over the k largest logits of each row, zero elsewhere.

    Args:
      logits: [tokens, experts].

    Returns:
      gates [tokens, k], expert ids [tokens, k] int32, and the k+1 largest logits [tokens, min(k+1, experts)].
    """
    most = min(k + 1, logits.shape[-1])
    values, ids = ops.top_k(logits, most)
    return ops.softmax(values[:, :k]), ops.cast(ids[:, :k], "int32"), values


def probability_in_top_k(clean, noisy, deviation, top_values, k):
    """Probability that an expert stays among the k chosen ones when its own noise is drawn again (Shazeer, eq. 8–9).

    Args:
      clean, noisy: [tokens, experts] logits without and with noise. deviation: their noise's standard deviation.
      top_values: [tokens, k+1] largest noisy logits.
    """
    if_in, if_out = top_values[:, k : k + 1], top_values[:, k - 1 : k]
    threshold = ops.where(noisy > if_in, if_in, if_out)
    return 0.5 * (1.0 + ops.erf((clean - threshold) / (deviation * 2**0.5)))


def cv_squared(x):
    """CV²(x) = variance / mean², over a vector; 0 for a single entry."""
    return ops.var(x) / (ops.square(ops.mean(x)) + 1e-10)


def feed_forward_by_expert(x, first, second):
    """ReLU(x · first) · second of each expert: [experts, rows, features] → the same.

    On TensorFlow, whose batched products are one operation on one processor, half of the experts go beside the other
    half. The gradients are two products at a time anyway, and those of the weights are better made whole: put together
    of halves, they would be copied.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.matmul(ops.relu(ops.matmul(x, first)), second)
    half = first.shape[0] // 2

    @ops.custom_gradient
    def forward(x, first, second):
        parts = slice(None, half), slice(half, None)
        hidden = [ops.relu(ops.matmul(x[part], first[part])) for part in parts]
        y = ops.concatenate([ops.matmul(h, second[part]) for h, part in zip(hidden, parts)], axis=0)

        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            whole = ops.concatenate(hidden, axis=0)
            # (einsum: a transpose before a product would be a copy.)
            of_second = ops.einsum("erf,erd->efd", whole, upstream)
            of_hidden = ops.einsum("erd,efd->erf", upstream, second)
            of_hidden = ops.where(whole > 0, of_hidden, ops.zeros((), whole.dtype))  # where ReLU let it through
            of_first = ops.einsum("erd,erf->edf", x, of_hidden)
            return ops.einsum("erf,edf->erd", of_hidden, first), of_first, of_second

        return y, gradient

    return forward(x, first, second)


class MixtureOfExperts(Layer):
    """x + Σ_e gate_e(LN(x)) · W2_e ReLU(W1_e LN(x)), the sum over the k experts chosen for each token.

    Three ways to the same result, chosen by the arithmetic they cost:
    - few experts: all of them on every token, two plain products;
    - training with many: each expert takes no more than its capacity; tokens that find it full pass by on the residual
      and are counted. Its tokens are a run of sorted rows, or, where lengths must be known beforehand (XLA) or experts
      are very many, slots, of which some stay empty;
    - evaluation with many: tokens sorted by expert, cut into small blocks, each block with its expert's weights:
      nothing is ever dropped.
    """

    def __init__(self, hparams, **kwargs):
        super().__init__(**kwargs)
        h = hparams
        self.experts, self.k = h.num_experts, h.experts_per_token
        self.capacity_factor, self.weight = h.expert_capacity_factor, h.expert_balance_weight
        size, filters = h.hidden_size, h.expert_filter_size
        self.gate_weight = self.add_weight(shape=(size, self.experts), initializer="zeros", name="gate")
        self.noise_weight = self.add_weight(shape=(size, self.experts), initializer="zeros", name="noise")
        # Glorot of one expert's matrix; Keras would count the experts as a receptive field.
        bound = (6.0 / (size + filters)) ** 0.5
        uniform = keras.initializers.RandomUniform(-bound, bound)
        self.first = self.add_weight(shape=(self.experts, size, filters), initializer=uniform, name="first")
        self.second = self.add_weight(shape=(self.experts, filters, size), initializer=uniform, name="second")
        self.first.by_expert = self.second.by_expert = True  # for LazyAdam
        self.noise_seed = keras.random.SeedGenerator(name="noise_seed")
        with keras.name_scope(self.name):
            self.norm = LayerNorm(size, name="norm")

    def call(self, x, padding_mask=None, training=False):
        """Args: x [batch, length, features]; real [batch, length], 1 = real: padding is not routed.

        Returns:
          y like x; and a report {"balance": the loss, "overflow": share of assignments dropped, "load": [experts]
          share of assignments}.
        """
        shape = ops.shape(x)
        tokens = flatten_leading(self.norm(x), shape)
        padding_mask = (
            ops.ones(shape[:2], dtype="float32") if padding_mask is None else ops.cast(padding_mask, "float32")
        )
        padding_mask = ops.reshape(padding_mask, [-1, 1])
        gates, ids, balance, load = self._gating(tokens, padding_mask, training)
        intermediates.sow(self.gate_weight, lambda: ops.reshape(self._dense_gates(gates, ids), [*shape[:2], -1]))
        overflow = ops.zeros((), dtype="float32")
        if self._few_experts(training):
            y = self._all_experts(tokens, gates, ids, self._side_by_side())
        elif training:
            y, overflow = self._limited(tokens, gates, ids, padding_mask)
        else:
            y = self._blocks(tokens, gates, ids, BLOCK)
        report = {"balance": balance, "overflow": overflow, "load": load}
        return residual_add(x, reshape_known(y, shape, [-1, x.shape[-1]])), report

    def step(self, x, position):
        """One position: x [batch, features] → the same; the experts' weights are gathered for the tokens at hand, for
        each one by itself or, where many share an expert, for blocks of them.
        """
        tokens = self.norm.call(x)
        gates, ids, _ = top_k_gates(ops.matmul(tokens, self.gate_weight), self.k)
        if self._few_experts(training=False):
            return x + self._all_experts(tokens, gates, ids, position.constants_of(self))
        shared = (tokens.shape[0] or 0) * self.k >= 2 * self.experts
        return x + self._blocks(tokens, gates, ids, BLOCK if shared else 1)

    def constants(self):
        """What decoding needs of the weights, computed once: few experts' matrices side by side."""
        return self._side_by_side() if self._few_experts(training=False) else []

    def _few_experts(self, training):
        if training:  # slots for everybody cost as much as all experts on every token
            return self.capacity_factor * self.k >= self.experts
        return self.experts <= 4 * self.k

    def _gating(self, tokens, padding_mask, training):
        clean = ops.cast(ops.matmul(tokens, self.gate_weight), "float32")
        noisy = clean
        if training:
            raw = ops.cast(ops.matmul(tokens, self.noise_weight), "float32")
            deviation = ops.softplus(raw) + NOISE_FLOOR
            # Its size is that of `real`, which is there from the start: so the noise is drawn ahead.
            noise = keras.random.normal([ops.shape(padding_mask)[0], self.experts], seed=self.noise_seed)
            noisy = clean + deviation * noise
        gates, ids, top_values = top_k_gates(noisy, self.k)
        gates = gates * padding_mask
        importance, chosen = (
            ops.segment_sum(ops.reshape(of_each, [-1]), ops.reshape(ids, [-1]), num_segments=self.experts)
            for of_each in (gates, ops.cast(gates > 0, "float32"))
        )
        if training and self.k < self.experts:
            load = ops.sum(probability_in_top_k(clean, noisy, deviation, top_values, self.k) * padding_mask, axis=0)
        else:
            load = chosen
        balance = self.weight * (cv_squared(importance) + cv_squared(load))
        return ops.cast(gates, tokens.dtype), ids, balance, chosen / ops.maximum(ops.sum(chosen), 1.0)

    def _dense_gates(self, gates, ids):
        """[tokens, k] gates → [tokens, experts]."""
        return ops.sum(gates[..., None] * ops.one_hot(ids, self.experts, dtype=gates.dtype), axis=1)

    def _side_by_side(self):
        """All experts' first matrices as one [features, experts · filters], their second ones as its counterpart."""
        wide = self.experts * self.first.shape[-1]
        first = ops.reshape(ops.transpose(self.first, [1, 0, 2]), [-1, wide])
        return [first, ops.reshape(self.second, [wide, -1])]

    def _all_experts(self, tokens, gates, ids, matrices):
        first, second = matrices
        filters = self.first.shape[-1]
        dense = self._dense_gates(gates, ids)
        hidden = ops.reshape(ops.relu(ops.matmul(tokens, first)), [-1, self.experts, filters])
        hidden = ops.reshape(hidden * dense[..., None], [-1, self.experts * filters])
        return ops.matmul(hidden, second)

    def _sorted(self, ids, gates):
        """Assignments (token·k + choice) in order of their expert; those with gate 0 come last, as expert number
        `experts`.
        """
        flat = ops.reshape(ops.where(gates > 0, ids, self.experts), [-1])
        count = ops.shape(flat)[0]
        order = ops.argsort(flat * count + ops.arange(count, dtype="int32"))  # keys are distinct: the order is definite
        counts = ops.segment_sum(ops.ones_like(flat), flat, num_segments=self.experts + 1)[: self.experts]
        return flat, order, counts, ops.cumsum(counts) - counts

    def _limited(self, tokens, gates, ids, padding_mask):
        """Each expert takes its first `capacity` tokens in their order in the batch."""
        flat, order, counts, starts = self._sorted(ids, gates)
        number = ops.shape(flat)[0]
        capacity = self._capacity(number)
        # From an expert's rows back to tokens: the rank of an assignment among those of its expert.
        expert = ops.minimum(flat, self.experts - 1)
        rank = ops.cast(ops.argsort(order), "int32") - ops.take(starts, expert, axis=0)
        kept = ops.logical_and(flat < self.experts, rank < capacity)
        if keras.backend.backend() == "tensorflow" and self.experts <= MOST_RUNS:
            counts = ops.minimum(counts, capacity)
            place = ops.take(ops.cumsum(counts) - counts, expert, axis=0) + rank
            y = self._runs(tokens, order, counts, starts, place, kept)
        else:
            slots = capacity
            if keras.backend.backend() == "tensorflow":  # as many as the expert with the most tokens uses
                slots = ops.clip(ops.max(counts), 1, capacity)
            y = self._slots(tokens, order, ops.minimum(counts, capacity), starts, slots, expert * slots + rank, kept)
        weights = ops.reshape(gates, [-1]) * ops.cast(kept, gates.dtype)
        y = ops.sum(ops.reshape(y * weights[:, None], [-1, self.k, tokens.shape[-1]]), axis=1)
        routed = ops.maximum(ops.sum(padding_mask) * self.k, 1.0)
        return y, 1.0 - ops.sum(ops.cast(kept, "float32")) / routed

    def _runs(self, tokens, order, counts, starts, place, kept):
        """What the experts make of their rows, one expert's after the other's: [assignments, features] in the order of
        the tokens, zero where no expert takes one.

        Args: place [assignments]: the row of each, where it is `kept`.
        """
        slices = zip(ops.unstack(starts), ops.unstack(counts))
        assignment = ops.concatenate([ops.slice(order, [start], [count]) for start, count in slices], axis=0)
        place = ops.where(kept, place, ops.shape(assignment)[0])
        x = gather_rows(tokens, assignment // self.k, ops.reshape(place, [-1, self.k]), gaps=True)
        made = [
            ops.matmul(ops.relu(ops.matmul(run, first)), second)
            for run, first, second in zip(ragged_split(x, counts), ops.unstack(self.first), ops.unstack(self.second))
        ]
        nothing = ops.zeros((1, x.shape[-1]), dtype=x.dtype)  # what an assignment gets that no expert takes
        return gather_rows(ops.concatenate([*made, nothing], axis=0), place, ops.pad(assignment, [[0, 1]])[:, None])

    def _slots(self, tokens, order, counts, starts, slots, place, kept):
        """The same with as many rows for every expert, used or not: on XLA all lengths are known beforehand. An
        assignment that no expert takes gets some row that means nothing; its gate is 0.
        """
        slot = ops.arange(slots, dtype="int32")[None]
        used = slot < counts[:, None]  # [experts, slots]
        assignment = ops.take(order, ops.minimum(starts[:, None] + slot, ops.shape(order)[0] - 1), axis=0)
        assignment = ops.reshape(assignment, [-1])
        copies = ops.reshape(ops.where(kept, place, self.experts * slots), [-1, self.k])
        # An unused slot gets a row of zeros, the one after all tokens.
        rows = ops.where(ops.reshape(used, [-1]), assignment // self.k, ops.shape(tokens)[0])
        after = [[0, 1], [0, 0]]
        x = gather_rows(ops.pad(tokens, after), rows, ops.pad(copies, after), gaps=True)
        x = ops.reshape(x, [self.experts, -1, tokens.shape[-1]])
        # A written gradient takes tensors; the cast makes them of variables.
        first, second = (ops.cast(ops.convert_to_tensor(weights), x.dtype) for weights in (self.first, self.second))
        y = feed_forward_by_expert(x, first, second)  # [experts, slots, features]
        # The gradient of an unused slot is another token's: it reaches no weight because the slot's x is 0.
        return gather_rows(ops.reshape(y, [-1, tokens.shape[-1]]), ops.where(kept, place, 0), assignment[:, None])

    def _capacity(self, assignments):
        even = assignments * self.capacity_factor / self.experts if isinstance(assignments, int) else None
        if even is not None:
            return max(4, int(-(-even // 1)))
        return ops.maximum(
            ops.cast(ops.ceil(ops.cast(assignments, "float32") * (self.capacity_factor / self.experts)), "int32"), 4
        )

    def _blocks(self, tokens, gates, ids, block):
        flat, order, counts, starts = self._sorted(ids, gates)
        number = ops.shape(flat)[0]
        blocks_of = -(-counts // block)
        ends = ops.cumsum(blocks_of)
        total = -(-number // block) + (self.experts if block > 1 else 0)  # never needs more
        index = ops.arange(total, dtype="int32")
        expert = ops.minimum(ops.cast(ops.searchsorted(ends, index, side="right"), "int32"), self.experts - 1)
        first_of = ops.take(ends - blocks_of, expert, axis=0)
        within = (index - first_of)[:, None] * block + ops.arange(block, dtype="int32")[None]  # [total, block]
        used = within < ops.take(counts, expert, axis=0)[:, None]
        place = ops.clip(ops.take(starts, expert, axis=0)[:, None] + within, 0, number - 1)
        assignment = ops.take(order, place, axis=0)
        x = ops.take(tokens, assignment // self.k, axis=0)
        y = ops.relu(ops.matmul(x, ops.take(self.first, expert, axis=0)))
        y = ops.matmul(y, ops.take(self.second, expert, axis=0))  # [total, block, features]
        weights = ops.take(ops.reshape(gates, [-1]), assignment, axis=0) * ops.cast(used, gates.dtype)
        y = ops.reshape(y * weights[..., None], [-1, tokens.shape[-1]])
        owner = ops.reshape(assignment // self.k, [-1])
        return ops.segment_sum(y, owner, num_segments=ops.shape(tokens)[0])
