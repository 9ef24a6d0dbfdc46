"""The layer: x + Σ_e gate_e(LN(x)) · W2_e ReLU(W1_e LN(x)), the sum over the K experts chosen for each token."""

import functools

import keras
from keras import ops

from t2t_multimodel.kernels.dense import flatten_leading, reshape_known, residual_add
from t2t_multimodel.kernels.shapes import shape_of
from t2t_multimodel.layers import intermediates
from t2t_multimodel.layers.experts.dispatch import block_dispatch, capacity_dispatch
from t2t_multimodel.layers.experts.feed_forward import Experts
from t2t_multimodel.layers.experts.groups import grouped_dispatch
from t2t_multimodel.layers.experts.router import Router
from t2t_multimodel.layers.layer import Layer
from t2t_multimodel.layers.normalization import LayerNorm

BLOCK = 16  # tokens of one expert that share a copy of its weights, where no capacity limits them


class MixtureOfExperts(Layer):
    """Three ways to the same result, chosen by the arithmetic they cost:

    - few experts: all of them on every token, two plain products;
    - training with many: each expert takes no more than its capacity, of each group of rows where there are several;
      tokens that find it full keep the residual alone and are counted;
    - evaluation with many: tokens in blocks, each with its expert's weights; nothing is ever dropped.
    """

    def __init__(self, hparams, **kwargs):
        super().__init__(**kwargs)
        h = hparams
        self.num_experts, self.experts_per_token = h.num_experts, h.experts_per_token
        self.capacity_factor, self.groups = h.expert_capacity_factor, h.expert_groups
        size, filters = h.hidden_size, h.expert_filter_size
        of_router = {"shape": (size, self.num_experts), "initializer": "zeros", "autocast": False}
        self.gate_weight = self.add_weight(name="gate", **of_router)
        self.noise_weight = self.add_weight(name="noise", **of_router)
        # Glorot of one expert's matrix; Keras would count the experts as a receptive field.
        bound = (6.0 / (size + filters)) ** 0.5
        uniform = keras.initializers.RandomUniform(-bound, bound)
        self.first = self.add_matrix(shape=(self.num_experts, size, filters), initializer=uniform, name="first")
        self.second = self.add_matrix(shape=(self.num_experts, filters, size), initializer=uniform, name="second")
        self.first.by_expert = self.second.by_expert = True  # for LazyAdam
        self.noise_seed = keras.random.SeedGenerator(name="noise_seed")
        with keras.name_scope(self.name):
            self.norm = LayerNorm(size, name="norm")
        self.router = Router(
            self.gate_weight, self.noise_weight, self.noise_seed, self.experts_per_token, h.expert_balance_weight
        )
        self.experts = Experts(self.first, self.second)

    def call(self, x, padding_mask=None, training=False):
        """x [B, T, d] → y [B, T, d] and a report. padding_mask [B, T]: padding is not routed.

        Returns:
          y; and {"load_balance_loss", "dropped_token_fraction": the share of assignments that found their expert
          full, "load": [E], each expert's share of the assignments}.
        """
        shape = shape_of(x)
        tokens = flatten_leading(self.norm(x), shape)  # [N, d]
        if padding_mask is None:
            padding_mask = ops.ones(shape[:2], dtype="float32")
        padding_mask = ops.reshape(ops.cast(padding_mask, "float32"), [-1, 1])
        routing, load_balance_loss, load = self.router(tokens, padding_mask, training)
        intermediates.sow(self.gate_weight, lambda: ops.reshape(routing.dense_gates(), [*shape[:2], -1]))
        dropped = ops.zeros((), dtype="float32")
        if self._few_experts(training):
            y = self.experts.all(tokens, routing.dense_gates())
        elif training:
            dispatch = functools.partial(grouped_dispatch, groups=self.groups) if self.groups > 1 else capacity_dispatch
            y, dropped = dispatch(tokens, routing, padding_mask, self.experts, self.capacity_factor)
        else:
            y = block_dispatch(tokens, routing, self.experts, BLOCK)
        report = {"load_balance_loss": load_balance_loss, "dropped_token_fraction": dropped, "load": load}
        return residual_add(x, reshape_known(y, shape, [-1, x.shape[-1]])), report

    def step(self, x, position):
        """One position: x [B, d] → the same; the experts' weights are gathered for the tokens at hand, for each one by
        itself or, where many share an expert, for blocks of them.
        """
        tokens = self.norm.call(x)
        routing = self.router.without_noise(tokens)
        if self._few_experts(training=False):
            return x + self.experts.all(tokens, routing.dense_gates(), position.constants_of(self))
        rows = tokens.shape[0]  # a number, unless the program is for any
        shared = isinstance(rows, int) and rows * self.experts_per_token >= 2 * self.num_experts
        return x + block_dispatch(tokens, routing, self.experts, BLOCK if shared else 1)

    def constants(self):
        """What decoding needs of the weights, computed once: few experts' matrices side by side."""
        return self.experts.side_by_side() if self._few_experts(training=False) else []

    def _few_experts(self, training):
        if training:  # a capacity that no expert can exceed costs as much as all experts on every token
            return self.capacity_factor * self.experts_per_token >= self.num_experts
        return self.num_experts <= 4 * self.experts_per_token
