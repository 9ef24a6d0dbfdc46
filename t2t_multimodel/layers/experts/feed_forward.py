"""The experts: E feed-forward nets, ReLU(x · first) · second, called on tokens as dispatch brings them."""

from keras import ops

from t2t_multimodel.kernels.feed_forward import feed_forward_by_expert
from t2t_multimodel.kernels.gather import ragged_split
from t2t_multimodel.kernels.int8_weight import rows_of
from t2t_multimodel.layers.experts.across_devices import across_devices


class Experts:
    """first [E, d, f], second [E, f, d]. The weights belong to the layer of which this is a part."""

    def __init__(self, first, second):
        self.first, self.second = first, second
        self.num_experts, _, self.filters = first.shape

    def padded(self, x):
        """x [E, S, d], S rows for each expert → the same."""
        # A written gradient takes tensors; the cast makes them of variables.
        first, second = (ops.cast(ops.convert_to_tensor(weights), x.dtype) for weights in (self.first, self.second))
        return across_devices(feed_forward_by_expert(across_devices(x), first, second))

    def ragged(self, x, counts):
        """x [rows, d], sorted by expert, counts [E] of them for each → a list of [counts[e], d]."""
        parts = zip(ragged_split(x, counts), ops.unstack(self.first), ops.unstack(self.second))
        return [ops.matmul(ops.relu(ops.matmul(rows, first)), second) for rows, first, second in parts]

    def blocks(self, x, expert):
        """x [blocks, size, d], expert [blocks] → the same; each block meets a copy of its expert's weights."""
        hidden = ops.relu(ops.matmul(x, rows_of(self.first, expert)))
        return ops.matmul(hidden, rows_of(self.second, expert))

    def all(self, tokens, dense_gates, matrices=None):
        """Every expert on every token, times its gate: tokens [N, d], dense_gates [N, E] → their sum [N, d].

        Args: matrices: of `side_by_side`, where it was computed before.
        """
        first, second = matrices or self.side_by_side()
        hidden = ops.reshape(ops.relu(ops.matmul(tokens, first)), [-1, self.num_experts, self.filters])
        hidden = ops.reshape(hidden * dense_gates[..., None], [-1, self.num_experts * self.filters])
        return ops.matmul(hidden, second)

    def side_by_side(self):
        """All first matrices as one [d, E·f], all second ones as its counterpart [E·f, d]."""
        wide = self.num_experts * self.filters
        first = ops.reshape(ops.transpose(self.first, [1, 0, 2]), [-1, wide])
        return [first, ops.reshape(self.second, [wide, -1])]
